#include "tunnel-sidecar/desired.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cases.h"
#include "tunnel-sidecar/tunnel_sandbox.h"

#define FINGERPRINT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static struct config config;

static void make_config(void)
{
	static const struct config_forward forwards[] = {
		{ .name = "kubernetes-api", .host = "localhost", .port = 6443 },
		{ .name = "kubelet-metrics", .host = "::1", .port = 10250 },
	};

	memset(&config, 0, sizeof(config));
	config.tunnel_enabled = true;
	memcpy(config.forwards, forwards, sizeof(forwards));
	config.forwards_n = array_len(forwards);
}

static struct session_target empty(void)
{
	static struct chisel_remote remotes[BUS_FORWARDS_MAX];
	static uint16_t forward[BUS_FORWARDS_MAX];

	return (struct session_target){ .remotes = remotes, .forward = forward };
}

static struct bus_desired good(void)
{
	struct bus_desired r = { .gen = 1, .op = BUS_DESIRED_UP, .n = 2, .inactivity_ns = 5 };

	snprintf(r.url, sizeof(r.url), "wss://tunnel.example.com");
	snprintf(r.fingerprint, sizeof(r.fingerprint), FINGERPRINT);
	r.forward[0].remote_port = 8000;
	r.forward[0].target = 1;
	r.forward[1].remote_port = 8001;
	r.forward[1].target = 0;
	return r;
}

static void test_good_record_is_a_target(void)
{
	struct session_target t = empty();
	const struct bus_desired r = good();

	make_config();
	check(desired_check(&t, &r, &config, NULL) == 0);
	check(t.n == 2 && t.inactivity_ns == 5 && t.url.tls);
	check(t.remotes[0].bind_port == 8000 && strcmp(t.remotes[0].host, "::1") == 0);
	check(t.remotes[1].port == 6443 && t.forward[1] == 0);
}

/* Nothing that the control container can write makes the tunnel dial anything
 * that its own configuration does not name (invariant I12). */
static void test_refused_records(void)
{
	static const struct {
		const char *name, *says;
		const char *url, *fingerprint;
		uint64_t n;
		uint16_t port, target;
	} rows[] = {
		{ "no forwards", "0 forwards", NULL, NULL, 0, 8000, 0 },
		{ "too many", "33 forwards", NULL, NULL, 33, 8000, 0 },
		{ "huge count", "forwards are wanted", NULL, NULL, UINT64_MAX, 8000, 0 },
		{ "foreign target", "2 are configured", NULL, NULL, 2, 8000, 2 },
		{ "target 65535", "2 are configured", NULL, NULL, 2, 8000, 65535 },
		{ "port 0", "no remote port", NULL, NULL, 2, 0, 0 },
		{ "port twice", "wanted twice", NULL, NULL, 2, 8001, 0 },
		{ "plain to the world", "allow_plain", "ws://tunnel.example.com", NULL, 2, 8000,
		  0 },
		{ "no URL", "", "", NULL, 2, 8000, 0 },
		{ "other scheme", "", "ftp://tunnel.example.com", NULL, 2, 8000, 0 },
		{ "MD5 fingerprint", "", NULL, "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e", 2,
		  8000, 0 },
	};

	make_config();
	for (size_t i = 0; i < array_len(rows); i++) {
		struct session_target t = empty();
		struct bus_desired r = good();
		struct fault why = { 0 };

		if (rows[i].url)
			snprintf(r.url, sizeof(r.url), "%s", rows[i].url);
		if (rows[i].fingerprint)
			snprintf(r.fingerprint, sizeof(r.fingerprint), "%s", rows[i].fingerprint);
		r.n = rows[i].n;
		r.forward[0].remote_port = rows[i].port;
		r.forward[0].target = rows[i].target;
		check_row(rows[i].name, desired_check(&t, &r, &config, &why) < 0);
		check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
	}
}

/* A control container that was taken over can't move the tunnel to a server of
 * its own where the operator has named the right ones. */
