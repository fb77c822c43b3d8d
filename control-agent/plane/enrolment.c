/*
 * Registration and its renewals: what is sent, what an answer leads to, what is kept.  The texts of
 * request and answer stand in register.c, what to advise in advice.def, the clock in agent.c.
 */
#include "control-agent/plane/enrolment.h"

#include <stdio.h>
#include <stdlib.h>

#include "control-agent/plane/advice.h"
#include "control-agent/plane/register.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/base/units.h"

#define FACTS_NS (60 * NS_PER_S) /* how often a rotated ServiceAccount token is looked for */

enum {
	BODY_MAX = 64 * 1024,
	BODY_USUAL = 16 * 1024, /* room from the start: a buffer that grows leaves copies behind */
};

struct enrolment {
	struct enrolment_options o;
	struct identity identity;
	struct identity_store store;
	struct facts facts;
	char sent_token[sizeof(((struct facts *)0)->service_token)]; /* a secret */
	uint64_t facts_at_ns; /* when the facts are read again */
	struct http_client *client;
	struct trouble trouble;
	bool was_registered; /* in this life: a failure may pass */
};

/* ---- who this is ---- */

static void read_facts(struct enrolment *e)
{
	const struct config *c = e->o.config;
	const struct facts_places from = {
		.node_name = c->node_name,
		.service_account_dir = c->in_cluster ? c->service_account_dir : NULL,
		.kept_token = e->identity.cluster_token,
	};

	facts_read(&e->facts, &from);
	e->facts_at_ns = loop_now(e->o.loop) + FACTS_NS;
}

static void load_identity(struct enrolment *e)
{
	const struct config *c = e->o.config;

	identity_load(&e->store, &e->identity,
		      &(struct identity_places){ .file = c->state_file, .root = "", .here = "." });
	if (e->store.trouble.code)
		log_warn("state_corrupt", "part of the state file can't be used",
			 L_STR("error", e->store.trouble.why));
	read_facts(e);
	if (c->agent_id[0])
		snprintf(e->identity.agent_id, sizeof(e->identity.agent_id), "%.127s", c->agent_id);
	else if (!e->identity.agent_id[0])
		facts_agent_id(e->identity.agent_id, e->facts.hostname);
	if (e->store.from[0] && strcmp(e->store.from, e->store.path) != 0)
		log_info("state_migrated", "state from another location is used from now on",
			 L_STR("from", e->store.from), L_STR("saved_to", e->store.path));
	log_info("state_loaded", "agent identity loaded", L_STR("agent_id", e->identity.agent_id),
		 L_STR("cluster_id", e->identity.cluster_id), L_STR("from", e->store.from),
		 L_STR("saved_to", e->store.path));
	publish_identity(e->o.publish, e->identity.agent_id, c->cluster_name);
}

static void say_facts(const struct enrolment *e)
{
	if (e->facts.token_trouble.code)
		log_warn("kubernetes_facts",
			 "no ServiceAccount token is mounted: none is sent to the control plane",
			 L_STR("error", e->facts.token_trouble.why));
	log_info("kubernetes_facts",
		 "this build does not read version, node count and pod count of the cluster; they "
		 "are left out",
		 L_BOOL("in_cluster", e->facts.in_cluster),
		 L_BOOL("service_token", e->facts.service_token[0] != '\0'),
		 L_STR("hostname", e->facts.hostname));
}

static void save_identity(struct enrolment *e)
{
	struct fault why = { 0 };

	if (identity_save(&e->store, &e->identity, &why) < 0)
		log_warn("state_not_saved", "the agent's identity is kept in memory only",
			 L_STR("error", why.why));
}

static int check_names(const struct config *c, struct fault *why)
{
	if (c->agent_id[0] && (strlen(c->agent_id) > 127 || !identity_is_id(c->agent_id)))
		return fault_set(why, ERR_CONFIG,
				 "agent.id (PIPEOPS_AGENT_ID) may hold letters, digits and ._:- "
				 "only, at most 127 of them");
	if (!c->cluster_name[0] || strlen(c->cluster_name) > 255)
		return fault_set(
			why, ERR_CONFIG,
			"agent.cluster_name (PIPEOPS_CLUSTER_NAME) must have 1 to 255 bytes");
	return 0;
}

/* ---- answers ---- */

/* An agent that is registered outlives whatever may pass; one that never was
 * ends, so that whoever installs it sees why. */
static void unreachable(struct enrolment *e, const struct http_result *r)
{
	const struct fault why = trouble_of(r);
	const char *todo = advice_text(0, why.code, e->o.plane->prefix);
	struct fault whole = { 0 };

	if (e->was_registered) {
		trouble_note(&e->trouble, "registration_failed",
			     "the control plane can't be reached to register again", 0, &why,
			     span_of(NULL, 0));
		e->o.on_retry(e->o.user, trouble_wait(e->o.config->reconnect_interval_ns, r));
		return;
	}
	fault_set(&whole, why.code, "can't reach the control plane to register: %.150s. %s",
		  why.why, todo);
	log_error("registration_failed",
		  "failed to register agent: the control plane can't be reached",
		  L_STR("reason", err_name(why.code)), L_STR("error", why.why),
		  L_STR("api_url", e->o.config->api_url), L_STR("todo", todo));
	e->o.on_failed(e->o.user, EXIT_REGISTRATION_UNREACHABLE, &whole);
}

