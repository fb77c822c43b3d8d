/*
 * The agent's states and the parts that they drive.  What is sent and what an answer means stands
 * in plane/ (registration, heartbeats) and tunnel/ (the poll).
 */
#include "control-agent/agent.h"

#include <stdlib.h>

#include "control-agent/plane/enrolment.h"
#include "control-agent/plane/heartbeat.h"
#include "control-agent/plane/heartbeats.h"
#include "control-agent/tunnel/tunnel_poll.h"
#include "lib/app/log.h"
#include "lib/app/program.h"

static const struct {
	const char *name;
	enum bus_phase phase;
	const char *event;
} states[] = {
#define AGENT_STATE(id, name, phase, event) { name, phase, event },
#include "control-agent/states.def"
#include "lib/base/units.h"
#undef AGENT_STATE
};

struct agent {
	struct agent_options o;
	enum agent_state state; /* enter() only */
	struct control_plane plane;
	struct enrolment *enrolment;
	struct heartbeats heartbeats;
	struct tunnel_view view;
	struct tunnel_poll *poll;
	struct timer timer; /* the next registration or heartbeat */
	int exit_code;
	struct fault fault;
};

static void enter(struct agent *a, enum agent_state state)
{
	log_debug("agent_state", "the agent's state changes", L_STR("from", states[a->state].name),
		  L_STR("to", states[state].name));
	a->state = state;
	publish_phase(a->o.publish, states[state].phase, states[state].event);
}

static void set_timer(struct agent *a, uint64_t wait_ns)
{
	timer_set(a->o.loop, &a->timer, loop_now(a->o.loop) + (wait_ns ? wait_ns : 1));
}

static void on_wait(void *user, uint64_t wait_ns)
{
	set_timer(user, wait_ns);
}

static void end(struct agent *a, int exit_code, const struct fault *why)
{
	a->exit_code = exit_code;
	a->fault = *why;
	publish_ended(a->o.publish, why->why);
	enter(a, AGENT_FAILED);
	loop_stop(a->o.loop);
}

static void on_failed(void *user, int exit_code, const struct fault *why)
{
	end(user, exit_code, why);
}

static int start_poll(struct agent *a)
{
	const struct tunnel_poll_options options = {
		.loop = a->o.loop,
		.config = a->o.config,
		.plane = &a->plane,
		.publish = a->o.publish,
		.view = &a->view,
		.agent_id = enrolment_identity(a->enrolment)->agent_id,
	};
	struct fault why = { 0 };

	if (a->poll)
		return 0;
	const int rc = tunnel_poll_new(&a->poll, &options, &why);
	if (rc < 0) {
		log_error("tunnel_poll_failed", "the tunnel poll can't start",
			  L_STR("error", why.why));
		end(a, EXIT_RUNTIME, &why);
	}
	return rc;
}

static void on_registered(void *user)
{
	struct agent *a = user;
	const bool renewed = a->state == AGENT_RENEWING;

	enter(a, AGENT_RUNNING);
	if (start_poll(a) < 0)
		return;
	/* After a renewal the pause comes first: a control plane that forgets at
	 * once is asked every five seconds, not without end. */
	set_timer(a, renewed ? HEARTBEAT_NS : 0);
}

static void renew(struct agent *a)
{
	enter(a, AGENT_RENEWING);
	set_timer(a, 0);
}

static void on_lost(void *user, int status)
{
	struct agent *a = user;

	log_warn("registration_lost",
		 "the control plane does not have this cluster: registering again",
		 L_INT("status", status),
		 L_STR("cluster_id", enrolment_identity(a->enrolment)->cluster_id));
	enrolment_forget(a->enrolment);
	renew(a);
}

static void on_timer(struct timer *t)
{
	struct agent *a = owner_of(t, struct agent, timer);

	switch (a->state) {
	case AGENT_STARTING:
		enter(a, AGENT_REGISTERING);
		enrolment_send(a->enrolment);
		return;
	case AGENT_RENEWING:
		enrolment_send(a->enrolment);
		return;
	case AGENT_RUNNING:
		if (enrolment_is_token_rotated(a->enrolment)) {
			/* The kubelet replaces it well before it ends. */
			log_info("token_rotated",
				 "the ServiceAccount token was replaced: sending the new one");
			renew(a);
		} else {
			heartbeats_send(&a->heartbeats);
		}
		return;
	case AGENT_REGISTERING:
	case AGENT_FAILED:
	case AGENT_STATES_N:
		return;
	}
}

static void wire_heartbeats(struct agent *a)
{
	a->heartbeats = (struct heartbeats){
		.loop = a->o.loop,
		.config = a->o.config,
		.plane = &a->plane,
		.client = enrolment_client(a->enrolment),
		.trouble = enrolment_trouble(a->enrolment),
		.publish = a->o.publish,
		.view = &a->view,
		.identity = enrolment_identity(a->enrolment),
		.on_done = on_wait,
		.on_lost = on_lost,
		.user = a,
	};
}

int agent_new(struct agent **out, const struct agent_options *options, struct fault *why)
{
	struct agent *a = calloc(1, sizeof(*a));

	if (!a)
		return fault_set(why, ERR_NOMEM, "no memory for the agent");
	a->o = *options;
	a->timer.fire = on_timer;
	const struct enrolment_options enrolment = { options->loop, options->config,
						     &a->plane,	    options->publish,
						     on_registered, on_wait,
						     on_failed,	    a };
	int rc = control_plane_init(&a->plane, options->loop, options->config, why);
	if (rc >= 0)
		rc = tunnel_view_init(&a->view, options->config->bus_dir, why);
	if (rc >= 0)
		rc = enrolment_new(&a->enrolment, &enrolment, why);
	if (rc < 0) {
		agent_free(a);
		return rc;
	}
	publish_verified(options->publish, a->plane.url.tls && !options->config->tls_skip_verify);
	wire_heartbeats(a);
	enter(a, AGENT_STARTING);
	set_timer(a, 0);
	*out = a;
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	timer_clear(a->o.loop, &a->timer);
	tunnel_poll_free(a->poll);
	enrolment_free(a->enrolment);
	tunnel_view_fini(&a->view);
	control_plane_fini(&a->plane);
	free(a);
}

int agent_exit_code(const struct agent *a)
{
	return a->exit_code;
}

const struct fault *agent_fault(const struct agent *a)
{
	return &a->fault;
}
