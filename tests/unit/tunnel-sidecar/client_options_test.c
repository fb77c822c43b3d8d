#include "tunnel-sidecar/client_options.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/cases.h"

#define S(n) ((n) * 1000000000ull)

static int read_line(struct client_options *o, struct fault *why, const char *const words[])
{
	int n = 0;

	while (words[n])
		n++;
	return client_options_read(o, n, (char *const *)(uintptr_t)words, why);
}

static void test_chisel_command_lines(void)
{
	struct client_options o;
	struct fault why = { 0 };
	static const char *const words[] = {
		"client",	"--fingerprint", "F",	     "-auth=u:p",
		"--keepalive",	"10s",		 "--header", "A: 1",
		"--header",	"B: 2",		 "-v",	     "--max-retry-count=3",
		"https://host", "R:80:a:81",	 "R:90",     NULL
	};

	check(read_line(&o, &why, words) == 0);
	check(strcmp(o.fingerprint, "F") == 0 && strcmp(o.auth, "u:p") == 0);
	check(o.keepalive == S(10) && o.max_retry_count == 3 && o.verbose);
	check(strcmp(o.header[0], "A: 1") == 0 && strcmp(o.header[1], "B: 2") == 0 && !o.header[2]);
	check(strcmp(o.server, "https://host") == 0 && o.remotes_n == 2);
	check(strcmp(o.remotes[1], "R:90") == 0);
}

static void test_defaults_are_chisels(void)
{
	struct client_options o;
	static const char *const words[] = { "client", "host", "R:80", NULL };

	unsetenv("AUTH");
	check(read_line(&o, NULL, words) == 0);
	check(o.keepalive == S(5) && o.max_retry_interval == S(15) && o.max_retry_count < 0);
	check(!o.auth && !o.tls_skip_verify && !o.fingerprint);
	setenv("AUTH", "env:pass", 1);
	check(read_line(&o, NULL, words) == 0 && strcmp(o.auth, "env:pass") == 0);
	unsetenv("AUTH");
}

static void test_refused(void)
{
	static const struct {
		const char *name, *words[6], *says;
	} rows[] = {
		{ "nothing", { "client" }, "a server and at least one remote" },
		{ "no remote", { "client", "host" }, "a server and at least one remote" },
		{ "unknown flag",
		  { "client", "--nope", "host", "R:1" },
		  "unknown flag --nope; `tunnel-sidecar" },
		{ "near flag",
		  { "client", "--fingerprnt=x", "host", "R:1" },
		  "unknown flag --fingerprnt; did you mean --fingerprint?" },
		{ "certificate alone",
		  { "client", "--tls-cert", "c", "host", "R:1" },
		  "name --tls-key FILE" },
		{ "key alone",
		  { "client", "--tls-key", "k", "host", "R:1" },
		  "name --tls-cert FILE" },
		{ "no value", { "client", "--auth" }, "--auth needs a value" },
		{ "bad count",
		  { "client", "--max-retry-count", "x", "host", "R:1" },
		  "whole number" },
		{ "bad duration",
		  { "client", "--keepalive", "soon", "host", "R:1" },
		  "--keepalive: \"soon\"" },
		{ "bad word",
		  { "client", "--io", "kqueue", "host", "R:1" },
		  "--io takes one of auto|uring|epoll" },
		{ "header without a colon",
		  { "client", "--header", "A B: c", "host", "R:1" },
		  "Name: value" },
		{ "header of two lines",
		  { "client", "--header", "A: b\nC: d", "host", "R:1" },
		  "Name: value" },
		{ "flag behind",
		  { "client", "host", "R:1", "--auth", "u:p" },
		  "move --auth there" },
		{ "flag with value", { "client", "--verbose=9", "host", "R:1" }, "takes no value" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct client_options o;
		struct fault why = { 0 };

		check_row(rows[i].name, read_line(&o, &why, rows[i].words) == ERR_USAGE);
		check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "chisel's command lines", test_chisel_command_lines },
		{ "defaults", test_defaults_are_chisels },
		{ "refused", test_refused },
	};
	return run_cases("client_options", cases, array_len(cases));
}
