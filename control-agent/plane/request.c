#include "control-agent/plane/request.h"

#include <time.h>

bool request_take(struct json_object *o, const char *name, struct json_object *value)
{
	if (value && o && json_object_object_add(o, name, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

bool request_text(struct json_object *o, const char *name, const char *value)
{
	return !value[0] || request_take(o, name, json_object_new_string(value));
}

bool request_number(struct json_object *o, const char *name, uint64_t value)
{
	return request_take(o, name, json_object_new_int64((int64_t)value));
}

void request_time(char to[32], int64_t now_s)
{
	const time_t t = (time_t)now_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(to, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		to[0] = '\0';
}

int request_finish_take(struct buf *to, struct json_object *o, bool good)
{
	size_t n = 0;
	const char *text =
		good && o ? json_object_to_json_string_length(
				    o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n)
			  : NULL;
	const int rc = text ? buf_append(to, text, n) : ERR_NOMEM;

	json_object_put(o);
	return rc;
}
