#include "tunnel-sidecar/budget.h"

#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/wire.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define SECOND 1000000000ull
#define MS 1000000ull

static uint64_t now = SECOND;

/* The server uses all it has, the local socket takes it at once. */
static void drain(struct budget *b, struct share *s)
{
	const uint32_t n = s->window;

	budget_received(b, s, n);
	(void)!budget_passed(b, s, n, now);
}

static void test_parts_of_memory(void)
{
	static const struct {
		const char *name;
		uint64_t memory, limit, first;
	} rows[] = {
		{ "no limit", UINT64_MAX, 256 * MIB, 64 * KIB },
		{ "much", 64 * 1024 * MIB, 256 * MIB, 64 * KIB },
		{ "512 MiB", 512 * MIB, 128 * MIB, 64 * KIB },
		{ "64 MiB", 64 * MIB, 16 * MIB, 16 * KIB },
		{ "16 MiB", 16 * MIB, 4 * MIB, 4 * KIB },
		{ "less than a window", 8 * KIB, 2 * KIB, 0 },
		{ "nothing", 0, 0, 0 },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct budget b = { 0 };
		struct share s;

		budget_set_memory(&b, rows[i].memory);
		check_row(rows[i].name, b.limit == rows[i].limit);
		check_row(rows[i].name, budget_open(&b, &s, now) == rows[i].first);
		check_row(rows[i].name, b.held == rows[i].first && b.refused == !rows[i].first);
		budget_close(&b, &s);
		check_row(rows[i].name, b.held == 0 && b.reserved == 0 && b.extra == 0);
	}
}

/* Doubles with each window that was the limit, up to its bound. */
static void test_grows_by_use(void)
{
	struct budget b = { 0 };
	struct share s;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &s, now) == BUDGET_START);
	for (uint64_t want = 2 * BUDGET_START; want <= BUDGET_WINDOW_MAX; want *= 2) {
		drain(&b, &s);
		check(s.window == want && b.held == want);
	}
	drain(&b, &s);
	check(s.window == BUDGET_WINDOW_MAX && b.growths == 7);
	budget_close(&b, &s);
}

/* The server had window left, or the local socket lagged behind: no reason to. */
static void test_does_not_grow_without_need(void)
{
	struct budget b = { 0 };
	struct share s;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &s, now) == BUDGET_START);
	for (int i = 0; i < 1000; i++) { /* small, and passed on at once */
		budget_received(&b, &s, 1000);
		(void)!budget_passed(&b, &s, 1000, now);
	}
	check(s.target == BUDGET_START && b.growths == 0);
	for (int i = 0; i < 1000; i++) { /* all of it, and taken slowly */
		budget_received(&b, &s, s.window);
		(void)!budget_passed(&b, &s, 1000, now);
	}
	check(s.target == BUDGET_START && b.growths == 0);
	check(b.held <= BUDGET_START);
	budget_close(&b, &s);
}

/* Half a window is opened at once; less waits. */
static void test_credit_is_coalesced(void)
{
	struct budget b = { 0 };
	struct share s;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &s, now) == BUDGET_START);
	budget_received(&b, &s, BUDGET_START / 2 - 1);
	check(budget_passed(&b, &s, BUDGET_START / 2 - 1, now) == 0);
	budget_received(&b, &s, 1);
	check(budget_passed(&b, &s, 1, now) == BUDGET_START / 2);
	check(s.window == BUDGET_START);
	budget_close(&b, &s);
}

/* A window that is not used any more is not granted again. */
static void test_shrinks_unused(void)
{
	struct budget b = { 0 };
	struct share s;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &s, now) == BUDGET_START);
	for (int i = 0; i < 10; i++)
		drain(&b, &s);
	check(s.window == BUDGET_WINDOW_MAX);
	now += 3 * SECOND;
	const uint32_t before = s.window;
	for (int i = 0; i < 100; i++) {
		budget_received(&b, &s, 10000);
		check(budget_passed(&b, &s, 10000, now) == 0);
	}
	check(s.window == before - 1000000);
	check(s.target == BUDGET_WINDOW_MAX / 4); /* the first of the three was busy */
	now += 100 * SECOND; /* never below the first */
	budget_received(&b, &s, 1);
	check(budget_passed(&b, &s, 1, now) == 0 && s.target == BUDGET_START);
	budget_close(&b, &s);
}

