#include "status-server/routes.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <zlib.h>

#include "tests/unit/status-server/page.h"

/* A server's inside without its sockets. */
struct rig {
	struct bus_fixture bus;
	struct loop *loop;
	struct config config;
	struct site site;
};

static void rig_init(struct rig *r)
{
	*r = (struct rig){ .config = { .tunnel_enabled = true } };
	fixture_init(&r->bus);
	must(loop_new(&r->loop, LOOP_EPOLL, NULL) == 0);
	r->site.config = &r->config;
	r->site.io_backend = "epoll";
	r->site.io_reason = "asked for";
	r->site.start_realtime_ns = UINT64_C(1700000000123000000);
	must(pod_watch_new(&r->site.source, r->loop, r->bus.dir, NULL) == 0);
}

static void rig_fini(struct rig *r)
{
	pod_watch_free(r->site.source);
	loop_free(r->loop);
	fixture_fini(&r->bus);
}

struct answer {
	struct page page;
	const char *text;
};

static void ask_as(struct rig *r, struct answer *a, const char *path, const char *host,
		   const char *origin)
{
	a->page.site = &r->site;
	a->page.path = span_str(path);
	buf_init(&a->page.body, &mem_heap, 4 << 20);
	routes_make(&a->page, host ? span_str(host) : (struct span){ 0 },
		    origin ? span_str(origin) : (struct span){ 0 });
	must(buf_append(&a->page.body, "", 1) == 0);
	a->text = (const char *)buf_bytes(&a->page.body).p;
}

static void ask(struct rig *r, struct answer *a, const char *path, const char *accept,
		const char *encoding)
{
	*a = (struct answer){ .page = { .accept = span_str(accept),
					.accept_encoding = span_str(encoding) } };
	ask_as(r, a, path, "127.0.0.1:8080", NULL);
}

/* A member of a JSON answer, by a path of names and indexes; NULL for none. */
static const char *member(const struct answer *a, struct json_object **doc, const char *path)
{
	struct json_object *found = NULL;

	*doc = json_tokener_parse(a->text);
	if (!check_row(path, *doc != NULL))
		return NULL;
	return json_pointer_get(*doc, path, &found) == 0 ? json_object_get_string(found) : NULL;
}

static void check_member(struct answer *a, const char *path, const char *want)
{
	struct json_object *doc;
	const char *got = member(a, &doc, path);

	if (!check_row(path, got ? want && strcmp(got, want) == 0 : !want))
		printf("%s in %s\n", path, a->text);
	json_object_put(doc);
}

static void test_index_and_unknown(void)
{
	static const char odd[] = "/a\"b\\c";
	struct rig r;
	struct answer a;
	rig_init(&r);

	ask(&r, &a, "/", "", "");
	check(a.page.status == 200);
	check(strcmp(a.page.content_type, "application/json; charset=utf-8") == 0);
	for (size_t i = 0; i < ROUTE_OTHER; i++) {
		char path[32];
		snprintf(path, sizeof(path), "/endpoints/%zu/path", i);
		check_member(&a, path, route_info[i].path);
	}
	check_member(&a, "/error", NULL);
	buf_fini(&a.page.body);

	static const char *const unknown[] = {
		"/dashboard", "/health//", "//", "/Health", odd, ""
	};
	for (size_t i = 0; i < array_len(unknown); i++) {
		ask(&r, &a, unknown[i], "", "");
		check_row(unknown[i], a.page.status == 404);
		check_member(&a, "/path", unknown[i]);
		check_member(&a, "/endpoints/1/path", "/health");
		buf_fini(&a.page.body);
	}
	check(r.site.requests[ROUTE_OTHER] == array_len(unknown));
	check(r.site.requests[ROUTE_INDEX] == 1);
	check(r.site.requests[ROUTE_METRICS] == 0);
	rig_fini(&r);
}

