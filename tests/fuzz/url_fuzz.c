/* URLs under the rules of each caller: what is read is fit for a Host header and a request line. */
#include "lib/proto/chisel.h"
#include "lib/proto/http/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char text[2048];
	struct url u;
	struct fault why = { 0 };
	struct buf b;

	n = min_size(n, sizeof(text) - 1);
	memcpy(text, p, n);
	text[n] = '\0';
	static const struct url_rules any = { URL_OF(URL_SCHEMES) - 1, URL_SCHEMES, "x" };
	if (url_read(&u, text, &any, NULL) == 0) {
		must(u.port && *u.host && u.path[0] == '/' && u.scheme < URL_SCHEMES);
		must(strlen(u.host_header) + 1 <= sizeof(u.host_header));
		(void)url_decode(u.password);
	}
	if (chisel_gateway_read(&u, text, true, NULL) == 0 && u.ssh) {
		must(!u.tls && u.port && *u.host && strcmp(u.path, "/") == 0);
		must(chisel_url_read(&u, text, true, NULL) < 0);
	}
	if (chisel_url_read(&u, text, true, &why) < 0) {
		must(why.code == ERR_USAGE && why.why[0]);
		return 0;
	}
	must(u.port && *u.host && u.path[0] == '/');
	buf_init(&b, &mem_heap, 4096);
	must(http1_write_request(&b, "GET", u.path) == 0);
	must(http1_write_field(&b, "Host", u.host_header) == 0);
	buf_fini(&b);
	return 0;
}
