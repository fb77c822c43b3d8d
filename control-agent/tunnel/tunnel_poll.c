/*
 * Asks, judges, passes on.  What an answer means stands in tunnel_answer.c, where credentials lie
 * in handoff.c, what the tunnel answers is read in tunnel_view.c.
 */
#include "control-agent/tunnel/tunnel_poll.h"

#include <stdio.h>
#include <stdlib.h>

#include "control-agent/tunnel/handoff.h"
#include "control-agent/tunnel/tunnel_answer.h"
#include "lib/app/log.h"
#include "lib/base/rate.h"
#include "lib/base/units.h"

/* How often the desired state may change.  If each response named another server, the tunnel would
 * never come up, and each state that the tunnel refuses makes a line in two logs. */
enum { CHANGES_BURST = 8 };
#define CHANGE_EVERY_NS (10 * NS_PER_S)

struct tunnel_poll {
	struct tunnel_poll_options o;
	struct http_client *client;
	struct timer timer;
	struct handoff handoff;
	struct bus_desired current; /* gen 0: nothing said yet in this life */
	uint64_t applied_cred_gen;  /* of the last desired state that the tunnel applied; 0: none */
	struct rate changes;
	bool held;		    /* a changed desired state waits */
	char refusal[BUS_TEXT_MAX]; /* why the tunnel refuses the current desired state; "": it does
				       not */
	struct fault last;	    /* why the last poll failed; code 0: it did not */
	unsigned refused;	    /* forwards of the last answer */
	uint32_t poll_s;
};

/* One line for each new reason, not one every five seconds. */
static void fail(struct tunnel_poll *p, const char *event, const struct fault *why,
		 struct span body, unsigned refused)
{
	char shown[REDACT_BODY_MAX + 1];

	publish_poll(p->o.publish, false, refused);
	if (p->last.code == why->code && strcmp(p->last.why, why->why) == 0)
		return;
	p->last = *why;
	control_plane_show(p->o.plane, shown, body);
	log_warn(event, "the tunnel status can't be used; the tunnel stays as it is",
		 L_STR("reason", err_name(why->code)), L_STR("error", why->why),
		 L_STR("body", shown));
}

static void say_refused(struct tunnel_poll *p, const struct tunnel_answer *a)
{
	if (a->refused && a->refused != p->refused)
		log_warn("forward_refused",
			 "the control plane asks for forwards that are not configured "
			 "(tunnel.forwards)",
			 L_INT("count", a->refused), L_STR("first", a->refused_name));
	p->refused = a->refused;
}

static void say_desired(const struct bus_desired *d)
{
	if (d->op == BUS_DESIRED_UP)
		log_info("tunnel_answer", "the control plane asks for a tunnel",
			 L_INT("generation", d->gen), L_STR("server", d->url),
			 L_INT("forwards", d->n), L_BOOL("credentials", d->cred_gen != 0),
			 L_BOOL("fingerprint", d->fingerprint[0] != '\0'));
	else
		log_info("tunnel_answer", "the control plane asks for no tunnel",
			 L_INT("generation", d->gen));
}

static bool may_change(struct tunnel_poll *p)
{
	uint64_t missed;
	const bool now = rate_allow_of(&p->changes, loop_now(p->o.loop), CHANGES_BURST,
				       CHANGE_EVERY_NS, &missed);

	if (!now && !p->held)
		log_warn("tunnel_answer",
			 "the control plane changes its request too often: the new one has to wait",
			 L_INT("generation", p->current.gen));
	p->held = !now;
	return now;
}

/* A desired state with a new meaning gets a new generation, any other gets none: a
 * control plane that keeps answering "ready" must not make the tunnel bounce. */
static int take(struct tunnel_poll *p, struct tunnel_answer *a, struct fault *why)
{
	struct bus_desired *d = &a->desired;
	const bool secret = d->op == BUS_DESIRED_UP && a->credentials[0];

	d->cred_gen = secret ? handoff_find(&p->handoff, a->credentials) : 0;
	const bool unwritten = secret && !d->cred_gen;
	if (p->current.gen && !unwritten && tunnel_answer_is_same(&p->current, d)) {
		p->held = false;
		return 0;
	}
	if (!may_change(p))
		return 0;
	if (unwritten) {
		const struct handoff_keep keep = { { p->current.cred_gen, p->applied_cred_gen } };
		const int rc = handoff_put(&p->handoff, a->credentials, keep, &d->cred_gen, why);
		if (rc < 0)
			return rc;
	}
	d->gen = p->current.gen + 1;
	p->current = *d;
	p->refusal[0] = '\0';
	publish_desired(p->o.publish, &p->current);
	say_desired(&p->current);
	return 0;
}

