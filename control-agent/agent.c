#include "control-agent/agent.h"

#include <stdio.h>
#include <stdlib.h>

#include "control-agent/plane/heartbeat.h"
#include "control-agent/plane/register.h"
#include "control-agent/tunnel/tunnel_poll.h"
#include "lib/app/log.h"
#include "lib/app/program.h"

#define SECOND_NS   1000000000ull
#define WAIT_MAX_NS (300 * SECOND_NS)
#define FACTS_NS    (60 * SECOND_NS) /* how often a rotated ServiceAccount token is looked for */
#define BODY_MAX    (64 * 1024)

static const struct {
	const char *name;
	enum bus_phase phase;
	const char *event;
} states[] = {
#define AGENT_STATE(id, name, phase, event) { name, phase, event },
#include "control-agent/states.def"
#undef AGENT_STATE
};

struct agent {
	struct agent_options o;
	enum agent_state state; /* enter() only */
	struct identity identity;
	struct identity_store store;
	struct facts facts;
	char sent_token[sizeof(
		((struct facts *)0)->service_token)]; /* with the last registration */
	struct control_plane plane;
	struct http_client *client; /* registration and heartbeats: one at a time */
	struct tunnel_view view;
	struct tunnel_poll *poll;
	struct timer timer;   /* the next registration or heartbeat */
	uint64_t sent_ns;     /* when the last one went */
	uint64_t facts_at_ns; /* when the facts are read again */
	struct fault last;    /* why the last heartbeat or renewal failed; code 0: it did not */
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

static void set_timer(struct agent *a, uint64_t from_ns, uint64_t wait_ns)
{
	const uint64_t now = loop_now(a->o.loop), at = from_ns + wait_ns;

	timer_set(a->o.loop, &a->timer, at > now ? at : now + 1);
}

static uint64_t retry_wait(const struct agent *a, const struct http_result *r)
{
	uint64_t wait = a->o.config->reconnect_interval_ns;

	if (r && r->retry_after_s * SECOND_NS > wait)
		wait = min_u64(r->retry_after_s, WAIT_MAX_NS / SECOND_NS) * SECOND_NS;
	return wait < SECOND_NS ? SECOND_NS : min_u64(wait, WAIT_MAX_NS);
}

static void end(struct agent *a, int exit_code, const struct fault *why)
{
	struct bus_registration *r = publish_record(a->o.publish);

	a->exit_code = exit_code;
	a->fault = *why;
	r->registered = 0;
	snprintf(r->last_error, sizeof(r->last_error), "%s", why->why);
	publish_registration(a->o.publish);
	enter(a, AGENT_FAILED);
	loop_stop(a->o.loop);
}

/* A reason is logged when it is new; what happens each 5 s is not news. */
static void note_trouble(struct agent *a, const char *event, const char *message, int status,
			 const struct fault *why, struct span body)
{
	char shown[REDACT_BODY_MAX + 1];
	struct bus_registration *r = publish_record(a->o.publish);

	if (a->last.code == why->code && strcmp(a->last.why, why->why) == 0)
		return;
	a->last = *why;
	snprintf(r->last_error, sizeof(r->last_error), "%s", why->why);
	publish_registration(a->o.publish);
	control_plane_show(&a->plane, shown, body);
	log_warn(event, message, L_STR("reason", err_name(why->code)), L_STR("error", why->why),
		 L_INT("status", status), L_STR("body", shown));
}

static void note_recovered(struct agent *a)
{
	if (a->last.code)
		log_info("heartbeat_recovered", "the control plane takes heartbeats again",
			 L_STR("was", a->last.why));
	a->last = (struct fault){ 0 };
	publish_record(a->o.publish)->last_error[0] = '\0';
}

static struct fault answer_fault(const struct http_result *r)
{
	struct fault why = r->why;

