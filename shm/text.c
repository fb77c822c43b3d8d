/*
 * What text of a segment may hold, and how the rest is made harmless, cut and escaped.
 */
#include "shm/text.h"

#include <stdint.h>
#include <string.h>

#include "lib/base/utf8.h"

/* Length of the clean character at p, 0 for none. */
static size_t clean_at(const char *p, size_t n)
{
	uint32_t c;
	const size_t len = utf8_read(span_of(p, n), &c);

	return len > 0 && utf8_is_plain(c) ? len : 0;
}

bool bus_text_is_clean(const char *p, size_t n)
{
	while (n > 0) {
		const size_t len = clean_at(p, n);
		if (len == 0)
			return false;
		p += len;
		n -= len;
	}
	return true;
}

size_t bus_text_clean(char *p, size_t n)
{
	size_t dirt = 0;

	while (n > 0) {
		size_t len = clean_at(p, n);
		if (len == 0) {
			*p = '?';
			len = 1;
			dirt++;
		}
		p += len;
		n -= len;
	}
	return dirt;
}

size_t bus_text_cut(const char *p, size_t n, size_t max)
{
	size_t at = max;

	if (n <= max)
		return n;
	for (int back = 0; back < 3 && at > 0 && ((uint8_t)p[at] >> 6) == 2; back++)
		at--;
	/* three continuation bytes in a row and more: not UTF-8, cut anywhere */
	return ((uint8_t)p[at] >> 6) == 2 ? max : at;
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static size_t name_length(const char *s, bool colons)
{
	size_t n = 0;

	while (is_alpha(s[n]) || (colons && s[n] == ':') || (n > 0 && s[n] >= '0' && s[n] <= '9'))
		n++;
	return n;
}

bool bus_text_is_metric_name(const char *s)
{
	const size_t n = name_length(s, true);

	return n > 0 && s[n] == '\0';
}

/* The length of `"value"` with its quotes, 0 for none. */
static size_t quoted_length(const char *s)
{
	size_t n = 1;

	if (*s != '"')
		return 0;
	for (; s[n] != '"'; n++) {
		if (s[n] == '\0')
			return 0;
		if (s[n] != '\\')
			continue;
		n++;
		if (s[n] != '\\' && s[n] != '"' && s[n] != 'n')
			return 0;
	}
	return n + 1;
}

/* Whether the label name n stands before `end` in the labels at s. */
static bool name_stands_in(const char *s, const char *end, struct span name)
{
	while (s < end) {
		const size_t n = name_length(s, false);
		if (span_eq(span_of(s, n), name))
			return true;
		s += n + 1;
		s += quoted_length(s) + 1;
	}
	return false;
}

bool bus_text_is_labels(const char *s)
{
	const char *p = s;

	if (*p == '\0')
		return true;
	for (;;) {
		const struct span name = span_of(p, name_length(p, false));
		if (name.n == 0 || p[name.n] != '=' || span_is(name, "le") ||
		    name_stands_in(s, p, name))
			return false;
		p += name.n + 1;
		const size_t n = quoted_length(p);
		if (n == 0 || !bus_text_is_clean(p, n))
			return false;
		p += n;
		if (*p == '\0')
			return true;
		if (*p++ != ',')
			return false;
	}
}

size_t bus_text_escape(char *to, size_t n, size_t size, const char *from, size_t from_n)
{
	while (from_n > 0) {
		char piece[4];
		const size_t clean = clean_at(from, from_n);
		const size_t took = clean > 0 ? clean : 1;
		size_t len = took;

		memcpy(piece, from, took);
		if (*from == '\\' || *from == '"' || *from == '\n') {
			piece[0] = '\\';
			piece[1] = *from == '\n' ? 'n' : *from;
			len = 2;
		} else if (clean == 0) {
			piece[0] = '?';
		}
		if (n + len >= size)
			break;
		memcpy(to + n, piece, len);
		n += len;
		from += took;
		from_n -= took;
	}
	to[n] = '\0';
	return n;
}
