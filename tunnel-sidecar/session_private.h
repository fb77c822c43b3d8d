/*
 * session_private -- what session.c (states, retries, deadlines) and
 * session_link.c (one connection) share.  For nobody else but their tests.
 */
#ifndef TUNNEL_SIDECAR_SESSION_PRIVATE_H
#define TUNNEL_SIDECAR_SESSION_PRIVATE_H

#include "lib/app/log.h"
#include "lib/base/units.h"
#include "lib/io/dial.h"
#include "tunnel-sidecar/forward.h"
#include "tunnel-sidecar/link.h"
#include "tunnel-sidecar/retry.h"
#include "tunnel-sidecar/session.h"
#include "tunnel-sidecar/state_time.h"

#define S(n) ((n)*NS_PER_S)

struct session {
	struct session_options o;
	struct publish_beat beat;
	struct session_target target; /* its remotes are ours, o.remotes_max of them */
	bool wanted, idle_closed;
	enum bus_state state;
	struct fault fault;   /* of the last attempt */
	enum bus_cause cause; /* why it is not connected, while it is not */

	struct dial *dial;
	struct link link;		      /* the connection that counts */
	int link_fd;			      /* a second descriptor of its socket, or -1 */
	int dead_fd;			      /* … of the last one that was found dead, or -1 */
	uint64_t glitches_said[GLITCH_KINDS]; /* of it, on the bus already */
	size_t links;			      /* alive, also those that only say goodbye */
	struct forward_set forwards;

	uint64_t attempt_ns; /* when this attempt began */
	uint64_t ping_ns;    /* sent and unanswered, else 0 */
	uint64_t next_ping_ns, phase_deadline_ns;
	int64_t failures; /* in a row */
	uint64_t up_ns;	  /* when the tunnel came up last */
	struct retry retry;
	struct timer timer; /* earliest deadline of this session */

	bool draining;
	uint64_t drain_deadline_ns;
	uint64_t silence_ns; /* when a stream may have been silent for too long, while draining */
	void (*drained)(void *user);
	void *drained_user;
};

/* The one place where the state changes: timer, log line, bus. */
void session_enter(struct session *s, enum bus_state state);
/* Sets the timer to the earliest deadline. */
void session_arm(struct session *s);
/* The attempt or the session ended for this reason: notes it, comes back. */
void session_fail(struct session *s, const struct fault *why);

/* session_link.c: starts to connect; ends with state UP or session_fail(). */
void session_attempt(struct session *s);
/* What a link tells of this session comes here. */
extern const struct link_handler session_link_handler;
/* Ends the connection, if any, with a goodbye. */
void session_unlink(struct session *s, enum ssh_disconnect_reason reason, const char *text);
/* Publishes what the peer did without any use since the last time. */
void session_report(void *user);
/* The link is dead, but the server may not know and hold the forwards' ports: what
 * is kept here resets it, once packets get through again. */
void session_keep_dead(struct session *s);
void session_reset_dead(struct session *s); /* accepts that there is none */
/* A connection that was closing gracefully has gone. */
void session_gone(struct session *s);

uint64_t session_now(const struct session *s);
void session_entropy(void *ctx, void *p, size_t n);

#endif
