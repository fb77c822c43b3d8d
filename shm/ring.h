/*
 * ring -- lines of text in fixed slots; the oldest is overwritten.
 *
 * One producer, which never waits; any number of readers, each with its own
 * cursor, each told exactly how many lines it missed: got + lost == cursor.
 * A slot's sequence is 0 while it is written and n + 1 once line n stands in
 * it; the head moves last, so a slot torn by a crash is never reached.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"
#include "shm/layout.h"

/* Words of a slot: sequence, boottime, realtime, level 16 | module 16 |
 * length 32, flags, then the text. */
#define BUS_RING_SLOT_HEAD 5u
#define BUS_RING_TEXT_MAX  (BUS_SLOT_MAX - 8u * BUS_RING_SLOT_HEAD)
#define BUS_RING_HEAD_MAX  (UINT64_C(1) << 48) /* more lines than any life writes */

enum bus_ring_flag { BUS_RING_CUT = 1 };

/* Where a ring stands in a map. */
struct bus_ring {
	_Atomic uint64_t *head; /* lines ever written */
	_Atomic uint64_t *slots;
	size_t slots_n;	   /* a power of two */
	size_t slot_words; /* > BUS_RING_SLOT_HEAD */
};

struct bus_ring_line {
	uint64_t seq; /* from 1 */
	uint64_t boottime_ns, realtime_ns;
	unsigned level, flags;
	size_t n;
	char text[BUS_RING_TEXT_MAX]; /* as found: n bytes, not cleaned */
};

/* A longer text is cut between characters and flagged. */
void bus_ring_write(const struct bus_ring *r, unsigned level, uint64_t boottime_ns,
		    uint64_t realtime_ns, const char *text, size_t n);

/* The head, for one round of bus_ring_next(): ERR_PROTO when it went back
 * behind the cursor or is absurd. */
MUST_USE int bus_ring_head(const struct bus_ring *r, uint64_t cursor, uint64_t *head);

/* The next line below `head` that is still there: 1, or 0 at the head.
 * What is gone goes to *lost.  At most slots_n steps in one round. */
MUST_USE int bus_ring_next(const struct bus_ring *r, uint64_t head, uint64_t *cursor,
			   uint64_t *lost, struct bus_ring_line *to);

#endif
