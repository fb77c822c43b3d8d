#include "status-server/pages/readiness.h"

#include <stdio.h>

#include "tests/support/cases.h"

static const struct fault no_fault;
static const struct fault bad_segment = { .code = ERR_TRUST, .why = "the segment has holes" };

/* A pod in which all is well. */
static struct pod_view good_view(void)
{
	struct pod_view v = {
		.realtime_ns = UINT64_C(1000000000000),
		.has_session = true,
		.has_registration = true,
		.session = { .state = BUS_STATE_UP },
		.registration = { .registered = 1,
				  .last_heartbeat_realtime_ns = UINT64_C(999000000000) },
	};
	v.of[COMPONENT_TUNNEL] = (struct component_view){ .name = "tunnel",
							  .presence = BUS_ALIVE,
							  .fault = &no_fault };
	v.of[COMPONENT_CONTROL] = (struct component_view){ .name = "control",
							   .presence = BUS_ALIVE,
							   .fault = &no_fault };
	return v;
}

static void all_well(struct pod_view *v)
{
	(void)v;
}

static void idle(struct pod_view *v)
{
	v->session.state = BUS_STATE_IDLE;
}

static void idle_by_inactivity(struct pod_view *v)
{
	idle(v);
	v->session.idle_closed = 1;
}

static void closed_once_but_connecting(struct pod_view *v)
{
	v->session.state = BUS_STATE_CONNECTING;
	v->session.idle_closed = 1;
}

static void not_asked_for(struct pod_view *v)
{
	idle(v);
	v->has_desired = true;
	v->desired = (struct bus_desired){ .gen = 3, .op = BUS_DESIRED_DOWN };
}

static void not_asked_yet(struct pod_view *v)
{
	not_asked_for(v);
	v->desired.gen = 0;
}

static void asked_for(struct pod_view *v)
{
	not_asked_for(v);
	v->desired.op = BUS_DESIRED_UP;
}

static void backing_off(struct pod_view *v)
{
	v->session.state = BUS_STATE_BACKOFF;
	snprintf(v->session.last_error, sizeof(v->session.last_error),
		 "connect: refused by gateway");
}

static void tunnel_absent(struct pod_view *v)
{
	v->of[COMPONENT_TUNNEL].presence = BUS_ABSENT;
	v->has_session = false;
}

static void tunnel_stalled(struct pod_view *v)
{
	v->of[COMPONENT_TUNNEL].presence = BUS_STALLED;
	v->of[COMPONENT_TUNNEL].silent_ns = UINT64_C(42300000000);
}

static void tunnel_dead(struct pod_view *v)
{
	v->of[COMPONENT_TUNNEL].presence = BUS_DEAD;
	v->of[COMPONENT_TUNNEL].end = (struct life_end){ .is_known = true,
							 .is_exit = true,
							 .phase = BUS_FAILED,
							 .exit_code = 137,
							 .error = "no memory" };
}

static void tunnel_killed(struct pod_view *v)
{
	v->of[COMPONENT_TUNNEL].presence = BUS_DEAD;
	v->of[COMPONENT_TUNNEL].end = (struct life_end){ .is_known = true, .phase = BUS_RUNNING };
}

static void refused(struct pod_view *v)
{
	v->is_refused = true;
	snprintf(v->observed.error_text, sizeof(v->observed.error_text),
		 "port 444 is not in tunnel.server_ports");
}

static void refused_while_idle(struct pod_view *v)
{
	asked_for(v);
	refused(v);
}

static void started_again(struct pod_view *v)
{
	v->has_registration = false;
	v->of[COMPONENT_CONTROL].end =
		(struct life_end){ .is_known = true,
				   .is_exit = true,
				   .phase = BUS_FAILED,
				   .exit_code = 65,
				   .error = "the control plane refused the token" };
}

static void started_again_after_an_orderly_end(struct pod_view *v)
{
	started_again(v);
	v->of[COMPONENT_CONTROL].end.exit_code = 0;
}

static void tunnel_started_again(struct pod_view *v)
{
	v->session.state = BUS_STATE_CONNECTING;
	v->of[COMPONENT_TUNNEL].end = (struct life_end){ .is_known = true, .phase = BUS_RUNNING };
}

static void tunnel_unreadable(struct pod_view *v)
{
	v->of[COMPONENT_TUNNEL].presence = BUS_UNREADABLE;
	v->of[COMPONENT_TUNNEL].fault = &bad_segment;
	v->has_session = false;
}

static void tunnel_silent(struct pod_view *v)
{
	v->has_session = false;
}

static void unregistered(struct pod_view *v)
{
	v->registration.registered = 0;
	snprintf(v->registration.last_error, sizeof(v->registration.last_error),
		 "401: token unknown");
}

static void never_registered(struct pod_view *v)
{
	v->has_registration = false;
}

static void control_dead(struct pod_view *v)
{
	v->of[COMPONENT_CONTROL].presence = BUS_DEAD;
}

static void control_dead_not_asked_for(struct pod_view *v)
{
	not_asked_for(v);
	control_dead(v);
}

