/*
 * state_time -- how long the tunnel was connected, and how long not and why.
 *
 * Time belongs to one cause at each moment, so the parts always sum to the
 * whole.  Pure: the clock is an argument, and what is booked goes to a callback.
 */
#ifndef TUNNEL_SIDECAR_STATE_TIME_H
#define TUNNEL_SIDECAR_STATE_TIME_H

#include <stdbool.h>

#include "shm/bus.h"

struct state_time {
	uint64_t booked_ns; /* everything before this moment is booked */
	enum bus_cause cause;
	void (*book)(void *user, enum bus_cause cause, uint64_t ns);
	void *user;
};

/* Books what passed since the last call.  A clock that stood still or fell books
 * nothing. */
void state_time_advance(struct state_time *t, uint64_t now_ns);
/* From now on time belongs to this cause. */
void state_time_enter(struct state_time *t, enum bus_cause cause, uint64_t now_ns);

/* What a failure in this state says of the tunnel.  `at_proxy`: a connection
 * stands, and the proxy has not yet opened the way. */
enum bus_cause state_time_cause(enum bus_state state, bool at_proxy, const struct fault *why);

#endif
