/*
 * One JSON object by json-c, of which json_check.c has judged every byte before: json-c's own
 * strict mode changed its meaning between releases (0.18 refuses all that is not ASCII), so it is
 * not used.
 */
#include "lib/proto/json_read.h"

#include <math.h>

#include "lib/proto/json_check.h"

/* What a text is that is no JSON at all, as far as its first bytes tell. */
static int judge_beginning(struct span text, struct fault *why)
{
	if (!text.n)
		return fault_set(why, ERR_PROTO, "the answer is empty and should be JSON");
	if (text.p[0] == '<')
		return fault_set(why, ERR_PROTO, "the answer is not JSON but HTML or XML");
	if (text.n >= 2 && text.p[0] == 0x1f && text.p[1] == 0x8b)
		return fault_set(
			why, ERR_PROTO,
			"the answer is compressed (gzip), which the request did not allow");
	if (text.n >= 2 &&
	    (memcmp(text.p, "\xff\xfe", 2) == 0 || memcmp(text.p, "\xfe\xff", 2) == 0))
		return fault_set(why, ERR_PROTO, "the answer is UTF-16; JSON is UTF-8");
	return 0;
}

static bool is_object(struct span text)
{
	size_t at = 0;

	while (at < text.n && memchr(" \t\r\n", text.p[at], 4))
		at++;
	return at < text.n && text.p[at] == '{';
}

/* The text has passed json_check(): json-c fails for want of memory alone. */
static int parse(struct json_object **out, struct span text, struct fault *why)
{
	struct json_tokener *t = json_tokener_new_ex(JSON_READ_DEPTH_MAX + 1); /* and a value */
	struct json_object *o =
		t ? json_tokener_parse_ex(t, (const char *)text.p, (int)text.n) : NULL;
	if (t)
		json_tokener_free(t);
	if (json_object_is_type(o, json_type_object)) {
		*out = o;
		return 0;
	}
	json_object_put(o);
	return fault_set(why, ERR_NOMEM, "no memory to read the answer");
}

int json_read(struct json_object **out, struct span text, struct fault *why)
{
	const struct json_check_bounds bounds = { JSON_READ_DEPTH_MAX, JSON_READ_VALUES_MAX };

	if (text.n > INT32_MAX)
		return fault_set(why, ERR_LIMIT, "the answer is too long");
	text = json_check_skip_mark(text);
	int rc = judge_beginning(text, why);
	if (rc >= 0)
		rc = json_check(text, bounds, why);
	if (rc < 0)
		return rc;
	if (!is_object(text))
		return fault_set(why, ERR_PROTO, "the answer is JSON but no object");
	return parse(out, text, why);
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