	if (!why.code)
		fault_set(&why, ERR_CLOSED, "no answer from the control plane");
	return why;
}

/* What an operator can do about a failed registration. */
static const char *advice(enum err code)
{
	if (code == ERR_AUTH)
		return "Check PIPEOPS_TOKEN";
	if (code == ERR_REFUSED)
		return "Check PIPEOPS_TOKEN and PIPEOPS_CLUSTER_NAME";
	if (code == ERR_PROTO || code == ERR_LIMIT)
		return "Check that PIPEOPS_API_URL is the control plane's";
	if (code == ERR_TRUST)
		return "Check pipeops.tls.ca_file (PIPEOPS_CA_FILE)";
	if (code == ERR_CONFIG)
		return "Correct the configuration";
	return "Check PIPEOPS_API_URL, DNS, firewall and proxy";
}

/* ---- registration ---- */

static void save_state(struct agent *a)
{
	struct fault why = { 0 };

	if (identity_save(&a->store, &a->identity, &why) < 0)
		log_warn("state_not_saved", "the agent's state is kept in memory only",
			 L_STR("error", why.why));
}

static void registration_unreachable(struct agent *a, const struct http_result *r)
{
	const struct fault why = answer_fault(r);
	struct fault whole = { 0 };

	if (a->state == AGENT_RENEWING) {
		note_trouble(a, "registration_failed",
			     "the control plane can't be reached to register again", 0, &why,
			     span_of(NULL, 0));
		set_timer(a, loop_now(a->o.loop), retry_wait(a, r));
		return;
	}
	fault_set(&whole, why.code, "can't reach the control plane to register: %.150s. %s",
		  why.why, advice(why.code));
	log_error("registration_failed",
		  "failed to register agent: the control plane can't be reached",
		  L_STR("reason", err_name(why.code)), L_STR("error", why.why),
		  L_STR("api_url", a->o.config->api_url), L_STR("todo", advice(why.code)));
	end(a, EXIT_REGISTRATION_UNREACHABLE, &whole);
}

static void registration_refused(struct agent *a, const struct http_result *r,
				 const struct fault *why)
{
	char shown[REDACT_BODY_MAX + 1];
	struct fault whole = { 0 };

	/* An agent that is registered outlives a control plane that is being
	 * restarted; a refusal of what it says is final. */
	if (a->state == AGENT_RENEWING && (r->status == 429 || r->status >= 500)) {
		note_trouble(a, "registration_failed", "the control plane does not register now",
			     r->status, why, r->body);
		set_timer(a, loop_now(a->o.loop), retry_wait(a, r));
		return;
	}
	control_plane_show(&a->plane, shown, r->body);
	log_error("registration_failed", "failed to register agent: the control plane refused",
		  L_INT("status", r->status), L_STR("reason", err_name(why->code)),
		  L_STR("error", why->why), L_STR("body", shown), L_STR("todo", advice(why->code)));
	fault_set(&whole, why->code, "registration refused: %.150s. %s", why->why,
		  advice(why->code));
	end(a, EXIT_REGISTRATION_REFUSED, &whole);
}

static int start_poll(struct agent *a)
{
	const struct tunnel_poll_options options = {
		.loop = a->o.loop,
		.config = a->o.config,
		.plane = &a->plane,
		.publish = a->o.publish,
		.view = &a->view,
		.agent_id = a->identity.agent_id,
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

static void registered(struct agent *a, const struct register_answer *answer)
{
	struct bus_registration *r = publish_record(a->o.publish);
	const bool renewed = a->state == AGENT_RENEWING;

	snprintf(a->identity.cluster_id, sizeof(a->identity.cluster_id), "%s", answer->cluster_id);
	save_state(a);
	const struct log_field workspace =
		answer->workspace_is_number
			? L_INT("workspace_id", strtoll(answer->workspace_id, NULL, 10))
			: L_STR("workspace_id", answer->workspace_id);
	log_info("registered", "Agent registered successfully with control plane",
		 L_STR("agent_id", a->identity.agent_id), L_STR("cluster_id", answer->cluster_id),
		 L_STR("cluster_uuid", answer->cluster_id), L_STR("name", answer->name),
		 L_STR("status", answer->status), workspace, L_BOOL("has_token", answer->has_token),
		 L_BOOL("existed", answer->existed));
	note_recovered(a);
	r->registered = 1;
	r->since_realtime_ns = publish_realtime_ns();
	snprintf(r->cluster_id, sizeof(r->cluster_id), "%s", answer->cluster_id);
	publish_registration(a->o.publish);
	enter(a, AGENT_RUNNING);
	if (start_poll(a) < 0)
		return;
	/* After a renewal the pause comes first: a control plane that forgets at
	 * once is asked every five seconds, not without end. */
	set_timer(a, loop_now(a->o.loop), renewed ? HEARTBEAT_NS : 0);
}

static void on_registration(void *user, const struct http_result *r)
{
	struct agent *a = user;
	struct register_answer answer;
	struct fault why = { 0 };

	const bool unreadable =
		r->answered && (r->why.code == ERR_PROTO || r->why.code == ERR_LIMIT);

	if (unreadable)
		registration_refused(a, r, &r->why);
	else if (!r->status)
		registration_unreachable(a, r);
	else if (register_answer_read(&answer, r->status, r->body, &why) < 0)
		registration_refused(a, r, &why);
	else
		registered(a, &answer);
}

static void send_registration(struct agent *a)
{
	struct fault why = { 0 };
	struct buf body;

	facts_read(&a->facts, a->o.config, &a->identity);
	memcpy(a->sent_token, a->facts.service_token, sizeof(a->sent_token));
	buf_init(&body, &mem_heap, BODY_MAX);
	const struct register_request request = {
		.config = a->o.config,
		.facts = &a->facts,
		.agent_id = a->identity.agent_id,
		.cluster_id = a->identity.cluster_id,
		.version = program_version,
		.now_s = (int64_t)(publish_realtime_ns() / SECOND_NS),
	};
	int rc = register_request_write(&body, &request);
	if (rc < 0)
		fault_set(&why, rc, "the registration can't be written: %s", err_name(rc));
	publish_registration_attempt(a->o.publish);
	a->facts_at_ns = loop_now(a->o.loop) + FACTS_NS;
	if (rc >= 0)
		rc = control_plane_send(&a->plane, a->client, "POST", REGISTER_PATH,
					span_of(buf_bytes(&body).p, buf_len(&body)),
					on_registration, a, &why);
	if (body.p)
		explicit_bzero(body.p, body.cap);
	buf_fini(&body);
	if (rc < 0)
		registration_unreachable(a, &(struct http_result){ .why = why });
}

/* ---- heartbeats ---- */

static void renew(struct agent *a)
{
	enter(a, AGENT_RENEWING);
	set_timer(a, loop_now(a->o.loop), 0);
}

static void on_heartbeat(void *user, const struct http_result *r)
{
	struct agent *a = user;
	struct bus_registration *record = publish_record(a->o.publish);
	struct fault why = r->status ? (struct fault){ 0 } : answer_fault(r);
	const int rc = r->status ? heartbeat_answer_read(r->status, r->body, &why) : why.code;

	publish_heartbeat(a->o.publish, rc == 0, r->elapsed_ns);
	if (rc == 1) {
		log_warn("registration_lost",
			 "the control plane does not know this cluster: registering again",
			 L_INT("status", r->status), L_STR("cluster_id", a->identity.cluster_id));
		a->identity.cluster_id[0] = record->cluster_id[0] = '\0';
		record->registered = 0;
		publish_registration(a->o.publish);
		renew(a);
		return;
	}
	if (rc < 0) {
		note_trouble(a, "heartbeat_failed", "the control plane does not take heartbeats",
			     r->status, &why, r->body);
		set_timer(a, a->sent_ns, retry_wait(a, r));
		return;
	}
	note_recovered(a);
	record->last_heartbeat_realtime_ns = publish_realtime_ns();
	publish_registration(a->o.publish);
	set_timer(a, a->sent_ns, HEARTBEAT_NS);
}

static void send_heartbeat(struct agent *a)
{
	struct fault why = { 0 };
	struct buf body;
	char path[160];

	heartbeat_path(path, a->identity.cluster_id);
	buf_init(&body, &mem_heap, BODY_MAX);
	const struct heartbeat_request request = {
		.cluster_id = a->identity.cluster_id,
		.agent_id = a->identity.agent_id,
		.version = program_version,
		.tunnel_status = tunnel_view_status(&a->view, loop_now(a->o.loop)),
		.now_s = (int64_t)(publish_realtime_ns() / SECOND_NS),
	};
	int rc = heartbeat_request_write(&body, &request);
	if (rc < 0)
		fault_set(&why, rc, "the heartbeat can't be written: %s", err_name(rc));
	a->sent_ns = loop_now(a->o.loop);
	if (rc >= 0)
		rc = control_plane_send(&a->plane, a->client, "POST", path,
					span_of(buf_bytes(&body).p, buf_len(&body)), on_heartbeat,
					a, &why);
	buf_fini(&body);
	if (rc < 0)
		on_heartbeat(a, &(struct http_result){ .why = why });
}

/* The kubelet replaces the token well before it ends: the control plane gets
 * the new one by a registration that resumes. */
static bool is_token_rotated(struct agent *a)
{
	if (loop_now(a->o.loop) < a->facts_at_ns)
		return false;
	a->facts_at_ns = loop_now(a->o.loop) + FACTS_NS;
	facts_read(&a->facts, a->o.config, &a->identity);
	return a->facts.in_cluster && strcmp(a->facts.service_token, a->sent_token) != 0;
}

static void on_timer(struct timer *t)
{
	struct agent *a = (struct agent *)((char *)t - offsetof(struct agent, timer));

	switch (a->state) {
	case AGENT_STARTING:
		enter(a, AGENT_REGISTERING);
		send_registration(a);
		return;
	case AGENT_RENEWING:
		send_registration(a);
		return;
	case AGENT_RUNNING:
		if (is_token_rotated(a)) {
			log_info("token_rotated",
				 "the ServiceAccount token was replaced: sending the new one");
			renew(a);
		} else {
			send_heartbeat(a);
		}
		return;
	case AGENT_REGISTERING:
	case AGENT_FAILED:
	case AGENT_STATES_N:
		return;
	}
}

/* ---- life ---- */

static void load_identity(struct agent *a)
{
	const struct config *c = a->o.config;
	struct bus_registration *r = publish_record(a->o.publish);

	identity_load(&a->store, &a->identity,
		      &(struct identity_places){ .file = c->state_file, .root = "", .here = "." });
	if (a->store.trouble.code)
		log_warn("state_corrupt", "part of the agent's state can't be used",
			 L_STR("error", a->store.trouble.why));
	facts_read(&a->facts, c, &a->identity);
	if (c->agent_id[0])
		snprintf(a->identity.agent_id, sizeof(a->identity.agent_id), "%.127s", c->agent_id);
	else if (!a->identity.agent_id[0])
		facts_agent_id(a->identity.agent_id, a->facts.hostname);
	if (a->store.from[0] && strcmp(a->store.from, a->store.path) != 0)
		log_info("state_migrated", "the state of another place is taken over",
			 L_STR("from", a->store.from), L_STR("saved_to", a->store.path));
	log_info("state_loaded", "the agent knows who it is",
		 L_STR("agent_id", a->identity.agent_id),
		 L_STR("cluster_id", a->identity.cluster_id), L_STR("from", a->store.from),
		 L_STR("saved_to", a->store.path));
	snprintf(r->agent_id, sizeof(r->agent_id), "%s", a->identity.agent_id);
	snprintf(r->cluster_name, sizeof(r->cluster_name), "%.255s", c->cluster_name);
	publish_registration(a->o.publish);
}

static void say_facts(const struct agent *a)
{
	if (a->facts.token_trouble.code)
		log_warn("kubernetes_facts",
			 "no ServiceAccount token is mounted: the control plane gets none",
			 L_STR("error", a->facts.token_trouble.why));
	log_info("kubernetes_facts",
		 "version, node and pod counts of the cluster are not read by this build and are "
		 "left out",
		 L_BOOL("in_cluster", a->facts.in_cluster),
		 L_BOOL("service_token", a->facts.service_token[0] != '\0'),
		 L_STR("hostname", a->facts.hostname));
}

static int check_names(const struct config *c, struct fault *why)
{
	if (c->agent_id[0] && (strlen(c->agent_id) > 127 || !identity_is_id(c->agent_id)))
		return fault_set(why, ERR_CONFIG,
				 "agent.id (PIPEOPS_AGENT_ID) may hold letters, digits and ._:- "
				 "only, at most "
				 "127 of them");
	if (!c->cluster_name[0] || strlen(c->cluster_name) > 255)
		return fault_set(
			why, ERR_CONFIG,
			"agent.cluster_name (PIPEOPS_CLUSTER_NAME) must have 1 to 255 bytes");
	return 0;
}

int agent_new(struct agent **out, const struct agent_options *options, struct fault *why)
{
	struct agent *a = calloc(1, sizeof(*a));

	if (!a)
		return fault_set(why, ERR_NOMEM, "no memory for the agent");
	a->o = *options;
	a->timer.fire = on_timer;
	int rc = check_names(a->o.config, why);
	if (rc >= 0)
		rc = control_plane_init(&a->plane, a->o.loop, a->o.config, why);
	if (rc >= 0)
		rc = control_plane_client(&a->plane, &a->client, why);
	if (rc >= 0)
		rc = tunnel_view_init(&a->view, a->o.config->bus_dir, why);
	if (rc < 0) {
		agent_free(a);
		return rc;
	}
	a->plane.service_token = a->sent_token;
	publish_verified(a->o.publish, a->plane.url.tls && !a->o.config->tls_skip_verify);
	load_identity(a);
	say_facts(a);
	enter(a, AGENT_STARTING);
	set_timer(a, loop_now(a->o.loop), 0);
	*out = a;
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	timer_clear(a->o.loop, &a->timer);
	tunnel_poll_free(a->poll);
	http_client_free(a->client);
	tunnel_view_fini(&a->view);
	control_plane_fini(&a->plane);
	explicit_bzero(a, sizeof(*a));
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
