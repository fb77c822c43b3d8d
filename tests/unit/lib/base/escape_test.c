#include "lib/base/escape.h"

#include "lib/base/must.h"
#include "tests/support/cases.h"
#include "tests/support/fence.h"

static void test_rows(void)
{
	static const struct {
		const char *name;
		const char *in;
		size_t in_n, room;
		const char *want;
	} rows[] = {
		{ "plain", "hello, world", 12, 64, "hello, world" },
		{ "empty", "", 0, 4, "" },
		{ "line ends", "a\r\nb", 4, 64, "a\\x0d\\x0ab" },
		{ "escape sequence", "\x1b[31m", 5, 64, "\\x1b[31m" },
		{ "NUL", "a\0b", 3, 64, "a\\x00b" },
		{ "backslash cannot fake an escape", "\\x41", 4, 64, "\\x5cx41" },
		{ "UTF-8 (bidi override)", "\xe2\x80\xae", 3, 64, "\\xe2\\x80\\xae" },
		{ "DEL", "\x7f", 1, 64, "\\x7f" },
		{ "fits exactly", "abcdef", 6, 7, "abcdef" },
		{ "cut", "abcdefg", 7, 7, "abc..." },
		{ "cut never splits an escape", "ab\x01\x02", 4, 10, "ab\\x01..." },
		{ "smallest room", "abcdefg", 7, 4, "..." },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		char to[64];
		const size_t n = escape_text(to, rows[i].room, span_of(rows[i].in, rows[i].in_n));

		check_row(rows[i].name, strcmp(to, rows[i].want) == 0);
		check_row(rows[i].name, n == strlen(to));
	}
}

static void test_every_byte_at_every_size_stays_inside(void)
{
	uint8_t all[256];

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	for (size_t room = 4; room < 200; room++) {
		struct fence f;
		uint8_t blank[200] = { 0 };
		fence_init(&f, blank, room);
		const size_t n = escape_text((char *)f.p, room, span_of(all, sizeof(all)));

		check(n < room && f.p[n] == '\0');
		for (size_t i = 0; i < n; i++)
			check(f.p[i] >= 0x20 && f.p[i] < 0x7f);
		fence_fini(&f);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "every byte, every size", test_every_byte_at_every_size_stays_inside },
	};
	return run_cases("escape", cases, array_len(cases));
}
