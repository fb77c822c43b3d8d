#include "control-agent/plane/register.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"
#include "tests/support/writing.h"

static void test_answers(void)
{
	static const struct {
		const char *name;
		int status;
		const char *body;
		int want;
		const char *id;
	} rows[] = {
		{ "readme", 200, "{\"cluster_id\":\"u-1\",\"name\":\"prod\",\"status\":\"active\"}",
		  0, "u-1" },
		{ "created", 201, "{\"cluster_id\":\"u-1\"}", 0, "u-1" },
		{ "exists", 409, "{\"cluster_id\":\"u-1\",\"error\":\"exists\"}", 0, "u-1" },
		{ "uuid", 200, "{\"cluster_id\":\"\",\"cluster_uuid\":\"u-2\"}", 0, "u-2" },
		{ "cluster.id", 200, "{\"cluster\":{\"id\":\"u-3\",\"uuid\":\"u-4\"}}", 0, "u-3" },
		{ "cluster.uuid", 200, "{\"cluster_id\":null,\"cluster\":{\"uuid\":\"u-4\"}}", 0,
		  "u-4" },
		{ "data", 200, "{\"data\":{\"cluster_id\":\"u-5\"}}", 0, "u-5" },
		{ "the first counts", 200,
		  "{\"data\":{\"cluster_id\":\"u-5\"},\"cluster_id\":\"u-1\"}", 0, "u-1" },
		{ "types after it do not", 200,
		  "{\"cluster_id\":\"u-1\",\"cluster\":7,\"data\":[]}", 0, "u-1" },
		{ "log-only fields of any type", 200,
		  "{\"cluster_id\":\"u-1\",\"name\":5,\"status\":true,\"workspace_id\":{},"
		  "\"token\":[]}",
		  0, "u-1" },
		{ "no id", 200, "{\"name\":\"prod\"}", ERR_PROTO, "" },
		{ "agent_id is none", 200, "{\"agent_id\":\"a\"}", ERR_PROTO, "" },
		{ "id is a number", 200, "{\"cluster_id\":5}", ERR_PROTO, "" },
		{ "cluster is a text", 200, "{\"cluster\":\"u\"}", ERR_PROTO, "" },
		{ "id with a slash", 200, "{\"cluster_id\":\"../../x\"}", ERR_PROTO, "" },
		{ "id with a line end", 200, "{\"cluster_id\":\"a\\r\\nX: y\"}", ERR_PROTO, "" },
		{ "id of 64", 200,
		  "{\"cluster_id\":"
		  "\"1234567890123456789012345678901234567890123456789012345678901234\"}",
		  ERR_LIMIT, "" },
		{ "invalid JSON", 200, "{\"cluster_id\":\"u-1\"", ERR_PROTO, "" },
		{ "html", 200, "<html></html>", ERR_PROTO, "" },
		{ "empty", 200, "", ERR_PROTO, "" },
		{ "conflict without id", 409, "{\"error\":\"name taken\"}", ERR_REFUSED, "" },
		{ "conflict, no JSON", 409, "conflict", ERR_REFUSED, "" },
		{ "unauthorized", 401, "{\"cluster_id\":\"u-1\"}", ERR_AUTH, "" },
		{ "forbidden", 403, "", ERR_AUTH, "" },
		{ "not found", 404, "{\"cluster_id\":\"u-1\"}", ERR_REFUSED, "" },
		{ "no content", 204, "", ERR_REFUSED, "" },
		{ "redirect", 302, "{\"cluster_id\":\"u-1\"}", ERR_REFUSED, "" },
		{ "broken", 500, "{\"cluster_id\":\"u-1\"}", ERR_REFUSED, "" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct register_answer a = { .cluster_id = "before" };
		struct fault why = { 0 };
		struct fence f;

		fence_init(&f, rows[i].body, strlen(rows[i].body));
		const int rc = register_answer_read(&a, rows[i].status, span_of(f.p, f.n), &why);
		check_row(rows[i].name, rc == rows[i].want);
		check_row(rows[i].name, strcmp(a.cluster_id, rc < 0 ? "before" : rows[i].id) == 0);
		check_row(rows[i].name, (rc < 0) == (why.why[0] != '\0'));
		fence_fini(&f);
	}
}

static void test_extras(void)
{
	struct register_answer a;

	check(register_answer_read(
		      &a, 200,
		      span_str("{\"cluster_id\":\"u\",\"name\":\"prod\",\"status\":\"active\","
			       "\"workspace_id\":123,\"token\":\"secret\"}"),
		      NULL) == 0);
	check(strcmp(a.name, "prod") == 0 && strcmp(a.status, "active") == 0);
	check(strcmp(a.workspace_id, "123") == 0 && a.workspace_is_number && a.has_token &&
	      !a.existed);
	check(register_answer_read(
		      &a, 409,
		      span_str("{\"cluster\":{\"id\":\"u\",\"name\":\"n\",\"status\":\"s\","
			       "\"workspace_id\":\"w-1\"}}"),
		      NULL) == 0);
	check(strcmp(a.name, "n") == 0 && strcmp(a.status, "s") == 0);
	check(strcmp(a.workspace_id, "w-1") == 0 && !a.workspace_is_number && !a.has_token &&
	      a.existed);
}

/* Cut at every byte: never a success, never a crash. */
static void test_chop(void)
{
	static const char body[] = "{\"cluster\":{\"uuid\":\"u-\\u0031\",\"x\":[1,{}]}}";

	for (size_t n = 0; n < sizeof(body) - 1; n++) {
		struct register_answer a;
		struct fence f;

		fence_init(&f, body, n);
		check(register_answer_read(&a, 200, span_of(f.p, f.n), NULL) == ERR_PROTO);
		fence_fini(&f);
	}
}

static void make_request(struct config *c, struct facts *f, struct register_request *r)
{
	*c = (struct config){ .cluster_name = "prod \"1\"", .forwards_n = 2, .labels_n = 1 };
	c->forwards[0] =
		(struct config_forward){ .name = "kubernetes-api", .host = "h", .port = 6443 };
	c->forwards[1] = (struct config_forward){ .name = "agent-http", .host = "h", .port = 8080 };
	c->labels[0] = (struct config_label){ .key = "environment", .value = "production" };
	*f = (struct facts){ .hostname = "node-1", .service_token = "eyJ", .in_cluster = true,
			     .cpu_cores = 4, .memory_gb = 8, .os = "linux" };
	*r = (struct register_request){ .config = c, .facts = f, .agent_id = "agent-1",
					.cluster_id = "", .version = "0.1.0", .now_s = 1760523000 };
}

static int write_request(struct buf *to, const void *what)
{
	return register_request_write(to, what);
}

static void test_request(void)
{
	static struct config c;
	static struct facts f;
	struct register_request r;

	make_request(&c, &f, &r);
	check_written(
		write_request, &r,
		"{\"agent_id\":\"agent-1\",\"name\":\"prod "
		"\\\"1\\\"\",\"k8s_service_token\":\"eyJ\","
		"\"hostname\":\"node-1\",\"region\":\"agent-managed\",\"cloud_provider\":\"agent\","
		"\"agent_version\":\"0.1.0\",\"labels\":{\"environment\":\"production\","
		"\"hostname\":\"node-1\",\"agent.pipeops.io/version\":\"0.1.0\"},"
		"\"tunnel_port_config\":{\"kubernetes_api\":6443,\"agent_http\":8080},"
		"\"server_specs\":{\"cpu_cores\":4,\"memory_gb\":8,\"os\":\"linux\"},"
		"\"metadata\":{\"agent_mode\":\"in-cluster\","
		"\"registration_timestamp\":\"2025-10-15T10:10:00Z\",\"registration_mode\":"
		"\"fresh\"}}");
}

static void test_resume_and_unknown(void)
{
	static struct config c;
	static struct facts f;
	struct register_request r;
	struct buf b;

	make_request(&c, &f, &r);
	f = (struct facts){ .os = "" };
	c.forwards_n = 0;
	r.cluster_id = "u-1";
	buf_init(&b, &mem_heap, 65536);
	check(register_request_write(&b, &r) == 0);
	check(buf_append(&b, "", 1) == 0);
	const char *text = (const char *)buf_bytes(&b).p;
	check(strstr(text, "\"cluster_id\":\"u-1\"") &&
	      strstr(text, "\"registration_mode\":\"resume\""));
	check(!strstr(text, "k8s_") && !strstr(text, "hostname") && !strstr(text, "server_ip"));
	check(strstr(text, "\"server_specs\":{}") && strstr(text, "\"tunnel_port_config\":{}"));
	check(strstr(text, "\"agent_mode\":\"standalone\"") != NULL);
	buf_fini(&b);
}

static void test_request_in_famine(void)
{
	static struct config c;
	static struct facts f;
	struct register_request r;

	make_request(&c, &f, &r);
	check_writing_in_famine(write_request, &r);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "answers", test_answers },
		{ "extras", test_extras },
		{ "chop", test_chop },
		{ "request", test_request },
		{ "resume and unknown", test_resume_and_unknown },
		{ "request in famine", test_request_in_famine },
	};
	return run_cases("register", cases, array_len(cases));
}
