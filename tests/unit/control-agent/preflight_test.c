#include "control-agent/preflight.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/cases.h"

static struct config config(void)
{
	struct config c = { .tls_enabled = true, .reconnect_enabled = true };

	snprintf(c.api_url, sizeof(c.api_url), "https://control.example");
	snprintf(c.token.text, sizeof(c.token.text), "token");
	return c;
}

static void test_good(void)
{
	const struct config c = config();
	struct fault why = { 0 };

	check(preflight(&c, &why) == 0 && why.code == 0);
}

static void set_monitoring(struct config *c)
{
	c->monitoring_enabled = true;
}

static void set_kubeconfig(struct config *c)
{
	snprintf(c->kubeconfig, sizeof(c->kubeconfig), "/home/me/.kube/config");
}

static void set_no_reconnect(struct config *c)
{
	c->reconnect_enabled = false;
}

static void set_no_token(struct config *c)
{
	c->token.text[0] = '\0';
}

static void set_plain_url(struct config *c)
{
	snprintf(c->api_url, sizeof(c->api_url), "http://control.example");
}

static void set_other_url(struct config *c)
{
	snprintf(c->api_url, sizeof(c->api_url), "ftp://control.example");
}

/* What asks for something that is not done is refused, with the name of the setting. */
static void test_refused(void)
{
	static const struct {
		const char *name;
		void (*set)(struct config *c);
	} rows[] = {
		{ "monitoring.enabled", set_monitoring },
		{ "kubernetes.kubeconfig", set_kubeconfig },
		{ "pipeops.reconnect.enabled", set_no_reconnect },
		{ "PIPEOPS_TOKEN", set_no_token },
		{ "pipeops.tls.allow_plain", set_plain_url },
		{ "PIPEOPS_API_URL", set_other_url },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct config c = config();
		struct fault why = { 0 };

		rows[i].set(&c);
		check_row(rows[i].name, preflight(&c, &why) == ERR_CONFIG);
		check_row(rows[i].name, strstr(why.why, rows[i].name) != NULL);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "good", test_good },
		{ "refused", test_refused },
	};

	return run_cases("preflight", cases, array_len(cases));
}
