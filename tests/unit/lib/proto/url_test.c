#include "lib/proto/url.h"

#include <stdio.h>

#include "tests/support/cases.h"

/* The rules of a chisel server's URL; the rows are those of every caller. */
static int read_url(struct url *out, const char *text, bool tls, struct fault *why)
{
	const struct url_rules rules = {
		.schemes = URL_OF(URL_HTTPS) | URL_OF(URL_WSS) | URL_OF(URL_HTTP) | URL_OF(URL_WS),
		.unwritten = tls ? URL_HTTPS : URL_HTTP,
		.example = "https://tunnel.example.com:443",
	};

	return url_read(out, text, &rules, why);
}

static bool is_plain_text(const char *s)
{
	for (; *s; s++)
		if (*s == '\x1b' || *s == '\n')
			return false;
	return true;
}

static const struct url_row {
	const char *text;
	bool tls_default;
	struct url want;
} urls[] = {
	{ "https://a.example", false,
	  { .tls = true, .host = "a.example", .port = 443, .path = "/",
	    .host_header = "a.example" } },
	{ "wss://a.example:8443/x?y=1", false,
	  { .tls = true, .host = "a.example", .port = 8443, .path = "/x?y=1",
	    .host_header = "a.example:8443" } },
	{ "HTTP://a.example:80", true,
	  { .host = "a.example", .port = 80, .path = "/",
	    .host_header = "a.example" } },
	{ "ws://127.0.0.1:9999", true,
	  { .host = "127.0.0.1", .port = 9999, .path = "/",
	    .host_header = "127.0.0.1:9999", .is_loopback = true } },
	{ "http://a:443", false,
	  { .host = "a", .port = 443, .path = "/",
	    .host_header = "a:443" } },
	{ "a.example", true,
	  { .tls = true, .host = "a.example", .port = 443, .path = "/",
	    .host_header = "a.example" } },
	{ "localhost:8080", false,
	  { .host = "localhost", .port = 8080, .path = "/",
	    .host_header = "localhost:8080", .is_loopback = true } },
	{ "https://[::1]:8443/", false,
	  { .tls = true, .host = "::1", .port = 8443, .path = "/",
	    .host_header = "[::1]:8443", .is_loopback = true } },
	{ "https://[fe80::1]", false,
	  { .tls = true, .host = "fe80::1", .port = 443, .path = "/",
	    .host_header = "[fe80::1]" } },
	{ "https://u:p@a.example?q", false,
	  { .tls = true, .host = "a.example", .port = 443, .path = "/?q",
	    .host_header = "a.example", .user = "u", .password = "p" } },
	{ "https://u:p:w@@a.example", false,
	  { .tls = true, .host = "a.example", .port = 443, .path = "/",
	    .host_header = "a.example", .user = "u", .password = "p:w@" } },
	{ "https://u@a.example", false,
	  { .tls = true, .host = "a.example", .port = 443, .path = "/",
	    .host_header = "a.example", .user = "u" } },
	{ "http://127.example.com", false,
	  { .host = "127.example.com", .port = 80, .path = "/",
	    .host_header = "127.example.com" } },
};

static void test_good_urls(void)
{
	for (size_t i = 0; i < array_len(urls); i++) {
		const struct url *want = &urls[i].want;
		struct url u;

		check_row(urls[i].text,
			  read_url(&u, urls[i].text, urls[i].tls_default, NULL) == 0);
		check_row(urls[i].text, u.tls == want->tls && u.port == want->port);
		check_row(urls[i].text, strcmp(u.host, want->host) == 0);
		check_row(urls[i].text, strcmp(u.path, want->path) == 0);
		check_row(urls[i].text, strcmp(u.host_header, want->host_header) == 0);
		check_row(urls[i].text, u.has_query == (strchr(urls[i].text, '?') != NULL));
		check_row(urls[i].text, u.has_user == (strchr(urls[i].text, '@') != NULL));
		check_row(urls[i].text, u.is_loopback == want->is_loopback);
		check_row(urls[i].text, strcmp(u.user, want->user) == 0);
		check_row(urls[i].text, strcmp(u.password, want->password) == 0);
	}
}

static void test_bad_urls(void)
{
	static const char *const rows[] = {
		"",
		"https://",
		"ftp://a",
		"https:///x",
		"https://a:0",
		"https://a:65536",
		"https://a:",
		"https://a:x",
		"https://[::1",
		"https://[::1]x",
		"https://a b",
		"https://a/\r\nX: y",
		"https://a/\x7f",
		"https://a#x",
		"https://a/#x",
		"https://a\r\n",
		"https://\"a\"",
		"https://secret:word@",
		"https://secret:word@a:x",
		"https://12345",
		"https://a:x/?token=secret",
		"https://admin:secret", /* the host was forgotten */
		"https://admin:secret/path",
		"ftp://a/p?token=secret&x=word",
		"ftp://u:secret@a/p",
		"ftp://u:se?cret#secret@a/p",
		"ftp://a/?token=secret@word",
		"u:secret@a:0",
		"https://u:secret/word@a:0?token=secret#word",
		"https://a#secret",
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct url u = { .port = 7 };
		struct fault why = { 0 };

		check_row(rows[i], read_url(&u, rows[i], true, &why) == ERR_USAGE);
		check_row(rows[i], u.port == 7);
		check_row(rows[i], why.why[0] && is_plain_text(why.why));
		check_row(rows[i], !strstr(why.why, "secret") && !strstr(why.why, "word"));
	}
}

