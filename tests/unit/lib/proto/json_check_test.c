#include "lib/proto/json_check.h"

#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static const struct json_check_bounds wide = { 16, 64 };

#define BAD ERR_PROTO

static const struct {
	const char *name, *text;
	int want;
} rows[] = {
	{ "object", "{}", 0 },
	{ "array", "[]", 0 },
	{ "blanks everywhere", " { \"a\" : [ 1 , 2 ] , \"b\" : { } }\r\n\t", 0 },
	{ "every literal", "[true,false,null]", 0 },
	{ "a literal alone", "true", 0 },
	{ "a text alone", "\"a\"", 0 },
	{ "a number alone", "-0", 0 },
	{ "numbers", "[0,-0,1,10,1.0,0.5,-1.5e3,1E+3,1e-3,0e0,123456789012345678901234567890]", 0 },
	{ "empty name", "{\"\":1}", 0 },
	{ "name twice", "{\"a\":1,\"a\":2}", 0 },
	{ "all escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uABCD\\uabcd\"", 0 },
	{ "surrogate pair", "\"\\ud83d\\ude00\"", 0 },
	{ "NUL escape in a value", "\"\\u0000\"", 0 },
	{ "2 bytes", "\"z\xc3\xbcrich\"", 0 },
	{ "3 bytes", "\"\xe2\x82\xac\"", 0 },
	{ "4 bytes", "\"\xf0\x9f\x98\x80\"", 0 },
	{ "last character", "\"\xf4\x8f\xbf\xbf\"", 0 },
	{ "DEL", "\"\x7f\"", 0 },
	{ "line separator", "\"\xe2\x80\xa8\"", 0 },

	{ "nothing", "", BAD },
	{ "blanks", " \n", BAD },
	{ "form feed", "\f{}", BAD },
	{ "non-breaking space", "\xc2\xa0{}", BAD },
	{ "byte order mark", "\xef\xbb\xbf{}", BAD },
	{ "two values", "1 2", BAD },
	{ "two objects", "{}{}", BAD },
	{ "trailing byte", "{}x", BAD },
	{ "trailing bracket", "{}}", BAD },
	{ "trailing comma in an object", "{\"a\":1,}", BAD },
	{ "trailing comma in an array", "[1,]", BAD },
	{ "comma first", "[,1]", BAD },
	{ "comma alone", "[,]", BAD },
	{ "two commas", "[1,,2]", BAD },
	{ "no comma", "[1 2]", BAD },
	{ "no comma between members", "{\"a\":1 \"b\":2}", BAD },
	{ "no colon", "{\"a\" 1}", BAD },
	{ "two colons", "{\"a\"::1}", BAD },
	{ "no value", "{\"a\":}", BAD },
	{ "no name", "{:1}", BAD },
	{ "a number as name", "{1:1}", BAD },
	{ "a name alone", "{\"a\"}", BAD },
	{ "a name in an array", "[\"a\":1]", BAD },
	{ "wrong bracket", "[}", BAD },
	{ "wrong bracket behind a value", "{\"a\":[1}]", BAD },
	{ "closing first", "]", BAD },
	{ "single quotes", "{'a':1}", BAD },
	{ "comment", "{/**/}", BAD },
	{ "comment behind", "{}//", BAD },
	{ "capitals", "TRUE", BAD },
	{ "half a literal", "[tru]", BAD },
	{ "more than a literal", "[nullx]", BAD },
	{ "NaN", "NaN", BAD },
	{ "Infinity", "Infinity", BAD },
	{ "-Infinity", "-Infinity", BAD },
	{ "leading zero", "01", BAD },
	{ "minus and leading zero", "-01", BAD },
	{ "plus", "+1", BAD },
	{ "minus alone", "-", BAD },
	{ "point first", ".5", BAD },
	{ "point last", "1.", BAD },
	{ "point before the exponent", "1.e3", BAD },
	{ "no exponent", "1e", BAD },
	{ "exponent's sign alone", "1e+", BAD },
	{ "hexadecimal", "0x10", BAD },
	{ "two points", "1.2.3", BAD },
	{ "unknown escape", "\"\\a\"", BAD },
	{ "short \\u", "\"\\u12\"", BAD },
	{ "no hexadecimal", "\"\\u12g4\"", BAD },
	{ "escaped line end", "\"\\\n\"", BAD },
	{ "high surrogate alone", "\"\\ud83d\"", BAD },
	{ "high surrogate and a letter", "\"\\ud83dx\"", BAD },
	{ "high surrogate and another escape", "\"\\ud83d\\n\"", BAD },
	{ "two high surrogates", "\"\\ud83d\\ud83d\"", BAD },
	{ "low surrogate alone", "\"\\ude00\"", BAD },
	{ "NUL escape in a name", "{\"a\\u0000\":1}", BAD },
	{ "tab in a text", "\"\t\"", BAD },
	{ "line end in a text", "\"\n\"", BAD },
	{ "unit separator in a text", "\"\x1f\"", BAD },
	{ "continuation alone", "\"\x80\"", BAD },
	{ "2 bytes cut", "\"\xc3\"", BAD },
	{ "3 bytes cut", "\"\xe2\x82\"", BAD },
	{ "overlong slash", "\"\xc0\xaf\"", BAD },
	{ "overlong NUL", "\"\xc0\x80\"", BAD },
	{ "overlong in 3", "\"\xe0\x80\xaf\"", BAD },
	{ "overlong in 4", "\"\xf0\x80\x80\xaf\"", BAD },
	{ "surrogate as UTF-8", "\"\xed\xa0\x80\"", BAD },
	{ "above U+10FFFF", "\"\xf4\x90\x80\x80\"", BAD },
	{ "5 bytes", "\"\xf8\x88\x80\x80\x80\"", BAD },
	{ "0xff", "\"\xff\"", BAD },
	{ "Latin-1", "\"z\xfcrich\"", BAD },
	{ "no UTF-8 in a name", "{\"\xff\":1}", BAD },

	{ "16 deep", "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", 0 },
	{ "17 deep", "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", ERR_LIMIT },
	{ "17 deep and cut", "[[[[[[[[[[[[[[[[[", ERR_LIMIT },
	{ "deep in both kinds",
	  "{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[]}]}]}]}]}]}]}]}", 0 },
	{ "16 and 16 side by side",
	  "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]],"
	  "[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
	  0 },
};

