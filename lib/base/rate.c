/*
 * rate -- a token bucket kept as one point in time (GCRA). It reads no clock:
 * the time is an argument.
 */
#include "lib/base/rate.h"

bool rate_allow_of(struct rate *p, uint64_t now_ns, unsigned burst, uint64_t every_ns,
		   uint64_t *missed)
{
	const uint64_t from = p->next_ns > now_ns ? p->next_ns : now_ns;

	if (from - now_ns > (burst - 1) * every_ns) {
		p->missed++;
		return false;
	}
	p->next_ns = from + every_ns;
	*missed = p->missed;
	p->missed = 0;
	return true;
}

bool rate_allow(struct rate *p, uint64_t now_ns, uint64_t *missed)
{
	return rate_allow_of(p, now_ns, RATE_BURST, RATE_EVERY_NS, missed);
}
