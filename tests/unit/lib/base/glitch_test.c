#include "lib/base/glitch.h"

#include <string.h>

#include "lib/base/limits.h"
#include "tests/support/cases.h"

#define MS(n) ((n) * 1000000ull)

static void test_a_flood_is_paid_for(void)
{
	struct glitches g;
	unsigned taken = 0;

	glitch_init(&g, 100, MS(10), MS(1000));
	for (int i = 0; i < 1000; i++)
		taken += glitch_charge(&g, GLITCH_IGNORED, 1);
	check(taken == 100 && g.counts[GLITCH_IGNORED] == 1000 && g.counts[GLITCH_REQUEST] == 0);
	glitch_refill(&g, MS(1009));
	check(!glitch_charge(&g, GLITCH_IGNORED, 1));
	glitch_refill(&g, MS(1010));
	check(glitch_charge(&g, GLITCH_IGNORED, 1) && !glitch_charge(&g, GLITCH_IGNORED, 1));
}

/* At the rate of the refill for ever, looked at in odd steps. */
static void test_a_little_is_forgiven_for_ever(void)
{
	struct glitches g;
	uint64_t now = 0;

	glitch_init(&g, 5, MS(10), 0);
	for (int i = 0; i < 100000; i++) {
		now += MS(50) / 4;
		glitch_refill(&g, now);
		if (i % 4 == 3)
			check(glitch_charge(&g, GLITCH_REQUEST, 5));
	}
	glitch_refill(&g, now - MS(5000)); /* a clock seen late changes nothing */
	check(g.left == 0);
	glitch_refill(&g, UINT64_MAX);
	check(g.left == 5);
}

static void test_what_is_too_dear_empties_it(void)
{
	struct glitches g;

	glitch_init(&g, 10, MS(10), 0);
	check(!glitch_charge(&g, GLITCH_IDLE_REKEY, 11) && g.left == 0);
	check(!glitch_charge(&g, GLITCH_IGNORED, 1));
}

static void test_names(void)
{
	for (unsigned a = 0; a < GLITCH_KINDS; a++)
		for (unsigned b = 0; b < a; b++)
			check(strcmp(glitch_name((enum glitch_kind)a),
				     glitch_name((enum glitch_kind)b)) != 0);
	check(strcmp(glitch_name(GLITCH_KINDS), "unknown") == 0);
}

/* What the table says of other things than itself. */
static void test_limits(void)
{
	check(LIMIT_LOG_LINE < 4096 && LIMIT_LOG_VALUE < LIMIT_LOG_LINE);
	check(LIMIT_RETRY_FIRST_MS < LIMIT_RETRY_MAX_MS);
	check(LIMIT_RETRY_MAX_MS <= LIMIT_RETRY_REFUSED_FIRST_MS);
	check(LIMIT_NS(RETRY_REFUSED_MAX) == MS(60000));
	check(LIMIT_SSH_DATA < LIMIT_SSH_PACKET && LIMIT_SSH_PACKET < LIMIT_HELD);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "a flood", test_a_flood_is_paid_for },
		{ "a little", test_a_little_is_forgiven_for_ever },
		{ "too dear", test_what_is_too_dear_empties_it },
		{ "names", test_names },
		{ "limits", test_limits },
	};
	return run_cases("glitch", cases, array_len(cases));
}
