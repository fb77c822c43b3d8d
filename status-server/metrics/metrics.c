/*
 * What stands on /metrics, and in which order.  The form of the page, and what
 * a hostile segment may put there, is exposition.c's.
 */
#include "status-server/metrics/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/app/libraries.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "shm/records.h"
#include "shm/text.h"
#include "status-server/metrics/process.h"
#include "status-server/pages/readiness.h"

/* Labels, escaped as they are added: label(buf, "component", name). */
struct labels {
	char text[2048];
	size_t n;
};

static struct labels *label(struct labels *l, const char *name, const char *value)
{
	const int n =
		snprintf(l->text + l->n, sizeof(l->text) - l->n, "%s%s=\"", l->n ? "," : "", name);

	/* callers' values are bounded by the records; names are ours */
	must(n > 0 && (size_t)n < sizeof(l->text) - l->n - 1);
	l->n = bus_text_escape(l->text, l->n + (size_t)n, sizeof(l->text) - 1, value,
			       strlen(value));
	l->text[l->n++] = '"';
	l->text[l->n] = '\0';
	return l;
}

enum metric {
#define METRIC(id, kind, name, unit, scale, help) METRIC_##id,
#include "status-server/metrics/metrics.def"
#undef METRIC
};

enum metric_kind { COUNTER, GAUGE, INFO };

static const struct {
	enum metric_kind kind;
	const char *name, *unit, *help;
	double scale;
} metrics[] = {
#define METRIC(id, kind, name, unit, scale, help) [METRIC_##id] = { kind, name, unit, help, scale },
#include "status-server/metrics/metrics.def"
#undef METRIC
};

/* One sample; samples of a metric come together.  An INFO's value is in its labels. */
static void put(struct exposition *e, enum metric m, const char *labels, uint64_t value)
{
	if (metrics[m].kind == INFO)
		exposition_info(e, metrics[m].name, metrics[m].help, labels);
	else
		exposition_sample(e, &(struct bus_sample){ .kind = metrics[m].kind == COUNTER
									   ? BUS_COUNTER
									   : BUS_GAUGE,
							   .name = metrics[m].name,
							   .unit = metrics[m].unit,
							   .help = metrics[m].help,
							   .labels = labels,
							   .value = value,
							   .scale = metrics[m].scale });
}

/* ---- this server ---- */

static void write_requests(struct exposition *e, const struct site *site)
{
	for (size_t i = 0; i < ROUTES_N; i++) {
		struct labels l = { .n = 0 };

		put(e, METRIC_HTTP_REQUESTS, label(&l, "endpoint", route_info[i].path)->text,
		    site->requests[i]);
	}
}

static void write_log(struct exposition *e)
{
	static const struct {
		enum log_level level;
		const char *name;
	} levels[] = {
		{ LOG_DEBUG, "debug" },
		{ LOG_INFO, "info" },
		{ LOG_WARN, "warn" },
		{ LOG_ERROR, "error" },
	};

	for (size_t i = 0; i < array_len(levels); i++) {
		struct labels l = { .n = 0 };

		label(label(&l, "component", "status"), "level", levels[i].name);
		put(e, METRIC_LOG_MESSAGES, l.text, log_lines(levels[i].level));
	}
	put(e, METRIC_LOG_DROPPED, "component=\"status\"", log_dropped());
}

static void write_process(struct exposition *e)
{
	struct process_facts p;

	process_read(&p);
	if (p.has_stat) {
		put(e, METRIC_PROCESS_CPU_SECONDS, "", p.cpu_ns);
		put(e, METRIC_PROCESS_RESIDENT_MEMORY, "", p.resident_bytes);
		put(e, METRIC_PROCESS_VIRTUAL_MEMORY, "", p.virtual_bytes);
		put(e, METRIC_PROCESS_START_TIME, "", p.start_realtime_ns);
	}
	if (p.has_fds) {
		put(e, METRIC_PROCESS_OPEN_FDS, "", p.open_fds);
		put(e, METRIC_PROCESS_MAX_FDS, "", p.max_fds);
	}
}

static void write_self(struct exposition *e, struct loop *l)
{
	uint64_t numbers[SELF_NUMBERS_N];

	loop_trim(l);
	self_measure(numbers, loop_counts(l));
	for (size_t i = 0; i < SELF_NUMBERS_N; i++)
		put(e, (enum metric)(METRIC_SELF_OPEN_FDS + (int)i), "", numbers[i]);
}

/* ---- the pod ---- */

static void write_agent(struct exposition *e, const struct pod_view *v)
{
	const struct bus_registration *r = &v->registration;
	struct labels l = { .n = 0 };

	put(e, METRIC_AGENT_STATUS, "", readiness_is_connected(v));
	put(e, METRIC_TUNNEL_STATUS, "", readiness_is_tunnel_up(v));
	if (!v->has_registration || v->of[COMPONENT_CONTROL].presence != BUS_ALIVE)
		return;
	if (r->last_heartbeat_realtime_ns)
		put(e, METRIC_AGENT_LAST_HEARTBEAT_TIMESTAMP, "", r->last_heartbeat_realtime_ns);
	label(label(label(&l, "agent_id", r->agent_id), "cluster_id", r->cluster_id),
	      "cluster_name", r->cluster_name);
	put(e, METRIC_AGENT, l.text, 1);
}

