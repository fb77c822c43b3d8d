/*
 * The judgement behind /ready: a view in, a verdict and sentences out.  It reads
 * nothing itself and keeps nothing.
 */
#include "status-server/pages/readiness.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEARTBEAT_FRESH_NS UINT64_C(30000000000)

static bool is_alive(const struct pod_view *v, enum component c)
{
	return v->of[c].presence == BUS_ALIVE;
}

static bool is_registered(const struct pod_view *v)
{
	return is_alive(v, COMPONENT_CONTROL) && v->has_registration &&
	       v->registration.registered == 1;
}

bool readiness_is_connected(const struct pod_view *v)
{
	const uint64_t last = v->registration.last_heartbeat_realtime_ns;

	if (!is_registered(v) || !last)
		return false;
	/* one from the future is of a clock that was set back: as good as now */
	return last > v->realtime_ns || v->realtime_ns - last < HEARTBEAT_FRESH_NS;
}

bool readiness_is_tunnel_up(const struct pod_view *v)
{
	return is_alive(v, COMPONENT_TUNNEL) && v->has_session && v->session.state == BUS_STATE_UP;
}

/* Adds to the sentence that stands in `why`. */
static void add(char why[READINESS_WHY_MAX], const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(char why[READINESS_WHY_MAX], const char *fmt, ...)
{
	const size_t n = strlen(why);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why + n, READINESS_WHY_MAX - n, fmt, ap);
	va_end(ap);
}

/* How a life ended, and its last sentence, which says more than a code. */
static void add_end(char why[READINESS_WHY_MAX], const struct life_end *e)
{
	if (e->is_exit)
		add(why, "ended with exit code %u, in phase %s", e->exit_code,
		    bus_phase_name(e->phase));
	else
		add(why, "was killed in phase %s", bus_phase_name(e->phase));
	if (e->error[0])
		add(why, ": %s", e->error);
}

/* A container that runs and gives no reason of its own: its predecessor's. */
static void add_last_life(char why[READINESS_WHY_MAX], const struct component_view *c)
{
	if (!c->end.is_known || (c->end.is_exit && c->end.exit_code == 0))
		return;
	add(why, "; the life before ");
	add_end(why, &c->end);
}

/* False, with the sentence, when the container is not alive. */
static bool check_alive(char why[READINESS_WHY_MAX], const struct component_view *c)
{
	switch (c->presence) {
	case BUS_ALIVE:
		return true;
	case BUS_ABSENT:
		snprintf(why, READINESS_WHY_MAX, "the %s container has not started yet", c->name);
		return false;
	case BUS_STALLED:
		snprintf(why, READINESS_WHY_MAX,
			 "the %s container hangs: it has given no sign for %.1f s", c->name,
			 (double)c->silent_ns / 1e9);
		return false;
	case BUS_DEAD:
		snprintf(why, READINESS_WHY_MAX, "the %s container ", c->name);
		add_end(why, &c->end);
		return false;
	case BUS_UNREADABLE:
		snprintf(why, READINESS_WHY_MAX, "the status of the %s container can't be read: %s",
			 c->name, c->fault->why);
		return false;
	}
	return false;
}

static void judge_control(struct readiness *out, const struct pod_view *v)
{
	char *why = out->lacks[COMPONENT_CONTROL];

	out->registered = is_registered(v);
	if (!check_alive(why, &v->of[COMPONENT_CONTROL]) || out->registered)
		return;
	if (v->has_registration && v->registration.last_error[0])
		snprintf(why, READINESS_WHY_MAX, "not registered at the control plane: %s",
			 v->registration.last_error);
	else {
		snprintf(why, READINESS_WHY_MAX, "not registered at the control plane yet");
		add_last_life(why, &v->of[COMPONENT_CONTROL]);
	}
}

/* Down, and nobody wants it up: after inactivity, or the control plane has
 * answered and does not ask for it. */
static bool is_idle_by_policy(const struct pod_view *v)
{
	if (v->session.state != BUS_STATE_IDLE)
		return false;
	return v->session.idle_closed == 1 || (is_alive(v, COMPONENT_CONTROL) && v->has_desired &&
					       v->desired.gen && v->desired.op == BUS_DESIRED_DOWN);
}

static void judge_tunnel(struct readiness *out, const struct pod_view *v)
{
	const struct component_view *c = &v->of[COMPONENT_TUNNEL];
	const struct bus_session *s = &v->session;
	char *why = out->lacks[COMPONENT_TUNNEL];

	out->tunnel = bus_presence_name(c->presence);
	if (!check_alive(why, c))
		return;
	if (!v->has_session) {
		out->tunnel = "unknown";
		snprintf(why, READINESS_WHY_MAX, "the tunnel has not said its state yet");
		return;
	}
	out->tunnel = bus_state_name(s->state);
	if (v->is_refused) {
		/* also while an older wish is carried out: it is not what is wanted now */
		snprintf(why, READINESS_WHY_MAX,
			 "the tunnel refuses what the control plane asks for: %s",
			 v->observed.error_text);
		return;
	}
	if (s->state == BUS_STATE_UP || is_idle_by_policy(v))
		return;
	if (s->last_error[0])
		snprintf(why, READINESS_WHY_MAX, "the tunnel is not up but %s: %s", out->tunnel,
			 s->last_error);
	else if (s->state == BUS_STATE_IDLE)
		snprintf(why, READINESS_WHY_MAX,
			 "the tunnel is idle: it is not known yet whether the control plane wants "
			 "it");
	else
		snprintf(why, READINESS_WHY_MAX, "the tunnel is not up yet but %s", out->tunnel);
	if (!s->last_error[0])
		add_last_life(why, c);
}

void readiness_judge(struct readiness *out, const struct pod_view *v, bool tunnel_enabled)
{
	*out = (struct readiness){ .tunnel = "disabled" };
	judge_control(out, v);
	if (tunnel_enabled)
		judge_tunnel(out, v);
	out->ready = !out->lacks[COMPONENT_CONTROL][0] && !out->lacks[COMPONENT_TUNNEL][0];
}