/* What each caller takes, what a text without a scheme means to it, and whether the
 * port was written: a proxy on its scheme's port, an API server's, a gateway's. */
static void test_rules_of_callers(void)
{
	static const unsigned proxy = URL_OF(URL_HTTP) | URL_OF(URL_SOCKS) | URL_OF(URL_SOCKS5) |
				      URL_OF(URL_SOCKS5H),
			      plane = URL_OF(URL_HTTPS) | URL_OF(URL_HTTP),
			      ssh = URL_OF(URL_HTTPS) | URL_OF(URL_SSH);
	static const struct {
		const char *text;
		unsigned schemes;
		enum url_scheme unwritten, scheme; /* URL_SCHEMES: refused */
		uint16_t port;
		bool has_port;
		const char *says;
	} rows[] = {
		{ "http://p", proxy, URL_SCHEMES, URL_HTTP, 80, false, "" },
		{ "http://p:80", proxy, URL_SCHEMES, URL_HTTP, 80, true, "" },
		{ "socks://p", proxy, URL_SCHEMES, URL_SOCKS, 1080, false, "" },
		{ "SOCKS5://[::80]", proxy, URL_SCHEMES, URL_SOCKS5, 1080, false, "" },
		{ "socks5h://u:80@[::80]:80", proxy, URL_SCHEMES, URL_SOCKS5H, 80, true, "" },
		{ "p:8080", proxy, URL_SCHEMES, URL_SCHEMES, 0, false,
		  "must be http, socks, socks5 or socks5h" },
		{ "https://p", proxy, URL_SCHEMES, URL_SCHEMES, 0, false,
		  "must be http, socks, socks5 or socks5h" },
		{ "http://http://a", proxy, URL_SCHEMES, URL_SCHEMES, 0, false, "like EXAMPLE" },
		{ "api.example", plane, URL_HTTPS, URL_HTTPS, 443, false, "" },
		{ "http://api.example/x", plane, URL_HTTPS, URL_HTTP, 80, false, "" },
		{ "ws://api.example", plane, URL_HTTPS, URL_SCHEMES, 0, false,
		  "must be https or http" },
		{ "ssh://bob@a", ssh, URL_HTTPS, URL_SSH, 22, false, "" },
		{ "ssh://bob@a:443", ssh, URL_HTTPS, URL_SSH, 443, true, "" },
		{ "ssh://", ssh, URL_HTTPS, URL_SCHEMES, 0, false, "like ssh://user@host:22" },
		{ "://a", ssh, URL_HTTPS, URL_SCHEMES, 0, false, "must be https or ssh" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct url_rules rules = { rows[i].schemes, rows[i].unwritten, "EXAMPLE" };
		const bool good = rows[i].scheme != URL_SCHEMES;
		struct url u = { 0 };
		struct fault why = { 0 };

		check_row(rows[i].text,
			  url_read(&u, rows[i].text, &rules, &why) == (good ? 0 : ERR_USAGE));
		check_row(rows[i].text, !good || u.scheme == rows[i].scheme);
		check_row(rows[i].text, u.port == rows[i].port && u.has_port == rows[i].has_port);
		check_row(rows[i].text, strstr(why.why, rows[i].says) != NULL);
	}
}

static void test_decoding(void)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} rows[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "a%40b%3A%25", "a@b:%" },
		{ "%e4%F6", "\xe4\xf6" },
		{ "%", NULL },
		{ "%4", NULL },
		{ "%4g", NULL },
		{ "%00", NULL },
		{ "a%0ab", NULL },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		char text[32];

		snprintf(text, sizeof(text), "%s", rows[i].text);
		check_row(rows[i].text, url_decode(text) == (rows[i].want != NULL));
		check_row(rows[i].text, !rows[i].want || strcmp(text, rows[i].want) == 0);
	}
}

static void test_authorities(void)
{
	char text[64];

	check(url_write_authority(text, sizeof(text), "::1", 80) == 8);
	check(strcmp(text, "[::1]:80") == 0);
	check(url_write_authority(text, sizeof(text), "a", 65535) == 7);
	check(strcmp(text, "a:65535") == 0);
	check(url_write_host(text, sizeof(text), "::1") == 5 && strcmp(text, "[::1]") == 0);
	check(url_write_host(text, 3, "host") == 4 && strcmp(text, "ho") == 0);
}

static void test_url_bounds(void)
{
	char text[2000];
	struct url u;

	for (size_t n = 500; n < 520; n++) { /* path of n bytes and '/' */
		snprintf(text, sizeof(text), "https://a/%*d", (int)n, 0);
		for (char *c = text + 10; *c; c++)
			*c = 'p';
		check(read_url(&u, text, true, NULL) ==
		      (n + 3 > sizeof(u.path) ? ERR_USAGE : 0));
	}
	memset(text, 'u', 1000);
	memcpy(text, "https://", 8);
	memcpy(text + 1000, "@a", 3);
	check(read_url(&u, text, true, NULL) == ERR_USAGE);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "good URLs", test_good_urls },
		{ "bad URLs", test_bad_urls },
		{ "rules of callers", test_rules_of_callers },
		{ "decoding", test_decoding },
		{ "authorities", test_authorities },
		{ "URL bounds", test_url_bounds },
	};
	return run_cases("url", cases, array_len(cases));
}
