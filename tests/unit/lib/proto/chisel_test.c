#include "lib/proto/chisel.h"

#include <stdio.h>

#include "tests/support/cases.h"
#include "tests/support/famine.h"

/* The good rows mean what chisel 1.11 makes of them (share/settings/remote.go). */
static const struct remote_row {
	const char *text;
	const char *bind_host;
	uint16_t bind_port;
	const char *host;
	uint16_t port;
	const char *canonical, *target;
} remotes[] = {
	{ "R:3000", "0.0.0.0", 3000, "127.0.0.1", 3000, "R:3000=>3000", "127.0.0.1:3000" },
	{ "R:foobar.com:3000", "0.0.0.0", 3000, "foobar.com", 3000, "R:3000=>foobar.com:3000",
	  "foobar.com:3000" },
	{ "R:8000:localhost:6443", "0.0.0.0", 8000, "localhost", 6443, "R:8000=>localhost:6443",
	  "localhost:6443" },
	{ "R:8000:6443", "0.0.0.0", 8000, "127.0.0.1", 6443, "R:8000=>6443", "127.0.0.1:6443" },
	{ "R:192.168.0.1:3000:google.com:80", "192.168.0.1", 3000, "google.com", 80,
	  "R:192.168.0.1:3000=>google.com:80", "google.com:80" },
	{ "R:[::1]:3000:[fe80::1%eth0]:80", "::1", 3000, "fe80::1%eth0", 80,
	  "R:[::1]:3000=>[fe80::1%eth0]:80", "[fe80::1%eth0]:80" },
	{ "R:[::]:3000", "0.0.0.0", 3000, "::", 3000, "R:3000=>[::]:3000", "[::]:3000" },
	{ "R:8000:my_svc.ns:80/tcp", "0.0.0.0", 8000, "my_svc.ns", 80, "R:8000=>my_svc.ns:80",
	  "my_svc.ns:80" },
	{ "R:8000/tcp:my_svc.ns:80/tcp", "0.0.0.0", 8000, "my_svc.ns", 80, "R:8000=>my_svc.ns:80",
	  "my_svc.ns:80" },
	{ "R:[::1]:8000/TCP:a:80", "::1", 8000, "a", 80, "R:[::1]:8000=>a:80", "a:80" },
	{ "R:3000/tcp", "0.0.0.0", 3000, "127.0.0.1", 3000, "R:3000=>3000", "127.0.0.1:3000" },
	{ "R:65535:a:1", "0.0.0.0", 65535, "a", 1, "R:65535=>a:1", "a:1" },
};

static void test_good_remotes(void)
{
	for (size_t i = 0; i < array_len(remotes); i++) {
		const struct remote_row *want = &remotes[i];
		struct chisel_remote r;
		struct fault why = { 0 };
		char text[600];

		check_row(want->text, chisel_remote_read(&r, want->text, &why) == 0);
		check_row(want->text, strcmp(r.bind_host, want->bind_host) == 0);
		check_row(want->text, strcmp(r.host, want->host) == 0);
		check_row(want->text, r.bind_port == want->bind_port && r.port == want->port);
		check_row(want->text,
			  chisel_remote_write(&r, text, sizeof(text)) == strlen(want->canonical));
		check_row(want->text, strcmp(text, want->canonical) == 0);
		check_row(want->text,
			  chisel_target_write(&r, text, sizeof(text)) == strlen(want->target));
		check_row(want->text, strcmp(text, want->target) == 0);
	}
}

