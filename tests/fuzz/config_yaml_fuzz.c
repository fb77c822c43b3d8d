/* The configuration file: any text is read or refused in one printable line. */
#include "lib/app/config/config_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct config c;
	struct fault why = { 0 };
	char host[256];
	uint16_t port;

	memset(&c, 0, sizeof(c));
	if (config_yaml_read(&c, &config_table, CONFIG_ALL, "f.yaml", (const char *)p, n, &why) <
	    0) {
		must(why.code == ERR_CONFIG && strncmp(why.why, "f.yaml:", 7) == 0);
		for (const char *s = why.why; *s; s++)
			must(*s >= 0x20 && *s < 0x7f);
		return 0;
	}
	must(!why.code && c.forwards_n <= CONFIG_FORWARDS_MAX && c.labels_n <= CONFIG_LIST_MAX);
	for (size_t i = 0; i < c.forwards_n; i++) {
		must(c.forwards[i].name[0] &&
		     config_forward_find(&c, c.forwards[i].name) == (int)i);
		must(config_address(c.forwards[i].local_addr, host, &port, NULL) == 0);
	}
	return 0;
}
