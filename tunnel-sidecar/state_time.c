/*
 * state_time -- adds up the time in each cause of being connected or disconnected, and maps
 * a failure to its cause. It does not write to the bus: the callback does.
 */
#include "tunnel-sidecar/state_time.h"

#include <errno.h>

void state_time_advance(struct state_time *t, uint64_t now_ns)
{
	if (now_ns <= t->booked_ns)
		return;
	t->book(t->user, t->cause, now_ns - t->booked_ns);
	t->booked_ns = now_ns;
}

void state_time_enter(struct state_time *t, enum bus_cause cause, uint64_t now_ns)
{
	state_time_advance(t, now_ns);
	t->cause = cause;
}

static bool is_ours(const struct fault *why)
{
	return why->code == ERR_NOMEM || why->code == ERR_FULL || why->code == ERR_CRYPTO ||
	       why->sys == EMFILE || why->sys == ENFILE || why->sys == ENOMEM ||
	       why->sys == ENOBUFS;
}

/* A session that was up: what took it down. */
static enum bus_cause of_session(const struct fault *why)
{
	if (why->code == ERR_TIMEOUT || why->sys == ETIMEDOUT || why->sys == EHOSTUNREACH ||
	    why->sys == ENETUNREACH)
		return BUS_CAUSE_DEAD_LINK;
	if (why->code == ERR_CLOSED && !why->sys)
		return BUS_CAUSE_PEER_CLOSED;
	return why->code == ERR_SYS || why->code == ERR_CLOSED ? BUS_CAUSE_RESET
							       : BUS_CAUSE_PROTOCOL;
}

enum bus_cause state_time_cause(enum bus_state state, bool at_proxy, const struct fault *why)
{
	if (is_ours(why))
		return BUS_CAUSE_LOCAL;
	switch (state) {
	case BUS_STATE_RESOLVING:
		return BUS_CAUSE_DNS;
	case BUS_STATE_CONNECTING:
		return at_proxy ? BUS_CAUSE_PROXY : BUS_CAUSE_TCP;
	case BUS_STATE_TLS:
		return BUS_CAUSE_TLS;
	case BUS_STATE_UPGRADING:
		return why->code == ERR_AUTH ? BUS_CAUSE_AUTH : BUS_CAUSE_UPGRADE;
	case BUS_STATE_SSH:
		return why->code == ERR_AUTH	? BUS_CAUSE_AUTH
		       : why->code == ERR_TRUST ? BUS_CAUSE_FINGERPRINT
						: BUS_CAUSE_SSH;
	case BUS_STATE_CONFIGURING:
		return why->code == ERR_LISTEN ? BUS_CAUSE_CANNOT_LISTEN : BUS_CAUSE_CONFIG;
	case BUS_STATE_UP:
	case BUS_STATE_DRAINING:
		return of_session(why);
	case BUS_STATE_IDLE: /* nothing is under way that could fail */
	case BUS_STATE_BACKOFF:
	case BUS_STATE_FAILED:
	case BUS_STATES_N:
		break;
	}
	return BUS_CAUSE_LOCAL;
}
