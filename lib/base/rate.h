/*
 * rate -- how often something may be said or done: a few at once, then one each
 * so often.
 *
 * For log lines, and turns, that a peer can cause as fast as it likes.  Pure: the
 * time is an argument.  Start from zeroed memory.
 */
#ifndef LIB_BASE_RATE_H
#define LIB_BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/limits.h"
#include "lib/base/units.h"

enum { RATE_BURST = LIMIT_LOG_BURST };
#define RATE_EVERY_NS NS_PER_S

struct rate {
	uint64_t next_ns; /* when all tokens would be back: a bucket kept as one time (GCRA) */
	uint64_t missed;
};

/* May it be said now?  Then *missed is how often the answer was no before. */
bool rate_allow(struct rate *p, uint64_t now_ns, uint64_t *missed);
/* The same with a burst and an interval of the caller's, the same at each call. */
bool rate_allow_of(struct rate *p, uint64_t now_ns, unsigned burst, uint64_t every_ns,
		   uint64_t *missed);

#endif
