/*
 * tunnel_view -- what the tunnel container says of itself on the bus.
 */
#ifndef CONTROL_AGENT_TUNNEL_TUNNEL_VIEW_H
#define CONTROL_AGENT_TUNNEL_TUNNEL_VIEW_H

#include "shm/reader.h"

struct tunnel_view {
	struct bus_reader *tunnel, *own;
};

MUST_USE int tunnel_view_init(struct tunnel_view *v, const char *bus_dir, struct fault *why);
void tunnel_view_fini(struct tunnel_view *v); /* accepts a zeroed v */

/* The heartbeat's word: "connected", "connecting" or "disconnected". */
const char *tunnel_view_status(struct tunnel_view *v, uint64_t now_ns);
/* The same for a presence and a state: pure. */
const char *tunnel_view_word(enum bus_presence presence, uint64_t state);
/* The generation of our desired record that the tunnel has applied; 0: none of
 * this life's. */
uint64_t tunnel_view_applied(struct tunnel_view *v, uint64_t now_ns);

#endif
