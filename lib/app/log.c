/*
 * log -- builds one line per event and writes it without ever blocking. What a
 * slow reader does not take is dropped and counted here; the caller decides what
 * is logged and how often.
 */
#include "lib/app/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/limits.h"
#include "lib/base/must.h"
#include "lib/base/utf8.h"

enum {
	LINE_MAX = LIMIT_LOG_LINE,
	VALUE_MAX = LIMIT_LOG_VALUE,
	CLOSING = 8, /* an ellipsis, a quote, a brace, the newline */
	LEVELS = LOG_ERROR + 1,
};

static const char *const known_events[] = {
#define LOG_EVENT(name, help) #name,
#include "lib/app/log_events.def"
#undef LOG_EVENT
};

static const char *const level_names[LEVELS] = { "debug", "info", "warn", "error" };
static const char *const level_marks[LEVELS] = { "DEBUG", "INFO", "WARN", "ERROR" };

static struct {
	struct log_options o;
	log_tap_fn *tap;
	void *tap_user;
	uint64_t lines[LEVELS], dropped, dropped_said;
} sink = { .o = { .component = "", .level = LOG_INFO, .fd = STDERR_FILENO } };

/* A line under construction.  What does not fit is left out, never half of an
 * escape; CLOSING bytes are kept for what ends a value and the line. */
struct line {
	char text[LINE_MAX];
	size_t n;
	bool full;
};

