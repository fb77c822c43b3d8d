/*
 * routes -- a request to one of the endpoints of routes.def.
 */
#ifndef STATUS_SERVER_ROUTES_H
#define STATUS_SERVER_ROUTES_H

#include "lib/app/config/config.h"
#include "lib/app/sandbox/sandbox.h"
#include "lib/http/exchange.h"
#include "status-server/pod_view.h"

enum route {
#define ROUTE(id, path, handler, access, cost, help) ROUTE_##id,
#include "status-server/routes.def"
#undef ROUTE
	ROUTE_OTHER, /* any path that is none of them */
	ROUTES_N,
};

struct route_info {
	const char *path; /* of ROUTE_OTHER: "other" */
	const char *help;
};
extern const struct route_info route_info[ROUTES_N];

/* What the pages are made from; main's. */
struct site {
	struct config *config;
	struct pod_watch *source;
	struct loop *loop;
	const char *io_backend, *io_reason;
	const struct sandbox_report *sandbox; /* NULL: not entered */
	uint64_t start_realtime_ns;	      /* of this program */
	uint64_t requests[ROUTES_N];	      /* routes'; counted when they come */
};

/* A page that is being made: what a handler is given, and what it fills. */
struct page {
	struct site *site;
	const struct pod_view *view;
	struct span path, accept, accept_encoding; /* of the request; n = 0 when absent */
	int status;				   /* 200 unless the handler says otherwise */
	const char *content_type;		   /* static text; JSON unless it says otherwise */
	const char *content_encoding, *vary;	   /* static text or NULL */
	struct buf body;
};

/* Makes the page for `path`, whose other members the caller has set, by the table.  Never fails:
 * a page that can't be made is a 500. */
void routes_make(struct page *page, struct span host, struct span origin);

/* The http_request_fn of a struct site. */
void routes_serve(void *site, struct http_exchange *x);

#endif
