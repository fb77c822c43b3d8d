/* The origin, on a client and a loop of the test's. */
#include "control-agent/plane/control_plane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cases.h"
#include "tests/support/fakes/fake_http_client.h"
#include "tests/support/fakes/fake_loop.h"

static struct config config(const char *api_url)
{
	struct config c = { .tls_enabled = true };

	snprintf(c.api_url, sizeof(c.api_url), "%s", api_url);
	snprintf(c.token.text, sizeof(c.token.text), "token");
	return c;
}

static void test_urls(void)
{
	static const struct {
		const char *url, *host, *says;
		uint16_t port;
		bool tls, plain_allowed, tls_off;
	} rows[] = {
		{ "https://cp.example", "cp.example", NULL, 443, true, false, false },
		{ "cp.example", "cp.example", NULL, 443, true, false, false },
		{ "https://cp.example:8443/x", "cp.example", NULL, 8443, true, false, false },
		{ "https://[2001:db8::1]", "2001:db8::1", NULL, 443, true, false, false },
		{ "http://127.0.0.1:8080", "127.0.0.1", NULL, 8080, false, false, false },
		{ "http://cp.example", "cp.example", NULL, 80, false, true, false },
		{ "http://cp.example", "cp.example", NULL, 80, false, false, true },
		{ "http://cp.example", NULL, "allow_plain", 0, false, false, false },
		{ "wss://cp.example", NULL, "https://", 0, false, false, false },
		{ "ssh://cp.example", NULL, "PIPEOPS_API_URL", 0, false, false, false },
		{ "https://a:b@cp.example", NULL, "PIPEOPS_TOKEN", 0, false, false, false },
		{ "https://a@cp.example", NULL, "PIPEOPS_TOKEN", 0, false, false, false },
		{ "https://cp.example/?a", NULL, "query", 0, false, false, false },
		{ "https://cp.example/#a", NULL, "fragment", 0, false, false, false },
		{ "https://", NULL, "PIPEOPS_API_URL", 0, false, false, false },
		{ "https://cp.example:0", NULL, "PIPEOPS_API_URL", 0, false, false, false },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct config c = config(rows[i].url);
		struct fault why = { 0 };
		struct url url;

		c.allow_plain = rows[i].plain_allowed;
		c.tls_enabled = !rows[i].tls_off;
		const int rc = control_plane_url(&url, &c, &why);
		if (rows[i].says) {
			check_row(rows[i].url, rc == ERR_CONFIG);
			check_row(rows[i].url, strstr(why.why, rows[i].says) != NULL);
			continue;
		}
		check_row(rows[i].url, rc == 0 && url.tls == rows[i].tls);
		check_row(rows[i].url, strcmp(url.host, rows[i].host) == 0);
		check_row(rows[i].url, url.port == rows[i].port);
	}
}

static void ignore(void *user, const struct http_result *r)
{
	*(int *)user += r->status;
}

