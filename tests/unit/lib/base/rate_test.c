#include "lib/base/rate.h"

#include "tests/support/cases.h"

#define MS(n) ((n) * 1000000ull)

static void test_burst_then_one_a_second(void)
{
	struct rate p = { 0 };
	uint64_t missed = 99, said = 0;

	for (int i = 0; i < 1000; i++)
		said += rate_allow(&p, MS(5000), &missed);
	check(said == RATE_BURST && missed == 0);
	check(!rate_allow(&p, MS(5999), &missed));
	check(rate_allow(&p, MS(6000), &missed) && missed == 991);
	check(!rate_allow(&p, MS(6000), &missed));
	check(rate_allow(&p, MS(7000), &missed) && missed == 1);
}

static void test_a_flood_of_an_hour(void)
{
	struct rate p = { 0 };
	uint64_t missed, said = 0, all = 0;

	for (uint64_t ms = 0; ms < 3600000; ms += 10)
		if (rate_allow(&p, MS(ms), &missed)) {
			said++;
			all += missed;
		}
	check(said == RATE_BURST + 3599);
	check(all + p.missed + said == 360000); /* each is said or counted */
}

static void test_quiet_refills(void)
{
	struct rate p = { 0 };
	uint64_t missed, said = 0;

	for (int i = 0; i < 20; i++)
		said += rate_allow(&p, MS(1), &missed);
	for (int i = 0; i < 20; i++)
		said += rate_allow(&p, MS(1000000), &missed);
	check(said == 2 * RATE_BURST);
}

static void test_rare_is_never_missed(void)
{
	struct rate p = { 0 };
	uint64_t missed;

	for (uint64_t s = 0; s < 1000; s++)
		check(rate_allow(&p, MS(1000 * s), &missed) && missed == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "a burst, then one a second", test_burst_then_one_a_second },
		{ "a flood of an hour", test_a_flood_of_an_hour },
		{ "quiet refills", test_quiet_refills },
		{ "rare is never missed", test_rare_is_never_missed },
	};

	return run_cases("rate", cases, array_len(cases));
}
