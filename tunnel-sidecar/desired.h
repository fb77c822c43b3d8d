/*
 * desired -- follows the desired state on the bus, and publishes what was done.
 *
 * Level-triggered: every 250 ms, and when the doorbell of the bus hints at
 * something new, the record is read as a whole, checked against
 * this container's own configuration, and compared with what runs.  A control
 * agent that dies, restarts or writes nonsense changes nothing about a tunnel
 * that is up; only a different, valid record does.  A control agent that
 * changes the record all the time can't restart sessions all the time: after three
 * changes at once, one every 5 s.  Records are not queued; the newest one counts.
 */
#ifndef TUNNEL_SIDECAR_DESIRED_H
#define TUNNEL_SIDECAR_DESIRED_H

#include "lib/app/config/config.h"
#include "tunnel-sidecar/session.h"

struct desired;

struct desired_options {
	struct loop *loop;
	struct publish *publish;
	struct session *session;
	const struct config *config; /* kept by the caller */
	bool is_peer_gone;	     /* no doorbell: the poll alone */
};

MUST_USE int desired_new(struct desired **out, const struct desired_options *options,
			 struct fault *why);
void desired_quiet(
	struct desired *d);	      /* before loop_free(): nothing wakes the loop; accepts NULL */
void desired_free(struct desired *d); /* after loop_free(); accepts NULL */

/* A session's state changed: the answer on the bus follows at once. */
void desired_answer(struct desired *d);

/* One record to a target, checked: scheme, server, fingerprint, ports, and that
 * every forward is one of the configuration's.  ERR_CONFIG with the reason.
 * Credentials are not part of the record. */
MUST_USE int desired_check(struct session_target *to, const struct bus_desired *record,
			   const struct config *config, struct fault *why);

/* The credentials file of a generation, "user:pass", from the handoff
 * directory.  ERR_SYS, ERR_CONFIG. */
MUST_USE int desired_credentials(struct session_target *to, const char *handoff_dir,
				 uint64_t generation, struct fault *why);

#endif
