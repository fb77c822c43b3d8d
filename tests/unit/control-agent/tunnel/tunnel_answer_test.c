#include "control-agent/tunnel/tunnel_answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

#define FINGERPRINT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define FORWARDS "\"forwards\":[{\"name\":\"k8s-api\",\"remote_port\":8000}]"
#define URL "\"tunnel_url\":\"wss://t.example\","

static struct config config;

static void make_config(void)
{
	static const char *const names[] = { "kubernetes-api", "kubelet-metrics", "agent-http" };

	config = (struct config){ .forwards_n = 3, .inactivity_timeout_ns = 300 };
	for (size_t i = 0; i < 3; i++)
		snprintf(config.forwards[i].name, sizeof(config.forwards[i].name), "%s", names[i]);
	config.forwards[2].remote_port = 9100;
}

static int read_text(struct tunnel_answer *a, int status, const char *body, struct fault *why)
{
	struct fence f;

	fence_init(&f, body, strlen(body));
	const int rc = tunnel_answer_read(a, &config, status, span_of(f.p, f.n), why);
	fence_fini(&f);
	return rc;
}

static void test_first_shape(void)
{
	struct tunnel_answer a;

	check(read_text(&a, 200,
			"{\"status\":\"ready\",\"tunnel_url\":\"wss://tunnel.example:8443/"
			"x\",\"forwards\":["
			"{\"name\":\"agent-http\",\"remote_port\":8002},{\"name\":\"k8s-api\","
			"\"remote_port\":8000},"
			"{\"name\":\"kubelet\",\"remote_port\":8001}]}",
			NULL) == 0);
	check(a.desired.op == BUS_DESIRED_UP && a.desired.n == 3);
	check(strcmp(a.desired.url, "wss://tunnel.example:8443/x") == 0);
	for (unsigned i = 0; i < 3; i++)
		check(a.desired.forward[i].target == i &&
		      a.desired.forward[i].remote_port == 8000 + i);
	check(!a.desired.fingerprint[0] && !a.credentials[0] && !a.poll_s && !a.refused);
	check(a.desired.inactivity_ns == 300 && !a.desired.gen && !a.desired.cred_gen);
}

static void test_second_shape(void)
{
	struct tunnel_answer a;

	check(read_text(&a, 200,
			"{\"status\":\"REQUIRED\",\"tunnel_server_addr\":\"tunnel.example:8080\","
			"\"server_fingerprint\":\"" FINGERPRINT
			"\",\"credentials\":\"dXNlcjpwYTpzcw==\","
			"\"poll_frequency\":7,\"forwards\":[{\"name\":\"kubernetes-api\",\"remote_"
			"port\":8000,"
			"\"local_addr\":\"169.254.169.254:80\"},{\"name\":\"kubelet-metrics\","
			"\"remote_port\":8001}]}",
			NULL) == 0);
	check(a.desired.op == BUS_DESIRED_UP && a.desired.n == 2);
	check(strcmp(a.desired.url, "https://tunnel.example:8080") == 0);
	check(strcmp(a.desired.fingerprint, FINGERPRINT) == 0);
	check(strcmp(a.credentials, "user:pa:ss") == 0);
	check(a.poll_s == 7);
}

