#include "lib/proto/proxy_env.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/cases.h"

#define TLS PROXY_ENV_TLS
#define PLAIN PROXY_ENV_PLAIN
#define OTHER PROXY_ENV_OTHER

static void test_choice(void)
{
	static const struct {
		const char *name;
		const char *env[5];
		enum proxy_env_kind kind;
		const char *host, *want, *variable; /* want: the proxy's host, "" directly */
	} rows[] = {
		{ "nothing", { NULL }, TLS, "h.example", "", NULL },
		{ "TLS",
		  { "HTTPS_PROXY=http://p1", "HTTP_PROXY=http://p2" },
		  TLS,
		  "h.example",
		  "p1",
		  "HTTPS_PROXY" },
		{ "plain",
		  { "HTTPS_PROXY=http://p1", "HTTP_PROXY=http://p2" },
		  PLAIN,
		  "h.example",
		  "p2",
		  "HTTP_PROXY" },
		{ "SSH has neither",
		  { "HTTPS_PROXY=http://p1", "HTTP_PROXY=http://p2" },
		  OTHER,
		  "h.example",
		  "",
		  NULL },
		{ "all", { "ALL_PROXY=socks5://p3" }, TLS, "h.example", "p3", "ALL_PROXY" },
		{ "all, plain",
		  { "ALL_PROXY=socks5://p3" },
		  PLAIN,
		  "h.example",
		  "p3",
		  "ALL_PROXY" },
		{ "all, SSH", { "all_proxy=socks5://p3" }, OTHER, "h.example", "p3", "all_proxy" },
		{ "own before all",
		  { "ALL_PROXY=socks5://p3", "https_proxy=http://p1" },
		  TLS,
		  "h.example",
		  "p1",
		  "https_proxy" },
		{ "lower case first",
		  { "HTTPS_PROXY=http://up", "https_proxy=http://low" },
		  TLS,
		  "h.example",
		  "low",
		  "https_proxy" },
		{ "empty is none",
		  { "https_proxy=", "HTTPS_PROXY=http://up" },
		  TLS,
		  "h.example",
		  "up",
		  "HTTPS_PROXY" },
		{ "all empty",
		  { "https_proxy=", "HTTPS_PROXY=", "ALL_PROXY=" },
		  TLS,
		  "h.example",
		  "",
		  NULL },
		{ "no scheme", { "HTTPS_PROXY=p1:3128" }, TLS, "h.example", "p1", "HTTPS_PROXY" },
		{ "CGI: HTTP_PROXY is a client's header",
		  { "REQUEST_METHOD=GET", "HTTP_PROXY=http://evil" },
		  PLAIN,
		  "h.example",
		  "",
		  NULL },
		{ "CGI: http_proxy is not",
		  { "REQUEST_METHOD=GET", "http_proxy=http://p" },
		  PLAIN,
		  "h.example",
		  "p",
		  "http_proxy" },
		{ "CGI: HTTPS_PROXY neither",
		  { "REQUEST_METHOD=GET", "HTTPS_PROXY=http://p" },
		  TLS,
		  "h.example",
		  "p",
		  "HTTPS_PROXY" },
		{ "a name that begins the same",
		  { "HTTPS_PROXY_OLD=http://p" },
		  TLS,
		  "h.example",
		  "",
		  NULL },
		{ "localhost", { "HTTPS_PROXY=http://p" }, TLS, "LocalHost", "", NULL },
		{ "127.0.0.0/8", { "HTTPS_PROXY=http://p" }, TLS, "127.8.9.1", "", NULL },
		{ "::1", { "HTTPS_PROXY=http://p" }, TLS, "::1", "", NULL },
		{ "::ffff:127.0.0.1",
		  { "HTTPS_PROXY=http://p" },
		  TLS,
		  "::ffff:127.0.0.1",
		  "",
		  NULL },
		{ "not loopback",
		  { "HTTPS_PROXY=http://p" },
		  TLS,
		  "128.0.0.1",
		  "p",
		  "HTTPS_PROXY" },
		{ "NO_PROXY",
		  { "HTTPS_PROXY=http://p", "NO_PROXY=h.example" },
		  TLS,
		  "h.example",
		  "",
		  "NO_PROXY" },
		{ "no_proxy first",
		  { "HTTPS_PROXY=http://p", "NO_PROXY=h.example", "no_proxy=other" },
		  TLS,
		  "h.example",
		  "p",
		  "HTTPS_PROXY" },
		{ "NO_PROXY alone", { "NO_PROXY=h.example" }, TLS, "h.example", "", NULL },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct proxy_env_choice got;
		struct fault why = { 0 };

		check_row(rows[i].name, proxy_env_choose(&got, rows[i].env, rows[i].kind,
							 rows[i].host, 443, &why) == 0);
		check_row(rows[i].name, strcmp(got.url.host, rows[i].want) == 0);
		check_row(rows[i].name, (got.url.kind == PROXY_NONE) == !*rows[i].want);
		check_row(rows[i].name, got.variable == rows[i].variable ||
						(got.variable && rows[i].variable &&
						 strcmp(got.variable, rows[i].variable) == 0));
	}
}

