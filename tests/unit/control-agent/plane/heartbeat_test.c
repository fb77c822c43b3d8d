#include "control-agent/plane/heartbeat.h"

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
	} rows[] = {
		{ "ok", 200, "{}", 0 },
		{ "no content", 204, "", 0 },
		{ "ok, whatever it says", 200, "<html>", 0 },
		{ "not found", 404, "", 1 },
		{ "gone", 410, "", 1 },
		{ "not registered", 400, "{\"error\":\"Agent NOT Registered\"}", 1 },
		{ "cluster not found", 500, "cluster not found", 1 },
		{ "not registered wins", 403, "agent not registered", 1 },
		{ "unauthorized", 401, "", ERR_AUTH },
		{ "forbidden", 403, "no", ERR_AUTH },
		{ "broken", 500, "oops", ERR_REFUSED },
		{ "slow down", 429, "", ERR_REFUSED },
		{ "redirect", 301, "", ERR_REFUSED },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { 0 };
		struct fence f;

		fence_init(&f, rows[i].body, strlen(rows[i].body));
		const int rc = heartbeat_answer_read(rows[i].status, span_of(f.p, f.n), &why);
		check_row(rows[i].name, rc == rows[i].want);
		check_row(rows[i].name, (rc < 0) == (why.why[0] != '\0'));
		fence_fini(&f);
	}
}

static void test_words_behind_nul_bytes(void)
{
	static const char body[] = "\0\0cluster not found";

	check(heartbeat_answer_read(500, span_of(body, sizeof(body) - 1), NULL) == 1);
}

static const struct heartbeat_request request = {
	.cluster_id = "u-1",
	.agent_id = "agent-1",
	.version = "0.1.0",
	.tunnel_status = "connecting",
	.now_s = 1760523000,
};

static int write_request(struct buf *to, const void *what)
{
	return heartbeat_request_write(to, what);
}

static void test_request(void)
{
	char path[160];

	check_written(write_request, &request,
		      "{\"metadata\":{\"version\":\"0.1.0\"},\"cluster_id\":\"u-1\",\"agent_id\":"
		      "\"agent-1\","
		      "\"status\":\"active\",\"tunnel_status\":\"connecting\","
		      "\"timestamp\":\"2025-10-15T10:10:00Z\"}");
	heartbeat_path(path, "u-1");
	check(strcmp(path, "/api/v1/clusters/agent/u-1/heartbeat") == 0);
}

static void test_famine(void)
{
	check_writing_in_famine(write_request, &request);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "answers", test_answers },
		{ "words behind NUL bytes", test_words_behind_nul_bytes },
		{ "request", test_request },
		{ "famine", test_famine },
	};
	return run_cases("heartbeat", cases, array_len(cases));
}
