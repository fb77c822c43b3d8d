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
/* What the tunnel answered to the records of this life; false when it is not alive or has
 * answered nothing yet. */
bool tunnel_view_observed(struct tunnel_view *v, uint64_t now_ns, struct bus_observed *to);
/* Whether it refuses generation `gen`: it has seen it, has not taken it and says why.  Pure. */
bool tunnel_view_is_refused(const struct bus_observed *o, uint64_t gen);

#endif