/* One sample per state, exactly one of them 1. */
static void write_tunnel_state(struct exposition *e, const struct pod_view *v)
{
	const bool known = v->of[COMPONENT_TUNNEL].presence == BUS_ALIVE && v->has_session &&
			   v->session.state < BUS_STATES_N;
	const uint64_t now = known ? v->session.state : BUS_STATES_N;

	for (uint64_t s = 0; s <= BUS_STATES_N; s++) {
		struct labels l = { .n = 0 };

		put(e, METRIC_TUNNEL_STATE, label(&l, "state", bus_state_name(s))->text, s == now);
	}
}

/* A desired state that the tunnel refuses; /ready has the sentence. */
static void write_refusal(struct exposition *e, const struct pod_view *v)
{
	const uint64_t error = v->is_refused ? v->observed.error : 0;
	struct labels l = { .n = 0 };

	if (v->of[COMPONENT_TUNNEL].presence != BUS_ALIVE)
		return;
	label(&l, "reason", error && error < 1000 ? err_name(-(int)error) : "");
	put(e, METRIC_TUNNEL_DESIRED_REFUSED, l.text, v->is_refused);
}

/* Which event loop the tunnel got: epoll where io_uring is refused, and why. */
static void write_tunnel_io(struct exposition *e, const struct pod_view *v)
{
	struct labels l = { .n = 0 };

	if (v->of[COMPONENT_TUNNEL].presence != BUS_ALIVE || !v->has_session)
		return;
	label(label(&l, "backend", v->session.io_backend), "reason", v->session.io_reason);
	put(e, METRIC_TUNNEL_IO, l.text, 1);
}

static void write_component_states(struct exposition *e, const struct pod_view *v)
{
	for (size_t i = 0; i < COMPONENTS; i++)
		for (int p = BUS_ABSENT; p <= BUS_UNREADABLE; p++) {
			struct labels l = { .n = 0 };

			label(label(&l, "component", v->of[i].name), "state",
			      bus_presence_name((enum bus_presence)p));
			put(e, METRIC_COMPONENT_STATE, l.text, (int)v->of[i].presence == p);
		}
}

static void write_components(struct exposition *e, const struct pod_view *v)
{
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		put(e, METRIC_COMPONENT_UP, label(&l, "component", v->of[i].name)->text,
		    v->of[i].presence == BUS_ALIVE);
	}
	write_component_states(e, v);
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		if (component_is_readable(&v->of[i]))
			put(e, METRIC_COMPONENT_START_TIME,
			    label(&l, "component", v->of[i].name)->text,
			    v->of[i].start_realtime_ns);
	}
}

/* How the life of each container ended that ended last.  Nothing is said of one
 * that has not ended yet, or whose end nobody can read. */
static void write_ends(struct exposition *e, const struct pod_view *v)
{
	for (size_t i = 0; i < COMPONENTS; i++) {
		const struct life_end *end = &v->of[i].end;
		struct labels l = { .n = 0 };

		if (!end->is_known)
			continue;
		label(label(label(label(&l, "component", v->of[i].name), "how",
				  end->is_exit ? "exit" : "killed"),
			    "phase", bus_phase_name(end->phase)),
		      "state", end->state);
		put(e, METRIC_COMPONENT_LAST_END, l.text, 1);
	}
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		if (v->of[i].end.is_known)
			put(e, METRIC_COMPONENT_LAST_END_TIMESTAMP,
			    label(&l, "component", v->of[i].name)->text, v->of[i].end.realtime_ns);
	}
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		if (v->of[i].end.is_known && v->of[i].end.is_exit)
			put(e, METRIC_COMPONENT_LAST_EXIT_CODE,
			    label(&l, "component", v->of[i].name)->text, v->of[i].end.exit_code);
	}
}

/* Every text of the record is a label; of the libraries only those that are in use. */
static void write_build(struct exposition *e, const char *component, const struct bus_versions *of)
{
	const struct bus_record_info *info = &bus_record_info[BUS_RECORD_VERSIONS];
	struct labels l = { .n = 0 };

	label(&l, "component", component);
	for (size_t i = 0; i < info->fields_n; i++) {
		const char *text = (const char *)of + info->fields[i].at;

		if (*text)
			label(&l, info->fields[i].key, text);
	}
	put(e, METRIC_BUILD, l.text, 1);
}

static void write_builds(struct exposition *e, const struct pod_view *v)
{
	struct bus_versions of;

	for (size_t i = 0; i < COMPONENTS; i++) {
		if (!component_is_readable(&v->of[i]))
			continue;
		of = (struct bus_versions){ .version = "" };
		if (bus_read_versions(v->of[i].reader, &of) != 1) /* an older writer */
			snprintf(of.version, sizeof(of.version), "%.31s", v->of[i].build);
		write_build(e, v->of[i].name, &of);
	}
	of = (struct bus_versions){ .version = "" };
	snprintf(of.version, sizeof(of.version), "%s", program_version);
	snprintf(of.revision, sizeof(of.revision), "%s", program_revision);
	LIBRARIES_FILL(&of);
	write_build(e, "status", &of);
}

