/*
 * backoff -- how long to wait before trying again: decorrelated jitter.
 *
 * Each wait is drawn between `first` and three times the last one, at most
 * `max`: many clients that lost the same server do not come back together.
 * Pure: the random number is an argument.
 */
#ifndef LIB_BASE_BACKOFF_H
#define LIB_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint64_t first_ns, max_ns, last_ns;
};

/* first <= max, both ns. */
void backoff_init(struct backoff *b, uint64_t first_ns, uint64_t max_ns);
/* Another bound for the waits to come; first_ns follows where it is lower. */
void backoff_limit(struct backoff *b, uint64_t max_ns);
/* The next wait in ns; `random` is any 64 random bits. */
uint64_t backoff_next(struct backoff *b, uint64_t random);

#endif