static void test_health_and_version(void)
{
	struct rig r;
	struct answer a;
	rig_init(&r);
	struct bus_writer *w = fixture_writer(&r.bus, BUS_TUNNEL);
	bus_phase(w, BUS_RUNNING);

	ask(&r, &a, "/health", "", "");
	check(a.page.status == 200);
	check_member(&a, "/status", "ok");
	buf_fini(&a.page.body);
	ask(&r, &a, "/version", "", "");
	check(a.page.status == 200);
	check_member(&a, "/program", "status-server");
	check_member(&a, "/started", "2023-11-14T22:13:20.123Z");
	check_member(&a, "/io_backend", "epoll");
	check_member(&a, "/components/0/name", "tunnel");
	check_member(&a, "/components/0/presence", "alive");
	check_member(&a, "/components/0/build", "1.2.3 test");
	check_member(&a, "/components/0/phase", "running");
	check_member(&a, "/components/0/exit_code", NULL);
	check_member(&a, "/components/1/presence", "absent");
	check_member(&a, "/components/1/build", NULL);
	buf_fini(&a.page.body);
	bus_phase(w, BUS_FAILED);
	bus_writer_free(w, 7);
	ask(&r, &a, "/version", "", "");
	check_member(&a, "/components/0/presence", "dead");
	check_member(&a, "/components/0/phase", "failed");
	check_member(&a, "/components/0/exit_code", "7");
	buf_fini(&a.page.body);
	rig_fini(&r);
}

static void test_ready(void)
{
	struct rig r;
	struct answer a;
	rig_init(&r);

	ask(&r, &a, "/ready", "", "");
	check(a.page.status == 503);
	check_member(&a, "/status", "not ready");
	check_member(&a, "/registered", "false");
	check_member(&a, "/tunnel", "absent");
	check_member(&a, "/missing/0/part", "registration");
	check_member(&a, "/missing/1/part", "tunnel");
	buf_fini(&a.page.body);

	struct bus_writer *control = fixture_writer(&r.bus, BUS_CONTROL);
	bus_publish_registration(control,
				 &(struct bus_registration){ .last_error = "401: \"no\"" });
	ask(&r, &a, "/ready", "", "");
	check(a.page.status == 503);
	check_member(&a, "/missing/0/reason", "not registered at the control plane: 401: \"no\"");
	buf_fini(&a.page.body);
	bus_publish_registration(control, &(struct bus_registration){ .registered = 1 });
	r.config.tunnel_enabled = false;
	ask(&r, &a, "/ready", "", "");
	check(a.page.status == 200);
	check_member(&a, "/status", "ready");
	check_member(&a, "/tunnel", "disabled");
	check_member(&a, "/missing/0/part", NULL);
	buf_fini(&a.page.body);
	bus_writer_free(control, 0);
	rig_fini(&r);
}

static size_t gunzip(const struct buf *from, size_t n, char *to, size_t size)
{
	z_stream z = { .next_in = buf_bytes(from).p, .avail_in = (uInt)n, .next_out = (Bytef *)to,
		       .avail_out = (uInt)size };

	must(inflateInit2(&z, 16 + MAX_WBITS) == Z_OK);
	check(inflate(&z, Z_FINISH) == Z_STREAM_END);
	inflateEnd(&z);
	return z.total_out;
}

static void test_metrics(void)
{
	static char page[1 << 20];
	struct rig r;
	struct answer a;
	rig_init(&r);

	ask(&r, &a, "/metrics", "", "");
	check(a.page.status == 200);
	check(strcmp(a.page.content_type, "text/plain; version=0.0.4; charset=utf-8") == 0);
	check(strcmp(a.page.vary, "Accept, Accept-Encoding") == 0 && !a.page.content_encoding);
	check(strstr(a.text, "\npipeops_http_requests_total{endpoint=\"/metrics\"} 1\n") != NULL);
	buf_fini(&a.page.body);
	ask(&r, &a, "/metrics", "application/openmetrics-text", "gzip");
	check(strcmp(a.page.content_type,
		     "application/openmetrics-text; version=1.0.0; charset=utf-8") == 0);
	check(strcmp(a.page.vary, "Accept, Accept-Encoding") == 0);
	check(strcmp(a.page.content_encoding, "gzip") == 0);
	const size_t n = gunzip(&a.page.body, buf_len(&a.page.body) - 1, page, sizeof(page) - 1);
	page[n] = '\0';
	check(strstr(page, "\npipeops_http_requests_total{endpoint=\"/metrics\"} 2\n") != NULL);
	check(n > 7 && strcmp(page + n - 7, "\n# EOF\n") == 0);
	check(buf_len(&a.page.body) < n / 2);
	buf_fini(&a.page.body);
	rig_fini(&r);
}

