#include <string.h>

#include "lib/proto/proxy_env.h"

/* Lines: the host, then variables. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char text[2048];
	const char *env[9] = { NULL };
	size_t count = 0;

	if (n >= sizeof(text))
		return 0;
	memcpy(text, data, n);
	text[n] = '\0';
	for (char *p = text; count < 8; p++) {
		p = strchr(p, '\n');
		if (!p)
			break;
		*p = '\0';
		env[count++] = p + 1;
	}
	for (int kind = 0; kind < PROXY_ENV_KINDS; kind++) {
		struct proxy_env_choice c;
		struct fault why = { 0 };
		const int rc =
			proxy_env_choose(&c, env, (enum proxy_env_kind)kind, text, 443, &why);

		must(rc == 0 ? (c.url.kind == PROXY_NONE || (c.variable && c.url.host[0]))
			     : why.code == rc);
	}
	return 0;
}
