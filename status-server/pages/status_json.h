/*
 * status_json -- the pages in JSON.  Each appends one document and a newline;
 * errors are those of buf_append.
 */
#ifndef STATUS_SERVER_PAGES_STATUS_JSON_H
#define STATUS_SERVER_PAGES_STATUS_JSON_H

#include "status-server/pages/readiness.h"
#include "status-server/routes.h"

MUST_USE int status_json_health(struct buf *to, const struct site *site, uint64_t realtime_ns);
MUST_USE int status_json_ready(struct buf *to, const struct readiness *r);
MUST_USE int status_json_version(struct buf *to, const struct site *site, const struct pod_view *v);
/* The list of endpoints; with `path` (as the client sent it), that it is none
 * of them. */
MUST_USE int status_json_index(struct buf *to, const struct span *path);

#endif