static void test_allowed_hosts(void)
{
	static const struct {
		const char *list, *url;
		int want;
	} hosts[] = {
		{ "", "wss://any.where", 0 },
		{ "tunnel.example.com", "wss://Tunnel.Example.com:8443/x", 0 },
		{ "other.com, .example.com", "wss://tunnel.example.com", 0 },
		{ ".example.com", "wss://example.com", ERR_CONFIG },
		{ ".example.com", "wss://evilexample.com", ERR_CONFIG },
		{ "example.com", "wss://tunnel.example.com", ERR_CONFIG },
		{ "tunnel.example.com", "wss://tunnel.example.com.evil.org", ERR_CONFIG },
		{ ",", "wss://tunnel.example.com", ERR_CONFIG },
	};

	make_config();
	for (size_t i = 0; i < array_len(hosts); i++) {
		struct session_target t = empty();
		struct bus_desired r = good();

		snprintf(r.url, sizeof(r.url), "%s", hosts[i].url);
		snprintf(config.allowed_hosts, sizeof(config.allowed_hosts), "%s", hosts[i].list);
		check_row(hosts[i].url, desired_check(&t, &r, &config, NULL) == hosts[i].want);
	}
}

/* Nor to another port of theirs: the wall around connects knows ports only. */
static void test_server_ports(void)
{
	static const struct {
		const char *list, *url;
		int want;
	} rows[] = {
		{ "443,80", "wss://any.where", 0 },
		{ "443,80", "wss://any.where:443", 0 },
		{ "443,80", "wss://any.where:8443", ERR_CONFIG },
		{ "443,80", "ws://127.0.0.1", 0 },
		{ "443, 8443", "wss://any.where:8443", 0 },
		{ "4430", "wss://any.where:443", ERR_CONFIG },
		{ "", "wss://any.where:1", 0 },
	};

	make_config();
	for (size_t i = 0; i < array_len(rows); i++) {
		struct session_target t = empty();
		struct fault why = { 0 };
		struct bus_desired r = good();

		snprintf(r.url, sizeof(r.url), "%s", rows[i].url);
		snprintf(config.server_ports, sizeof(config.server_ports), "%s", rows[i].list);
		check_row(rows[i].url, desired_check(&t, &r, &config, &why) == rows[i].want);
		check_row(rows[i].url, !rows[i].want == !strstr(why.why, "tunnel.server_ports"));
	}
}

/* Whose key is not told can be anybody. */
static void test_required_fingerprint(void)
{
	for (int i = 0; i < 4; i++) {
		struct session_target t = empty();
		struct fault why = { 0 };
		struct bus_desired r = good();
		const bool told = i & 1;

		make_config();
		config.require_fingerprint = i & 2;
		snprintf(r.fingerprint, sizeof(r.fingerprint), "%s",
			 told ? "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" : "");
		const int want = config.require_fingerprint && !told ? ERR_CONFIG : 0;
		check(desired_check(&t, &r, &config, &why) == want);
		check(!want == !strstr(why.why, "tunnel.require_fingerprint"));
		check(want || (t.fingerprint[0] != 0) == told);
	}
}

static void test_port_lists(void)
{
	static const struct {
		const char *list;
		int want;
		size_t n;
	} rows[] = {
		{ "", 0, 0 },
		{ "443", 0, 1 },
		{ "443,80", 0, 2 },
		{ " 1 , 65535 ,", 0, 2 },
		{ "0", ERR_CONFIG, 0 },
		{ "65536", ERR_CONFIG, 0 },
		{ "443;80", ERR_CONFIG, 0 },
		{ "https", ERR_CONFIG, 0 },
		{ "-1", ERR_CONFIG, 0 },
		{ "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", 0, 16 },
		{ "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", ERR_CONFIG, 0 },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct tunnel_sandbox_ports p = { 0 };

		check_row(rows[i].list,
			  tunnel_sandbox_server_ports(&p, rows[i].list, NULL) == rows[i].want);
		check_row(rows[i].list, rows[i].want || p.n == rows[i].n);
		check_row(rows[i].list,
			  rows[i].want || !p.n ||
				  tunnel_sandbox_allows(rows[i].list, p.port[p.n - 1]));
	}
}

static void write_file(const char *path, const char *text, size_t n)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	must(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
}

/* An SSH server needs neither TLS nor a leave to do without; its user may stand
 * in the URL, which people see, a password may not. */
