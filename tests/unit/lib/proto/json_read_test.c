#include "lib/proto/json_read.h"

#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static void test_what_is_json(void)
{
	static const struct {
		const char *name, *text;
		int want;
	} rows[] = {
		{ "object", "{}", 0 },
		{ "white space around", " {\"a\":1}\r\n\t ", 0 },
		{ "unknown members", "{\"x\":{\"y\":[1,2,{}]}}", 0 },
		{ "unicode", "{\"a\":\"\\u00e4\xc3\xa4\"}", 0 },
		{ "umlaut alone", "{\"a\":\"z\xc3\xbcrich\"}", 0 },
		{ "umlaut in a name", "{\"z\xc3\xbcrich\":1}", 0 },
		{ "byte order mark", "\xef\xbb\xbf{\"a\":1}", 0 },
		{ "two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf{}", ERR_PROTO },
		{ "byte order mark alone", "\xef\xbb\xbf", ERR_PROTO },
		{ "UTF-16", "\xff\xfe{", ERR_PROTO },
		{ "gzip", "\x1f\x8b\x08", ERR_PROTO },
		{ "name twice", "{\"a\":1,\"a\":2}", 0 },
		{ "NUL in a value", "{\"a\":\"\\u0000\"}", 0 },
		{ "NUL in a name", "{\"a\\u0000b\":1}", ERR_PROTO },
		{ "nothing", "", ERR_PROTO },
		{ "blanks", "  ", ERR_PROTO },
		{ "cut", "{\"a\":", ERR_PROTO },
		{ "list", "[]", ERR_PROTO },
		{ "text", "\"ready\"", ERR_PROTO },
		{ "number", "5", ERR_PROTO },
		{ "null", "null", ERR_PROTO },
		{ "html", "<html>502</html>", ERR_PROTO },
		{ "two objects", "{}{}", ERR_PROTO },
		{ "tail", "{} x", ERR_PROTO },
		{ "trailing comma", "{\"a\":1,}", ERR_PROTO },
		{ "single quotes", "{'a':1}", ERR_PROTO },
		{ "NaN", "{\"a\":NaN}", ERR_PROTO },
		{ "capitals", "{\"a\":TRUE}", ERR_PROTO },
		{ "literals", "{\"a\":[true,false,null,-1.5E+3,0e1]}", 0 },
		{ "comment", "{/* a */}", ERR_PROTO },
		{ "bad utf-8", "{\"a\":\"\xff\"}", ERR_PROTO },
		{ "16 deep", "{\"a\":[[[[[[[[[[[[[[1]]]]]]]]]]]]]]}", 0 },
		{ "17 deep", "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", ERR_LIMIT },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct json_object *o = NULL;
		struct fault why = { 0 };
		struct fence f;

		fence_init(&f, rows[i].text, strlen(rows[i].text));
		const int rc = json_read(&o, span_of(f.p, f.n), &why);
		check_row(rows[i].name, rc == rows[i].want);
		check_row(rows[i].name, (rc < 0) == (why.why[0] != '\0'));
		json_object_put(rc < 0 ? NULL : o);
		fence_fini(&f);
	}
}

static void test_nul_byte(void)
{
	struct json_object *o;

	check(json_read(&o, span_of("{}\0", 3), NULL) == ERR_PROTO);
	check(json_read(&o, span_of("{\"a\":\"\0\"}", 9), NULL) == ERR_PROTO);
}

static void test_many_values_are_refused_unread(void)
{
	const size_t n = 1 << 20;
	char *text = malloc(n);
	struct json_object *o;
	struct fault why = { 0 };

	text[0] = '[';
	for (size_t i = 1; i < n; i++)
		text[i] = "[],"[(i - 1) % 3];
	check(json_read(&o, span_of(text, n), &why) == ERR_LIMIT);
	/* The same bytes inside of a text are one value. */
	memcpy(text, "{\"a\":\"", 6);
	memcpy(text + n - 2, "\"}", 2);
	check(json_read(&o, span_of(text, n), NULL) == 0);
	json_object_put(o);
	free(text);
}

