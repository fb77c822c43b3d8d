/*
 * The grammar of RFC 8259 as one loop: what is open is one bit per level.  It builds nothing;
 * json_read.c gives what passed to json-c.
 */
#include "lib/proto/json_check.h"

#include "lib/base/must.h"
#include "lib/base/utf8.h"

struct check {
	struct span text;
	size_t at;
	struct json_check_bounds bounds;
	uint64_t objects; /* bit n: level n is an object, else an array */
	unsigned depth, values;
	struct fault *why;
};

static int refuse(struct check *c, const char *what)
{
	if (c->at >= c->text.n)
		return fault_set(c->why, ERR_PROTO,
				 "the answer is not JSON: it ends in the middle");
	return fault_set(c->why, ERR_PROTO, "the answer is not JSON: %s at byte %zu", what, c->at);
}

/* The byte at the cursor; -1 at the end. */
static int peek(const struct check *c)
{
	return c->at < c->text.n ? c->text.p[c->at] : -1;
}

static bool is_one_of(int byte, const char *set)
{
	return byte > 0 && strchr(set, byte);
}

static void skip_blanks(struct check *c)
{
	while (is_one_of(peek(c), " \t\r\n"))
		c->at++;
}

static bool skip_digits(struct check *c)
{
	const size_t from = c->at;

	while (peek(c) >= '0' && peek(c) <= '9')
		c->at++;
	return c->at > from;
}

/* Four hexadecimal digits; -1 when there are none. */
static int read_hex(struct check *c)
{
	int value = 0;

	for (unsigned i = 0; i < 4; i++, c->at++) {
		const int byte = peek(c);

		if (byte >= '0' && byte <= '9')
			value = value * 16 + byte - '0';
		else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
			value = value * 16 + (byte | 0x20) - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* Behind a backslash. */
static int escape(struct check *c, bool is_name)
{
	if (is_one_of(peek(c), "\"\\/bfnrt")) {
		c->at++;
		return 0;
	}
	if (peek(c) != 'u')
		return refuse(c, "an escape that JSON does not have");
	c->at++;
	const int unit = read_hex(c);
	if (unit < 0)
		return refuse(c, "\\u without four hexadecimal digits");
	if (unit == 0 && is_name)
		return refuse(c, "a NUL in a member's name");
	if (unit < 0xd800 || unit > 0xdfff)
		return 0;
	if (unit > 0xdbff || peek(c) != '\\')
		return refuse(c, "half a surrogate pair");
	c->at++;
	if (peek(c) != 'u')
		return refuse(c, "half a surrogate pair");
	c->at++;
	const int low = read_hex(c);
	return low >= 0xdc00 && low <= 0xdfff ? 0 : refuse(c, "half a surrogate pair");
}

/* At the opening quote. */
static int text(struct check *c, bool is_name)
{
	for (c->at++;;) {
		const int byte = peek(c);
		uint32_t character;

		if (byte == '"') {
			c->at++;
			return 0;
		}
		if (byte < 0x20)
			return refuse(c, "a control character in a text");
		if (byte == '\\') {
			c->at++;
			const int rc = escape(c, is_name);
			if (rc < 0)
				return rc;
			continue;
		}
		const size_t n =
			utf8_read(span_of(c->text.p + c->at, c->text.n - c->at), &character);
		if (!n)
			return refuse(c, "bytes that are no UTF-8");
		c->at += n;
	}
}

static int number(struct check *c)
{
	if (peek(c) == '-')
		c->at++;
	if (peek(c) == '0')
		c->at++;
	else if (!skip_digits(c))
		return refuse(c, "a number without digits");
	if (peek(c) == '.') {
		c->at++;
		if (!skip_digits(c))
			return refuse(c, "a number that ends in a point");
	}
	if (peek(c) == 'e' || peek(c) == 'E') {
		c->at++;
		if (is_one_of(peek(c), "+-"))
			c->at++;
		if (!skip_digits(c))
			return refuse(c, "an exponent without digits");
	}
	return 0;
}

static int literal(struct check *c)
{
	static const char *const words[] = { "true", "false", "null" };

	for (size_t i = 0; i < array_len(words); i++) {
		const size_t n = strlen(words[i]);

		if (c->text.n - c->at >= n && memcmp(c->text.p + c->at, words[i], n) == 0) {
			c->at += n;
			return 0;
		}
	}
	return refuse(c, "something that is no value");
}

static bool is_in_object(const struct check *c)
{
	return c->objects >> c->depth & 1;
}

static int open_level(struct check *c, bool object)
{
	if (c->depth == c->bounds.depth)
		return fault_set(c->why, ERR_LIMIT, "the JSON answer is nested deeper than %u",
				 c->bounds.depth);
	c->at++;
	c->depth++;
	c->objects = (c->objects & ~(UINT64_C(1) << c->depth)) | (uint64_t)object << c->depth;
	return 0;
}

/* `"name" :` in front of a member's value. */
static int name(struct check *c)
{
	skip_blanks(c);
	if (peek(c) != '"')
		return refuse(c, "no name of a member");
	const int rc = text(c, true);
	if (rc < 0)
		return rc;
	skip_blanks(c);
	if (peek(c) != ':')
		return refuse(c, "a name without a colon");
	c->at++;
	return 0;
}

/* One value, or the opening of one: then 1, and its first value is next. */
static int value(struct check *c)
{
	skip_blanks(c);
	if (++c->values > c->bounds.values)
		return fault_set(c->why, ERR_LIMIT, "the JSON answer holds more than %u values",
				 c->bounds.values);
	const int byte = peek(c);
	if (byte == '{' || byte == '[') {
		int rc = open_level(c, byte == '{');
		if (rc < 0)
			return rc;
		skip_blanks(c);
		if (peek(c) == (byte == '{' ? '}' : ']'))
			return 0; /* empty: close_levels() takes the bracket */
		rc = byte == '{' ? name(c) : 0;
		return rc < 0 ? rc : 1;
	}
	if (byte == '"')
		return text(c, false);
	if (byte == '-' || (byte >= '0' && byte <= '9'))
		return number(c);
	return literal(c);
}

/* Behind a value: closing brackets, then a comma (1: another value is next) or
 * the end of the outermost one (0). */
static int close_levels(struct check *c)
{
	for (; c->depth; c->depth--, c->at++) {
		skip_blanks(c);
		const int byte = peek(c);
		if (byte == ',') {
			c->at++;
			const int rc = is_in_object(c) ? name(c) : 0;
			return rc < 0 ? rc : 1;
		}
		if (byte != (is_in_object(c) ? '}' : ']'))
			return refuse(c, "neither a comma nor the closing bracket");
	}
	return 0;
}

struct span json_check_skip_mark(struct span s)
{
	const size_t n = s.n >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	return span_of(s.p + n, s.n - n);
}

int json_check(struct span s, struct json_check_bounds bounds, struct fault *why)
{
	struct check c = { .text = s, .bounds = bounds, .why = why };
	int more = 1;

	must(bounds.depth <= JSON_CHECK_DEPTH_MAX);
	while (more) {
		more = value(&c);
		if (more == 0)
			more = close_levels(&c);
		if (more < 0)
			return more;
	}
	skip_blanks(&c);
	if (c.at < s.n)
		return fault_set(why, ERR_PROTO, "the answer has bytes after its JSON");
	return 0;
}
