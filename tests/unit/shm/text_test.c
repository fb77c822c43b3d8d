#include "shm/text.h"

#include <string.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static void test_clean(void)
{
	static const struct {
		const char *name, *wire, *want;
	} rows[] = {
		{ "plain", "abc", "abc" },
		{ "two, three, four bytes", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "controls", "a\tb\x1b[0m\n\x7f", "a?b?[0m??" },
		{ "C1", "\xc2\x9b" "2J", "??2J" },
		{ "right-to-left override", "a\xe2\x80\xae" "b", "a???b" },
		{ "no-break space", "\xc2\xa0", "\xc2\xa0" },
		{ "lone continuation", "\x80", "?" },
		{ "cut at the end", "a\xe2\x82", "a??" },
		{ "cut in the middle", "\xe2\x82z", "??z" },
		{ "overlong slash", "\xc0\xaf", "??" },
		{ "overlong three", "\xe0\x80\xaf", "???" },
		{ "overlong four", "\xf0\x80\x80\xaf", "????" },
		{ "surrogate", "\xed\xa0\x80", "???" },
		{ "above U+10FFFF", "\xf4\x90\x80\x80", "????" },
		{ "ff", "\xff", "?" },
		{ "five byte form", "\xf8\x88\x80\x80\x80", "?????" },
		{ "empty", "", "" },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		struct fence f;
		fence_init(&f, rows[i].wire, strlen(rows[i].wire));
		char *p = (char *)f.p;
		const bool clean = strcmp(rows[i].wire, rows[i].want) == 0;
		check_row(rows[i].name, bus_text_is_clean(p, f.n) == clean);
		check_row(rows[i].name, (bus_text_clean(p, f.n) == 0) == clean);
		check_row(rows[i].name, memcmp(p, rows[i].want, f.n) == 0);
		check_row(rows[i].name, bus_text_is_clean(p, f.n));
		fence_fini(&f);
	}
}

static void test_cut(void)
{
	static const struct {
		const char *name, *text;
		size_t max, want;
	} rows[] = {
		{ "short", "abc", 5, 3 },
		{ "exact", "abc", 3, 3 },
		{ "letters", "abcdef", 3, 3 },
		{ "before two", "ab\xc3\xa9z", 3, 2 },
		{ "after two", "ab\xc3\xa9z", 4, 4 },
		{ "inside four", "\xf0\x9f\x98\x80z", 3, 0 },
		{ "no UTF-8", "\x80\x80\x80\x80\x80\x80", 4, 4 },
		{ "none", "abc", 0, 0 },
	};
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name, bus_text_cut(rows[i].text, strlen(rows[i].text),
						     rows[i].max) == rows[i].want);
}

static void test_metric_names(void)
{
	static const struct {
		const char *name;
		bool want;
	} rows[] = {
		{ "pipeops_tunnel_up", true }, { "a:b_9", true }, { ":", true },
		{ "", false },		       { "9a", false },	  { "a-b", false },
		{ "a b", false },	       { "a{", false },	  { "\xc3\xa9", false },
	};
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name, bus_text_is_metric_name(rows[i].name) == rows[i].want);
}

static void test_labels(void)
{
	static const struct {
		const char *labels;
		bool want;
	} rows[] = {
		{ "", true },
		{ "a=\"\"", true },
		{ "forward=\"x\",direction=\"up\"", true },
		{ "a=\"\\\\ \\\" \\n\"", true },
		{ "a=\"\xc3\xa9\"", true },
		{ "a=\"b\",c=\"b\",d=\"a=\"", true },
		{ "a", false },
		{ "a=", false },
		{ "a=b", false },
		{ "a=\"", false },
		{ "a=\"\\", false },
		{ "a=\"\\t\"", false },
		{ "a=\"b\",", false },
		{ "a=\"b\" ", false },
		{ "a=\"b\"}", false },
		{ "a=\"b\"\nx 1", false },
		{ "a=\"b\nx 1\"", false },
		{ ",a=\"b\"", false },
		{ "=\"b\"", false },
		{ "a:b=\"c\"", false },
		{ "le=\"1\"", false },
		{ "a=\"1\",le=\"2\"", false },
		{ "a=\"1\",b=\"2\",a=\"3\"", false },
		{ "a=\"1\",b=\"2\",b=\"3\"", false },
		{ "a=\"\xff\"", false },
	};
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].labels, bus_text_is_labels(rows[i].labels) == rows[i].want);
}

static void test_escape(void)
{
	static const struct {
		const char *from, *want;
		size_t size;
	} rows[] = {
		{ "plain", "<plain", 32 },
		{ "a\\b\"c\nd", "<a\\\\b\\\"c\\nd", 32 },
		{ "a\tb\xff", "<a?b?", 32 },
		{ "\xc3\xa9", "<\xc3\xa9", 32 },
		{ "abcdef", "<abc", 5 },
		{ "ab\"", "<ab", 5 },	    /* a pair is not cut in two */
		{ "ab\xc3\xa9", "<ab", 5 }, /* nor a character */
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		char to[32] = "<";
		const size_t n = bus_text_escape(to, 1, rows[i].size, rows[i].from,
						 strlen(rows[i].from));
		check_row(rows[i].want, strcmp(to, rows[i].want) == 0 && n == strlen(to));
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "clean", test_clean },	{ "cut", test_cut },
		{ "names", test_metric_names }, { "labels", test_labels },
		{ "escape", test_escape },
	};
	return run_cases("text", cases, array_len(cases));
}