static void test_requests(void)
{
	static const struct {
		const char *url, *path;
	} rows[] = {
		{ "https://cp.example", "/api/x?y" },
		{ "https://cp.example/", "/api/x?y" },
		{ "https://cp.example/base", "/base/api/x?y" },
		{ "https://cp.example/base/two//", "/base/two/api/x?y" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct config c = config(rows[i].url);
		struct control_plane cp;
		struct http_client *client = NULL;
		int got = 0;

		fake_http_reset();
		check(control_plane_init(&cp, fake_loop(), &c, NULL) == 0);
		check(control_plane_client(&cp, &client, NULL) == 0);
		const struct fake_origin *o = fake_http_origin();
		check(o->tls && o->has_tls_ctx && !o->has_proxy && o->port == 443);
		check(strcmp(o->host, "cp.example") == 0);
		check(strncmp(o->user_agent, "pipeops-agent/", 14) == 0);
		check(control_plane_send(&cp, client, "GET", "/api/x?y", span_of(NULL, 0), ignore,
					 &got, NULL) == 0);
		const struct fake_request *q = fake_http_request();
		check_row(rows[i].url, strcmp(q->path, rows[i].path) == 0);
		check(strcmp(q->bearer, "token") == 0 && !q->content_type[0] && !q->body[0]);
		fake_http_answer(&(struct http_result){ .status = 204 });
		check(control_plane_send(&cp, client, "POST", "/p", span_str("{}"), ignore, &got,
					 NULL) == 0);
		check(strcmp(q->content_type, "application/json") == 0);
		check(strcmp(q->body, "{}") == 0);
		fake_http_answer(&(struct http_result){ .status = 100 });
		check(got == 304);
		http_client_free(client);
		control_plane_fini(&cp);
	}
}

/* The file is read for each request: a Secret that was replaced is used at once. */
static void test_token_file(void)
{
	static const struct {
		const char *name, *text, *token, *says;
	} rows[] = {
		{ "plain", "abc", "abc", NULL },
		{ "line end", "abc\n", "abc", NULL },
		{ "replaced", "def\r\n", "def", NULL },
		{ "empty", "\n", NULL, "empty" },
		{ "a blank within", "a b", NULL, "token" },
		{ "an umlaut", "z\xc3\xbcrich", NULL, "token" },
	};
	char path[] = "/tmp/token-test-XXXXXX";
	const int fd = mkstemp(path);
	struct config c = config("https://cp.example");
	struct control_plane cp;
	struct http_client *client = NULL;
	int got = 0;

	check(fd >= 0 && close(fd) == 0);
	snprintf(c.token_file, sizeof(c.token_file), "%s", path);
	fake_http_reset();
	check(control_plane_init(&cp, fake_loop(), &c, NULL) == 0);
	check(control_plane_client(&cp, &client, NULL) == 0);
	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { 0 };
		FILE *f = fopen(path, "w");

		check(f && fputs(rows[i].text, f) >= 0 && fclose(f) == 0);
		const int rc = control_plane_send(&cp, client, "GET", "/x", span_of(NULL, 0),
						  ignore, &got, &why);
		if (rows[i].says) {
			check_row(rows[i].name, rc == ERR_CONFIG);
			check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
			check_row(rows[i].name, fake_http_waiting() == 0);
			continue;
		}
		check_row(rows[i].name, rc == 0);
		check_row(rows[i].name, strcmp(fake_http_request()->bearer, rows[i].token) == 0);
		fake_http_answer(&(struct http_result){ .status = 200 });
	}
	check(unlink(path) == 0);
	check(control_plane_send(&cp, client, "GET", "/x", span_of(NULL, 0), ignore, &got, NULL) ==
	      ERR_CONFIG);
	http_client_free(client);
	control_plane_fini(&cp);
}

static void test_client_that_refuses(void)
{
	const struct config c = config("https://cp.example");
	struct control_plane cp;
	struct http_client *client = NULL;
	struct fault why = { 0 };
	int got = 0;

	fake_http_reset();
	check(control_plane_init(&cp, fake_loop(), &c, NULL) == 0);
	check(control_plane_client(&cp, &client, NULL) == 0);
	fake_http_refuse(ERR_LIMIT);
	check(control_plane_send(&cp, client, "GET", "/x", span_of(NULL, 0), ignore, &got, &why) ==
	      ERR_LIMIT);
	check(why.code == ERR_LIMIT && fake_http_waiting() == 0);
	fake_http_refuse(0);
	check(control_plane_send(&cp, client, "GET", "/x", span_of(NULL, 0), ignore, &got, NULL) ==
	      0);
	http_client_free(client); /* with a request under way: no callback */
	check(got == 0 && fake_http_clients() == 0);
	control_plane_fini(&cp);
}

static void test_what_a_log_line_shows(void)
{
	const struct config c = config("https://cp.example");
	struct control_plane cp;
	char shown[REDACT_BODY_MAX + 1];

	check(control_plane_init(&cp, fake_loop(), &c, NULL) == 0);
	cp.service_token = "eyJ.sa";
	control_plane_show(&cp, shown, span_str("no token, no eyJ.sa, {\"password\":\"x\"}"));
	check(strcmp(shown, "no ***, no ***, {\"password\":***}") == 0);
	control_plane_fini(&cp);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "URLs", test_urls },
		{ "requests", test_requests },
		{ "token file", test_token_file },
		{ "client that refuses", test_client_that_refuses },
		{ "what a log line shows", test_what_a_log_line_shows },
	};
	return run_cases("control_plane", cases, array_len(cases));
}
