#include "control-agent/plane/advice.h"

#include <stdio.h>

#include "tests/support/cases.h"

static void test_texts(void)
{
	static const struct {
		const char *name;
		int status;
		enum err code;
		const char *path, *says;
	} rows[] = {
		{ "moved", 301, ERR_REFUSED, "", "PIPEOPS_API_URL to the address" },
		{ "moved for good", 308, ERR_REFUSED, "", "PIPEOPS_API_URL to the address" },
		{ "no token", 401, ERR_AUTH, "", "PIPEOPS_TOKEN" },
		{ "not allowed", 403, ERR_AUTH, "", "may not register" },
		{ "not there", 404, ERR_REFUSED, "", "nothing at this address" },
		{ "proxy", 407, ERR_REFUSED, "", "HTTPS_PROXY" },
		{ "slow", 408, ERR_REFUSED, "", "in time" },
		{ "conflict", 409, ERR_REFUSED, "", "PIPEOPS_CLUSTER_NAME" },
		{ "large", 413, ERR_REFUSED, "", "agent.labels" },
		{ "early", 425, ERR_REFUSED, "", "early" },
		{ "often", 429, ERR_REFUSED, "", "too often" },
		{ "another 4xx", 418, ERR_REFUSED, "", "PIPEOPS_TOKEN and PIPEOPS_CLUSTER_NAME" },
		{ "broken", 500, ERR_REFUSED, "", "log of the control plane" },
		{ "down", 503, ERR_REFUSED, "", "restarted" },
		{ "another 2xx", 204, ERR_REFUSED, "", "PIPEOPS_TOKEN" },
		{ "not JSON", 200, ERR_PROTO, "", "PIPEOPS_API_URL is the control plane's" },
		{ "head too large", 0, ERR_LIMIT, "", "PIPEOPS_API_URL is the control plane's" },
		{ "certificate", 0, ERR_TRUST, "", "ca_file" },
		{ "refused connection", 0, ERR_SYS, "", "DNS, firewall" },
		{ "doubled path", 404, ERR_REFUSED, "/api/v1", "Remove /api/v1" },
		{ "doubled path with a slash", 404, ERR_REFUSED, "/x/api/v1/", "Remove /api/v1" },
		{ "doubled path, HTML", 200, ERR_PROTO, "/api/v1", "Remove /api/v1" },
		{ "doubled path, redirect", 302, ERR_REFUSED, "/api/v1", "Remove /api/v1" },
		{ "doubled path, another cause", 401, ERR_AUTH, "/api/v1", "PIPEOPS_TOKEN" },
		{ "another path", 404, ERR_REFUSED, "/api/v10", "nothing at this address" },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name,
			  strstr(advice_text(rows[i].status, rows[i].code, rows[i].path),
				 rows[i].says) != NULL);
}

static void test_what_passes(void)
{
	static const struct {
		int status;
		const char *body;
		bool want;
	} rows[] = {
		{ 0, "", true },	{ 200, "", true },	{ 200, " \r\n", true },
		{ 200, "<html>", true }, { 200, "{}", false },	{ 204, "", true },
		{ 301, "", true },	{ 308, "", true },	{ 400, "", false },
		{ 401, "", false },	{ 403, "", false },	{ 404, "", true },
		{ 407, "", true },	{ 408, "", true },	{ 409, "{}", false },
		{ 410, "", false },	{ 413, "", false },	{ 421, "", true },
		{ 422, "{}", false },	{ 425, "", true },	{ 429, "", true },
		{ 500, "{}", true },	{ 502, "", true },	{ 503, "", true },
		{ 504, "", true },	{ 599, "", true },
	};
	char name[32];

	for (size_t i = 0; i < array_len(rows); i++) {
		snprintf(name, sizeof(name), "%d %s", rows[i].status, rows[i].body);
		check_row(name, advice_passes(rows[i].status, span_str(rows[i].body)) ==
					rows[i].want);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "texts", test_texts },
		{ "what passes", test_what_passes },
	};
	return run_cases("advice", cases, array_len(cases));
}
