/*
 * glitch -- what a peer does that is allowed but useless, counted by kind and
 * paid from one leaky budget: a little is forgiven for ever, a flood is not.
 *
 * Pure: the time is an argument.  Whoever owns one ends the connection when
 * glitch_charge() says no, and shows the counts to its operator.
 */
#ifndef LIB_BASE_GLITCH_H
#define LIB_BASE_GLITCH_H

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, text): the text stands in the metric's kind label. */
#define GLITCH_LIST(X)                                                                             \
	X(UNEXPECTED_REPLY, "unexpected_reply") /* an answer to nothing that was asked */          \
	X(EMPTY_DATA, "empty_data")		/* channel data of 0 bytes */                      \
	X(SMALL_ADJUST, "small_adjust")		/* a window opened by next to nothing */           \
	X(REPEATED, "repeated")			/* the end said again, a request after it */       \
	X(IGNORED, "ignored")			/* IGNORE, DEBUG, EXT_INFO */                      \
	X(UNKNOWN, "unknown_message")		/* answered UNIMPLEMENTED */                       \
	X(IDLE_REKEY, "idle_rekey")		/* a key exchange with next to nothing before */   \
	X(REQUEST, "request")		     /* global and channel requests, pings among them */   \
	X(FORBIDDEN_OPEN, "forbidden_open")  /* a channel to a target that is no forward */        \
	X(EMPTY_FRAME, "ws_empty_frame")     /* a WebSocket frame of no message */                 \
	X(CONTROL_FRAME, "ws_control_frame") /* WebSocket pings and pongs */

enum glitch_kind {
#define GLITCH_ENUM(name, text) GLITCH_##name,
	GLITCH_LIST(GLITCH_ENUM)
#undef GLITCH_ENUM
		GLITCH_KINDS
};

struct glitches {
	unsigned budget, left;
	uint64_t refill_ns; /* one point comes back this often */
	uint64_t seen_ns;   /* … counted up to here */
	uint64_t counts[GLITCH_KINDS];
};

void glitch_init(struct glitches *g, unsigned budget, uint64_t refill_ns, uint64_t now_ns);
/* Time passes. */
void glitch_refill(struct glitches *g, uint64_t now_ns);
/* Counts one; false when the peer can't pay for it any more. */
bool glitch_charge(struct glitches *g, enum glitch_kind kind, unsigned cost);

const char *glitch_name(enum glitch_kind kind); /* "unknown" for none */

#endif
