#include "lib/base/utf8.h"

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static const struct {
	const char *name, *in;
	size_t n; /* of the first character; 0: none */
	uint32_t c;
} rows[] = {
	{ "ASCII", "ab", 1, 'a' },
	{ "last of one", "\x7f", 1, 0x7f },
	{ "first of two", "\xc2\x80", 2, 0x80 },
	{ "last of two", "\xdf\xbf", 2, 0x7ff },
	{ "first of three", "\xe0\xa0\x80", 3, 0x800 },
	{ "below the surrogates", "\xed\x9f\xbf", 3, 0xd7ff },
	{ "above the surrogates", "\xee\x80\x80", 3, 0xe000 },
	{ "last of three", "\xef\xbf\xbf", 3, 0xffff },
	{ "first of four", "\xf0\x90\x80\x80", 4, 0x10000 },
	{ "last of four", "\xf4\x8f\xbf\xbf", 4, 0x10ffff },
	{ "above U+10FFFF", "\xf4\x90\x80\x80", 0, 0 },
	{ "far above", "\xf5\x80\x80\x80", 0, 0 },
	{ "five bytes", "\xf8\x88\x80\x80\x80", 0, 0 },
	{ "overlong two", "\xc0\x80", 0, 0 },
	{ "overlong two, last", "\xc1\xbf", 0, 0 },
	{ "overlong three", "\xe0\x9f\xbf", 0, 0 },
	{ "overlong four", "\xf0\x8f\xbf\xbf", 0, 0 },
	{ "first surrogate", "\xed\xa0\x80", 0, 0 },
	{ "last surrogate", "\xed\xbf\xbf", 0, 0 },
	{ "continuation alone", "\x80", 0, 0 },
	{ "cut after one", "\xe2", 0, 0 },
	{ "cut after two", "\xe2\x82", 0, 0 },
	{ "cut after three", "\xf0\x9f\x98", 0, 0 },
	{ "broken off", "\xe2\x82z", 0, 0 },
	{ "no byte of UTF-8", "\xff", 0, 0 },
};

static void test_read(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct fence f;
		uint32_t c = 0;

		fence_init(&f, rows[i].in, strlen(rows[i].in));
		check_row(rows[i].name, utf8_read(span_of(f.p, f.n), &c) == rows[i].n);
		check_row(rows[i].name, c == rows[i].c);
		fence_fini(&f);
	}
}

static void test_plain(void)
{
	static const uint32_t plain[] = { ' ',	  '~',	   0xa0,   0xfc,  0x20ac,
					  0x200a, 0x1f600, 0x2027, 0x202f };
	static const uint32_t refused[] = { 0,	    '\n',   0x1b,   0x7f,   0x80,   0x9f,
					    0x61c,  0x200e, 0x200f, 0x2028, 0x2029, 0x202a,
					    0x202e, 0x2066, 0x2069, 0xad,   0x200b, 0x200d,
					    0x2060, 0xfeff, 0xfff9, 0xe0001 };

	for (size_t i = 0; i < array_len(plain); i++)
		check(utf8_is_plain(plain[i]));
	for (size_t i = 0; i < array_len(refused); i++)
		check(!utf8_is_plain(refused[i]));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "read", test_read },
		{ "plain", test_plain },
	};

	return run_cases("utf8", cases, array_len(cases));
}
