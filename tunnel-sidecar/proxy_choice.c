/*
 * proxy_choice -- decides which proxy a tunnel server is reached through, from --proxy or
 * the environment, and logs the choice when it changes. Talking to the proxy is in
 * lib/proto/proxy.c.
 */
#include "tunnel-sidecar/proxy_choice.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/proto/proxy_env.h"

static void say(const struct session_target *t, const char *because)
{
	static char said[400]; /* one tunnel in a program */
	char text[sizeof(said)];
	const struct proxy_url *p = &t->proxy;
	const bool v6 = strchr(p->host, ':');

	if (p->kind)
		snprintf(text, sizeof(text), "%s://%s%s%s:%u",
			 p->kind == PROXY_HTTP ? "http" : "socks5h", v6 ? "[" : "", p->host,
			 v6 ? "]" : "", p->port);
	else
		snprintf(text, sizeof(text), "none");
	if (strcmp(text, said) == 0)
		return;
	memcpy(said, text, sizeof(said));
	log_info(
		"proxy",
		p->kind ? "the tunnel server is reached through a proxy"
			: "the tunnel server is reached directly; the configured proxy is not used",
		L_STR("proxy", text), L_STR("because", because),
		L_STR("server", t->url.host_header));
}

int proxy_choice_find(struct session_target *t, const char *given, struct fault *why)
{
	const enum proxy_env_kind kind = t->url.ssh   ? PROXY_ENV_OTHER
					 : t->url.tls ? PROXY_ENV_TLS
						      : PROXY_ENV_PLAIN;
	struct proxy_env_choice choice;

	if (given) {
		const int rc = proxy_url_read(&t->proxy, given, why);

		if (rc >= 0)
			say(t, "--proxy");
		return rc;
	}
	const int rc = proxy_env_choose(&choice, (const char *const *)environ, kind, t->url.host,
					t->url.port, why);
	if (rc < 0)
		return rc;
	t->proxy = choice.url;
	if (choice.variable)
		say(t, choice.variable);
	explicit_bzero(&choice, sizeof(choice));
	return 0;
}

int proxy_choice_ports(uint16_t ports[PROXY_WAY_PORTS], struct fault *why)
{
	int n = 0;

	_Static_assert(PROXY_WAY_PORTS == (int)PROXY_ENV_KINDS, "one for each kind");
	for (enum proxy_env_kind kind = 0; kind < PROXY_ENV_KINDS; kind++) {
		struct proxy_env_choice choice;
		const int rc = proxy_env_read(&choice, (const char *const *)environ, kind, why);

		if (rc < 0)
			return rc;
		if (choice.url.kind)
			ports[n++] = choice.url.port;
		explicit_bzero(&choice, sizeof(choice));
	}
	return n;
}
