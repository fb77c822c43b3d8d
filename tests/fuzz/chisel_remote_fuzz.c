/* Remotes: what is read can be written and reads back the same; a refusal has a
 * printable reason. */
#include "lib/proto/chisel.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char text[512], target[CHISEL_HOST_MAX + 16], again[2 * CHISEL_HOST_MAX + 64];
	struct chisel_remote r, back;
	struct fault why = { 0 };
	struct buf b;

	n = min_size(n, sizeof(text) - 1);
	memcpy(text, p, n);
	text[n] = '\0';
	if (chisel_remote_read(&r, text, &why) < 0) {
		must(why.code == ERR_USAGE && why.why[0]);
		return 0;
	}
	must(r.port && r.bind_port && *r.host && *r.bind_host);
	must(chisel_target_write(&r, target, sizeof(target)) < sizeof(target));
	const bool wide = strchr(r.bind_host, ':');
	must((size_t)snprintf(again, sizeof(again), "R:%s%s%s:%u:%s", wide ? "[" : "", r.bind_host,
			      wide ? "]" : "", r.bind_port, target) < sizeof(again));
	must(chisel_remote_read(&back, again, NULL) == 0);
	must(strcmp(r.host, back.host) == 0 && strcmp(r.bind_host, back.bind_host) == 0);
	must(r.port == back.port && r.bind_port == back.bind_port);
	buf_init(&b, &mem_heap, 4096);
	must(chisel_config_write(&b, "1", &r, 1) == 0);
	buf_fini(&b);
	return 0;
}
