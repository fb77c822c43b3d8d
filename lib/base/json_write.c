/* JSON in one pass, each value behind its comma; nothing is kept but where it stands. */
#include "lib/base/json_write.h"

#include <stdio.h>
#include <time.h>

#include "lib/base/units.h"
#include "lib/base/utf8.h"

static void put(struct json_writer *j, const void *p, size_t n)
{
	if (j->rc == 0)
		j->rc = buf_append(j->to, p, n);
}

static void put_str(struct json_writer *j, const char *s)
{
	put(j, s, strlen(s));
}

/* Bytes that do not print become '?', as a quote and a backslash get one before them. */
static void put_text(struct json_writer *j, struct span value)
{
	while (value.n) {
		uint32_t c;
		size_t n = utf8_read(value, &c);

		if (!n || !utf8_is_plain(c)) {
			put_str(j, "?");
			n = n ? n : 1;
		} else {
			if ((c == '"' || c == '\\') && !j->plain)
				put_str(j, "\\");
			put(j, value.p, n);
		}
		value = span_of(value.p + n, value.n - n);
	}
}

/* ---- lines for an eye ---- */

static void put_indent(struct json_writer *j)
{
	for (unsigned i = 1; i < j->depth; i++)
		put_str(j, "  ");
}

/* In front of a value: nothing but a gap within a row, else its name. */
static void start_plain(struct json_writer *j, const char *key)
{
	if (j->row) {
		if (j->comma)
			put_str(j, "  ");
	} else {
		put_indent(j);
		if (key) {
			put_str(j, key);
			put_str(j, ": ");
		}
	}
	j->comma = true;
}

static void open_plain(struct json_writer *j, const char *key)
{
	const bool is_document = j->depth == 0;

	if (j->row || (!key && !is_document)) {
		if (!j->row)
			put_indent(j);
		else if (j->comma)
			put_str(j, "  ");
		j->row++;
		j->comma = false;
		return;
	}
	if (!is_document) {
		put_indent(j);
		put_str(j, key);
		put_str(j, ":\n");
	}
	j->depth++;
}

static void close_plain(struct json_writer *j)
{
	if (!j->row) {
		j->depth--;
		return;
	}
	j->comma = true;
	if (--j->row == 0)
		put_str(j, "\n");
}

/* ---- both forms ---- */

static void start_value(struct json_writer *j, const char *key)
{
	if (j->plain) {
		start_plain(j, key);
		return;
	}
	if (j->comma)
		put_str(j, ",");
	j->comma = true;
	if (key) {
		put_str(j, "\"");
		put_text(j, span_str(key));
		put_str(j, "\":");
	}
}

static void end_value(struct json_writer *j)
{
	if (j->plain && !j->row)
		put_str(j, "\n");
}

void json_write_open(struct json_writer *j, const char *key, char bracket)
{
	if (j->plain) {
		open_plain(j, key);
		return;
	}
	start_value(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void json_write_close(struct json_writer *j, char bracket)
{
	if (j->plain) {
		close_plain(j);
		return;
	}
	put(j, &bracket, 1);
	j->comma = true;
}

void json_write_span(struct json_writer *j, const char *key, struct span value)
{
	const char *quote = j->plain ? "" : "\"";

	start_value(j, key);
	put_str(j, quote);
	if (j->plain && !value.n)
		put_str(j, "-");
	put_text(j, value);
	put_str(j, quote);
	end_value(j);
}

void json_write_text(struct json_writer *j, const char *key, const char *value)
{
	json_write_span(j, key, span_str(value));
}

void json_write_number(struct json_writer *j, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	start_value(j, key);
	put_str(j, text);
	end_value(j);
}

void json_write_bool(struct json_writer *j, const char *key, bool value)
{
	start_value(j, key);
	put_str(j, value ? "true" : "false");
	end_value(j);
}

void json_write_hex(struct json_writer *j, const char *key, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const char *quote = j->plain ? "" : "\"";

	start_value(j, key);
	put_str(j, quote);
	for (size_t i = 0; i < n; i++)
		put(j, (const char[]){ digits[p[i] >> 4], digits[p[i] & 15] }, 2);
	put_str(j, quote);
	end_value(j);
}

void json_write_time(struct json_writer *j, const char *key, uint64_t realtime_ns)
{
	const time_t s = (time_t)(realtime_ns / NS_PER_S);
	char text[48];
	struct tm tm;

	start_value(j, key);
	if (!realtime_ns || !gmtime_r(&s, &tm)) {
		put_str(j, j->plain ? "-" : "null");
		end_value(j);
		return;
	}
	const size_t n = strftime(text, sizeof(text), "\"%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03uZ%s", (unsigned)(realtime_ns / 1000000 % 1000),
		 j->plain ? "" : "\"");
	put_str(j, text + j->plain);
	end_value(j);
}
