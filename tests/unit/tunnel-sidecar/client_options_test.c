#include "tunnel-sidecar/client_options.h"

#include <stdio.h>
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
		{ "secret behind",
		  { "client", "host", "R:1", "--auth=u:s3cret" },
		  "move --auth there" },
		{ "two credentials",
		  { "client", "--auth=u:s3cret", "--auth-file=f", "host", "R:1" },
		  "--auth and --auth-file say the same" },
		{ "wrong flag with a secret",
		  { "client", "--auht=u:s3cret", "host", "R:1" },
		  "did you mean --auth?" },
		{ "unprintable duration",
		  { "client", "--keepalive=\x1b[31m", "host", "R:1" },
		  "\\x1b[31m" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct client_options o;
		struct fault why = { 0 };

		check_row(rows[i].name, read_line(&o, &why, rows[i].words) == ERR_USAGE);
		check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
		check_row(rows[i].name, !strstr(why.why, "s3cret"));
	}
}

/* Each switch x each form that Go's flag package takes. */
static void test_switches(void)
{
	static const char *const yes[] = { "", "=1", "=t", "=T", "=true", "=TRUE", "=True" };
	static const char *const no[] = { "=0", "=f", "=F", "=false", "=FALSE", "=False" };
	static const char *const names[] = { "-v", "--v", "--verbose", "-pid", "--tls-skip-verify",
					     "--allow-plain" };

	for (size_t i = 0; i < array_len(names); i++)
		for (size_t k = 0; k < array_len(yes) + array_len(no); k++) {
			const bool want = k < array_len(yes);
			struct client_options o;
			struct fault why = { 0 };
			char word[64];

			snprintf(word, sizeof(word), "%s%s", names[i],
				 want ? yes[k] : no[k - array_len(yes)]);
			const char *words[] = { "client", word, "host", "R:1", NULL };
			check_row(word, read_line(&o, &why, words) == 0);
			const bool got = i < 3    ? o.verbose
					 : i == 3 ? o.pid
					 : i == 4 ? o.tls_skip_verify
						  : o.allow_plain;
			check_row(word, got == want);
		}
	/* The last one counts. */
	struct client_options o;
	check(read_line(&o, NULL, (const char *[]){ "client", "--pid", "--pid=false", "host", "R:1",
						    NULL }) == 0 &&
	      !o.pid);
}

static void test_durations_are_gos(void)
{
	struct client_options o;

	check(read_line(&o, NULL, (const char *[]){ "client", "--keepalive=1.5s",
						    "--max-retry-interval", ".5m", "h", "R:1",
						    NULL }) == 0);
	check(o.keepalive == 1500000000 && o.max_retry_interval == S(30));
}

static void test_where_credentials_come_from(void)
{
	struct client_options o;
	struct fault why = { 0 };

	setenv("AUTH", "env:pass", 1);
	check(read_line(&o, &why, (const char *[]){ "client", "--auth", "", "h", "R:1", NULL }) ==
		      0 && strcmp(o.auth, "env:pass") == 0);
	check(read_line(&o, &why,
			(const char *[]){ "client", "--auth", "a:b", "h", "R:1", NULL }) == 0 &&
	      strcmp(o.auth, "a:b") == 0);
	check(read_line(&o, &why,
			(const char *[]){ "client", "--auth-file=f", "h", "R:1", NULL }) == 0 &&
	      !o.auth && strcmp(o.auth_file, "f") == 0);
	setenv("AUTH", "", 1);
	check(read_line(&o, &why, (const char *[]){ "client", "h", "R:1", NULL }) == 0 && !o.auth);
	setenv("AUTH", "$(USER):s3cret", 1);
	check(read_line(&o, &why, (const char *[]){ "client", "h", "R:1", NULL }) == ERR_USAGE);
	check(strstr(why.why, "AUTH: $(...) was not expanded") && !strstr(why.why, "s3cret"));
	unsetenv("AUTH");
}

/* What stands on the command line or in AUTH is no longer there, and still told. */
static void test_secrets_are_moved(void)
{
	char words[9][64] = { "client",	     "--auth=u:s3cret",	  "--proxy",
			      "http://p:s3cret@h", "--header=A: s3cret", "--hostname=keep",
			      "https://u:s3cret@host", "R:80:keep:81" };
	const char *argv[10] = { 0 };
	struct client_options o;
	struct fault why = { 0 };

	for (size_t i = 0; i < 8; i++)
		argv[i] = words[i];
	check(read_line(&o, &why, argv) == 0);
	client_options_hide(&o);
	check(strcmp(o.auth, "u:s3cret") == 0 && strcmp(o.proxy, "http://p:s3cret@h") == 0);
	check(strcmp(o.header[0], "A: s3cret") == 0 &&
	      strcmp(o.server, "https://u:s3cret@host") == 0);
	check(!memmem(words, sizeof(words), "s3cret", 6));
	check(strcmp(words[1], "--auth=***") == 0 && strcmp(words[3], "***") == 0);
	check(strcmp(o.hostname, "keep") == 0 && strcmp(o.remotes[0], "R:80:keep:81") == 0);
	client_options_fini(&o);

	static char variable[] = "AUTH=env:s3cret";
	must(putenv(variable) == 0);
	check(read_line(&o, &why, (const char *[]){ "client", "host", "R:1", NULL }) == 0);
	client_options_hide(&o);
	check(strcmp(o.auth, "env:s3cret") == 0 && !getenv("AUTH"));
	check(!memmem(variable, sizeof(variable), "s3cret", 6));
	client_options_fini(&o);
	check(!o.auth && !o.own_n);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "chisel's command lines", test_chisel_command_lines },
		{ "defaults", test_defaults_are_chisels },
		{ "refused", test_refused },
		{ "switches", test_switches },
		{ "durations", test_durations_are_gos },
		{ "where credentials come from", test_where_credentials_come_from },
		{ "secrets are moved", test_secrets_are_moved },
	};
	return run_cases("client_options", cases, array_len(cases));
}