static const struct {
	const char *text, *says;
} bad_remotes[] = {
	{ "", "only reverse" },
	{ "3000", "only reverse" },
	{ "8000:localhost:80", "only reverse" },
	{ "r:8000:localhost:80", "only reverse" },
	{ "stdio:example.com:22", "stdio is not supported" },
	{ "R:stdio:example.com:22", "stdio" },
	{ "R:socks", "SOCKS is not supported" },
	{ "R:5000:socks", "SOCKS is not supported" },
	{ "R:127.0.0.1:5000:socks", "SOCKS is not supported" },
	{ "R:53:1.1.1.1:53/udp", "UDP forwards are not supported" },
	{ "R:53:1.1.1.1:53/UDP", "UDP forwards are not supported" },
	{ "R:53/udp:1.1.1.1:53", "UDP forwards are not supported" },
	{ "R:53:1.1.1.1:53/sctp", "last part must be a port" },
	{ "R:53:1.1.1.1:53/raw", "unknown protocol" },
	{ "R:53/tcp/tcp:1.1.1.1:53", "from 1 to 65535" },
	{ "R:53/raw:1.1.1.1:53", "unknown protocol" },
	{ "R:/tcp:1.1.1.1:53", "from 1 to 65535" },
	{ "R:a b:53:1.1.1.1:53", "address" },
	{ "R:", "R:8000:localhost:6443" },
	{ "R:localhost", "last part must be a port" },
	{ "R:8000:localhost", "last part must be a port" },
	{ "R:0", "from 1 to 65535" },
	{ "R:65536", "from 1 to 65535" },
	{ "R:8000:localhost:0", "from 1 to 65535" },
	{ "R:70000:localhost:80", "from 1 to 65535" },
	{ "R:8000:99999:80", "host" },
	{ "R:-1:localhost:80", "from 1 to 65535" },
	{ "R: 8000:localhost:80", "" },
	{ "R:8000::80", "R:8000:localhost:6443" },
	{ "R:8000:localhost:80:", "" },
	{ "R:a:b:c:d:e", "" },
	{ "R:1:2:3:4:5", "" },
	{ "R:0.0.0.0:8000:80", "R:address:port:host:port" },
	{ "R:8000:::1:80", "" },
	{ "R:8000:[::1:80", "" },
	{ "R:8000:::1]:80", "" },
	{ "R:8000:[::1]x:80", "" },
	{ "R:8000:[localhost]:80", "brackets" },
	{ "R:8000:[]:80", "" },
	{ "R:8000:local host:80", "" },
	{ "R:8000:\"x\":80", "" },
	{ "R:8000:host\x1b[2J:80", "" },
	{ "R:8000:h\xc3\xb6st:80", "" },
};

static bool is_plain_text(const char *s)
{
	for (; *s; s++)
		if (*s == '\x1b' || *s == '\n')
			return false;
	return true;
}

static void test_bad_remotes_say_why(void)
{
	for (size_t i = 0; i < array_len(bad_remotes); i++) {
		struct chisel_remote r = { .port = 7 };
		struct fault why = { 0 };

		check_row(bad_remotes[i].text,
			  chisel_remote_read(&r, bad_remotes[i].text, &why) == ERR_USAGE);
		check_row(bad_remotes[i].text, r.port == 7);
		check_row(bad_remotes[i].text, strstr(why.why, bad_remotes[i].says) != NULL);
		check_row(bad_remotes[i].text, strstr(why.why, "like R:") != NULL);
		check_row(bad_remotes[i].text, is_plain_text(why.why));
	}
}

/* The official server keeps the first listener for ever when it refuses the second. */
static void test_remotes_that_want_the_same_port(void)
{
	static const struct {
		const char *one, *two;
		bool clash;
	} rows[] = {
		{ "R:8000:a:1", "R:8000:b:2", true },
		{ "R:8000:a:1", "R:8000:a:1", true },
		{ "R:8000:a:1", "R:8001:a:1", false },
		{ "R:8000", "R:127.0.0.1:8000:a:1", true },
		{ "R:127.0.0.1:8000:a:1", "R:8000", true },
		{ "R:127.0.0.1:8000:a:1", "R:localhost:8000:b:1", true },
		{ "R:LOCALHOST:8000:a:1", "R:localhost:8000:b:1", true },
		{ "R:127.0.0.1:8000:a:1", "R:127.0.0.2:8000:b:1", false },
		{ "R:[::]:8000:a:1", "R:127.0.0.2:8000:b:1", true },
		{ "R:[::]:8000:a:1", "R:8000:b:1", true },
		{ "R:[::1]:8000:a:1", "R:8000:b:1", false },
		{ "R:[::1]:8000:a:1", "R:[::1]:8000:b:1", true },
		{ "R:[::1]:8000:a:1", "R:[0:0:0:0:0:0:0:1]:8000:b:1", true },
		{ "R:[0:0::0]:8000:a:1", "R:127.0.0.2:8000:b:1", true },
		{ "R:[::ffff:127.0.0.1]:8000:a:1", "R:127.0.0.1:8000:b:1", true },
		{ "R:[::ffff:0.0.0.0]:8000:a:1", "R:127.0.0.1:8000:b:1", true },
		{ "R:[fe80::1]:8000:a:1", "R:[fe80::2]:8000:b:1", false },
		{ "R:[::1]:8000:a:1", "R:host.example:8000:b:1", false },
		{ "R:8000:a:1", "R:host.example:8000:b:1", true },
		{ "R:[::]:8000:a:1", "R:host.example:8000:b:1", true },
		{ "R:Host.example:8000:a:1", "R:host.example:8000:b:1", true },
		{ "R:host.example:8000:a:1", "R:other.example:8000:b:1", false },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct chisel_remote r[3];
		struct fault why = { 0 };

		check(chisel_remote_read(&r[0], rows[i].one, NULL) == 0);
		check(chisel_remote_read(&r[1], "R:7:between:7", NULL) == 0);
		check(chisel_remote_read(&r[2], rows[i].two, NULL) == 0);
		check_row(rows[i].two,
			  chisel_remotes_check(r, 3, &why) == (rows[i].clash ? ERR_USAGE : 0));
		check_row(rows[i].two, !rows[i].clash || strstr(why.why, "both want port 8000"));
		check_row(rows[i].two, chisel_remotes_check(r, 2, NULL) == 0);
	}
	check(chisel_remotes_check(NULL, 0, NULL) == 0);
}

