/*
 * From a request to a page: the path is looked up in routes.def, its handler makes the page from
 * what the bus says now, and the page is given to the exchange.  What stands on a page is the
 * matter of pages/ and metrics/.
 */
#include "status-server/routes.h"

#include "lib/app/log.h"
#include "status-server/access.h"
#include "status-server/gzip.h"
#include "status-server/metrics/metrics.h"
#include "status-server/negotiate.h"
#include "status-server/pages/blackbox.h"
#include "status-server/pages/readiness.h"
#include "status-server/pages/status_json.h"

#define JSON "application/json; charset=utf-8"
#define TEXT "text/plain; charset=utf-8"

enum { BODY_MAX = 4 << 20 };

/* < 0 becomes a 500. */
typedef int handler_fn(struct page *p);

static int serve_index(struct page *p)
{
	return status_json_index(&p->body, NULL);
}

static int serve_health(struct page *p)
{
	return status_json_health(&p->body, p->site, p->view->realtime_ns);
}

static int serve_ready(struct page *p)
{
	struct readiness r;

	readiness_judge(&r, p->view, p->site->config->tunnel_enabled);
	p->status = r.ready ? 200 : 503;
	return status_json_ready(&p->body, &r);
}

static int serve_version(struct page *p)
{
	return status_json_version(&p->body, p->site, p->view);
}

static int serve_metrics(struct page *p)
{
	const enum exposition_format format = negotiate_format(p->accept);
	struct buf plain;

	p->content_type = exposition_content_type(format);
	p->vary = "Accept, Accept-Encoding";
	if (!negotiate_gzip(p->accept_encoding))
		return metrics_write(&p->body, format, p->site, p->view);
	p->content_encoding = "gzip";
	buf_init(&plain, p->body.mem, p->body.max);
	int rc = metrics_write(&plain, format, p->site, p->view);
	if (rc == 0)
		rc = gzip_append(&p->body, span_of(buf_bytes(&plain).p, buf_len(&plain)));
	buf_fini(&plain);
	return rc;
}

static int serve_blackbox(struct page *p)
{
	return blackbox_write(&p->body, p->view);
}

const struct route_info route_info[ROUTES_N] = {
#define ROUTE(id, path, handler, access, cost, help) [ROUTE_##id] = { path, help },
#include "status-server/routes.def"
#undef ROUTE
	[ROUTE_OTHER] = { "other", "" },
};

static const struct {
	handler_fn *make;
	enum { OPEN, OWN } access;
	enum { CHEAP, COSTLY } cost;
} handlers[ROUTE_OTHER] = {
#define ROUTE(id, path, handler, access, cost, help) [ROUTE_##id] = { handler, access, cost },
#include "status-server/routes.def"
#undef ROUTE
};

static enum route find_route(struct span path)
{
	if (path.n > 2 && path.p[path.n - 1] == '/')
		path.n--;
	for (size_t i = 0; i < ROUTE_OTHER; i++)
		if (span_is(path, route_info[i].path))
			return (enum route)i;
	return ROUTE_OTHER;
}

static int say(struct page *p, int status, const char *text)
{
	buf_consume(&p->body, buf_len(&p->body));
	p->status = status;
	p->content_type = TEXT;
	p->content_encoding = p->vary = NULL;
	return buf_append(&p->body, text, strlen(text));
}

/* Whether the route's page may be read; if not, the page says why not. */
static bool may_read(struct page *p, enum route route, struct span host, struct span origin)
{
	if (route == ROUTE_OTHER || handlers[route].access == OPEN)
		return true;
	switch (access_judge(host, origin, p->site->config->status_allowed_hosts)) {
	case ACCESS_GRANTED:
		return true;
	case ACCESS_FOREIGN_HOST:
		(void)!say(p, 421,
			   "This name is not known to be ours: ask by address, or add the name to "
			   "status.allowed_hosts.\n");
		return false;
	case ACCESS_FOREIGN_ORIGIN:
		(void)!say(p, 403, "Pages of other sites may not read this.\n");
		return false;
	}
	return false;
}

void routes_make(struct page *p, struct span host, struct span origin)
{
	const enum route route = find_route(p->path);
	int rc;

	p->site->requests[route]++;
	p->status = route == ROUTE_OTHER ? 404 : 200;
	p->content_type = JSON;
	p->content_encoding = p->vary = NULL;
	if (!may_read(p, route, host, origin))
		return;
	if (route == ROUTE_OTHER) {
		rc = status_json_index(&p->body, &p->path);
	} else {
		p->view = pod_watch_look(p->site->source);
		rc = handlers[route].make(p);
	}
	if (rc < 0) /* without memory for the text the status has to do */
		(void)!say(p, 500, "the page could not be made: out of memory\n");
}

/* Of an address that floods the server the pages that take work are refused. */
static bool may_be_made(struct site *site, struct http_exchange *x)
{
	static const struct http_field later = { "Retry-After", "1" };
	const enum route route = find_route(http_exchange_path(x));

	if (route == ROUTE_OTHER || handlers[route].cost == CHEAP || http_exchange_may_cost(x))
		return true;
	site->requests[route]++;
	http_exchange_reply_text(x, 503, &later, 1,
				 "too many connections from this address: ask more slowly");
	return false;
}

void routes_serve(void *user, struct http_exchange *x)
{
	struct page p = {
		.site = user,
		.path = http_exchange_path(x),
		.accept = http_exchange_field(x, "Accept"),
		.accept_encoding = http_exchange_field(x, "Accept-Encoding"),
	};
	struct http_field fields[3];
	size_t n = 0;

	if (!http_exchange_allow(x, HTTP_GET | HTTP_HEAD, "GET, HEAD") || !may_be_made(user, x))
		return;
	buf_init(&p.body, &mem_heap, BODY_MAX);
	routes_make(&p, http_exchange_field(x, "Host"), http_exchange_field(x, "Origin"));
	fields[n++] = (struct http_field){ "Content-Type", p.content_type };
	if (p.vary)
		fields[n++] = (struct http_field){ "Vary", p.vary };
	if (p.content_encoding)
		fields[n++] = (struct http_field){ "Content-Encoding", p.content_encoding };
	log_debug("request", "served", L_SPAN("path", p.path), L_INT("status", p.status),
		  L_INT("bytes", buf_len(&p.body)));
	http_exchange_reply(x, p.status, fields, n, &p.body);
}
