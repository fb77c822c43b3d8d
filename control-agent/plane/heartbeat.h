/*
 * heartbeat -- the heartbeat's request and what its answer means.
 *
 * Pure: heartbeats.c keeps the time and sends.
 */
#ifndef CONTROL_AGENT_PLANE_HEARTBEAT_H
#define CONTROL_AGENT_PLANE_HEARTBEAT_H

#include "lib/base/buf.h"
#include "lib/base/units.h"

#define HEARTBEAT_NS (5 * NS_PER_S)

struct heartbeat_request {
	const char *cluster_id, *agent_id, *version;
	const char *tunnel_status; /* "connected", "connecting" or "disconnected": the truth */
	int64_t now_s;
};

/* The path for a cluster. */
void heartbeat_path(char to[160], const char *cluster_id);
/* Appends the JSON body.  ERR_NOMEM, ERR_LIMIT. */
MUST_USE int heartbeat_request_write(struct buf *to, const struct heartbeat_request *r);

/* 0 when it was taken; 1 when the control plane does not know this cluster (any
 * more): register again; else ERR_AUTH, ERR_REFUSED with the status. */
MUST_USE int heartbeat_answer_read(int status, struct span body, struct fault *why);

#endif
