/* Members of a request's body.  Which ones a request has stands in register.c and heartbeat.c. */
#include "control-agent/plane/request.h"

#include <time.h>

void request_text(struct json_writer *j, const char *name, const char *value)
{
	if (value[0])
		json_write_text(j, name, value);
}

void request_time(struct json_writer *j, const char *name, int64_t at_s)
{
	const time_t t = (time_t)at_s;
	char text[32];
	struct tm tm;

	if (gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		json_write_text(j, name, text);
}
