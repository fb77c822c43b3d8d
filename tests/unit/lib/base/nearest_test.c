#include "lib/base/nearest.h"

#include "lib/base/bytes.h"
#include "tests/support/cases.h"

#define N32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_distances(void)
{
	static const struct {
		const char *a, *b;
		unsigned max, want;
	} rows[] = {
		{ "", "", 3, 0 },
		{ "a", "", 3, 1 },
		{ "", "abc", 3, 3 },
		{ "port", "port", 3, 0 },
		{ "prot", "port", 3, 2 },
		{ "por", "port", 3, 1 },
		{ "ports", "port", 3, 1 },
		{ "pork", "port", 3, 1 },
		{ "abc", "xyz", 3, 3 },
		{ "abcd", "xyzw", 3, 4 },
		{ "abcdefgh", "x", 3, 4 },
		{ N32 N32, N32 N32, 3, 0 },
		{ N32 N32 "a", N32 N32, 3, 4 },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		check_row(rows[i].a,
			  nearest_distance(rows[i].a, rows[i].b, rows[i].max) == rows[i].want);
		check_row(rows[i].a,
			  nearest_distance(rows[i].b, rows[i].a, rows[i].max) == rows[i].want);
	}
}

int main(void)
{
	static const struct test_case cases[] = { { "distances", test_distances } };

	return run_cases("nearest", cases, array_len(cases));
}
