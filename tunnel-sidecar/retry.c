/*
 * retry -- how long to wait before the next attempt, by the class of the failure and how
 * long the outage has lasted. It sets no timer: session.c does.
 */
#include "tunnel-sidecar/retry.h"

#include "lib/base/bytes.h"
#include "lib/base/limits.h"

#define MINUTE_NS 60000000000ull

enum { AGES = 3 }; /* of an outage: its first minute, its first five, later */

/* `max` by the age of the outage; 0: as given to retry_init(). */
static const struct {
	uint64_t first, max[AGES];
} bounds[RETRY_CLASSES] = {
	[RETRY_AWAY] = { LIMIT_NS(RETRY_FIRST),
			 { LIMIT_NS(RETRY_AWAY_MINUTE), LIMIT_NS(RETRY_AWAY), 0 } },
	[RETRY_ANSWERED] = { LIMIT_NS(RETRY_FIRST), { LIMIT_NS(RETRY_ANSWERED_MINUTE), 0, 0 } },
	[RETRY_LISTEN] = { LIMIT_NS(RETRY_LISTEN_FIRST), { 0 } },
	[RETRY_REFUSED] = { LIMIT_NS(RETRY_REFUSED_FIRST), { 0 } },
	[RETRY_ABUSE] = { LIMIT_NS(RETRY_REFUSED_FIRST), { 0 } },
};

static uint64_t max_of(const struct retry *r, enum retry_class class, uint64_t age_ns)
{
	if (class == RETRY_LISTEN)
		return LIMIT_NS(RETRY_LISTEN_MAX);
	if (class >= RETRY_REFUSED) /* who asks for shorter waits means all of them */
		return min_u64(LIMIT_NS(RETRY_REFUSED_MAX), 4 * r->max_ns);
	const uint64_t max = bounds[class].max[age_ns < MINUTE_NS	? 0
					       : age_ns < 5 * MINUTE_NS ? 1
									: 2];
	return max ? min_u64(max, r->max_ns) : r->max_ns;
}

static void start_anew(struct retry *r, uint64_t now_ns)
{
	r->outage_ns = now_ns;
	for (unsigned c = 0; c < RETRY_CLASSES; c++) {
		const uint64_t max = max_of(r, c, UINT64_MAX);
		const uint64_t first =
			c == RETRY_LISTEN ? bounds[c].first : min_u64(bounds[c].first, r->max_ns);

		backoff_init(&r->backoff[c], min_u64(first, max), max);
	}
}

void retry_init(struct retry *r, uint64_t max_ns)
{
	*r = (struct retry){ .max_ns = max_ns };
	start_anew(r, 0);
}

void retry_begin(struct retry *r, uint64_t now_ns)
{
	r->was_short = false;
	start_anew(r, now_ns);
}

void retry_lost(struct retry *r, uint64_t now_ns, uint64_t up_ns)
{
	const bool is_short = now_ns - up_ns < LIMIT_NS(STABLE);

	if (!is_short || !r->was_short)
		start_anew(r, now_ns);
	r->was_short = is_short;
}

enum retry_class retry_class_of(enum bus_cause cause, const struct fault *why)
{
	if (why->code == ERR_AUTH || why->code == ERR_TRUST)
		return RETRY_REFUSED;
	if (cause == BUS_CAUSE_PROTOCOL && why->code == ERR_LIMIT)
		return RETRY_ABUSE;
	if (cause == BUS_CAUSE_CANNOT_LISTEN)
		return RETRY_LISTEN;
	return cause == BUS_CAUSE_DNS || cause == BUS_CAUSE_TCP ? RETRY_AWAY : RETRY_ANSWERED;
}

uint64_t retry_wait(struct retry *r, enum bus_cause cause, const struct fault *why, uint64_t now_ns,
		    uint64_t began_ns, uint64_t random)
{
	const enum retry_class class = retry_class_of(cause, why);
	struct backoff *b = &r->backoff[class];

	if (cause == BUS_CAUSE_DEAD_LINK)
		return 0;
	backoff_limit(b, max_of(r, class, now_ns - r->outage_ns));
	const uint64_t draw = backoff_next(b, random), took = now_ns - began_ns;
	return draw > took ? draw - took : 0;
}