/* A slash at the end changes nothing, whatever the endpoint. */
static void test_slash_at_the_end(void)
{
	struct rig r;
	struct answer a;
	rig_init(&r);

	for (size_t i = 1; i < ROUTE_OTHER; i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/", route_info[i].path);
		ask(&r, &a, path, "", "");
		check_row(path, a.page.status == (i == ROUTE_READY ? 503 : 200));
		check_row(path, r.site.requests[i] == 1);
		buf_fini(&a.page.body);
	}
	rig_fini(&r);
}

/* Pages with words of others are for whoever asked for them by a name of ours. */
static void test_foreign_host_and_origin(void)
{
	static const struct {
		const char *host, *origin;
		int status; /* of a page with words of others; the rest is 200 */
	} rows[] = {
		{ "10.1.2.3:8080", NULL, 200 },
		{ "evil.example", NULL, 421 },
		{ "10.1.2.3:8080", "http://evil.example", 403 },
		{ "10.1.2.3:8080", "http://10.1.2.3:8080", 200 },
		{ "status.example.com", NULL, 200 },
		{ NULL, NULL, 200 },
	};
	struct rig r;
	struct answer a;
	rig_init(&r);

	snprintf(r.config.status_allowed_hosts, sizeof(r.config.status_allowed_hosts),
		 "status.example.com");
	for (size_t i = 0; i < array_len(rows); i++)
		for (size_t k = 0; k < ROUTE_OTHER; k++) {
			const bool own = k == ROUTE_READY || k == ROUTE_BLACKBOX;
			const int good = k == ROUTE_READY ? 503 : 200;

			a = (struct answer){ 0 };
			ask_as(&r, &a, route_info[k].path, rows[i].host, rows[i].origin);
			check_row(route_info[k].path,
				  a.page.status ==
					  (own && rows[i].status != 200 ? rows[i].status : good));
			if (a.page.status == 421)
				check(strstr(a.text, "status.allowed_hosts") != NULL);
			if (a.page.status == 403)
				check(strstr(a.text, "other sites") != NULL);
			buf_fini(&a.page.body);
		}
	rig_fini(&r);
}

/* A page that does not fit becomes a 500 of its own. */
static void test_page_that_fails(void)
{
	struct rig r;
	rig_init(&r);
	static const char *const paths[] = { "/",	 "/health",  "/ready",
					     "/version", "/metrics", "/none" };

	for (size_t i = 0; i < array_len(paths); i++)
		for (int gzip = 0; gzip < 2; gzip++) {
			struct page p = { .site = &r.site,
					  .path = span_str(paths[i]),
					  .accept_encoding = span_str(gzip ? "gzip" : "") };

			buf_init(&p.body, &mem_heap, 60);
			routes_make(&p, (struct span){ 0 }, (struct span){ 0 });
			check_row(paths[i], p.status == 500);
			check_row(paths[i], !p.vary && !p.content_encoding);
			check_row(paths[i], buf_len(&p.body) > 0);
			buf_fini(&p.body);
		}
	rig_fini(&r);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "index and unknown paths", test_index_and_unknown },
		{ "health and version", test_health_and_version },
		{ "ready", test_ready },
		{ "metrics", test_metrics },
		{ "slash at the end", test_slash_at_the_end },
		{ "foreign host and origin", test_foreign_host_and_origin },
		{ "page that fails", test_page_that_fails },
	};
	return run_cases("routes", cases, array_len(cases));
}
