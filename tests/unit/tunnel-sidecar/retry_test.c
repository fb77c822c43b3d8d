#include "tunnel-sidecar/retry.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "tests/support/cases.h"

#define MS(n) ((n) * 1000000ull)
#define S(n) ((n) * 1000000000ull)

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x * 0x2545f4914f6cdd1dull;
}

static struct fault fault_of(enum err code)
{
	return (struct fault){ .code = code };
}

static void test_classes(void)
{
	static const struct {
		enum bus_cause cause;
		enum err code;
		enum retry_class want;
	} rows[] = {
		{ BUS_CAUSE_DNS, ERR_NAME, RETRY_AWAY },
		{ BUS_CAUSE_TCP, ERR_SYS, RETRY_AWAY },
		{ BUS_CAUSE_PROXY, ERR_REFUSED, RETRY_ANSWERED },
		{ BUS_CAUSE_PROXY, ERR_AUTH, RETRY_REFUSED },
		{ BUS_CAUSE_TLS, ERR_PROTO, RETRY_ANSWERED },
		{ BUS_CAUSE_TLS, ERR_TRUST, RETRY_REFUSED },
		{ BUS_CAUSE_UPGRADE, ERR_REFUSED, RETRY_ANSWERED },
		{ BUS_CAUSE_SSH, ERR_TIMEOUT, RETRY_ANSWERED },
		{ BUS_CAUSE_AUTH, ERR_AUTH, RETRY_REFUSED },
		{ BUS_CAUSE_FINGERPRINT, ERR_TRUST, RETRY_REFUSED },
		{ BUS_CAUSE_CONFIG, ERR_REFUSED, RETRY_ANSWERED },
		{ BUS_CAUSE_CANNOT_LISTEN, ERR_LISTEN, RETRY_LISTEN },
		{ BUS_CAUSE_PEER_CLOSED, ERR_CLOSED, RETRY_ANSWERED },
		{ BUS_CAUSE_RESET, ERR_SYS, RETRY_ANSWERED },
		{ BUS_CAUSE_PROTOCOL, ERR_LIMIT, RETRY_ABUSE },
		{ BUS_CAUSE_SSH, ERR_LIMIT, RETRY_ANSWERED },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct fault why = fault_of(rows[i].code);

		check_row(bus_cause_name(rows[i].cause),
			  retry_class_of(rows[i].cause, &why) == rows[i].want);
	}
}

/* An outage of an hour in which each attempt fails after `took`: attempts in the
 * first minute, in each later one at most, and the longest gap between two in
 * the first minute. */
struct outage {
	unsigned first_minute, later;
	uint64_t gap_ns, last_gap_ns;
};

static struct outage live_through(enum bus_cause cause, enum err code, uint64_t took,
				  uint64_t max_ns, uint64_t *x)
{
	const struct fault why = fault_of(code);
	struct outage o = { 0 };
	struct retry r;
	uint64_t now = S(1000), minute = 0;
	unsigned in_minute = 0;

	retry_init(&r, max_ns);
	retry_begin(&r, now);
	while (now < S(4600)) {
		const uint64_t began = now;

		in_minute++;
		now += took;
		now += retry_wait(&r, cause, &why, now, began, next_random(x));
		if (began < S(1060))
			o.gap_ns = now - began > o.gap_ns ? now - began : o.gap_ns;
		o.last_gap_ns = now - began > o.last_gap_ns ? now - began : o.last_gap_ns;
		if ((now - S(1000)) / S(60) == minute)
			continue;
		if (minute == 0)
			o.first_minute = in_minute;
		else if (in_minute > o.later)
			o.later = in_minute;
		minute = (now - S(1000)) / S(60);
		in_minute = 0;
	}
	return o;
}