static const struct {
	const char *name;
	void (*change)(struct pod_view *v);
	bool ready, registered, connected, up;
	const char *tunnel, *why_tunnel,
		*why_control; /* parts of the sentences; NULL: lacks nothing */
	bool ready_disabled; /* with the tunnel disabled by configuration */
} rows[] = {
	{ "all well", all_well, true, true, true, true, "up", NULL, NULL, true },
	{ "idle by inactivity", idle_by_inactivity, true, true, true, false, "idle", NULL, NULL,
	  true },
	{ "not asked for", not_asked_for, true, true, true, false, "idle", NULL, NULL, true },
	{ "not asked yet", not_asked_yet, false, true, true, false, "idle", "not known yet", NULL,
	  true },
	{ "nothing is known", idle, false, true, true, false, "idle", "not known yet", NULL, true },
	{ "asked for", asked_for, false, true, true, false, "idle", "idle", NULL, true },
	{ "was idle, connects", closed_once_but_connecting, false, true, true, false, "connecting",
	  "not up yet but connecting", NULL, true },
	{ "backoff", backing_off, false, true, true, false, "backoff",
	  "backoff: connect: refused by gateway", NULL, true },
	{ "tunnel absent", tunnel_absent, false, true, true, false, "absent", "not started", NULL,
	  true },
	{ "tunnel stalled", tunnel_stalled, false, true, true, false, "stalled",
	  "hangs: it has given no sign for 42.3 s", NULL, true },
	{ "tunnel dead", tunnel_dead, false, true, true, false, "dead",
	  "ended with exit code 137, in phase failed: no memory", NULL, true },
	{ "tunnel killed", tunnel_killed, false, true, true, false, "dead",
	  "tunnel container was killed in phase running", NULL, true },
	{ "refused", refused, false, true, true, true, "up",
	  "refuses what the control plane asks for: port 444 is not", NULL, true },
	{ "refused while idle", refused_while_idle, false, true, true, false, "idle",
	  "refuses what the control plane asks for: port 444 is not", NULL, true },
	{ "started again", started_again, false, false, false, true, "up", NULL,
	  "yet; the life before ended with exit code 65, in phase failed: the control plane "
	  "refused "
	  "the token",
	  false },
	{ "after an orderly end", started_again_after_an_orderly_end, false, false, false, true,
	  "up", NULL, "plane yet", false },
	{ "tunnel started again", tunnel_started_again, false, true, true, false, "connecting",
	  "connecting; the life before was killed in phase running", NULL, true },
	{ "tunnel unreadable", tunnel_unreadable, false, true, true, false, "unreadable", "holes",
	  NULL, true },
	{ "tunnel says nothing", tunnel_silent, false, true, true, false, "unknown", "state yet",
	  NULL, true },
	{ "unregistered", unregistered, false, false, false, true, "up", NULL, "401: token unknown",
	  false },
	{ "never registered", never_registered, false, false, false, true, "up", NULL, "plane yet",
	  false },
	{ "control dead", control_dead, false, false, false, true, "up", NULL, "was killed",
	  false },
	{ "dead control's wish", control_dead_not_asked_for, false, false, false, false, "idle",
	  "not known yet", "was killed", false },
};

static bool lacks(const char *sentence, const char *part)
{
	return part ? strstr(sentence, part) != NULL : !*sentence;
}

static void test_rows(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct pod_view v = good_view();
		struct readiness r;
		const char *name = rows[i].name;

		rows[i].change(&v);
		readiness_judge(&r, &v, true);
		check_row(name, r.ready == rows[i].ready);
		check_row(name, r.registered == rows[i].registered);
		check_row(name, strcmp(r.tunnel, rows[i].tunnel) == 0);
		check_row(name, lacks(r.lacks[COMPONENT_TUNNEL], rows[i].why_tunnel));
		check_row(name, lacks(r.lacks[COMPONENT_CONTROL], rows[i].why_control));
		check_row(name, readiness_is_connected(&v) == rows[i].connected);
		check_row(name, readiness_is_tunnel_up(&v) == rows[i].up);
		readiness_judge(&r, &v, false);
		check_row(name, r.ready == rows[i].ready_disabled);
		check_row(name, strcmp(r.tunnel, "disabled") == 0);
	}
}

static void test_heartbeat_age(void)
{
	struct pod_view v = good_view();
	const uint64_t s = UINT64_C(1000000000);

	v.registration.last_heartbeat_realtime_ns = 0;
	check(!readiness_is_connected(&v)); /* none was answered */
	v.registration.last_heartbeat_realtime_ns = v.realtime_ns - 30 * s + 1;
	check(readiness_is_connected(&v));
	v.registration.last_heartbeat_realtime_ns = v.realtime_ns - 30 * s;
	check(!readiness_is_connected(&v));
	v.registration.last_heartbeat_realtime_ns =
		v.realtime_ns + 100 * s; /* the clock was set back */
	check(readiness_is_connected(&v));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "age of the heartbeat", test_heartbeat_age },
	};
	return run_cases("readiness", cases, array_len(cases));
}
