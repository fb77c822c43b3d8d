#include "control-agent/plane/redact.h"

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static const char *const secrets[] = { "s3cret-token", NULL, "", "abc" };

static void test_rows(void)
{
	static const struct {
		const char *name, *body, *want;
	} rows[] = {
		{ "empty", "", "" },
		{ "plain", "{\"error\":\"no\"}", "{\"error\":\"no\"}" },
		{ "our secret", "bad s3cret-token!", "bad ***!" },
		{ "twice", "s3cret-tokens3cret-token", "******" },
		{ "prefix only", "s3cret-toke", "s3cret-toke" },
		{ "short secrets are none", "abcd", "abcd" },
		{ "does not print", "a\x01\n\x1b[31m\xff", "a???[31m?" },
		{ "token member", "{\"token\":\"xyz\",\"a\":1}", "{\"token\":***,\"a\":1}" },
		{ "end of a name", "{\"k8s_service_Token\" : \"x\\\"y\"}",
		  "{\"k8s_service_Token\" : ***}" },
		{ "password", "{\"Password\":\"p\"}", "{\"Password\":***}" },
		{ "credentials", "{\"credentials\":\"dTpw\"}", "{\"credentials\":***}" },
		{ "no text value", "{\"has_token\":true}", "{\"has_token\":true}" },
		{ "cut value", "{\"token\":\"xyz", "{\"token\":***" },
		{ "cut in an escape", "{\"token\":\"xyz\\", "{\"token\":***" },
		{ "name as value", "{\"a\":\"token\"}", "{\"a\":\"token\"}" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		char to[200];
		struct fence f;

		fence_init(&f, rows[i].body, strlen(rows[i].body));
		redact(to, sizeof(to), span_of(f.p, f.n), secrets, array_len(secrets));
		check_row(rows[i].name, strcmp(to, rows[i].want) == 0);
		fence_fini(&f);
	}
}

static void test_cut(void)
{
	char to[32], body[100];

	memset(body, 'x', sizeof(body));
	redact(to, sizeof(to), span_of(body, sizeof(body)), secrets, array_len(secrets));
	check(strlen(to) < sizeof(to));
	check(strcmp(to + strlen(to) - 4, "x...") == 0);
}

/* However the secret lies across the cut, no part of it is shown. */
static void test_secret_at_the_cut(void)
{
	for (size_t at = 0; at < 40; at++) {
		char to[32], body[64];

		memset(body, ' ', sizeof(body));
		memcpy(body + at, secrets[0], strlen(secrets[0]));
		redact(to, sizeof(to), span_of(body, sizeof(body)), secrets, array_len(secrets));
		check(!strchr(to, 's'));
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "cut", test_cut },
		{ "secret at the cut", test_secret_at_the_cut },
	};
	return run_cases("redact", cases, array_len(cases));
}
