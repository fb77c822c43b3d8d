#include "status-server/routes.h"

#include "lib/app/log.h"
#include "status-server/gzip.h"
#include "status-server/metrics/metrics.h"
#include "status-server/negotiate.h"
#include "status-server/pages/blackbox.h"
#include "status-server/pages/readiness.h"
#include "status-server/pages/status_json.h"

#define JSON "application/json; charset=utf-8"

/* A page is written to reply->body; < 0 becomes a 500. */
typedef int handler_fn(struct site *site, const struct pod_view *v,
		       const struct http_server_request *request, struct http_server_reply *reply);

static int serve_index(struct site *site, const struct pod_view *v,
		       const struct http_server_request *request, struct http_server_reply *reply)
{
	(void)site;
	(void)v;
	(void)request;
	return status_json_index(reply->body, NULL);
}

static int serve_health(struct site *site, const struct pod_view *v,
			const struct http_server_request *request, struct http_server_reply *reply)
{
	(void)request;
	return status_json_health(reply->body, site, v->realtime_ns);
}

static int serve_ready(struct site *site, const struct pod_view *v,
		       const struct http_server_request *request, struct http_server_reply *reply)
{
	struct readiness r;

	(void)request;
	readiness_judge(&r, v, site->config->tunnel_enabled);
	reply->status = r.ready ? 200 : 503;
	return status_json_ready(reply->body, &r);
}

static int serve_version(struct site *site, const struct pod_view *v,
			 const struct http_server_request *request, struct http_server_reply *reply)
{
	(void)request;
	return status_json_version(reply->body, site, v);
}

static int serve_metrics(struct site *site, const struct pod_view *v,
			 const struct http_server_request *request, struct http_server_reply *reply)
{
	const enum exposition_format format = negotiate_format(request->accept);
	struct buf page;

	reply->content_type = exposition_content_type(format);
	reply->extra = "Vary: Accept, Accept-Encoding\r\n";
	if (!negotiate_gzip(request->accept_encoding))
		return metrics_write(reply->body, format, site, v);
	reply->extra = "Vary: Accept, Accept-Encoding\r\nContent-Encoding: gzip\r\n";
	buf_init(&page, reply->body->mem, reply->body->max);
	int rc = metrics_write(&page, format, site, v);
	if (rc == 0)
		rc = gzip_append(reply->body, span_of(buf_bytes(&page).p, buf_len(&page)));
	buf_fini(&page);
	return rc;
}

static int serve_blackbox(struct site *site, const struct pod_view *v,
			  const struct http_server_request *request,
			  struct http_server_reply *reply)
{
	(void)site;
	(void)request;
	return blackbox_write(reply->body, v);
}

const struct route_info route_info[ROUTES_N] = {
#define ROUTE(id, path, handler, help) [ROUTE_##id] = { path, help },
#include "status-server/routes.def"
#undef ROUTE
	[ROUTE_OTHER] = { "other", "" },
};

static handler_fn *const handlers[ROUTE_OTHER] = {
#define ROUTE(id, path, handler, help) [ROUTE_##id] = handler,
#include "status-server/routes.def"
#undef ROUTE
};

static enum route find_route(struct span path)
{
	for (size_t i = 0; i < ROUTE_OTHER; i++)
		if (span_is(path, route_info[i].path))
			return (enum route)i;
	return ROUTE_OTHER;
}

static void fail(struct http_server_reply *reply)
{
	static const char text[] = "the page could not be made: out of memory\n";

	buf_consume(reply->body, buf_len(reply->body));
	reply->status = 500;
	reply->content_type = "text/plain; charset=utf-8";
	reply->extra = NULL;
	if (buf_append(reply->body, text, sizeof(text) - 1) < 0)
		return; /* then the status has to do */
}

void routes_serve(void *user, const struct http_server_request *request,
		  struct http_server_reply *reply)
{
	struct site *site = user;
	const enum route route = find_route(request->path);
	int rc;

	site->requests[route]++;
	reply->content_type = JSON;
	if (route == ROUTE_OTHER) {
		rc = status_json_index(reply->body, &request->path);
	} else {
		reply->status = 200;
		rc = handlers[route](site, pod_watch_look(site->source), request, reply);
	}
	if (rc < 0)
		fail(reply);
	log_debug("request", "served", L_SPAN("path", request->path),
		  L_INT("status", reply->status), L_INT("bytes", buf_len(reply->body)));
}
