#include "lib/base/trim.h"

#include <string.h>

#include "tests/support/cases.h"

static void test_rows(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ " \t\r\n", "" },
		{ "a", "a" },
		{ "a\n", "a" },
		{ "a\r\n", "a" },
		{ "\r\n a b \n\n", "a b" },
		{ "\xef\xbb\xbf"
		  "a",
		  "a" },
		{ "\xef\xbb\xbf \ta\t", "a" },
		{ "\xef\xbb\xbf", "" },
		{ "a\xef\xbb\xbf", "a\xef\xbb\xbf" },
		{ "\xc2\xa0"
		  "a",
		  "\xc2\xa0"
		  "a" },
		{ "\xef\xbb", "\xef\xbb" },
		{ "\v"
		  "a\f",
		  "\v"
		  "a\f" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct span got = trim_text(span_str(rows[i].text));

		check_row(rows[i].text,
			  got.n == strlen(rows[i].want) && memcmp(got.p, rows[i].want, got.n) == 0);
	}
	check(trim_text((struct span){ 0 }).n == 0);
	check(trim_text(span_of("a\0 ", 3)).n == 2); /* a NUL is the text's own */
}

int main(void)
{
	static const struct test_case cases[] = { { "rows", test_rows } };

	return run_cases("trim", cases, array_len(cases));
}
