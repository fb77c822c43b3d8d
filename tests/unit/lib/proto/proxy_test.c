#include "lib/proto/proxy.h"

#include <string.h>

#include "tests/support/cases.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

/* One conversation: what the proxy says, split where it waits for us; what we
 * must have said by then. */
static const struct row {
	const char *name, *url, *host;
	struct {
		const char *theirs, *ours;
		size_t theirs_n, ours_n;
	} turns[3];
	int want; /* 0: open */
	const char *says;
} rows[] = {
#define T(theirs, ours) { theirs, ours, sizeof(theirs) - 1, sizeof(ours) - 1 }
	{ "CONNECT",
	  "http://p:8080",
	  "h.example",
	  { T("HTTP/1.1 200 Connection established\r\n\r\n",
	      "CONNECT h.example:443 HTTP/1.1\r\nHost: h.example:443\r\n\r\n") },
	  0,
	  NULL },
	{ "CONNECT, Basic, IPv6",
	  "http://u:p@p:8080",
	  "::1",
	  { T("HTTP/1.0 200 ok\r\nVia: x\r\n\r\n",
	      "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
	      "Proxy-Authorization: Basic dTpw\r\n\r\n") },
	  0,
	  NULL },
	{ "403",
	  "http://p:8080",
	  "h.example",
	  { T("HTTP/1.1 403 Forbidden\r\n\r\n",
	      "CONNECT h.example:443 HTTP/1.1\r\nHost: h.example:443\r\n\r\n") },
	  ERR_REFUSED,
	  "403 Forbidden" },
	{ "407 Basic",
	  "http://p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_AUTH,
	  "user:pass@" },
	{ "407 NTLM",
	  "http://p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: "
	      "Negotiate\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_AUTH,
	  "NTLM or Negotiate" },
	{ "407 Digest and more in one line",
	  "http://p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nProxy-Authenticate: Negotiate, Digest realm=\"a\", "
	      "qop=auth\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_AUTH,
	  "wants Negotiate or Digest, which" },
	{ "407 Negotiate, and Basic",
	  "http://u:p@p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: basic "
	      "realm=x\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n") },
	  ERR_AUTH,
	  "password is wrong" },
	{ "407 with odd bytes",
	  "http://p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nProxy-Authenticate: \x80%s, ,=\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_AUTH,
	  "%s" },
	{ "a password with codes",
	  "http://u%40x:p%3Ap@p:8080",
	  "h",
	  { T("HTTP/1.1 200 ok\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"
					 "Proxy-Authorization: Basic dUB4OnA6cA==\r\n\r\n") },
	  0,
	  NULL },
	{ "no HTTP",
	  "http://p:8080",
	  "h",
	  { T("SSH-2.0-x\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_PROTO,
	  "HTTP" },
	{ "SOCKS5 name",
	  "socks5://p",
	  "h.ex",
	  { T("\5\0", "\5\1\0"), T("\5\0\0\1\1\2\3\4\0\120", "\5\1\0\3\4h.ex\1\273") },
	  0,
	  NULL },
	{ "SOCKS5 address, password",
	  "socks://us:pw@p:99",
	  "1.2.3.4",
	  { T("\5\2", "\5\2\0\2"), T("\1\0", "\1\2us\2pw"),
	    T("\5\0\0\3\3abc\0\120", "\5\1\0\1\1\2\3\4\1\273") },
	  0,
	  NULL },
	{ "SOCKS5 password refused",
	  "socks://us:pw@p:99",
	  "1.2.3.4",
	  { T("\5\2", "\5\2\0\2"), T("\1\1", "\1\2us\2pw") },
	  ERR_AUTH,
	  "refused user" },
	{ "SOCKS5 wants a password",
	  "socks://p",
	  "h",
	  { T("\5\377", "\5\1\0") },
	  ERR_AUTH,
	  "user:pass@" },
	{ "SOCKS5 refused",
	  "socks://p",
	  "h",
	  { T("\5\0", "\5\1\0"), T("\5\5\0\1\0\0\0\0\0\0", "\5\1\0\3\1h\1\273") },
	  ERR_REFUSED,
	  "connection refused" },
	{ "SOCKS5 IPv6",
	  "socks://p",
	  "::1",
	  { T("\5\0", "\5\1\0"), T("\5\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\120",
				   "\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\273") },
	  0,
	  NULL },
	{ "SOCKS5, then something else",
	  "socks://p",
	  "h",
	  { T("\5\0", "\5\1\0"), T("HTTP/1.1", "\5\1\0\3\1h\1\273") },
	  ERR_PROTO,
	  "no SOCKS5" },
	{ "407 with other fields",
	  "http://p:8080",
	  "h",
	  { T("HTTP/1.1 407 Auth\r\nVia: x\r\nProxy-Authenticate: NTLM\r\n\r\n",
	      "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n") },
	  ERR_AUTH,
	  "wants NTLM" },
	{ "SOCKS4", "socks://p", "h", { T("\4\0", "\5\1\0") }, ERR_PROTO, "does not speak SOCKS5" },
	{ "odd address type",
	  "socks://p",
	  "h",
	  { T("\5\0", "\5\1\0"), T("\5\0\0\7\0\0\0", "\5\1\0\3\1h\1\273") },
	  ERR_PROTO,
	  "address type" },
};

static int talk(const struct row *row, size_t cut, const struct mem *mem, struct fault *why)
{
	struct proxy_url url;
	struct proxy *p = NULL;
	int rc = proxy_url_read(&url, row->url, why);

	if (rc >= 0)
		rc = proxy_new(&p, &(struct proxy_options){ &url, row->host, 443 }, mem, why);
	for (size_t t = 0; rc >= 0 && t < array_len(row->turns) && row->turns[t].theirs; t++) {
		const struct span out = proxy_pending(p);
		struct fence f;

		if (mem == &mem_heap)
			check_row(row->name,
				  span_eq(out, span_of(row->turns[t].ours, row->turns[t].ours_n)));
		proxy_sent(p, out.n);
		for (size_t at = 0; rc >= 0 && at < row->turns[t].theirs_n;) {
			const size_t n = min_size(cut, row->turns[t].theirs_n - at);

			fence_init(&f, row->turns[t].theirs + at, n);
			rc = proxy_feed(p, f.p, n);
			fence_fini(&f);
			if (rc >= 0 && mem == &mem_heap)
				check_row(row->name, (size_t)rc == n);
			at += n;
		}
	}
	if (rc >= 0)
		rc = proxy_is_open(p) ? 0 : ERR_CLOSED;
	else if (p && proxy_fault(p)->code)
		*why = *proxy_fault(p);
	proxy_free(p);
	return rc;
}

static void test_conversations_at_every_cut(void)
{
	for (size_t i = 0; i < array_len(rows); i++)
		for (size_t cut = 1; cut <= 90; cut++) {
			struct fault why = { 0 };

			check_row(rows[i].name,
				  talk(&rows[i], cut, &mem_heap, &why) == rows[i].want);
			if (rows[i].says)
				check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
		}
}

static void test_bytes_behind_the_answer_are_left(void)
{
	static const char wire[] = "HTTP/1.1 200 ok\r\n\r\nSSH-";
	struct proxy_url url;
	struct proxy *p;

	check(proxy_url_read(&url, "http://p", NULL) == 0 && url.port == 80);
	must(proxy_new(&p, &(struct proxy_options){ &url, "h", 1 }, &mem_heap, NULL) == 0);
	proxy_sent(p, proxy_pending(p).n);
	check(proxy_feed(p, (const uint8_t *)wire, sizeof(wire) - 1) == (int)sizeof(wire) - 1 - 4);
	check(proxy_is_open(p));
	proxy_free(p);
}

static void test_endless_answer(void)
{
	struct proxy_url url;
	struct proxy *p;
	int rc = 0;

	must(proxy_url_read(&url, "http://p", NULL) == 0);
	must(proxy_new(&p, &(struct proxy_options){ &url, "h", 1 }, &mem_heap, NULL) == 0);
	for (int i = 0; i < 100000 && rc >= 0; i++)
		rc = proxy_feed(p, (const uint8_t *)"a", 1);
	check(rc == ERR_LIMIT);
	proxy_free(p);
}

static void test_famine(void)
{
	for (size_t i = 0; i < array_len(rows); i++)
		for (size_t refuse = 1;; refuse++) {
			struct famine f;
			struct fault why = { 0 };

			famine_init(&f, refuse);
			const int rc = talk(&rows[i], 7, &f.mem, &why);
			check_row(rows[i].name, f.live == 0);
			if (f.requests < refuse) {
				check_row(rows[i].name, rc == rows[i].want);
				break;
			}
			check_row(rows[i].name, rc == ERR_NOMEM);
		}
}

static void test_urls(void)
{
	static const struct {
		const char *text;
		int want;
		enum proxy_kind kind;
		uint16_t port;
	} urls[] = {
		{ "http://a", 0, PROXY_HTTP, 80 },
		{ "socks5h://[::1]:80", 0, PROXY_SOCKS5, 80 },
		{ "socks5h://[::80]", 0, PROXY_SOCKS5, 1080 },
		{ "socks5h://u:80@[::80]:80", 0, PROXY_SOCKS5, 80 },
		{ "socks://u:p@a", 0, PROXY_SOCKS5, 1080 },
		{ "https://a", ERR_USAGE, 0, 0 },
		{ "http://u%4:p@a", ERR_USAGE, PROXY_HTTP, 80 },
		{ "http://u:%00p@a", ERR_USAGE, PROXY_HTTP, 80 },
		{ "a:8080", ERR_USAGE, 0, 0 },
		{ "http://", ERR_USAGE, 0, 0 },
	};

	for (size_t i = 0; i < array_len(urls); i++) {
		struct proxy_url u = { 0 };
		struct fault why = { 0 };

		check_row(urls[i].text, proxy_url_read(&u, urls[i].text, &why) == urls[i].want);
		check_row(urls[i].text, u.kind == urls[i].kind && u.port == urls[i].port);
	}
	struct fault why = { 0 };
	struct proxy_url u;
	check(proxy_url_read(&u, "http://user:s3cret@:bad", &why) < 0 &&
	      !strstr(why.why, "s3cret"));
	check(strstr(why.why, "the proxy must be http://host:port") != NULL);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "conversations at every cut", test_conversations_at_every_cut },
		{ "bytes behind the answer", test_bytes_behind_the_answer_are_left },
		{ "endless answer", test_endless_answer },
		{ "famine", test_famine },
		{ "URLs", test_urls },
	};
	return run_cases("proxy", cases, array_len(cases));
}
