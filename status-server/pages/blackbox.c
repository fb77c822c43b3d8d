#include "status-server/pages/blackbox.h"

#include <stdio.h>

#include "lib/app/log.h"
#include "lib/base/json_write.h"

static void write_session(struct json_writer *j, const struct bus_session *s)
{
	json_write_open(j, "session", '{');
	json_write_text(j, "state", bus_state_name(s->state));
	json_write_time(j, "since", s->since_realtime_ns);
	json_write_number(j, "forwards_active", s->forwards_active);
	json_write_number(j, "attempts", s->attempts);
	json_write_time(j, "next_retry", s->next_retry_realtime_ns);
	json_write_bool(j, "idle_closed", s->idle_closed != 0);
	json_write_text(j, "io_backend", s->io_backend);
	json_write_text(j, "io_reason", s->io_reason);
	json_write_text(j, "server", s->server);
	json_write_text(j, "cipher", s->cipher);
	json_write_text(j, "last_error", s->last_error);
	json_write_text(j, "last_error_phase", s->last_error_phase);
	json_write_text(j, "last_error_reason", s->last_error_reason);
	json_write_text(j, "cause", s->cause);
	json_write_close(j, '}');
}

static void write_observed(struct json_writer *j, const struct bus_observed *o)
{
	json_write_open(j, "observed", '{');
	json_write_number(j, "gen_seen", o->gen_seen);
	json_write_number(j, "gen_applied", o->gen_applied);
	json_write_text(j, "state", bus_state_name(o->state));
	if (o->error)
		json_write_text(j, "error", o->error_text);
	json_write_close(j, '}');
}

static void write_registration(struct json_writer *j, const struct bus_registration *r)
{
	json_write_open(j, "registration", '{');
	json_write_bool(j, "registered", r->registered != 0);
	json_write_time(j, "since", r->since_realtime_ns);
	json_write_time(j, "last_heartbeat", r->last_heartbeat_realtime_ns);
	if (r->nodes != UINT64_MAX)
		json_write_number(j, "nodes", r->nodes);
	if (r->pods != UINT64_MAX)
		json_write_number(j, "pods", r->pods);
	json_write_text(j, "agent_id", r->agent_id);
	json_write_text(j, "cluster_id", r->cluster_id);
	json_write_text(j, "cluster_name", r->cluster_name);
	json_write_text(j, "last_error", r->last_error);
	json_write_close(j, '}');
}

static void write_desired(struct json_writer *j, const struct bus_desired *d)
{
	json_write_open(j, "desired", '{');
	json_write_number(j, "gen", d->gen);
	json_write_text(j, "op", d->op == BUS_DESIRED_UP ? "up" : "down");
	json_write_text(j, "url", d->url);
	json_write_number(j, "forwards", d->n);
	json_write_close(j, '}');
}

static void write_records(struct json_writer *j, struct bus_reader *r)
{
	struct bus_session session;
	struct bus_observed observed;
	struct bus_registration registration;
	struct bus_desired desired;

	if (bus_read_session(r, &session) == 1)
		write_session(j, &session);
	if (bus_read_observed(r, &observed) == 1)
		write_observed(j, &observed);
	if (bus_read_registration(r, &registration) == 1)
		write_registration(j, &registration);
	if (bus_read_desired(r, &desired) == 1)
		write_desired(j, &desired);
}

/* ---- the last lines of a ring: seen twice, so that none need be kept ---- */

typedef int ring_fn(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
		    void (*each)(void *user, const struct bus_log_line *line), void *user);

struct tail {
	struct json_writer *j;
	uint64_t last;	     /* sequence of the newest line */
	uint64_t from, left; /* lines above `from` are written, and `left` at most */
	bool has_levels;
};

static void note_last(void *user, const struct bus_log_line *line)
{
	((struct tail *)user)->last = line->seq;
}

static void write_line(void *user, const struct bus_log_line *line)
{
	static const char *const levels[] = { [LOG_DEBUG] = "debug",
					      [LOG_INFO] = "info",
					      [LOG_WARN] = "warn",
					      [LOG_ERROR] = "error" };
	struct tail *t = user;

	if (line->seq <= t->from || t->left == 0)
		return;
	t->left--;
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
		       bool has_levels, uint64_t lines)
{
	struct tail t = { .j = j, .left = lines, .has_levels = has_levels };
	uint64_t cursor = 0, lost = 0;

	if (read(r, &cursor, &lost, note_last, &t) < 0)
		return; /* the file was cut: the next refresh says so */
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
	char text[2 * sizeof(id) + 1];

	bus_reader_incarnation(r, id);
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	json_write_text(j, "incarnation", text);
}

void blackbox_write_component(struct json_writer *j, const struct component_view *c, uint64_t lines)
{
	json_write_text(j, "presence", bus_presence_name(c->presence));
	if (c->fault->code)
		json_write_text(j, "why", c->fault->why);
	if (!component_is_readable(c))
		return;
	json_write_text(j, "build", c->build);
	write_incarnation(j, c->reader);
	json_write_time(j, "started", c->start_realtime_ns);
	json_write_text(j, "phase", bus_phase_name(c->phase));
	/* a writer that was killed had no time to leave one */
	if (c->presence == BUS_DEAD && (c->phase == BUS_STOPPED || c->phase == BUS_FAILED))
		json_write_number(j, "exit_code", c->exit_code);
	json_write_number(j, "beats", bus_reader_beat(c->reader));
	write_records(j, c->reader);
	write_ring(j, "log", c->reader, bus_reader_log, true, lines);
	write_ring(j, "events", c->reader, bus_reader_events, false, lines);
}

int blackbox_write(struct buf *to, const struct pod_view *v)
{
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	json_write_time(&j, "time", v->realtime_ns);
	json_write_open(&j, "components", '[');
	for (size_t i = 0; i < COMPONENTS; i++) {
		json_write_open(&j, NULL, '{');
		json_write_text(&j, "name", v->of[i].name);
		blackbox_write_component(&j, &v->of[i], BLACKBOX_LINES);
		json_write_close(&j, '}');
	}
	json_write_close(&j, ']');
	json_write_close(&j, '}');
	return j.rc == 0 ? buf_append(to, "\n", 1) : j.rc;
}