/* n channels in bulk share one half of the limit; the other is for newcomers. */
static void test_bulk_leaves_room(void)
{
	enum { N = 7 };
	struct budget b = { 0 };
	struct share s[N], late;

	budget_set_memory(&b, 64 * MIB);
	check(budget_open(&b, &s[0], now) > 0);
	for (int i = 0; i < 100; i++)
		drain(&b, &s[0]);
	check(s[0].window >= 4 * MIB && s[0].window <= 4 * MIB + 64 * KIB);
	for (int i = 1; i < N; i++)
		check(budget_open(&b, &s[i], now) > 0);
	for (int round = 0; round < 100; round++)
		for (int i = 0; i < N; i++)
			drain(&b, &s[i]);
	for (int i = 0; i < N; i++)
		check(s[i].window >= MIB / 2 && s[i].window <= MIB + 64 * KIB + MIB / 2);
	check(b.held <= b.limit / 2 + N * 16 * KIB);
	check(budget_open(&b, &late, now) >= 8 * KIB - 512);
	budget_close(&b, &late);
	for (int i = 0; i < N; i++)
		budget_close(&b, &s[i]);
	check(b.held == 0 && b.reserved == 0 && b.extra == 0);
}

/* A crowd that takes nothing, after some that took much: each is let in with ever
 * smaller windows, none is ever given more than there is, the last is told. */
static void test_crowd_of_stopped_readers(void)
{
	enum { N = 4000 };
	struct budget b = { 0 };
	struct share *s = calloc(N, sizeof(*s));
	int in = 0;

	budget_set_memory(&b, 64 * MIB);
	for (; in < N; in++) {
		if (!budget_open(&b, &s[in], now))
			break;
		for (int i = 0; i < 4; i++) /* what kernels on the way take before it stops */
			drain(&b, &s[in]);
		budget_received(&b, &s[in], s[in].window);
		check(b.held <= b.limit && b.reserved <= b.limit);
	}
	check(in >= 1000 && in < N && b.refused == 1);
	check(b.limit - b.held < BUDGET_FLOOR);
	/* One that ends lets one in. */
	budget_close(&b, &s[17]);
	check(budget_open(&b, &s[17], now) >= BUDGET_FLOOR);
	/* Each of them may go on at once when its reader does. */
	for (int i = 0; i < in; i++) {
		const uint32_t n = s[i].buffered;
		if (n)
			check(budget_passed(&b, &s[i], n, now) >= BUDGET_FLOOR);
		check(s[i].window >= BUDGET_FLOOR && b.held <= b.limit);
	}
	for (int i = 0; i < in; i++)
		budget_close(&b, &s[i]);
	check(b.held == 0 && b.reserved == 0 && b.extra == 0 && b.starved_n == 0);
	free(s);
}

/* The limit shrinks in place: no grant until what is held fits, then each again. */
static void test_limit_shrinks_live(void)
{
	enum { N = 512 };
	struct budget b = { 0 };
	struct share s[N], late;

	budget_set_memory(&b, 64 * MIB);
	for (int i = 0; i < N; i++) {
		check(budget_open(&b, &s[i], now) > 0);
		budget_received(&b, &s[i], s[i].window);
	}
	budget_set_memory(&b, 4 * MIB); /* less than all the floors */
	check(b.held > b.limit && budget_open(&b, &late, now) == 0);
	size_t starved = 0;
	for (int i = 0; i < N; i++) {
		const bool over = b.held - s[i].buffered > b.limit;
		const uint32_t more = budget_passed(&b, &s[i], s[i].buffered, now);
		check(!over || more == 0);
		check(!more || b.held <= b.limit);
		starved += s[i].starved;
	}
	check(starved > 0 && starved == b.starved_n && b.held <= b.limit);
	budget_set_memory(&b, 64 * MIB);
	for (int i = 0; i < N; i++)
		if (s[i].starved)
			check(budget_retry(&b, &s[i], now) >= BUDGET_FLOOR);
	check(b.starved_n == 0);
	for (int i = 0; i < N; i++) {
		check(s[i].window >= BUDGET_FLOOR);
		budget_close(&b, &s[i]);
	}
	check(b.held == 0 && b.reserved == 0 && b.extra == 0);
}

/* After its end only what is buffered counts, until that has gone too. */
/* Those who got windows when there was plenty leave them unused, and so there is
 * never room again: one that is in use goes on all the same, by its floor. */
static void test_unused_windows_stall_nobody(void)
{
	enum { N = 100 };
	struct budget b = { 0 };
	struct share s[N], busy;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &busy, now) > 0);
	for (int i = 0; i < N; i++)
		check(budget_open(&b, &s[i], now) > 0);
	budget_set_memory(&b, 8 * MIB);
	budget_received(&b, &busy, busy.window);
	check(budget_passed(&b, &busy, busy.buffered, now) == 0 && busy.starved);
	const uint64_t reserved = b.reserved;
	for (int i = 0; i < 3; i++) {
		check(budget_retry(&b, &busy, now) == BUDGET_FLOOR && !busy.starved);
		check(b.held > b.limit && b.reserved == reserved);
		budget_received(&b, &busy, busy.window);
		check(budget_passed(&b, &busy, busy.buffered, now) == 0 && busy.starved);
	}
	budget_close(&b, &busy);
	for (int i = 0; i < N; i++)
		budget_close(&b, &s[i]);
}

