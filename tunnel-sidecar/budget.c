/*
 * budget -- the arithmetic of receive windows: how many bytes a channel's window opens, from
 * what it received and what its local socket took. It holds the shares and no memory or
 * clock; windows.c has those.
 */
#include "tunnel-sidecar/budget.h"
#include "lib/base/units.h"

enum {
	MEMORY_PART = 4,   /* one of so many of the container's memory is for windows */
	FIRST_PART = 1024, /* one of so many of what is free is a first window */
};

void budget_set_memory(struct budget *b, uint64_t limit)
{
	b->limit = min_u64(limit / MEMORY_PART, BUDGET_LIMIT_MAX);
}

/* ---- what a share counts for ---- */

static uint64_t held_by(const struct share *s)
{
	return (uint64_t)s->window + s->buffered;
}

static uint64_t reserved_by(const struct share *s)
{
	const uint64_t held = held_by(s);

	return s->open && held < BUDGET_FLOOR ? BUDGET_FLOOR : held;
}

static uint64_t extra_of(const struct share *s)
{
	const uint64_t held = held_by(s);

	return held > s->first ? held - s->first : 0;
}

static void count(struct budget *b, const struct share *s)
{
	b->held += held_by(s);
	b->reserved += reserved_by(s);
	b->extra += extra_of(s);
	b->starved_n += s->starved;
}

static void uncount(struct budget *b, const struct share *s)
{
	b->held -= held_by(s);
	b->reserved -= reserved_by(s);
	b->extra -= extra_of(s);
	b->starved_n -= s->starved;
}

static uint64_t left_of(uint64_t sum, uint64_t taken)
{
	return sum > taken ? sum - taken : 0;
}

/* ---- how large a window should be ---- */

/* For a whole second in which less than a window went through, half of it will do.
 * We are told when bytes went through, so of several the first was the busy one. */
static void age(struct share *s, uint64_t now_ns)
{
	const uint64_t seconds = now_ns > s->second_ns ? (now_ns - s->second_ns) / NS_PER_S : 0;

	if (!seconds)
		return;
	const uint64_t idle = seconds - (s->passed >= s->target);
	s->target = idle < 32 ? s->target >> idle : 0;
	if (s->target < s->first)
		s->target = s->first;
	s->second_ns = now_ns;
	s->passed = 0;
}

/* Used up before we opened it again: all of it was sent within one round trip.
 * Only when the local socket has kept rate was it the window that limited: bytes
 * that lie here would only be more, and fall out of the processor's cache. */
static void grow(struct budget *b, struct share *s)
{
	if (!s->open || !s->pinched || s->buffered > min_u64(s->target / 4, BUDGET_START))
		return;
	s->pinched = false;
	if (s->target >= BUDGET_WINDOW_MAX)
		return;
	s->target = s->target < BUDGET_WINDOW_MAX / 2 ? s->target * 2 : BUDGET_WINDOW_MAX;
	b->growths++;
}

/* The target, as far as the half for grown windows has room: as much as is left
 * there beside this channel, at most. */
static uint64_t aim(const struct budget *b, const struct share *s)
{
	const uint64_t left = left_of(b->limit / 2, b->extra - extra_of(s));

	return min_u64(s->target, s->first + left / 2);
}

/* What may be granted now, so that the channel holds `want` at most.  `has_waited`:
 * its own floor whatever the limit is by now, which is in the sum already; else
 * windows that others leave unused would stall it for as long as they are open. */
static uint32_t grant(struct budget *b, struct share *s, bool has_waited)
{
	const uint64_t want = aim(b, s), held = held_by(s);
	const uint64_t more = left_of(want, held);

	s->starved = false;
	if (!s->open || more < (want + 1) / 2)
		return 0;
	/* Its own floor is there for it, the rest only beside the floors of all others. */
	const uint64_t own = reserved_by(s) - held;
	const uint64_t room =
		min_u64(own + left_of(b->limit, b->reserved), left_of(b->limit, b->held));
	const uint64_t n = min_u64(more, has_waited && room < own ? own : room);

	/* Less than that is not worth a message. */
	if (n < min_u64(more, BUDGET_FLOOR / 2)) {
		s->starved = s->window < BUDGET_FLOOR / 2 && !s->buffered;
		return 0;
	}
	s->window += (uint32_t)n;
	return (uint32_t)n;
}

/* ---- a channel's life ---- */

uint32_t budget_open(struct budget *b, struct share *s, uint64_t now_ns)
{
	const uint64_t left = left_of(b->limit, b->reserved);
	uint64_t first = min_u64(left / FIRST_PART, BUDGET_START);

	if (first < BUDGET_FLOOR)
		first = BUDGET_FLOOR;
	*s = (struct share){ 0 };
	if (left < first || left_of(b->limit, b->held) < first) {
		b->refused++;
		return 0;
	}
	s->open = true;
	s->window = s->first = s->target = (uint32_t)first;
	s->second_ns = now_ns;
	count(b, s);
	return s->window;
}

bool budget_open_foreign(struct budget *b, struct share *s)
{
	*s = (struct share){ 0 };
	if (left_of(b->limit, b->reserved) >= BUDGET_FLOOR)
		return true;
	b->refused++;
	return false;
}

void budget_received(struct budget *b, struct share *s, size_t n)
{
	uncount(b, s);
	s->window -= (uint32_t)min_size(n, s->window);
	s->buffered += (uint32_t)n;
	count(b, s);
	if (s->window <= s->target / 8)
		s->pinched = true;
}

static uint32_t look_again(struct budget *b, struct share *s, uint64_t now_ns, bool has_waited)
{
	age(s, now_ns);
	const struct share was = *s;
	const uint32_t n = grant(b, s, has_waited);
	uncount(b, &was);
	count(b, s);
	return n;
}

uint32_t budget_passed(struct budget *b, struct share *s, size_t n, uint64_t now_ns)
{
	must(n <= s->buffered);
	uncount(b, s);
	s->buffered -= (uint32_t)n;
	age(s, now_ns);
	s->passed += n;
	grow(b, s);
	count(b, s);
	return look_again(b, s, now_ns, false);
}

uint32_t budget_retry(struct budget *b, struct share *s, uint64_t now_ns)
{
	return look_again(b, s, now_ns, true);
}

void budget_end(struct budget *b, struct share *s)
{
	uncount(b, s);
	s->open = s->starved = false;
	s->window = 0;
	count(b, s);
}

void budget_close(struct budget *b, struct share *s)
{
	uncount(b, s);
	*s = (struct share){ 0 };
}