static void test_ssh_server(void)
{
	struct session_target t = empty();
	struct fault why = { 0 };
	struct bus_desired r = good();
	char dir[] = "/tmp/desired-test-XXXXXX", path[64];

	must(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/cred-7", dir);
	make_config();
	snprintf(r.url, sizeof(r.url), "ssh://bob@gateway.example.com");
	check(desired_check(&t, &r, &config, NULL) == 0);
	check(t.url.ssh && !t.url.tls && t.url.port == 22 && strcmp(t.user, "bob") == 0);
	write_file(path, "al:secret", 9); /* shorter than the URL's */
	check(desired_credentials(&t, dir, 7, NULL) == 0);
	check(strcmp(t.user, "al") == 0 && strcmp(t.password, "secret") == 0);
	write_file(path, ":word", 5);
	check(desired_check(&t, &r, &config, NULL) == 0 &&
	      desired_credentials(&t, dir, 7, NULL) == 0);
	check(strcmp(t.user, "bob") == 0 && strcmp(t.password, "word") == 0);
	snprintf(config.allowed_hosts, sizeof(config.allowed_hosts), "other.example.com");
	check(desired_check(&t, &r, &config, &why) == ERR_CONFIG &&
	      strstr(why.why, "allowed_hosts"));
	make_config();
	r.fingerprint[0] = '\0'; /* then it could be anybody, and gets the credentials */
	why = (struct fault){ 0 };
	check(desired_check(&t, &r, &config, &why) == ERR_CONFIG &&
	      strstr(why.why, "no fingerprint"));
	config.allow_plain = true;
	check(desired_check(&t, &r, &config, NULL) == 0);
	config.allow_plain = false;
	snprintf(r.url, sizeof(r.url), "ssh://bob@127.0.0.1");
	check(desired_check(&t, &r, &config, NULL) == 0);
	r = good();
	why = (struct fault){ 0 };
	snprintf(r.url, sizeof(r.url), "ssh://bob:secret@gateway.example.com");
	check(desired_check(&t, &r, &config, &why) == ERR_CONFIG);
	check(strstr(why.why, "password") && !strstr(why.why, "secret"));
	unlink(path);
	rmdir(dir);
}

static void test_credentials(void)
{
	static const struct {
		const char *name, *text;
		size_t n;
		int want;
	} rows[] = {
		{ "good", "user:pa:ss", 10, 0 },
		{ "empty password", "user:", 5, 0 },
		{ "no colon", "userpass", 8, ERR_CONFIG },
		{ "empty", "", 0, ERR_CONFIG },
		{ "NUL inside", "us\0er:p", 7, ERR_CONFIG },
	};
	char dir[] = "/tmp/desired-test-XXXXXX", path[64], huge[600];

	must(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/cred-7", dir);
	for (size_t i = 0; i < array_len(rows); i++) {
		struct session_target t = empty();

		write_file(path, rows[i].text, rows[i].n);
		check_row(rows[i].name, desired_credentials(&t, dir, 7, NULL) == rows[i].want);
		if (i == 0)
			check(strcmp(t.user, "user") == 0 && strcmp(t.password, "pa:ss") == 0);
	}
	struct session_target t = empty();
	struct fault why = { 0 };

	memset(huge, 'u', sizeof(huge));
	write_file(path, huge, sizeof(huge));
	check(desired_credentials(&t, dir, 7, NULL) == ERR_CONFIG);
	check(desired_credentials(&t, dir, 8, &why) == ERR_SYS && strstr(why.why, "cred-8"));
	unlink(path);
	must(symlink("/etc/passwd", path) == 0);
	check(desired_credentials(&t, dir, 7, NULL) == ERR_CONFIG);
	unlink(path);
	must(mkfifo(path, 0600) == 0);
	check(desired_credentials(&t, dir, 7, NULL) == ERR_CONFIG);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "good record", test_good_record_is_a_target },
		{ "refused records", test_refused_records },
		{ "SSH server", test_ssh_server },
		{ "allowed hosts", test_allowed_hosts },
		{ "server ports", test_server_ports },
		{ "required fingerprint", test_required_fingerprint },
		{ "lists of ports", test_port_lists },
		{ "credentials", test_credentials },
	};
	return run_cases("desired", cases, array_len(cases));
}