static void refused(struct enrolment *e, const struct http_result *r, const struct fault *reason)
{
	const char *todo = advice_text(r->status, reason->code, e->o.plane->prefix);
	char shown[REDACT_BODY_MAX + 1];
	struct fault why = { 0 }, whole = { 0 };

	if (r->location && r->location[0])
		fault_set(&why, reason->code, "%.80s; it points to %.120s", reason->why,
			  r->location);
	else
		why = *reason;
	if (e->was_registered && advice_passes(r->status, r->body)) {
		trouble_note(&e->trouble, "registration_failed",
			     "the control plane does not register this agent now", r->status, &why,
			     r->body);
		e->o.on_retry(e->o.user, trouble_wait(e->o.config->reconnect_interval_ns, r));
		return;
	}
	control_plane_show(e->o.plane, shown, r->body);
	log_error("registration_failed", "failed to register agent: the control plane refused",
		  L_INT("status", r->status), L_STR("reason", err_name(why.code)),
		  L_STR("error", why.why), L_STR("body", shown), L_STR("todo", todo));
	fault_set(&whole, why.code, "registration refused: %.150s. %s", why.why, todo);
	e->o.on_failed(e->o.user, EXIT_REGISTRATION_REFUSED, &whole);
}

static void registered(struct enrolment *e, const struct register_answer *answer)
{
	const struct log_field workspace =
		answer->workspace_is_number
			? L_INT("workspace_id", strtoll(answer->workspace_id, NULL, 10))
			: L_STR("workspace_id", answer->workspace_id);

	snprintf(e->identity.cluster_id, sizeof(e->identity.cluster_id), "%s", answer->cluster_id);
	save_identity(e);
	log_info("registered", "Agent registered successfully with control plane",
		 L_STR("agent_id", e->identity.agent_id), L_STR("cluster_id", answer->cluster_id),
		 L_STR("cluster_uuid", answer->cluster_id), L_STR("name", answer->name),
		 L_STR("status", answer->status), workspace, L_BOOL("has_token", answer->has_token),
		 L_BOOL("existed", answer->existed));
	e->was_registered = true;
	trouble_over(&e->trouble);
	publish_registered(e->o.publish, answer->cluster_id);
	e->o.on_registered(e->o.user);
}

static void on_answer(void *user, const struct http_result *r)
{
	struct enrolment *e = user;
	struct register_answer answer;
	struct fault why = { 0 };
	const bool unreadable =
		r->answered && (r->why.code == ERR_PROTO || r->why.code == ERR_LIMIT);

	if (unreadable)
		refused(e, r, &r->why);
	else if (!r->status)
		unreachable(e, r);
	else if (register_answer_read(&answer, r->status, r->body, &why) < 0)
		refused(e, r, &why);
	else
		registered(e, &answer);
}

/* ---- requests ---- */

static int write_request(const struct enrolment *e, struct buf *body)
{
	const struct register_request request = {
		.config = e->o.config,
		.facts = &e->facts,
		.agent_id = e->identity.agent_id,
		.cluster_id = e->identity.cluster_id,
		.version = program_version,
		.now_s = (int64_t)(publish_realtime_ns() / NS_PER_S),
	};
	uint8_t *room;
	const int rc = buf_reserve(body, BODY_USUAL, &room);

	return rc < 0 ? rc : register_request_write(body, &request);
}

void enrolment_send(struct enrolment *e)
{
	struct fault why = { 0 };
	struct buf body;

	read_facts(e);
	memcpy(e->sent_token, e->facts.service_token, sizeof(e->sent_token));
	buf_init(&body, &mem_heap, BODY_MAX);
	publish_registration_attempt(e->o.publish);
	int rc = write_request(e, &body);
	if (rc < 0)
		fault_set(&why, rc, "the registration can't be written: %s", err_name(rc));
	else
		rc = control_plane_send(e->o.plane, e->client, "POST", REGISTER_PATH,
					span_of(buf_bytes(&body).p, buf_len(&body)), on_answer, e,
					&why);
	if (body.p)
		explicit_bzero(body.p, body.cap);
	buf_fini(&body);
	if (rc < 0)
		unreachable(e, &(struct http_result){ .why = why });
}

void enrolment_forget(struct enrolment *e)
{
	e->identity.cluster_id[0] = '\0';
	publish_unregistered(e->o.publish);
}

bool enrolment_is_token_rotated(struct enrolment *e)
{
	if (loop_now(e->o.loop) < e->facts_at_ns)
		return false;
	read_facts(e);
	return e->facts.in_cluster && strcmp(e->facts.service_token, e->sent_token) != 0;
}

/* ---- life ---- */

int enrolment_new(struct enrolment **out, const struct enrolment_options *options,
		  struct fault *why)
{
	struct enrolment *e = calloc(1, sizeof(*e));

	if (!e)
		return fault_set(why, ERR_NOMEM, "no memory for the registration");
	e->o = *options;
	e->trouble = (struct trouble){ .plane = options->plane, .publish = options->publish };
	int rc = check_names(options->config, why);
	if (rc >= 0)
		rc = control_plane_client(options->plane, &e->client, why);
	if (rc < 0) {
		enrolment_free(e);
		return rc;
	}
	options->plane->service_token = e->sent_token;
	load_identity(e);
	say_facts(e);
	*out = e;
	return 0;
}

void enrolment_free(struct enrolment *e)
{
	if (!e)
		return;
	http_client_free(e->client);
	e->o.plane->service_token = "";
	explicit_bzero(e, sizeof(*e));
	free(e);
}

const struct identity *enrolment_identity(const struct enrolment *e)
{
	return &e->identity;
}

struct http_client *enrolment_client(struct enrolment *e)
{
	return e->client;
}

struct trouble *enrolment_trouble(struct enrolment *e)
{
	return &e->trouble;
}
