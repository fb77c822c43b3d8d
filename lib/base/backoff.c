/*
 * backoff -- decorrelated jitter: the next wait is drawn from the last one. Pure
 * arithmetic: the caller decides who waits and for what.
 */
#include "lib/base/backoff.h"

#include "lib/base/must.h"

void backoff_init(struct backoff *b, uint64_t first_ns, uint64_t max_ns)
{
	must(first_ns <= max_ns);
	*b = (struct backoff){ .first_ns = first_ns, .max_ns = max_ns, .last_ns = first_ns };
}

void backoff_limit(struct backoff *b, uint64_t max_ns)
{
	b->max_ns = max_ns;
	if (b->first_ns > max_ns)
		b->first_ns = max_ns;
}

uint64_t backoff_next(struct backoff *b, uint64_t random)
{
	const uint64_t top = b->last_ns > b->max_ns / 3 ? b->max_ns : b->last_ns * 3;
	const uint64_t span = top - b->first_ns;

	b->last_ns = b->first_ns + (span ? random % (span + 1) : 0);
	return b->last_ns;
}
