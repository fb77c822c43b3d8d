/*
 * retry -- when to try again: soon enough to be back within two seconds after the network
 * is, and rarely enough not to overload a server.  Pure: time and random numbers are arguments.
 *
 * A draw is the time from the beginning of one attempt to the next, so an
 * attempt that ran into its deadline is followed at once: while nobody answers,
 * one is always under way.  How far draws may grow depends on what failed:
 *
 *   nobody answered (dns, tcp)   cheap for everyone: 100 ms to 1.5 s in the first
 *                                minute of an outage, to 5 s in the first five
 *   somebody answered, it failed costs a server a handshake: 100 ms to 5 s in the
 *                                first minute
 *   the port is still held       250 ms to 2 s, for as long as it takes
 *   we are refused, or flooded   15 s to 60 s: another try changes nothing
 *
 * Later all but the last two grow to the bound given (15 s by default).  A link
 * found dead is tried at once: agents find that at different moments.
 */
#ifndef TUNNEL_SIDECAR_RETRY_H
#define TUNNEL_SIDECAR_RETRY_H

#include <stdbool.h>

#include "lib/base/backoff.h"
#include "shm/bus.h"

enum retry_class {
	RETRY_AWAY,
	RETRY_ANSWERED,
	RETRY_LISTEN,
	RETRY_REFUSED,
	RETRY_ABUSE,
	RETRY_CLASSES
};

struct retry {
	uint64_t max_ns;
	uint64_t outage_ns;		       /* when it began */
	bool was_short;			       /* the last tunnel ended at once */
	struct backoff backoff[RETRY_CLASSES]; /* one backoff per class: alternating failures do not
						  reset it */
};

void retry_init(struct retry *r, uint64_t max_ns);
/* Something else is wanted: draws start anew. */
void retry_begin(struct retry *r, uint64_t now_ns);
/* A tunnel that came up at up_ns was lost.  Those that end at once, one after the
 * other, are no success: draws go on growing. */
void retry_lost(struct retry *r, uint64_t now_ns, uint64_t up_ns);

enum retry_class retry_class_of(enum bus_cause cause, const struct fault *why);
/* How long to wait now; began_ns is when the attempt that failed began, now_ns
 * for a tunnel that was lost.  `random` is any 64 random bits. */
uint64_t retry_wait(struct retry *r, enum bus_cause cause, const struct fault *why, uint64_t now_ns,
		    uint64_t began_ns, uint64_t random);

#endif