static void test_members(void)
{
	static const char text[] =
		"{\"t\":\"abc\",\"e\":\"\",\"n\":7,\"d\":5.0,\"h\":5.5,\"z\":null,"
		"\"b\":true,\"l\":[],\"o\":{},\"c\":\"a\\nb\",\"q\":\"\\u0000\","
		"\"big\":1e300,\"long\":99999999999999999999}";
	struct json_object *o, *child;
	char to[4];
	int64_t n = -1;

	check(json_read(&o, span_str(text), NULL) == 0);
	check(json_read_text(o, "t", to, sizeof(to), NULL) == 1 && strcmp(to, "abc") == 0);
	check(json_read_text(o, "t", to, 3, NULL) == ERR_LIMIT);
	check(json_read_text(o, "e", to, sizeof(to), NULL) == 1 && !to[0]);
	check(json_read_text(o, "z", to, sizeof(to), NULL) == 0 && !to[0]);
	check(json_read_text(o, "none", to, sizeof(to), NULL) == 0 && !to[0]);
	check(json_read_text(o, "n", to, sizeof(to), NULL) == ERR_PROTO);
	check(json_read_text(o, "c", to, sizeof(to), NULL) == ERR_PROTO);
	check(json_read_text(o, "q", to, sizeof(to), NULL) == ERR_PROTO);
	check(json_read_number(o, "n", &n, NULL) == 1 && n == 7);
	check(json_read_number(o, "d", &n, NULL) == 1 && n == 5);
	check(json_read_number(o, "h", &n, NULL) == ERR_PROTO);
	check(json_read_number(o, "t", &n, NULL) == ERR_PROTO);
	check(json_read_number(o, "b", &n, NULL) == ERR_PROTO);
	check(json_read_number(o, "big", &n, NULL) == ERR_PROTO);
	check(json_read_number(o, "long", &n, NULL) == 1 && n == INT64_MAX);
	check(json_read_number(o, "z", &n, NULL) == 0);
	check(json_read_list(o, "l", &child, NULL) == 1);
	check(json_read_list(o, "o", &child, NULL) == ERR_PROTO);
	check(json_read_object(o, "o", &child, NULL) == 1);
	check(json_read_object(o, "l", &child, NULL) == ERR_PROTO);
	json_object_put(o);
}

static void test_texts_come_out_as_they_are(void)
{
	struct json_object *o;
	char to[32];

	check(json_read(&o, span_str("\xef\xbb\xbf{\"a\":\"z\xc3\xbcrich \\u00fc \\ud83d\\ude00\","
				     "\"b\":1,\"b\":\"last\"}"),
			NULL) == 0);
	check(json_read_text(o, "a", to, sizeof(to), NULL) == 1 &&
	      strcmp(to, "z\xc3\xbcrich \xc3\xbc \xf0\x9f\x98\x80") == 0);
	check(json_read_text(o, "b", to, sizeof(to), NULL) == 1 && strcmp(to, "last") == 0);
	json_object_put(o);
}

static void test_what_it_is_instead(void)
{
	static const struct {
		const char *text, *word;
	} rows[] = {
		{ "", "empty" },	      { "\xef\xbb\xbf", "empty" },
		{ "<html>502</html>", "HTML" }, { "\x1f\x8b\x08\x08", "compressed" },
		{ "\xfe\xff\x01{", "UTF-16" }, { "[1]", "no object" },
		{ "{} x", "after its JSON" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct json_object *o;
		struct fault why = { 0 };

		check(json_read(&o, span_str(rows[i].text), &why) == ERR_PROTO);
		check_row(rows[i].word, strstr(why.why, rows[i].word) != NULL);
	}
}

static void test_error_names_the_member(void)
{
	struct json_object *o;
	struct fault why = { 0 };
	char to[8];

	check(json_read(&o, span_str("{\"status\":5}"), NULL) == 0);
	check(json_read_text(o, "status", to, sizeof(to), &why) == ERR_PROTO);
	check(strstr(why.why, "\"status\"") && strstr(why.why, "a number"));
	json_object_put(o);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "what is JSON", test_what_is_json },
		{ "NUL byte", test_nul_byte },
		{ "many values", test_many_values_are_refused_unread },
		{ "members", test_members },
		{ "texts come out as they are", test_texts_come_out_as_they_are },
		{ "what it is instead", test_what_it_is_instead },
		{ "error names the member", test_error_names_the_member },
	};
	return run_cases("json_read", cases, array_len(cases));
}
