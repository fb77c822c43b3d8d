/* Bytes of a peer in a log line: one line, plain UTF-8, and JSON where JSON is
 * asked for.  Input: {form} bytes, which are a value and, cut, two more. */
#include <fcntl.h>
#include <json-c/json.h>

#include "lib/app/log.h"
#include "lib/base/must.h"
#include "lib/base/utf8.h"

static bool json;

static void on_line(void *user, enum log_level level, struct span line)
{
	(void)level;
	++*(unsigned *)user;
	must(line.n > 0 && line.n < 4000);
	for (size_t at = 0; at < line.n;) {
		uint32_t c;
		const size_t n = utf8_read(span_of(line.p + at, line.n - at), &c);

		must(n > 0 &&
		     utf8_is_plain(c)); /* no control, no newline, no change of direction */
		at += n;
	}
	if (!json)
		return;
	struct json_tokener *t = json_tokener_new();
	must(t);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	struct json_object *o = json_tokener_parse_ex(t, (const char *)line.p, (int)line.n);
	/* An object that has ended, with the fields that every line has. */
	must(json_tokener_get_error(t) == json_tokener_success &&
	     json_object_is_type(o, json_type_object));
	must(json_object_object_get_ex(o, "event", NULL) &&
	     json_object_object_get_ex(o, "msg", NULL));
	json_object_put(o);
	json_tokener_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int nowhere = -1;
	unsigned lines = 0;
	char text[64];

	if (!n)
		return 0;
	if (nowhere < 0)
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	json = p[0] & 1;
	log_start(&(struct log_options){ .component = "fuzz", .level = LOG_DEBUG, .json = json,
					 .fd = nowhere });
	log_set_tap(on_line, &lines);
	const struct span value = span_of(p + 1, n - 1);
	const struct span part = span_of(value.p, value.n / 2);
	const size_t most = min_size(value.n, sizeof(text) - 1);
	memcpy(text, value.p, most);
	text[most] = '\0';
	log_warn("channel_rejected", text, L_SPAN("target", value), L_STR("error", text),
		 L_SPAN("type", part), L_INT("n", value.n), L_BOOL("yes", true),
		 L_NS("took_s", value.n * 1000003));
	must(lines == 1);
	log_set_tap(NULL, NULL);
	return 0;
}
