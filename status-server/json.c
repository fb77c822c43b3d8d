#include "status-server/json.h"

#include <stdio.h>
#include <time.h>

#include "lib/base/utf8.h"

static void put(struct json *j, const void *p, size_t n)
{
	if (j->rc == 0)
		j->rc = buf_append(j->to, p, n);
}

static void put_str(struct json *j, const char *s)
{
	put(j, s, strlen(s));
}

static void put_key(struct json *j, const char *key)
{
	if (j->comma)
		put_str(j, ",");
	j->comma = true;
	if (key) {
		put_str(j, "\"");
		put_str(j, key);
		put_str(j, "\":");
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	put_key(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void json_close(struct json *j, char bracket)
{
	put(j, &bracket, 1);
	j->comma = true;
}

void json_span(struct json *j, const char *key, struct span value)
{
	put_key(j, key);
	put_str(j, "\"");
	while (value.n) {
		uint32_t c;
		size_t n = utf8_read(value, &c);

		if (!n || !utf8_is_plain(c)) {
			put_str(j, "?");
			n = n ? n : 1;
		} else {
			if (c == '"' || c == '\\')
				put_str(j, "\\");
			put(j, value.p, n);
		}
		value = span_of(value.p + n, value.n - n);
	}
	put_str(j, "\"");
}

void json_text(struct json *j, const char *key, const char *value)
{
	json_span(j, key, span_str(value));
}

void json_number(struct json *j, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	put_key(j, key);
	put_str(j, text);
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	put_str(j, value ? "true" : "false");
}

void json_time(struct json *j, const char *key, uint64_t realtime_ns)
{
	const time_t s = (time_t)(realtime_ns / 1000000000u);
	char text[48];
	struct tm tm;

	put_key(j, key);
	if (!realtime_ns || !gmtime_r(&s, &tm)) {
		put_str(j, "null");
		return;
	}
	const size_t n = strftime(text, sizeof(text), "\"%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03uZ\"", (unsigned)(realtime_ns / 1000000 % 1000));
	put_str(j, text);
}