static void put(struct line *l, const char *p, size_t n)
{
	if (l->full || l->n + n > sizeof(l->text) - CLOSING) {
		l->full = true;
		return;
	}
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

/* Into the kept room. */
static void put_closing(struct line *l, const char *s)
{
	const size_t n = strlen(s);

	must(n < sizeof(l->text) - l->n);
	memcpy(l->text + l->n, s, n);
	l->n += n;
}

static void put_str(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* One character of a value, as JSON has it.  Bytes that are no UTF-8, control
 * and direction-changing characters are escaped in both forms of a line. */
static size_t put_char(struct line *l, struct span s)
{
	uint32_t c;
	const size_t n = utf8_read(s, &c);
	char text[16];

	if (!n) {
		snprintf(text, sizeof(text), "\\\\x%02x", s.p[0]);
		put_str(l, text);
		return 1;
	}
	if (c == '"' || c == '\\') {
		const char pair[2] = { '\\', (char)c };
		put(l, pair, 2);
	} else if (!utf8_is_plain(c)) {
		if (c < 0x10000)
			snprintf(text, sizeof(text), "\\u%04x", c);
		else /* RFC 8259, 7: as a surrogate pair */
			snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd7c0 + (c >> 10),
				 0xdc00 | (c & 0x3ff));
		put_str(l, text);
	} else {
		put(l, (const char *)s.p, n);
	}
	return n;
}

/* What was cut, by the bound of a value or of the line, ends in an ellipsis. */
static void put_text(struct line *l, struct span s)
{
	size_t at = 0;

	while (at < s.n && at < VALUE_MAX && !l->full)
		at += put_char(l, span_of(s.p + at, s.n - at));
	if (at < s.n || l->full)
		put_closing(l, "…");
}

static void put_value(struct line *l, struct span s)
{
	put_str(l, "\"");
	if (l->full)
		return;
	put_text(l, s);
	put_closing(l, "\"");
}

static void put_field(struct line *l, const struct log_field *f)
{
	char text[32];

	switch (f->kind) {
	case LOG_FIELD_STR:
		put_value(l, span_str(f->u.str ? f->u.str : ""));
		return;
	case LOG_FIELD_SPAN:
		put_value(l, f->u.span);
		return;
	case LOG_FIELD_INT:
		snprintf(text, sizeof(text), "%lld", (long long)f->u.num);
		break;
	case LOG_FIELD_BOOL:
		snprintf(text, sizeof(text), "%s", f->u.num ? "true" : "false");
		break;
	case LOG_FIELD_SECONDS:
		snprintf(text, sizeof(text), "%.6f", (double)f->u.ns / 1e9);
		break;
	}
	put_str(l, text);
}

/* A whole pair or, where the line is full, none: a line stays JSON. */
static void put_pair(struct line *l, const char *before, const struct log_field *f,
		     const char *between)
{
	const size_t n = l->n;

	if (l->full)
		return;
	put_str(l, before);
	put_str(l, f->key);
	put_str(l, between);
	if (!l->full)
		put_field(l, f);
	if (l->full)
		l->n = n;
}

static void put_time(struct line *l)
{
	struct timespec t;
	struct tm tm;
	char text[40];

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	const size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03ldZ", t.tv_nsec / 1000000);
	put_str(l, text);
}

static void build_json(struct line *l, enum log_level level, const char *event, const char *message,
		       const struct log_field *fields, size_t n)
{
	put_str(l, "{\"time\":\"");
	put_time(l);
	put_str(l, "\",\"level\":\"");
	put_str(l, level_names[level]);
	put_str(l, "\",\"component\":\"");
	put_str(l, sink.o.component);
	put_str(l, "\",\"event\":\"");
	put_str(l, event);
	put_str(l, "\",\"msg\":");
	put_value(l, span_str(message));
	for (size_t i = 0; i < n; i++)
		put_pair(l, ",\"", &fields[i], "\":");
	put_closing(l, "}");
}

static void build_text(struct line *l, enum log_level level, const char *event, const char *message,
		       const struct log_field *fields, size_t n)
{
	put_time(l);
	put_str(l, " ");
	put_str(l, level_marks[level]);
	put_str(l, " ");
	put_str(l, event);
	put_str(l, " ");
	put_text(l, span_str(message));
	for (size_t i = 0; i < n; i++)
		put_pair(l, " ", &fields[i], "=");
}

/* The descriptor may be shared with others, so it is not made non-blocking.  A
 * line is below PIPE_BUF: where poll() says writable a pipe has a free page and
 * takes it whole and at once.  POLLERR is a pipe without a reader, whose SIGPIPE
 * nobody may have turned off yet. */
static bool write_line(const char *p, size_t n)
{
	struct pollfd fd = { .fd = sink.o.fd, .events = POLLOUT };

	if (poll(&fd, 1, 0) != 1 || fd.revents != POLLOUT)
		return false;
	ssize_t rc;
	do
		rc = write(sink.o.fd, p, n);
	while (rc < 0 && errno == EINTR);
	return rc == (ssize_t)n;
}

static bool is_known(const char *event)
{
	for (size_t i = 0; i < array_len(known_events); i++)
		if (strcmp(known_events[i], event) == 0)
			return true;
	return false;
}

/* false: the line was dropped. */
static bool emit(enum log_level level, const char *event, const char *message,
		 const struct log_field *fields, size_t n)
{
	struct line l;

	l.n = 0;
	l.full = false;
	if (sink.o.json)
		build_json(&l, level, event, message, fields, n);
	else
		build_text(&l, level, event, message, fields, n);
	if (sink.tap)
		sink.tap(sink.tap_user, level, span_of(l.text, l.n));
	l.text[l.n] = '\n';
	const bool written = write_line(l.text, l.n + 1);
	if (written)
		sink.lines[level]++;
	return written;
}

void log_write(enum log_level level, const char *event, const char *message,
	       const struct log_field *fields, size_t n)
{
	must(is_known(event));
	if (!log_is_on(level))
		return;
	if (!emit(level, event, message, fields, n)) {
		sink.dropped++;
		return;
	}
	if (sink.dropped == sink.dropped_said)
		return;
	/* Where this report is dropped itself, the next one says more. */
	const struct log_field lines = L_INT("lines", sink.dropped - sink.dropped_said);
	if (emit(LOG_WARN, "log_dropped", "log lines were dropped: their reader is slow", &lines,
		 1))
		sink.dropped_said = sink.dropped;
}

void log_start(const struct log_options *options)
{
	sink.o = *options;
}

bool log_is_on(enum log_level level)
{
	return level >= sink.o.level;
}

void log_set_tap(log_tap_fn *tap, void *user)
{
	sink.tap = tap;
	sink.tap_user = user;
}

uint64_t log_lines(enum log_level level)
{
	return sink.lines[level];
}

uint64_t log_dropped(void)
{
	return sink.dropped;
}

enum log_level log_level_read(const char *name)
{
	for (size_t i = 0; i < LEVELS; i++)
		if (strcmp(level_names[i], name) == 0)
			return (enum log_level)i;
	return LOG_INFO;
}