static void test_rows(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { 0 };
		struct fence f;

		fence_init(&f, rows[i].text, strlen(rows[i].text));
		const int rc = json_check(span_of(f.p, f.n), wide, &why);
		check_row(rows[i].name, rc == rows[i].want);
		check_row(rows[i].name, (rc < 0) == (why.why[0] != '\0'));
		fence_fini(&f);
	}
}

/* What is taken whole is refused when it is cut, but where the rest is a value
 * (numbers) or only blanks are missing. */
static void test_cut(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		const char *text = rows[i].text;
		size_t n = strlen(text);

		if (rows[i].want || !strchr("{[\"", text[0]))
			continue;
		while (--n) {
			struct fence f;

			fence_init(&f, text, n);
			check_row(rows[i].name, json_check(span_of(f.p, f.n), wide, NULL) == BAD);
			fence_fini(&f);
		}
	}
}

static void test_raw_nul(void)
{
	check(json_check(span_of("{}\0", 3), wide, NULL) == BAD);
	check(json_check(span_of("\0{}", 3), wide, NULL) == BAD);
	check(json_check(span_of("\"\0\"", 3), wide, NULL) == BAD);
	check(json_check(span_of("1\0", 2), wide, NULL) == BAD);
}

static void test_values_are_counted(void)
{
	struct fault why = { 0 };

	check(json_check(span_str("[1,2]"), (struct json_check_bounds){ 1, 3 }, NULL) == 0);
	check(json_check(span_str("[1,2]"), (struct json_check_bounds){ 1, 2 }, &why) == ERR_LIMIT);
	check(strstr(why.why, "more than 2 values") != NULL);
	check(json_check(span_str("[\",,,,\"]"), (struct json_check_bounds){ 1, 2 }, NULL) == 0);
	check(json_check(span_str("{\"a\":{}}"), (struct json_check_bounds){ 2, 2 }, NULL) == 0);
	check(json_check(span_str("1"), (struct json_check_bounds){ 0, 1 }, NULL) == 0);
	check(json_check(span_str("[]"), (struct json_check_bounds){ 0, 1 }, NULL) == ERR_LIMIT);
}

static void test_deepest_bound(void)
{
	char text[2 * JSON_CHECK_DEPTH_MAX];
	const struct json_check_bounds bounds = { JSON_CHECK_DEPTH_MAX, 1000 };

	memset(text, '[', JSON_CHECK_DEPTH_MAX);
	memset(text + JSON_CHECK_DEPTH_MAX, ']', JSON_CHECK_DEPTH_MAX);
	check(json_check(span_of(text, sizeof(text)), bounds, NULL) == 0);
	text[JSON_CHECK_DEPTH_MAX] = '[';
	check(json_check(span_of(text, sizeof(text)), bounds, NULL) == ERR_LIMIT);
}

static void test_sentence_says_where(void)
{
	struct fault why = { 0 };

	check(json_check(span_str("{\"a\":1,}"), wide, &why) == BAD && strstr(why.why, "byte 7"));
	why = (struct fault){ 0 };
	check(json_check(span_str("{\"a\":"), wide, &why) == BAD && strstr(why.why, "middle"));
}

static void test_byte_order_mark(void)
{
	check(span_is(json_check_skip_mark(span_str("\xef\xbb\xbf{}")), "{}"));
	check(span_is(json_check_skip_mark(span_str("{}")), "{}"));
	check(json_check_skip_mark(span_str("\xef\xbb")).n == 2);
	check(json_check_skip_mark(span_str("\xef\xbb\xbf")).n == 0);
	check(json_check_skip_mark(span_of(NULL, 0)).n == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "cut at every byte", test_cut },
		{ "NUL bytes", test_raw_nul },
		{ "values are counted", test_values_are_counted },
		{ "the deepest bound", test_deepest_bound },
		{ "sentences say where", test_sentence_says_where },
		{ "byte order mark", test_byte_order_mark },
	};
	return run_cases("json_check", cases, array_len(cases));
}