static void test_end_gives_back(void)
{
	struct budget b = { 0 };
	struct share s;

	budget_set_memory(&b, UINT64_MAX);
	check(budget_open(&b, &s, now) == BUDGET_START);
	budget_received(&b, &s, 1000);
	budget_end(&b, &s);
	check(b.held == 1000 && b.reserved == 1000);
	check(budget_passed(&b, &s, 400, now) == 0 && b.held == 600);
	budget_end(&b, &s);
	budget_close(&b, &s);
	check(b.held == 0 && b.reserved == 0);
	budget_close(&b, &s);
	check(b.held == 0 && b.reserved == 0);
}

/* A link with windows of its own: what it had us buffer counts, and nothing else. */
static void test_foreign_windows(void)
{
	struct budget b = { 0 };
	struct share s, other;

	budget_set_memory(&b, MIB);
	check(budget_open_foreign(&b, &s) && b.held == 0);
	budget_received(&b, &s, 254 * KIB);
	check(b.held == 254 * KIB && budget_passed(&b, &s, 1, now) == 0);
	check(!budget_open_foreign(&b, &other) && budget_open(&b, &other, now) == 0 &&
	      b.refused == 2);
	check(budget_passed(&b, &s, 254 * KIB - 1, now) == 0 && b.held == 0);
	check(budget_open_foreign(&b, &other));
	budget_close(&b, &other);
	budget_close(&b, &s);
	check(b.held == 0 && b.reserved == 0 && b.extra == 0);
}

/* ---- anything in any order ---- */

enum { CROWD = 64 };

static void audit(const struct budget *b, const struct share *s)
{
	uint64_t held = 0, reserved = 0, extra = 0, starved = 0;

	for (int i = 0; i < CROWD; i++) {
		const uint64_t h = (uint64_t)s[i].window + s[i].buffered;
		held += h;
		reserved += s[i].open && h < BUDGET_FLOOR ? BUDGET_FLOOR : h;
		extra += h > s[i].first ? h - s[i].first : 0;
		starved += s[i].starved;
	}
	check(held == b->held && reserved == b->reserved && extra == b->extra &&
	      starved == b->starved_n);
}

static void do_anything(struct budget *b, struct share *s, struct dice *d)
{
	const uint64_t before = b->held, reserved = b->reserved, limit = b->limit;
	bool grew = false, has_waited = false;

	switch (dice_below(d, 8)) {
	case 0:
		if (!s->open && !s->buffered)
			grew = budget_open(b, s, now) > 0;
		break;
	case 1:
		if (dice_one_in(d, 4))
			budget_end(b, s);
		break;
	case 2:
		if (dice_one_in(d, 8))
			budget_close(b, s);
		break;
	case 3:
		if (dice_one_in(d, 20))
			budget_set_memory(b, dice_below(d, 8 * MIB));
		break;
	case 4:
	case 5:
		budget_received(b, s, (size_t)dice_below(d, s->window + 1ull));
		break;
	case 6:
		grew = has_waited = budget_retry(b, s, now) > 0;
		break;
	default:
		grew = budget_passed(b, s, (size_t)dice_below(d, s->buffered + 1ull), now) > 0;
		break;
	}
	/* The promise of this file. */
	check(!grew || b->held <= limit || (has_waited && b->reserved == reserved));
	check(b->reserved <= reserved || b->reserved <= limit);
	check(grew || b->held <= before);
}

static void test_any_order(void)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct budget b = { 0 };
		struct share s[CROWD] = { 0 };
		struct dice d = { seed };

		budget_set_memory(&b, 4 * MIB);
		for (int i = 0; i < 3000; i++) {
			now += dice_one_in(&d, 50) ? SECOND : MS;
			do_anything(&b, &s[dice_below(&d, CROWD)], &d);
			audit(&b, s);
		}
		/* Whatever came before: with room again, nobody is stuck. */
		budget_set_memory(&b, UINT64_MAX);
		for (int i = 0; i < CROWD; i++) {
			(void)!budget_passed(&b, &s[i], s[i].buffered, now);
			(void)!budget_retry(&b, &s[i], now);
			check(!s[i].open || s[i].window >= BUDGET_FLOOR / 2);
		}
		check(b.starved_n == 0);
	}
}

static const struct test_case cases[] = {
	{ "parts of memory", test_parts_of_memory },
	{ "grows by use", test_grows_by_use },
	{ "does not grow without need", test_does_not_grow_without_need },
	{ "credit is coalesced", test_credit_is_coalesced },
	{ "shrinks unused", test_shrinks_unused },
	{ "bulk leaves room", test_bulk_leaves_room },
	{ "crowd of stopped readers", test_crowd_of_stopped_readers },
	{ "limit shrinks live", test_limit_shrinks_live },
	{ "unused windows stall nobody", test_unused_windows_stall_nobody },
	{ "end gives back", test_end_gives_back },
	{ "foreign windows", test_foreign_windows },
	{ "any order", test_any_order },
};

int main(void)
{
	return run_cases("budget", cases, array_len(cases));
}