/* Reads what the tunnel did with the desired state.  Once it is applied, credentials of older
 * states are removed. */
static void follow_tunnel(struct tunnel_poll *p)
{
	struct bus_observed o;

	if (!p->current.gen || !tunnel_view_observed(p->o.view, loop_now(p->o.loop), &o))
		return;
	if (tunnel_view_is_refused(&o, p->current.gen)) {
		if (strcmp(p->refusal, o.error_text) == 0)
			return;
		snprintf(p->refusal, sizeof(p->refusal), "%s", o.error_text);
		log_warn("wish_refused", "the tunnel refuses what the control plane asks for",
			 L_INT("generation", p->current.gen), L_STR("error", p->refusal));
		return;
	}
	if (o.gen_applied != p->current.gen)
		return;
	p->refusal[0] = '\0';
	if (p->current.op == BUS_DESIRED_UP && p->current.cred_gen &&
	    p->applied_cred_gen != p->current.cred_gen) {
		p->applied_cred_gen = p->current.cred_gen;
		handoff_prune(&p->handoff, (struct handoff_keep){ { p->applied_cred_gen } });
	}
}

static void on_answer(void *user, const struct http_result *r)
{
	struct tunnel_poll *p = user;
	struct tunnel_answer a = { 0 };
	struct fault why = { 0 };
	uint64_t wait_s = p->poll_s;

	follow_tunnel(p); /* of the current desired state, before it changes */
	int rc = r->status ? tunnel_answer_read(&a, p->o.config, r->status, r->body, &why)
			   : fault_set(&why, r->why.code ? r->why.code : ERR_CLOSED, "%s",
				       r->why.why);
	if (rc >= 0 || a.refused)
		say_refused(p, &a);
	const char *event = "tunnel_poll_failed";
	if (rc >= 0) {
		event = "handoff_failed";
		rc = take(p, &a, &why);
	}
	if (rc < 0) {
		fail(p, event, &why, r->body, a.refused);
		wait_s = r->retry_after_s > wait_s ? min_u64(r->retry_after_s, TUNNEL_POLL_MAX_S)
						   : wait_s;
	} else {
		publish_poll(p->o.publish, true, a.refused);
		if (p->last.code)
			log_info("tunnel_poll_recovered", "the tunnel status can be read again",
				 L_STR("was", p->last.why));
		p->last = (struct fault){ 0 };
		wait_s = p->poll_s = a.poll_s ? a.poll_s : TUNNEL_POLL_DEFAULT_S;
	}
	explicit_bzero(&a, sizeof(a));
	timer_set(p->o.loop, &p->timer, loop_now(p->o.loop) + wait_s * NS_PER_S);
}

static void on_timer(struct timer *t)
{
	struct tunnel_poll *p = owner_of(t, struct tunnel_poll, timer);
	struct fault why = { 0 };
	char path[512];

	tunnel_answer_path(path, p->o.agent_id);
	if (control_plane_send(p->o.plane, p->client, "GET", path, span_of(NULL, 0), on_answer, p,
			       &why) < 0) {
		fail(p, "tunnel_poll_failed", &why, span_of(NULL, 0), 0);
		timer_set(p->o.loop, &p->timer, loop_now(p->o.loop) + p->poll_s * NS_PER_S);
	}
}

int tunnel_poll_new(struct tunnel_poll **out, const struct tunnel_poll_options *options,
		    struct fault *why)
{
	struct tunnel_poll *p = calloc(1, sizeof(*p));

	if (!p)
		return fault_set(why, ERR_NOMEM, "no memory for the tunnel poll");
	p->o = *options;
	p->timer.fire = on_timer;
	p->poll_s = TUNNEL_POLL_DEFAULT_S;
	if (!p->o.config->tunnel_enabled) {
		p->current.gen = 1; /* op is BUS_DESIRED_DOWN */
		publish_desired(p->o.publish, &p->current);
		log_info("tunnel_answer", "the tunnel is disabled (tunnel.enabled)");
		*out = p;
		return 0;
	}
	int rc = handoff_init(&p->handoff, p->o.config->handoff_dir, why);
	if (rc >= 0)
		rc = control_plane_client(p->o.plane, &p->client, why);
	if (rc < 0) {
		tunnel_poll_free(p);
		return rc;
	}
	timer_set(p->o.loop, &p->timer, loop_now(p->o.loop) + 1);
	*out = p;
	return 0;
}

void tunnel_poll_free(struct tunnel_poll *p)
{
	if (!p)
		return;
	timer_clear(p->o.loop, &p->timer);
	http_client_free(p->client);
	handoff_fini(&p->handoff);
	explicit_bzero(p, sizeof(*p));
	free(p);
}