static void test_rows(void)
{
	static const struct {
		const char *name;
		int status;
		const char *body;
		int want; /* 1 up, 0 down, or the error */
	} rows[] = {
		{ "ready", 200, "{\"status\":\"ready\"," URL FORWARDS "}", 1 },
		{ "READY", 200, "{\"status\":\"READY\"," URL FORWARDS "}", 1 },
		{ "Active", 200, "{\"status\":\"Active\"," URL FORWARDS "}", 1 },
		{ "created", 201, "{\"status\":\"required\"," URL FORWARDS "}", 1 },
		{ "idle", 200, "{\"status\":\"IDLE\"," URL FORWARDS "}", 0 },
		{ "another word", 200, "{\"status\":\"pending\"}", 0 },
		{ "empty word", 200, "{\"status\":\"\"}", 0 },
		{ "not ready", 200, "{\"status\":\"not ready\"}", 0 },
		{ "404", 404, "{\"status\":\"ready\"," URL FORWARDS "}", 0 },
		{ "404 with a page", 404, "<html>", 0 },
		{ "empty", 200, "", 0 },
		{ "blank", 200, " \r\n", 0 },
		{ "no content", 204, "", 0 },
		{ "no status", 200, "{" URL FORWARDS "}", ERR_PROTO },
		{ "null status", 200, "{\"status\":null," URL FORWARDS "}", ERR_PROTO },
		{ "status is a number", 200, "{\"status\":1," URL FORWARDS "}", ERR_PROTO },
		{ "list", 200, "[]", ERR_PROTO },
		{ "html", 200, "<html>", ERR_PROTO },
		{ "cut", 200, "{\"status\":\"ready\"," URL FORWARDS, ERR_PROTO },
		{ "trailing", 200, "{\"status\":\"idle\"}}", ERR_PROTO },
		{ "401", 401, "", ERR_AUTH },
		{ "403", 403, "", ERR_AUTH },
		{ "500", 500, "", ERR_REFUSED },
		{ "302", 302, "", ERR_REFUSED },
		{ "no url", 200, "{\"status\":\"ready\"," FORWARDS "}", ERR_PROTO },
		{ "url is a number", 200, "{\"status\":\"ready\",\"tunnel_url\":5," FORWARDS "}",
		  ERR_PROTO },
		{ "scheme unknown", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"ftp://t\"," FORWARDS "}", ERR_PROTO },
		{ "url with a user", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"wss://a:b@t\"," FORWARDS "}", ERR_PROTO },
		{ "url with a query", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"wss://t/?k=v\"," FORWARDS "}",
		  ERR_PROTO },
		{ "plain ws", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"ws://t.example\"," FORWARDS "}",
		  ERR_CONFIG },
		{ "plain http", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"HTTP://t.example\"," FORWARDS "}",
		  ERR_CONFIG },
		{ "plain, looks like loopback", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"ws://127.0.0.1.example\"," FORWARDS "}",
		  ERR_CONFIG },
		{ "plain to loopback", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"ws://127.0.0.1:80\"," FORWARDS "}", 1 },
		{ "plain to localhost", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"ws://localhost:80\"," FORWARDS "}", 1 },
		{ "no forwards", 200, "{\"status\":\"ready\"," URL "\"x\":1}", ERR_PROTO },
		{ "empty forwards", 200, "{\"status\":\"ready\"," URL "\"forwards\":[]}",
		  ERR_PROTO },
		{ "forwards is an object", 200, "{\"status\":\"ready\"," URL "\"forwards\":{}}",
		  ERR_PROTO },
		{ "entry is a text", 200,
		  "{\"status\":\"ready\"," URL "\"forwards\":[\"k8s-api\"]}", ERR_PROTO },
		{ "entry is null", 200, "{\"status\":\"ready\"," URL "\"forwards\":[null]}",
		  ERR_PROTO },
		{ "entry without name", 200,
		  "{\"status\":\"ready\"," URL "\"forwards\":[{\"remote_port\":1}]}", ERR_PROTO },
		{ "port is a text", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":\"1\"}]}",
		  ERR_PROTO },
		{ "port is missing", 200,
		  "{\"status\":\"ready\"," URL "\"forwards\":[{\"name\":\"kubelet\"}]}",
		  ERR_PROTO },
		{ "port 0, configured", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"agent-http\",\"remote_port\":0}]}",
		  1 },
		{ "port 65536", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":65536}]}",
		  ERR_PROTO },
		{ "port below 0", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":-1}]}",
		  ERR_PROTO },
		{ "port twice", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":1},"
		  "{\"name\":\"agent-http\",\"remote_port\":1}]}",
		  ERR_PROTO },
		{ "none is configured", 200,
		  "{\"status\":\"ready\"," URL
		  "\"forwards\":[{\"name\":\"ssh\",\"remote_port\":22}]}",
		  ERR_REFUSED },
		{ "fingerprint is no base64", 200,
		  "{\"status\":\"ready\",\"server_fingerprint\":\"aa:bb\"," URL FORWARDS "}",
		  ERR_USAGE },
		{ "fingerprint is a list", 200,
		  "{\"status\":\"ready\",\"server_fingerprint\":[]," URL FORWARDS "}", ERR_PROTO },
		{ "fingerprint empty", 200,
		  "{\"status\":\"ready\",\"server_fingerprint\":\"\"," URL FORWARDS "}", 1 },
		{ "credentials null", 200,
		  "{\"status\":\"ready\",\"credentials\":null," URL FORWARDS "}", 1 },
		{ "credentials not base64", 200,
		  "{\"status\":\"ready\",\"credentials\":\"dTp*\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials not padded", 200,
		  "{\"status\":\"ready\",\"credentials\":\"dTpw=\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials with a blank", 200,
		  "{\"status\":\"ready\",\"credentials\":\" dTp\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials all padding", 200,
		  "{\"status\":\"ready\",\"credentials\":\"====\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials without colon", 200,
		  "{\"status\":\"ready\",\"credentials\":\"dXU=\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials with NUL", 200,
		  "{\"status\":\"ready\",\"credentials\":\"dToA\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials with a line end", 200,
		  "{\"status\":\"ready\",\"credentials\":\"dToK\"," URL FORWARDS "}", ERR_PROTO },
		{ "credentials are an object", 200,
		  "{\"status\":\"ready\",\"credentials\":{}," URL FORWARDS "}", ERR_PROTO },
		{ "poll is a text", 200,
		  "{\"status\":\"ready\",\"poll_frequency\":\"5\"," URL FORWARDS "}", ERR_PROTO },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct tunnel_answer a = { .poll_s = 77 };
		struct fault why = { 0 };
		const int rc = read_text(&a, rows[i].status, rows[i].body, &why);

		check_row(rows[i].name,
			  rc < 0 ? rc == rows[i].want : (int)a.desired.op == rows[i].want);
		check_row(rows[i].name, (rc < 0) == (why.why[0] != '\0'));
		check_row(rows[i].name, rc >= 0 || a.poll_s == 77);
	}
}

