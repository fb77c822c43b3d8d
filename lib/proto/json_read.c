#include "lib/proto/json_read.h"

#include <math.h>

/* Before json-c sees it.  A value costs json-c up to some 300 bytes however
 * short its text is, so they are counted: 1 MiB of "[[],[],…" is refused before
 * it becomes 100 MiB.  And outside of texts nothing may stand that RFC 8259
 * does not know: json-c's strict mode still takes 'keys' and NaN. */
static int scan(struct span text, struct fault *why)
{
	static const char alphabet[] = "{}[]:, \t\r\n+-.0123456789Etruefalsn\"";
	bool in_text = false;
	size_t values = 1;

	for (size_t i = 0; i < text.n; i++) {
		const uint8_t c = text.p[i];

		if (in_text && c == '\\')
			i++;
		else if (c == '"')
			in_text = !in_text;
		else if (!in_text && !memchr(alphabet, c, sizeof(alphabet) - 1))
			return fault_set(why, ERR_PROTO, "the answer is not JSON: byte %zu", i);
		else if (!in_text && (c == ',' || c == '[' || c == '{'))
			values++;
	}
	if (values > JSON_READ_VALUES_MAX)
		return fault_set(why, ERR_LIMIT, "the JSON answer holds more than %d values",
				 JSON_READ_VALUES_MAX);
	return 0;
}

static int parse(struct json_object **out, struct json_tokener *t, struct span text,
		 struct fault *why)
{
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(t, (const char *)text.p, (int)text.n);
	const enum json_tokener_error e = json_tokener_get_error(t);
	const size_t end = json_tokener_get_parse_end(t);

	if (e == json_tokener_success && end == text.n &&
	    json_object_is_type(o, json_type_object)) {
		*out = o;
		return 0;
	}
	json_object_put(o);
	if (e == json_tokener_error_depth)
		return fault_set(why, ERR_LIMIT, "the JSON answer is nested deeper than %d",
				 JSON_READ_DEPTH_MAX);
	if (e == json_tokener_continue)
		return fault_set(why, ERR_PROTO, "the answer is not JSON: it ends in the middle");
	if (e != json_tokener_success)
		return fault_set(why, ERR_PROTO, "the answer is not JSON: %s at byte %zu",
				 json_tokener_error_desc(e), end);
	if (end != text.n)
		return fault_set(why, ERR_PROTO, "the answer has bytes after its JSON");
	return fault_set(why, ERR_PROTO, "the answer is JSON but no object");
}

int json_read(struct json_object **out, struct span text, struct fault *why)
{
	if (text.n > INT32_MAX)
		return fault_set(why, ERR_LIMIT, "the answer is too long");
	/* json-c takes a NUL for the end of its input. */
	if (text.n && memchr(text.p, '\0', text.n))
		return fault_set(why, ERR_PROTO, "the answer is not JSON: it holds a NUL byte");
	int rc = scan(text, why);
	if (rc < 0)
		return rc;
	struct json_tokener *t = json_tokener_new_ex(JSON_READ_DEPTH_MAX);
	if (!t)
		return fault_set(why, ERR_NOMEM, "no memory to read the answer");
	rc = parse(out, t, text, why);
	json_tokener_free(t);
	return rc;
}

static const char *type_name(const struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_null:
		return "null";
	case json_type_boolean:
		return "a boolean";
	case json_type_double:
	case json_type_int:
		return "a number";
	case json_type_object:
		return "an object";
	case json_type_array:
		return "a list";
	case json_type_string:
		return "a text";
	}
	return "something else";
}

static int member(const struct json_object *o, const char *name, enum json_type want,
		  const char *want_text, struct json_object **to, struct fault *why)
{
	if (!json_object_object_get_ex(o, name, to) || !*to)
		return 0;
	if (!json_object_is_type(*to, want))
		return fault_set(why, ERR_PROTO, "\"%s\" of the answer is %s and should be %s",
				 name, type_name(*to), want_text);
	return 1;
}

int json_read_text(const struct json_object *o, const char *name, char *to, size_t cap,
		   struct fault *why)
{
	struct json_object *v;

	to[0] = '\0';
	const int rc = member(o, name, json_type_string, "a text", &v, why);
	if (rc <= 0)
		return rc;
	const char *text = json_object_get_string(v);
	const size_t n = (size_t)json_object_get_string_len(v);
	if (n >= cap)
		return fault_set(why, ERR_LIMIT, "\"%s\" of the answer is longer than %zu bytes",
				 name, cap - 1);
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
			return fault_set(why, ERR_PROTO,
					 "\"%s\" of the answer holds control characters", name);
	memcpy(to, text, n + 1);
	return 1;
}

int json_read_number(const struct json_object *o, const char *name, int64_t *to, struct fault *why)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v) || !v)
		return 0;
	if (json_object_is_type(v, json_type_int)) {
		*to = json_object_get_int64(v);
		return 1;
	}
	/* Some JSON writers print every number with a point: 5.0 is 5. */
	const double d = json_object_is_type(v, json_type_double) ? json_object_get_double(v) : NAN;
	if (!isfinite(d) || fabs(d) > 1e15 || d != trunc(d))
		return fault_set(why, ERR_PROTO,
				 "\"%s\" of the answer is %s and should be a whole number", name,
				 type_name(v));
	*to = (int64_t)d;
	return 1;
}

int json_read_list(const struct json_object *o, const char *name, struct json_object **to,
		   struct fault *why)
{
	return member(o, name, json_type_array, "a list", to, why);
}

int json_read_object(const struct json_object *o, const char *name, struct json_object **to,
		     struct fault *why)
{
	return member(o, name, json_type_object, "an object", to, why);
}