static void test_no_proxy(void)
{
	static const struct {
		const char *list, *host;
		bool want;
	} rows[] = {
		{ "", "h.example", false },
		{ " , ,", "h.example", false },
		{ "*", "h.example", true },
		{ "a,*", "10.1.2.3", true },
		{ "example.com", "example.com", true },
		{ "example.com", "EXAMPLE.com", true },
		{ "example.com", "example.com.", true },
		{ "example.com", "a.example.com", true },
		{ "example.com", "badexample.com", false },
		{ "example.com", "example.com.evil", false },
		{ ".example.com", "a.example.com", true },
		{ ".example.com", "b.a.example.com", true },
		{ ".example.com", "example.com", false },
		{ "*.example.com", "a.example.com", true },
		{ "*.example.com", "example.com", false },
		{ "*.example.com", "*.example.com", true },
		{ ".", "h.example", false },
		{ "*.", "h.example", false },
		{ "x.y z.w\tq.r", "z.w", true },
		{ "x.y z.w\tq.r", "q.r", true },
		{ "h.example:443", "h.example", true },
		{ "h.example:8443", "h.example", false },
		{ "h.example:", "h.example", false },
		{ ".svc:443", "a.svc", true },
		{ "10.1.2.3", "10.1.2.3", true },
		{ "10.1.2.3", "10.1.2.30", false },
		{ "2.3", "10.1.2.3", false }, /* no suffix of an address */
		{ "10.1.2.3:443", "10.1.2.3", true },
		{ "10.1.2.3:80", "10.1.2.3", false },
		{ "10.0.0.0/8", "10.255.0.1", true },
		{ "10.0.0.0/8", "11.0.0.1", false },
		{ "10.0.0.0/8", "::ffff:10.0.0.1", true },
		{ "10.128.0.0/9", "10.127.0.1", false },
		{ "10.128.0.0/9", "10.200.0.1", true },
		{ "10.0.0.1/32", "10.0.0.1", true },
		{ "0.0.0.0/0", "8.8.8.8", true },
		{ "0.0.0.0/0", "fd00::1", false },
		{ "0.0.0.0/0", "h.example", false },
		{ "10.0.0.0/33", "10.0.0.1", false },
		{ "10.0.0.0/", "10.0.0.1", false },
		{ "10.0.0.0/8x", "10.0.0.1", false },
		{ "10.0.0.0/99999999999", "10.0.0.1", false },
		{ "/8", "10.0.0.1", false },
		{ "fd00::/8", "fdab::1", true },
		{ "fd00::/8", "fe80::1", false },
		{ "fd00::/129", "fd00::1", false },
		{ "::/0", "fe80::1", true },
		{ "2001:db8::1", "2001:DB8:0::1", true },
		{ "[2001:db8::1]", "2001:db8::1", true },
		{ "[2001:db8::1]:443", "2001:db8::1", true },
		{ "[2001:db8::1]:80", "2001:db8::1", false },
		{ "[", "h.example", false },
		{ "[]", "h.example", false },
		{ ":443", "h.example", false },
		{ "h.example", "", false },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		if (!check_row(rows[i].list, proxy_env_is_direct(rows[i].list, rows[i].host, 443) ==
						     rows[i].want))
			printf("\"%s\" for %s\n", rows[i].list, rows[i].host);
}

static void test_bad_values(void)
{
	static const struct {
		const char *env[2], *says;
	} rows[] = {
		{ { "HTTPS_PROXY=https://u:s3cret@p" }, "HTTPS_PROXY" },
		{ { "https_proxy=ftp://u:s3cret@p" }, "https_proxy" },
		{ { "ALL_PROXY=http://u:s3cret@:bad" }, "ALL_PROXY" },
		{ { "HTTPS_PROXY=http://u:s3cret%@p" }, "HTTPS_PROXY" },
	};
	static char huge[1200] = "HTTPS_PROXY=http://p/";
	const char *const env[] = { huge, NULL };
	struct proxy_env_choice got;

	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { 0 };

		check_row(rows[i].env[0],
			  proxy_env_choose(&got, rows[i].env, TLS, "h", 1, &why) == ERR_CONFIG);
		check_row(why.why, strstr(why.why, rows[i].says) && !strstr(why.why, "s3cret"));
	}
	memset(huge + strlen(huge), 'x', sizeof(huge) - 1 - strlen(huge));
	check(proxy_env_choose(&got, env, TLS, "h", 1, NULL) == ERR_CONFIG);
}

static void test_credentials(void)
{
	const char *const env[] = { "HTTPS_PROXY=http://us:p%40w@p:3128", NULL };
	struct proxy_env_choice got;

	check(proxy_env_choose(&got, env, TLS, "h", 1, NULL) == 0);
	check(strcmp(got.url.user, "us") == 0 && strcmp(got.url.password, "p@w") == 0 &&
	      got.url.port == 3128);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "choice", test_choice },
		{ "no_proxy", test_no_proxy },
		{ "bad values", test_bad_values },
		{ "credentials", test_credentials },
	};
	return run_cases("proxy_env", cases, array_len(cases));
}