static void test_poll_is_bounded(void)
{
	static const struct {
		const char *body;
		uint32_t want;
	} rows[] = {
		{ "{\"status\":\"idle\",\"poll_frequency\":0}", 1 },
		{ "{\"status\":\"idle\",\"poll_frequency\":-9}", 1 },
		{ "{\"status\":\"idle\",\"poll_frequency\":30.0}", 30 },
		{ "{\"status\":\"idle\",\"poll_frequency\":100000}", 300 },
		{ "{\"status\":\"idle\",\"poll_frequency\":null}", 0 },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct tunnel_answer a;

		check_row(rows[i].body,
			  read_text(&a, 200, rows[i].body, NULL) == 0 && a.poll_s == rows[i].want);
	}
}

static void test_unknown_forwards_are_counted(void)
{
	struct tunnel_answer a;

	check(read_text(&a, 200,
			"{\"status\":\"ready\"," URL
			"\"forwards\":[{\"name\":\"ssh\",\"remote_port\":\"x\"},"
			"{\"name\":\"kubelet\",\"remote_port\":8001},{\"name\":\"db\",\"remote_"
			"port\":1}]}",
			NULL) == 0);
	check(a.refused == 2 && strcmp(a.refused_name, "ssh") == 0);
	check(a.desired.n == 1 && a.desired.forward[0].target == 1);
	check(read_text(&a, 200,
			"{\"status\":\"ready\"," URL
			"\"forwards\":[{\"name\":\"db\",\"remote_port\":1}]}",
			NULL) == ERR_REFUSED);
	check(a.refused == 1 && strcmp(a.refused_name, "db") == 0);
}

static void test_too_many_forwards(void)
{
	char *body = malloc(8192);
	struct tunnel_answer a;

	for (unsigned n = 32; n <= 33; n++) {
		size_t at =
			(size_t)snprintf(body, 8192, "{\"status\":\"ready\"," URL "\"forwards\":[");

		for (unsigned i = 0; i < n; i++)
			at += (size_t)snprintf(body + at, 8192 - at,
					       "%s{\"name\":\"kubelet\",\"remote_port\":%u}",
					       i ? "," : "", 1000 + i);
		snprintf(body + at, 8192 - at, "]}");
		check(read_text(&a, 200, body, NULL) == (n == 32 ? 0 : ERR_LIMIT));
	}
	free(body);
}

static void test_long_credentials(void)
{
	struct tunnel_answer a;
	char body[2048], code[1024];

	/* "QUFB" is "AAA"; "Og==" at the end is ":". */
	for (size_t groups = 42; groups <= 43; groups++) {
		size_t n = 0;

		for (size_t i = 0; i < groups; i++, n += 4)
			memcpy(code + n, "QUFB", 4);
		memcpy(code + n, "Og==", 5);
		snprintf(body, sizeof(body),
			 "{\"status\":\"ready\",\"credentials\":\"%s\"," URL FORWARDS "}", code);
		check(read_text(&a, 200, body, NULL) == (groups == 42 ? 0 : ERR_LIMIT));
	}
}