/* Bounded from both sides: no storm, and never far from the next attempt. */
static void test_an_hour_of_outage(void)
{
	static const struct {
		const char *name;
		enum bus_cause cause;
		enum err code;
		uint64_t took, max_ns;
		unsigned first_minute, later;
		uint64_t gap_ns, last_gap_ns;
	} rows[] = {
		{ "refused at once", BUS_CAUSE_TCP, ERR_SYS, MS(1), S(15), 120, 50, MS(1501),
		  S(15) + MS(1) },
		{ "no name", BUS_CAUSE_DNS, ERR_NAME, MS(1), S(15), 120, 50, MS(1501),
		  S(15) + MS(1) },
		{ "blackhole: one is always under way", BUS_CAUSE_TCP, ERR_TIMEOUT, S(10), S(15), 7,
		  7, S(10), S(15) },
		{ "answers, then fails", BUS_CAUSE_UPGRADE, ERR_REFUSED, MS(30), S(15), 60, 45,
		  MS(5001), S(16) },
		{ "answers slowly", BUS_CAUSE_SSH, ERR_TIMEOUT, S(15), S(15), 5, 5, S(15), S(15) },
		{ "port is held", BUS_CAUSE_CANNOT_LISTEN, ERR_LISTEN, MS(30), S(15), 90, 90, S(2),
		  S(2) },
		{ "wrong password", BUS_CAUSE_AUTH, ERR_AUTH, MS(30), S(15), 5, 5, S(60), S(60) },
		{ "a bound of the user's", BUS_CAUSE_TCP, ERR_SYS, MS(1), MS(200), 601, 601,
		  MS(200), MS(200) },
	};
	uint64_t x = 88172645463325252ull;

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct outage o =
			live_through(rows[i].cause, rows[i].code, rows[i].took, rows[i].max_ns, &x);

		if (!check_row(rows[i].name, o.first_minute <= rows[i].first_minute) ||
		    !check_row(rows[i].name, o.later <= rows[i].later) ||
		    !check_row(rows[i].name, o.gap_ns <= rows[i].gap_ns) ||
		    !check_row(rows[i].name, o.last_gap_ns <= rows[i].last_gap_ns))
			printf("%s: %u, %u, %lu ms, %lu ms\n", rows[i].name, o.first_minute,
			       o.later, o.gap_ns / 1000000, o.last_gap_ns / 1000000);
	}
}

static void test_dead_link_is_tried_at_once(void)
{
	const struct fault why = fault_of(ERR_TIMEOUT);
	struct retry r;

	retry_init(&r, S(15));
	for (uint64_t i = 1; i < 50; i++) {
		retry_lost(&r, i * S(20), i * S(20) - S(11));
		check(retry_wait(&r, BUS_CAUSE_DEAD_LINK, &why, i * S(20), i * S(20), i * 977) ==
		      0);
	}
}

/* Tunnels that end as soon as they came up: ever slower; a good one forgives. */
static void test_short_tunnels(void)
{
	const struct fault why = fault_of(ERR_CLOSED);
	uint64_t now = S(1), longest = 0;
	struct retry r;

	retry_init(&r, S(15));
	for (int i = 0; i < 40; i++) {
		retry_lost(&r, now, now - MS(5));
		const uint64_t wait =
			retry_wait(&r, BUS_CAUSE_PEER_CLOSED, &why, now, now, UINT64_MAX - 1);
		longest = wait > longest ? wait : longest;
		now += wait + MS(100);
	}
	check(longest > S(2));
	retry_lost(&r, now, now - S(11));
	check(retry_wait(&r, BUS_CAUSE_PEER_CLOSED, &why, now, now, UINT64_MAX) <= MS(300));
}

/* A fleet that lost its server for 30 s comes back within two seconds, and
 * evenly: no tenth of a second sees more than three times its share. */
static void test_fleet_comes_back_evenly(void)
{
	enum { AGENTS = 10000, TENTHS = 20 };
	const struct fault why = fault_of(ERR_SYS);
	unsigned arrivals[TENTHS] = { 0 }, all = 0, most = 0;
	uint64_t x = 1234567891234567ull;

	for (int agent = 0; agent < AGENTS; agent++) {
		struct retry r;
		uint64_t now = S(1);

		retry_init(&r, S(15));
		retry_begin(&r, now);
		while (now < S(31))
			now += MS(1) + retry_wait(&r, BUS_CAUSE_TCP, &why, now + MS(1), now,
						  next_random(&x));
		const uint64_t tenth = (now - S(31)) / MS(100);
		if (tenth < TENTHS) {
			arrivals[tenth]++;
			all++;
		}
	}
	for (size_t i = 0; i < TENTHS; i++)
		most = arrivals[i] > most ? arrivals[i] : most;
	check(all == AGENTS);
	check(most < AGENTS / 15 * 3);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "classes", test_classes },
		{ "an hour of outage", test_an_hour_of_outage },
		{ "dead link", test_dead_link_is_tried_at_once },
		{ "short tunnels", test_short_tunnels },
		{ "a fleet", test_fleet_comes_back_evenly },
	};
	return run_cases("retry", cases, array_len(cases));
}
