#include "lib/base/json_write.h"

#include "tests/support/cases.h"

#define CHECK_DOC(want, ...)                                                               \
	do {                                                                               \
		struct buf doc;                                                            \
		buf_init(&doc, &mem_heap, 4096);                                           \
		struct json_writer j = { .to = &doc };                                            \
		__VA_ARGS__;                                                               \
		check(j.rc == 0);                                                          \
		check_row(want, span_is(span_of(buf_bytes(&doc).p, buf_len(&doc)), want)); \
		buf_fini(&doc);                                                            \
	} while (0)

static void test_structure(void)
{
	CHECK_DOC("{}", json_write_open(&j, NULL, '{'); json_write_close(&j, '}'));
	CHECK_DOC(
		"{\"a\":1,\"b\":[{\"c\":true},{\"c\":false}],\"d\":[],\"e\":18446744073709551615}",
		json_write_open(&j, NULL, '{');
		json_write_number(&j, "a", 1); json_write_open(&j, "b", '[');
		json_write_open(&j, NULL, '{'); json_write_bool(&j, "c", true);
		json_write_close(&j, '}'); json_write_open(&j, NULL, '{');
		json_write_bool(&j, "c", false); json_write_close(&j, '}');
		json_write_close(&j, ']'); json_write_open(&j, "d", '['); json_write_close(&j, ']');
		json_write_number(&j, "e", UINT64_MAX); json_write_close(&j, '}'));
}

static void test_texts(void)
{
	static const struct {
		const char *name, *text, *want;
	} rows[] = {
		{ "plain", "a b/<>&'", "\"a b/<>&'\"" },
		{ "quotes", "\"\\", "\"\\\"\\\\\"" },
		{ "controls",
		  "a\n\t\x01\x7f"
		  "b",
		  "\"a????b\"" },
		{ "utf-8", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "no utf-8", "a\xff\xc3", "\"a??\"" },
		{ "overlong", "\xc0\x80", "\"??\"" },
		{ "direction", "\xe2\x80\xae", "\"?\"" },
		{ "line separator", "\xe2\x80\xa8", "\"?\"" },
		{ "empty", "", "\"\"" },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		CHECK_DOC(rows[i].want, json_write_text(&j, NULL, rows[i].text));
}

static void test_keys(void)
{
	CHECK_DOC("{\"a\\\"b\\\\?\":1}", json_write_open(&j, NULL, '{');
		  json_write_number(&j, "a\"b\\\n", 1); json_write_close(&j, '}'));
}

static void test_times(void)
{
	CHECK_DOC("null", json_write_time(&j, NULL, 0));
	CHECK_DOC("\"2023-11-14T22:13:20.007Z\"",
		  json_write_time(&j, NULL, UINT64_C(1700000000007999999)));
	CHECK_DOC("\"2554-07-21T23:34:33.709Z\"", json_write_time(&j, NULL, UINT64_MAX));
}

/* The same calls as lines for an eye. */
static void test_plain(void)
{
	CHECK_DOC("a: 1\nb:\n  c: true\n  d: x \"y\" ?\n  e: -\nf:\n  1  two  true  3  4\n  5\ng: "
		  "-\n",
		  j.plain = true;
		  json_write_open(&j, NULL, '{'); json_write_number(&j, "a", 1);
		  json_write_open(&j, "b", '{'); json_write_bool(&j, "c", true);
		  json_write_text(&j, "d", "x \"y\" \x1b"); json_write_text(&j, "e", "");
		  json_write_close(&j, '}'); json_write_open(&j, "f", '[');
		  json_write_open(&j, NULL, '{'); json_write_number(&j, "k", 1);
		  json_write_text(&j, "l", "two"); json_write_bool(&j, "m", true);
		  json_write_open(&j, "n", '['); json_write_number(&j, NULL, 3);
		  json_write_number(&j, NULL, 4); json_write_close(&j, ']');
		  json_write_close(&j, '}'); json_write_open(&j, NULL, '{');
		  json_write_number(&j, "k", 5); json_write_close(&j, '}');
		  json_write_close(&j, ']'); json_write_time(&j, "g", 0);
		  json_write_close(&j, '}'));
}

static void test_first_failure_stays(void)
{
	struct buf doc;

	buf_init(&doc, &mem_heap, 8);
	struct json_writer j = { .to = &doc };
	json_write_open(&j, NULL, '{');
	json_write_text(&j, "a", "too long for the bound");
	check(j.rc == ERR_LIMIT);
	const size_t n = buf_len(&doc);
	json_write_close(&j, '}');
	check(buf_len(&doc) == n);
	buf_fini(&doc);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "structure", test_structure },
		{ "texts", test_texts },
		{ "keys", test_keys },
		{ "times", test_times },
		{ "plain", test_plain },
		{ "first failure", test_first_failure_stays },
	};
	return run_cases("json", cases, array_len(cases));
}
