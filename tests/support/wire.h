/*
 * wire -- one direction of a connection that is not there: bytes put in at one
 * end come out at the other later, in pieces of another size, or not at all.
 *
 * It owns no clock: time is an argument.  All it does by chance comes from a
 * struct dice, so that a seed says everything.
 */
#ifndef TESTS_SUPPORT_WIRE_H
#define TESTS_SUPPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dice {
	uint64_t state;
};

uint64_t dice_next(struct dice *d);
uint64_t dice_below(struct dice *d, uint64_t n); /* 0 … n - 1; n > 0 */
bool dice_one_in(struct dice *d, uint64_t n);
void dice_fill(void *dice, void *p, size_t n); /* as lib/proto asks for entropy */

#define WIRE_NEVER UINT64_MAX
enum { WIRE_MARKS = 32 };

struct wire_habits {
	size_t room;           /* bytes under way at most */
	size_t piece_max;      /* that come out at once at most; 1 = byte by byte */
	uint64_t delay_ns;     /* of each put, at most; order is kept */
	unsigned stall_one_in; /* … puts is late by stall_ns; 0 = never */
	uint64_t stall_ns;
	/* What happens at the n-th byte; WIRE_NEVER for nothing. */
	uint64_t dies_at;      /* the end comes out there, the rest is lost */
	uint64_t mute_at;      /* nothing comes out from there on */
	uint64_t flip_bit;     /* which bit of all is turned */
};

extern const struct wire_habits wire_perfect; /* all at once, now */

struct wire {
	struct wire_habits habits;
	struct dice *dice;
	uint8_t *bytes;
	size_t n, cap;
	uint64_t in, out; /* bytes ever put and taken */
	struct {
		uint64_t upto, at_ns; /* bytes before `upto` come out from at_ns on */
	} marks[WIRE_MARKS];
	size_t marks_n;
	bool closed; /* by the one who puts */
};

void wire_init(struct wire *w, const struct wire_habits *habits, struct dice *dice);
void wire_fini(struct wire *w);

/* Takes some of p[0..n): how many. */
size_t wire_put(struct wire *w, const uint8_t *p, size_t n, uint64_t now_ns);
void wire_close(struct wire *w); /* after what is under way */
void wire_die(struct wire *w);   /* nothing more, not even what is under way */
/* A piece of what has arrived, in memory of its own that ends where it does, for
 * the caller to free; NULL for none. */
uint8_t *wire_take(struct wire *w, uint64_t now_ns, size_t *n);
/* Nothing more will come, and the reader may know. */
bool wire_has_ended(const struct wire *w);
/* When the next byte arrives; WIRE_NEVER when none is under way. */
uint64_t wire_next_ns(const struct wire *w);

#endif