/* The most that a client may have, with names of a hundred characters each, is one message. */
static void test_config_of_the_most_remotes(void)
{
	static struct chisel_remote r[CHISEL_REMOTES_MAX];
	char text[200];
	struct buf b;

	for (size_t i = 0; i < array_len(r); i++) {
		snprintf(text, sizeof(text), "R:203.0.113.10:%zu:%088zu.example.com:65535",
			 10000 + i, i);
		check(chisel_remote_read(&r[i], text, NULL) == 0);
	}
	check(chisel_remotes_check(r, array_len(r), NULL) == 0);
	buf_init(&b, &mem_heap, CHISEL_CONFIG_MAX);
	check(chisel_config_write(&b, "1.2.3", r, array_len(r)) == 0);
	check(buf_len(&b) > 128 * 1024);
	buf_consume(&b, buf_len(&b));
	for (size_t i = 0; i < array_len(r); i++) {
		memset(r[i].host, 'h', CHISEL_HOST_MAX);
		memset(r[i].bind_host, 'b', CHISEL_HOST_MAX);
	}
	check(chisel_config_write(&b, "1.2.3", r, array_len(r)) == ERR_LIMIT);
	buf_fini(&b);
}

static void test_host_lengths(void)
{
	char text[CHISEL_HOST_MAX + 32], host[CHISEL_HOST_MAX + 2];
	struct chisel_remote r;

	memset(host, 'a', sizeof(host));
	host[CHISEL_HOST_MAX] = '\0';
	snprintf(text, sizeof(text), "R:1:%s:2", host);
	check(chisel_remote_read(&r, text, NULL) == 0 && strcmp(r.host, host) == 0);
	host[CHISEL_HOST_MAX] = 'a';
	host[CHISEL_HOST_MAX + 1] = '\0';
	snprintf(text, sizeof(text), "R:1:%s:2", host);
	check(chisel_remote_read(&r, text, NULL) == ERR_USAGE);
}

static void test_config_is_what_the_server_reads(void)
{
	static const char want[] =
		"{\"Version\":\"1.0.0\",\"Remotes\":["
		"{\"LocalHost\":\"0.0.0.0\",\"LocalPort\":\"8000\",\"LocalProto\":\"tcp\","
		"\"RemoteHost\":\"localhost\",\"RemotePort\":\"6443\",\"RemoteProto\":\"tcp\","
		"\"Socks\":false,\"Reverse\":true,\"Stdio\":false},"
		"{\"LocalHost\":\"[::1]\",\"LocalPort\":\"1\",\"LocalProto\":\"tcp\","
		"\"RemoteHost\":\"[::2]\",\"RemotePort\":\"2\",\"RemoteProto\":\"tcp\","
		"\"Socks\":false,\"Reverse\":true,\"Stdio\":false}]}";
	struct chisel_remote r[2];
	struct buf b;

	check(chisel_remote_read(&r[0], "R:8000:localhost:6443", NULL) == 0);
	check(chisel_remote_read(&r[1], "R:[::1]:1:[::2]:2", NULL) == 0);
	buf_init(&b, &mem_heap, 65536);
	check(chisel_config_write(&b, "1.0.0", r, 2) == 0);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), want));
	buf_consume(&b, buf_len(&b));
	check(chisel_config_write(&b, "1", NULL, 0) == 0);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), "{\"Version\":\"1\",\"Remotes\":[]}"));
	buf_fini(&b);
}

