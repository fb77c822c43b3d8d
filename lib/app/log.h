/*
 * log -- one line per event: time, level, event name, message, key=value.
 *
 * Only programs log.  Lines are JSON (or text) and go to stderr or stdout
 * without ever blocking: what a slow reader does not take is dropped and
 * counted.  Every value is escaped; none may hold a secret.  A tap sees each
 * line as well (the bus's log ring).
 *
 *	log_info("tunnel_up", "tunnel is up", L_STR("server", host), L_INT("forwards", n));
 */
#ifndef LIB_APP_LOG_H
#define LIB_APP_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bytes.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
	const char *key;
	enum {
		LOG_FIELD_STR,
		LOG_FIELD_SPAN,
		LOG_FIELD_INT,
		LOG_FIELD_BOOL,
		LOG_FIELD_SECONDS
	} kind;
	union {
		const char *str;
		struct span span;
		int64_t num;
		uint64_t ns;
	} u;
};

#define LOG_FIELD_NUMBER(k, n)                                                                     \
	((struct log_field){ .key = (k), .kind = LOG_FIELD_INT, .u.num = (n) })

#define L_STR(k, v)  ((struct log_field){ .key = (k), .kind = LOG_FIELD_STR, .u.str = (v) })
#define L_SPAN(k, v) ((struct log_field){ .key = (k), .kind = LOG_FIELD_SPAN, .u.span = (v) })
#define L_INT(k, v)  LOG_FIELD_NUMBER(k, (int64_t)(v))
#define L_BOOL(k, v) ((struct log_field){ .key = (k), .kind = LOG_FIELD_BOOL, .u.num = (v) })
#define L_NS(k, v)   ((struct log_field){ .key = (k), .kind = LOG_FIELD_SECONDS, .u.ns = (v) })

/* `event` is a name of log_events.def (a must): those are stable for users. */
void log_write(enum log_level level, const char *event, const char *message,
	       const struct log_field *fields, size_t n);

#define LOG_FIELDS(...) ((struct log_field[]){ __VA_ARGS__ })
#define LOG_AT(level, event, message, ...)                                                         \
	log_write(level, event, message, LOG_FIELDS({ 0 }, ##__VA_ARGS__) + 1,                     \
		  array_len(LOG_FIELDS({ 0 }, ##__VA_ARGS__)) - 1)
#define log_debug(event, message, ...) LOG_AT(LOG_DEBUG, event, message, ##__VA_ARGS__)
#define log_info(event, message, ...)  LOG_AT(LOG_INFO, event, message, ##__VA_ARGS__)
#define log_warn(event, message, ...)  LOG_AT(LOG_WARN, event, message, ##__VA_ARGS__)
#define log_error(event, message, ...) LOG_AT(LOG_ERROR, event, message, ##__VA_ARGS__)

struct log_options {
	const char *component; /* "tunnel", "control", "status" */
	enum log_level level;
	bool json;
	int fd;
};
void log_start(const struct log_options *options);
bool log_is_on(enum log_level level);

/* Also gets each line that passes the level, without its newline. */
typedef void log_tap_fn(void *user, enum log_level level, struct span line);
void log_set_tap(log_tap_fn *tap, void *user);

/* "debug", "info", "warn", "error"; any other text is info. */
enum log_level log_level_read(const char *name);

uint64_t log_lines(enum log_level level); /* written so far */
uint64_t log_dropped(void);

#endif
