#include "lib/base/backoff.h"

#include "tests/support/cases.h"

static void test_bounds(void)
{
	struct backoff b;

	backoff_init(&b, 100, 15000);
	uint64_t last = 100, random = 88172645463325252ull;
	for (int i = 0; i < 10000; i++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		const uint64_t wait = backoff_next(&b, random);

		check(wait >= 100 && wait <= 15000 && wait <= 3 * last);
		last = wait;
	}
}

static void test_edges(void)
{
	struct backoff b;

	backoff_init(&b, 100, 1000);
	check(backoff_next(&b, 0) == 100);   /* the least */
	check(backoff_next(&b, 200) == 300); /* the most: three times the last */
	check(backoff_next(&b, 201) == 301); /* of 100..900 */
	check(backoff_next(&b, 803) == 903); /* of 100..903 */
	check(backoff_next(&b, 900) == 1000);
	check(backoff_next(&b, 901) == 100);
	backoff_init(&b, 7, 7); /* a fixed wait */
	check(backoff_next(&b, 12345) == 7);
	backoff_init(&b, UINT64_MAX / 2, UINT64_MAX); /* nothing wraps */
	for (int i = 0; i < 4; i++)
		check(backoff_next(&b, UINT64_MAX) >= UINT64_MAX / 2);
	backoff_init(&b, 0, UINT64_MAX);
	check(backoff_next(&b, UINT64_MAX) == 0);
}

/* With nothing but unlucky draws the wait reaches the top in a few steps. */
static void test_grows(void)
{
	struct backoff b;
	uint64_t wait = 0;
	int steps = 0;

	backoff_init(&b, 100, 15000);
	while (wait < 15000 && steps < 20) {
		const uint64_t top = b.last_ns * 3 < 15000 ? b.last_ns * 3 : 15000;

		wait = backoff_next(&b, top - 100);
		steps++;
	}
	check(steps == 5);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "bounds", test_bounds },
		{ "edges", test_edges },
		{ "grows", test_grows },
	};

	return run_cases("backoff", cases, array_len(cases));
}
