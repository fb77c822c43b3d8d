/*
 * One container's last words as JSON: records by the tables of records.def,
 * lines of the two rings, the end of the life before.  It judges nothing.
 */
#include "status-server/pages/blackbox.h"

#include <assert.h>

#include "lib/app/log.h"
#include "lib/base/json_write.h"
#include "shm/records.h"

static void write_ports(struct json_writer *j, const char *key, const struct bus_ports *p,
			size_t room)
{
	json_write_open(j, key, '[');
	for (size_t i = 0; i < room && p[i].remote_port; i++) {
		json_write_open(j, NULL, '{');
		json_write_number(j, "remote_port", p[i].remote_port);
		json_write_number(j, "target", p[i].target);
		json_write_close(j, '}');
	}
	json_write_close(j, ']');
}

static void write_value(struct json_writer *j, const struct bus_record_field *f, uint64_t v)
{
	switch (f->kind) {
	case BUS_VALUE_COUNT:
		if (v == UINT64_MAX)
			return;
		json_write_number(j, f->key, v);
		return;
	case BUS_VALUE_FLAG:
		json_write_bool(j, f->key, v != 0);
		return;
	case BUS_VALUE_TIME:
		json_write_time(j, f->key, v);
		return;
	case BUS_VALUE_STATE:
		json_write_text(j, f->key, bus_state_name(v));
		return;
	case BUS_VALUE_OP:
		json_write_text(j, f->key, v == BUS_DESIRED_UP ? "up" : "down");
		return;
	case BUS_VALUE_ERROR:
		if (v)
			json_write_text(j, f->key, v < 1000 ? err_name(-(int)v) : "unknown");
		return;
	case BUS_VALUE_NUMBER:
	case BUS_VALUE_TEXT:
	case BUS_VALUE_BYTES:
	case BUS_VALUE_PORTS:
		break;
	}
	json_write_number(j, f->key, v);
}

static void write_field(struct json_writer *j, const struct bus_record_field *f, const char *record)
{
	const void *at = record + f->at;

	if (f->kind == BUS_VALUE_TEXT)
		json_write_text(j, f->key, at);
	else if (f->kind == BUS_VALUE_BYTES)
		json_write_hex(j, f->key, at, f->size);
	else if (f->kind == BUS_VALUE_PORTS)
		write_ports(j, f->key, at, f->size / sizeof(struct bus_ports));
	else
		write_value(j, f, bus_record_value(f, record));
}

static void write_records(struct json_writer *j, struct bus_reader *r)
{
	for (size_t i = 0; i < BUS_RECORDS_N; i++) {
		const struct bus_record_info *info = &bus_record_info[i];
		uint64_t record[BUS_SLOT_MAX / 8];

		if (bus_read(r, (enum bus_record_id)i, record) != 1)
			continue;
		json_write_open(j, info->name, '{');
		for (size_t k = 0; k < info->fields_n; k++)
			write_field(j, &info->fields[k], (const char *)record);
		json_write_close(j, '}');
	}
}

/* ---- the last lines of a ring: seen twice, so that none need be kept ---- */

typedef int ring_fn(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
		    void (*each)(void *user, const struct bus_log_line *line), void *user);

/* Bytes of lines on the page, for each of two rings of two lives of two containers. */
enum { LOG_BYTES = 38 << 10, EVENT_BYTES = 14 << 10, RECORD_BYTES = 8 << 10 };
static_assert(2 * COMPONENTS * (LOG_BYTES + EVENT_BYTES + RECORD_BYTES) <= BLACKBOX_BYTES_MAX,
	      "whatever the segments, the page keeps its bound");

struct tail {
	struct json_writer *j;
	uint64_t last;	     /* sequence of the newest line */
	uint64_t from, left; /* lines above `from` are written, and `left` at most */
	size_t bytes_left;
	size_t costs[BLACKBOX_LINES]; /* of the newest lines, by sequence */
	bool has_levels;
};

/* Not less than the line takes on the page: a quote takes two bytes. */
static size_t cost_of(const struct bus_log_line *line)
{
	return 2 * line->text.n + 112;
}

static void note_last(void *user, const struct bus_log_line *line)
{
	struct tail *t = user;

	t->last = line->seq;
	t->costs[line->seq % BLACKBOX_LINES] = cost_of(line);
}

/* The first of the newest lines that fit: those that came before are left out. */
static uint64_t first_that_fits(const struct tail *t, uint64_t lines)
{
	const uint64_t most = min_u64(lines, min_u64(t->last, BLACKBOX_LINES));
	size_t bytes = t->bytes_left;
	uint64_t n = 0;

	while (n < most && t->costs[(t->last - n) % BLACKBOX_LINES] <= bytes) {
		bytes -= t->costs[(t->last - n) % BLACKBOX_LINES];
		n++;
	}
	return t->last - n;
}

