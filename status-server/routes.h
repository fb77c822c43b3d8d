/*
 * routes -- a request to one of the endpoints of routes.def.
 */
#ifndef STATUS_SERVER_ROUTES_H
#define STATUS_SERVER_ROUTES_H

#include "lib/app/config/config.h"
#include "lib/app/sandbox/sandbox.h"
#include "lib/http/server.h"
#include "status-server/pod_view.h"

enum route {
#define ROUTE(id, path, handler, help) ROUTE_##id,
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

/* The http_server_fn of a struct site. */
void routes_serve(void *site, const struct http_server_request *request,
		  struct http_server_reply *reply);

#endif
