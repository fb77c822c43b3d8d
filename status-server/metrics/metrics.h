/*
 * metrics -- the page /metrics: what this server knows of itself and of the
 * pod, and every number of the two segments by their own descriptors.
 *
 * Which of a container's numbers stand on the page follows from its presence:
 * alive, all; stalled or dead, counters and histograms as they were, no
 * gauges; absent or unreadable, none.
 */
#ifndef STATUS_SERVER_METRICS_METRICS_H
#define STATUS_SERVER_METRICS_METRICS_H

#include "status-server/metrics/exposition.h"
#include "status-server/routes.h"

/* Appends the page.  ERR_NOMEM, ERR_LIMIT. */
MUST_USE int metrics_write(struct buf *to, enum exposition_format format, const struct site *site,
			   const struct pod_view *v);

#endif