static void test_config_escapes(void)
{
	const struct chisel_remote r = {
		.bind_host = "a\"b", .host = "c\\d\n", .port = 1, .bind_port = 2
	};
	struct buf b;

	buf_init(&b, &mem_heap, 65536);
	check(chisel_config_write(&b, "1\"", &r, 1) == 0);
	const struct mspan out = buf_bytes(&b);
	check(memmem(out.p, out.n, "\"1\\u0022\"", 9) != NULL);
	check(memmem(out.p, out.n, "\"a\\u0022b\"", 10) != NULL);
	check(memmem(out.p, out.n, "\"c\\u005cd\\u000a\"", 16) != NULL);
	buf_fini(&b);
}

static void test_config_famine(void)
{
	struct chisel_remote r[CHISEL_REMOTES_MAX];
	int rc = -1;

	for (size_t i = 0; i < array_len(r); i++)
		check(chisel_remote_read(&r[i], "R:8000:localhost:6443", NULL) == 0);
	for (size_t refuse = 1; rc < 0 && refuse < 20; refuse++) {
		struct famine f;
		struct buf b;
		famine_init(&f, refuse);
		buf_init(&b, &f.mem, 256 * 1024);
		rc = chisel_config_write(&b, "1", r, array_len(r));
		check(rc == 0 || rc == ERR_NOMEM);
		buf_fini(&b);
		check(f.live == 0);
	}
	check(rc == 0);
}

/* ---- URLs ---- */

/* A gateway may be an SSH server; nothing else that has a URL may. */
static void test_gateways(void)
{
	static const struct {
		const char *text, *user, *password, *host, *header;
		uint16_t port;
		bool ssh, plain;
	} rows[] = {
		{ "ssh://bob@a.example", "bob", "", "a.example", "a.example", 22, true, false },
		{ "SSH://bob:x@[::1]:2222/", "bob", "x", "::1", "[::1]:2222", 2222, true, false },
		{ "ssh://a:443", "", "", "a", "a:443", 443, true, false },
		{ "https://a", "", "", "a", "a", 443, false, false },
		{ "ws://a:22", "", "", "a", "a:22", 22, false, true },
	};
	static const char *const bad[] = { "ssh://", "ssh://a/path", "ssh://a?x", "ssh://a:0",
					   "ssh:a",  "sshd://a",     "ssh://bob@" };
	struct url u;

	for (size_t i = 0; i < array_len(rows); i++) {
		check_row(rows[i].text, chisel_gateway_read(&u, rows[i].text, true, NULL) == 0);
		check_row(rows[i].text, u.ssh == rows[i].ssh && u.port == rows[i].port);
		check_row(rows[i].text,
			  chisel_url_is_plain(&u) == rows[i].plain && !(u.ssh && u.tls));
		check_row(rows[i].text, strcmp(u.user, rows[i].user) == 0);
		check_row(rows[i].text, strcmp(u.password, rows[i].password) == 0);
		check_row(rows[i].text, strcmp(u.host, rows[i].host) == 0);
		check_row(rows[i].text, strcmp(u.host_header, rows[i].header) == 0);
		check_row(rows[i].text, chisel_url_read(&u, rows[i].text, true, NULL) ==
						(rows[i].ssh ? ERR_USAGE : 0));
	}
	for (size_t i = 0; i < array_len(bad); i++)
		check_row(bad[i], chisel_gateway_read(&u, bad[i], true, NULL) == ERR_USAGE);
	struct fault why = { 0 };
	check(chisel_gateway_read(&u, "ssh://bob:s3cret@a:0", true, &why) == ERR_USAGE);
	check(strstr(why.why, "\"ssh://a:0\"") && strstr(why.why, "ssh://user@host:22"));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "good remotes", test_good_remotes },
		{ "bad remotes", test_bad_remotes_say_why },
		{ "same port", test_remotes_that_want_the_same_port },
		{ "host lengths", test_host_lengths },
		{ "config of the most remotes", test_config_of_the_most_remotes },
		{ "config", test_config_is_what_the_server_reads },
		{ "config escapes", test_config_escapes },
		{ "config famine", test_config_famine },
		{ "gateways", test_gateways },
	};
	return run_cases("chisel", cases, array_len(cases));
}