static void write_line(void *user, const struct bus_log_line *line)
{
	static const char *const levels[] = { [LOG_DEBUG] = "debug",
					      [LOG_INFO] = "info",
					      [LOG_WARN] = "warn",
					      [LOG_ERROR] = "error" };
	struct tail *t = user;

	/* a hostile writer may have changed its lines since they were counted */
	if (line->seq <= t->from || t->left == 0 || cost_of(line) > t->bytes_left)
		return;
	t->left--;
	t->bytes_left -= cost_of(line);
	json_write_open(t->j, NULL, '{');
	json_write_number(t->j, "seq", line->seq);
	json_write_time(t->j, "time", line->realtime_ns);
	if (t->has_levels)
		json_write_text(t->j, "level",
				line->level < array_len(levels) ? levels[line->level] : "unknown");
	json_write_span(t->j, "text", line->text);
	json_write_close(t->j, '}');
}

static void write_ring(struct json_writer *j, const char *key, struct bus_reader *r, ring_fn *read,
		       bool has_levels, uint64_t lines, size_t bytes)
{
	struct tail t = { .j = j, .left = lines, .bytes_left = bytes, .has_levels = has_levels };
	uint64_t cursor = 0, lost = 0;

	if (read(r, &cursor, &lost, note_last, &t) < 0)
		return; /* the file was cut: the next refresh says so */
	if (bytes != SIZE_MAX)
		t.from = first_that_fits(&t, lines);
	else
		t.from = t.last > lines ? t.last - lines : 0;
	json_write_open(j, key, '{');
	json_write_number(j, "written", t.last);
	json_write_number(j, "overwritten", lost);
	json_write_open(j, "lines", '[');
	cursor = lost = 0;
	if (read(r, &cursor, &lost, write_line, &t) < 0)
		t.left = 0;
	json_write_close(j, ']');
	json_write_close(j, '}');
}

/* ---- a container ---- */

static void write_incarnation(struct json_writer *j, const struct bus_reader *r)
{
	uint8_t id[16];

	bus_reader_incarnation(r, id);
	json_write_hex(j, "incarnation", id, sizeof(id));
}

void blackbox_write_life(struct json_writer *j, struct bus_reader *r, uint64_t lines, bool bounded)
{
	uint32_t exit_code;
	bool is_exit;

	json_write_text(j, "build", bus_reader_build(r));
	write_incarnation(j, r);
	json_write_time(j, "started", bus_reader_start_realtime_ns(r));
	json_write_time(j, "last_beat", bus_reader_last_beat_realtime_ns(r));
	json_write_text(j, "phase", bus_phase_name(bus_reader_phase(r, &exit_code)));
	if (bus_reader_has_ended(r, &is_exit)) {
		json_write_text(j, "ended", is_exit ? "exit" : "killed");
		/* a writer that was killed had no time to leave one */
		if (is_exit)
			json_write_number(j, "exit_code", exit_code);
	}
	json_write_number(j, "beats", bus_reader_beat(r));
	write_records(j, r);
	write_ring(j, "log", r, bus_reader_log, true, lines, bounded ? LOG_BYTES : SIZE_MAX);
	write_ring(j, "events", r, bus_reader_events, false, lines,
		   bounded ? EVENT_BYTES : SIZE_MAX);
}

static void write_component(struct json_writer *j, const struct component_view *c)
{
	json_write_text(j, "name", c->name);
	json_write_text(j, "presence", bus_presence_name(c->presence));
	if (c->fault->code)
		json_write_text(j, "why", c->fault->why);
	if (component_is_readable(c))
		blackbox_write_life(j, c->reader, BLACKBOX_LINES, true);
	if (c->previous) {
		json_write_open(j, "previous", '{');
		blackbox_write_life(j, c->previous, BLACKBOX_LINES, true);
		json_write_close(j, '}');
	}
}

int blackbox_write(struct buf *to, const struct pod_view *v)
{
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	json_write_time(&j, "time", v->realtime_ns);
	json_write_open(&j, "components", '[');
	for (size_t i = 0; i < COMPONENTS; i++) {
		json_write_open(&j, NULL, '{');
		write_component(&j, &v->of[i]);
		json_write_close(&j, '}');
	}
	json_write_close(&j, ']');
	json_write_close(&j, '}');
	return j.rc == 0 ? buf_append(to, "\n", 1) : j.rc;
}
