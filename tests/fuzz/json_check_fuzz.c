/* json_check beside json-c: what is taken, json-c reads whole; what json-c then writes is taken and
 * reads back as an equal value. */
#include "lib/base/must.h"
#include "lib/proto/json_check.h"
#include "lib/proto/json_read.h"

static struct json_object *parse(struct span text)
{
	struct json_tokener *t = json_tokener_new_ex(JSON_READ_DEPTH_MAX + 1);
	struct json_object *o;

	must(t);
	o = json_tokener_parse_ex(t, (const char *)text.p, (int)text.n);
	/* A number that ends with the text could go on: a blank ends it. */
	if (json_tokener_get_error(t) == json_tokener_continue)
		o = json_tokener_parse_ex(t, " ", 1);
	must(json_tokener_get_error(t) == json_tokener_success);
	json_tokener_free(t);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct json_check_bounds bounds = { JSON_READ_DEPTH_MAX, JSON_READ_VALUES_MAX };
	struct fault why = { 0 };

	if (json_check(span_of(p, n), bounds, &why) < 0) {
		must(why.why[0]);
		return 0;
	}
	struct json_object *o = parse(span_of(p, n));
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	must(text && json_check(span_str(text), bounds, NULL) == 0);
	struct json_object *again = parse(span_str(text));
	must(json_object_equal(o, again));
	json_object_put(again);
	json_object_put(o);
	return 0;
}