/* ---- the segments ---- */

/* Of one segment, on the page: half more than a tunnel of 32 forwards with the
 * longest names takes.  Both and what is our own fit EXPOSITION_BYTES_MAX. */
enum { SEGMENT_SHARE = 96 << 10 };
static_assert(COMPONENTS * SEGMENT_SHARE + (48 << 10) <= EXPOSITION_BYTES_MAX,
	      "what is our own has room on the page");

struct copying {
	struct exposition *e;
	bool gauges;
};

static void copy_sample(void *user, const struct bus_sample *s)
{
	const struct copying *c = user;

	if (s->kind != BUS_GAUGE || c->gauges)
		exposition_sample(c->e, s);
}

/* Notes in read[] which segments could be copied. */
static void copy_segments(struct exposition *e, const struct pod_view *v, bool read[COMPONENTS])
{
	for (size_t i = 0; i < COMPONENTS; i++) {
		const struct component_view *c = &v->of[i];
		struct copying to = { .e = e, .gauges = c->presence == BUS_ALIVE };

		exposition_created(e, c->start_realtime_ns);
		exposition_share(e, SEGMENT_SHARE);
		read[i] = component_is_readable(c) &&
			  bus_reader_samples(c->reader, copy_sample, &to) == 0;
	}
	exposition_created(e, 0);
	exposition_share(e, 0);
}

static const char *why_not_readable(const struct component_view *c, bool read)
{
	if (read)
		return "";
	if (c->presence == BUS_ABSENT)
		return "absent";
	return c->fault->code ? err_name(c->fault->code) : "changed_meanwhile";
}

static void write_bus(struct exposition *e, const struct pod_view *v, const bool read[COMPONENTS])
{
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		label(label(&l, "component", v->of[i].name), "reason",
		      why_not_readable(&v->of[i], read[i]));
		put(e, METRIC_STATUS_BUS_READABLE, l.text, read[i]);
	}
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct labels l = { .n = 0 };

		put(e, METRIC_STATUS_BUS_REGRESSIONS, label(&l, "component", v->of[i].name)->text,
		    bus_reader_regressions(v->of[i].reader));
	}
	put(e, METRIC_STATUS_BUS_SERIES_DROPPED, "", exposition_dropped(e));
}

/* The README's names that come from a segment stand on the page from the
 * start: a container that never ran has done nothing, which is zero.  Of one
 * that can't be read nothing is known, so nothing is said. */
static void write_absent(struct exposition *e, const struct pod_view *v)
{
	static const struct {
		enum metric metric;
		const char *family;
	} of_control[] = {
		{ METRIC_ABSENT_HEARTBEATS, "pipeops_heartbeat" },
		{ METRIC_ABSENT_HEARTBEAT_ERRORS, "pipeops_heartbeat_errors" },
		{ METRIC_ABSENT_REGISTRATIONS, "pipeops_registration_attempts" },
	};
	const bool control_absent = v->of[COMPONENT_CONTROL].presence == BUS_ABSENT;
	const enum bus_presence tunnel = v->of[COMPONENT_TUNNEL].presence;

	for (size_t i = 0; control_absent && i < array_len(of_control); i++)
		if (!exposition_has(e, of_control[i].family))
			put(e, of_control[i].metric, "", 0);
	if (tunnel != BUS_ALIVE && tunnel != BUS_UNREADABLE &&
	    !exposition_has(e, "pipeops_tunnel_forwards_active"))
		put(e, METRIC_TUNNEL_FORWARDS_ACTIVE, "", 0);
}

static void write_sandbox(struct exposition *e, const struct sandbox_report *r)
{
	for (enum sandbox_feature f = 0; r && f < SANDBOX_FEATURES_N; f++) {
		struct labels l = { .n = 0 };

		label(&l, "feature", sandbox_feature_name(f));
		put(e, METRIC_STATUS_SANDBOX, l.text, r->on[f]);
	}
}

int metrics_write(struct buf *to, enum exposition_format format, const struct site *site,
		  const struct pod_view *v)
{
	struct exposition *e;
	bool read[COMPONENTS];
	const int rc = exposition_start(&e, to, format);

	if (rc < 0)
		return rc;
	/* What is ours comes first, so that no segment can take its names.  The
	 * bus comes last, as it tells of the copying; its prefix is nobody's in
	 * BUS_NAME_OWNERS. */
	write_agent(e, v);
	write_tunnel_state(e, v);
	write_refusal(e, v);
	write_tunnel_io(e, v);
	write_components(e, v);
	write_ends(e, v);
	write_builds(e, v);
	exposition_created(e, site->start_realtime_ns);
	write_requests(e, site);
	write_log(e);
	write_process(e);
	write_sandbox(e, site->sandbox);
	if (site->loop)
		write_self(e, site->loop);
	copy_segments(e, v, read);
	write_absent(e, v);
	exposition_created(e, site->start_realtime_ns);
	write_bus(e, v, read);
	return exposition_end(e);
}
