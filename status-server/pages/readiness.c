#include "status-server/pages/readiness.h"

#include <stdio.h>

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
			 "the %s container hangs: it gave no sign for 3.5 s", c->name);
		return false;
	case BUS_DEAD:
		snprintf(why, READINESS_WHY_MAX,
			 "the %s container has ended: its last phase was %s, exit code %u", c->name,
			 bus_phase_name(c->phase), c->exit_code);
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
	else
		snprintf(why, READINESS_WHY_MAX, "not registered at the control plane yet");
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
}

void readiness_judge(struct readiness *out, const struct pod_view *v, bool tunnel_enabled)
{
	*out = (struct readiness){ .tunnel = "disabled" };
	judge_control(out, v);
	if (tunnel_enabled)
		judge_tunnel(out, v);
	out->ready = !out->lacks[COMPONENT_CONTROL][0] && !out->lacks[COMPONENT_TUNNEL][0];
}