static void test_errors_hold_no_secret(void)
{
	struct tunnel_answer a;
	struct fault why = { 0 };

	check(read_text(&a, 200,
			"{\"status\":\"ready\",\"credentials\":\"c2VjcmV0\"," URL FORWARDS "}",
			&why) == ERR_PROTO);
	check(!strstr(why.why, "secret") && !strstr(why.why, "c2Vj"));
}

static void test_same_meaning(void)
{
	static const char *const bodies[] = {
		"{\"status\":\"ready\"," URL
		"\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":2},"
		"{\"name\":\"k8s-api\",\"remote_port\":1}]}",
		/* same: another word, order, names, poll */
		"{\"status\":\"ACTIVE\",\"poll_frequency\":9," URL
		"\"forwards\":[{\"name\":\"kubernetes-api\","
		"\"remote_port\":1},{\"name\":\"kubelet-metrics\",\"remote_port\":2}]}",
		/* other: port, server, fingerprint, fewer, down */
		"{\"status\":\"ready\"," URL
		"\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":3},"
		"{\"name\":\"k8s-api\",\"remote_port\":1}]}",
		"{\"status\":\"ready\",\"tunnel_url\":\"wss://"
		"u.example\",\"forwards\":[{\"name\":\"kubelet\","
		"\"remote_port\":2},{\"name\":\"k8s-api\",\"remote_port\":1}]}",
		"{\"status\":\"ready\",\"server_fingerprint\":\"" FINGERPRINT "\"," URL
		"\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":2},{\"name\":\"k8s-api\","
		"\"remote_port\":1}]}",
		"{\"status\":\"ready\"," URL
		"\"forwards\":[{\"name\":\"kubelet\",\"remote_port\":2}]}",
		"{\"status\":\"idle\"}",
	};
	struct tunnel_answer a, b;

	check(read_text(&a, 200, bodies[0], NULL) == 0);
	for (size_t i = 0; i < array_len(bodies); i++) {
		check(read_text(&b, 200, bodies[i], NULL) == 0);
		b.desired.gen = 9;
		check_row(bodies[i], tunnel_answer_is_same(&a.desired, &b.desired) == (i < 2));
		check_row(bodies[i], tunnel_answer_is_same(&b.desired, &a.desired) == (i < 2));
	}
	b = a;
	b.desired.cred_gen = 1;
	check(!tunnel_answer_is_same(&a.desired, &b.desired));
}

static void test_allow_plain(void)
{
	struct tunnel_answer a;

	config.allow_plain = true;
	check(read_text(&a, 200,
			"{\"status\":\"ready\",\"tunnel_url\":\"ws://t.example\"," FORWARDS "}",
			NULL) == 0);
	check(strcmp(a.desired.url, "ws://t.example") == 0);
	config.allow_plain = false;
}

static void test_path(void)
{
	char path[512], id[256];

	tunnel_answer_path(path, "agent-1.x_y~");
	check(strcmp(path, "/api/v1/tunnel/status?agent_id=agent-1.x_y~") == 0);
	tunnel_answer_path(path, "a b&c=d:/\xff");
	check(strcmp(path, "/api/v1/tunnel/status?agent_id=a%20b%26c%3Dd%3A%2F%FF") == 0);
	memset(id, ' ', sizeof(id));
	id[sizeof(id) - 1] = '\0';
	tunnel_answer_path(path, id); /* cut, never past the end */
	check(strlen(path) < sizeof(path));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "first shape", test_first_shape },
		{ "second shape", test_second_shape },
		{ "rows", test_rows },
		{ "poll is bounded", test_poll_is_bounded },
		{ "unknown forwards", test_unknown_forwards_are_counted },
		{ "too many forwards", test_too_many_forwards },
		{ "long credentials", test_long_credentials },
		{ "no secret in errors", test_errors_hold_no_secret },
		{ "same meaning", test_same_meaning },
		{ "allow plain", test_allow_plain },
		{ "path", test_path },
	};
	make_config();
	return run_cases("tunnel_answer", cases, array_len(cases));
}
