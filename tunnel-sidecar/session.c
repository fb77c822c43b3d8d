/*
 * The states of one tunnel (states.def), its retries and deadlines, and how it drains.
 * What it does to connect is session_link.c; what the gateway speaks is a link's affair.
 */
#include "tunnel-sidecar/session_private.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/limits.h"
#include "lib/base/units.h"

static const struct {
	uint64_t timeout_ns;
	enum log_level level;
	const char *message;
} states[] = {
#define SESSION_STATE(id, timeout, level, message) [BUS_STATE_##id] = { timeout, level, message },
#include "tunnel-sidecar/states.def"
#undef SESSION_STATE
};

void session_entropy(void *ctx, void *p, size_t n)
{
	(void)ctx;
	must(RAND_bytes(p, (int)n) == 1);
}

uint64_t session_now(const struct session *s)
{
	return loop_now(s->o.loop);
}

static bool is_serving(const struct session *s)
{
	return s->state == BUS_STATE_UP || s->state == BUS_STATE_DRAINING;
}

void session_enter(struct session *s, enum bus_state state)
{
	struct bus_session *r = publish_record(s->o.publish);

	if (s->state == BUS_STATE_UP && state != BUS_STATE_UP && state != BUS_STATE_DRAINING)
		publish_down(s->o.publish);
	s->state = state;
	s->phase_deadline_ns =
		states[state].timeout_ns ? session_now(s) + states[state].timeout_ns : UINT64_MAX;
	if (state >= BUS_STATE_RESOLVING && state <= BUS_STATE_CONFIGURING)
		s->phase_deadline_ns =
			min_u64(s->phase_deadline_ns, s->attempt_ns + LIMIT_NS(ATTEMPT));
	if (state == BUS_STATE_CONFIGURING && s->target.url.ssh)
		s->phase_deadline_ns += s->target.n * LIMIT_NS(SSH2_LISTEN);
	r->state = state;
	r->since_realtime_ns = publish_realtime_ns();
	r->attempts = (uint64_t)s->failures;
	r->idle_closed = s->idle_closed;
	publish_cause(s->o.publish, is_serving(s) ? BUS_CAUSE_CONNECTED : s->cause);
	if (state != BUS_STATE_BACKOFF)
		r->next_retry_realtime_ns = 0;
	publish_session(s->o.publish);
	log_write(states[state].level, "tunnel_state", states[state].message,
		  LOG_FIELDS(L_STR("state", bus_state_name(state))), 1);
	if (s->o.changed)
		s->o.changed(s->o.user, state);
}

/* When a connection on which a ping waits is given up: nothing at all was heard
 * since.  Bytes of a bulk transfer prove the link as well as a pong does. */
static uint64_t silence_deadline(const struct session *s)
{
	const uint64_t heard = s->link.ops->heard_ns(s->link.self);

	return (heard > s->ping_ns ? heard : s->ping_ns) + LIMIT_NS(PING);
}

/* When the tunnel has been idle long enough; never while a channel is open. */
static uint64_t idle_deadline(const struct session *s)
{
	if (!s->target.inactivity_ns || s->state != BUS_STATE_UP || s->forwards.n)
		return UINT64_MAX;
	return s->forwards.last_byte_ns + s->target.inactivity_ns;
}

void session_arm(struct session *s)
{
	uint64_t at = s->phase_deadline_ns;

	if (is_serving(s)) {
		if (s->ping_ns)
			at = min_u64(at, silence_deadline(s));
		else if (s->o.keepalive_ns)
			at = min_u64(at, s->next_ping_ns);
		at = min_u64(at, idle_deadline(s));
	}
	if (s->draining)
		at = min_u64(at, s->state == BUS_STATE_DRAINING && !s->forwards.n
					 ? session_now(s) /* not from inside a forward */
					 : min_u64(s->drain_deadline_ns, s->silence_ns));
	if (at == UINT64_MAX)
		timer_clear(s->o.loop, &s->timer);
	else
		timer_set(s->o.loop, &s->timer, at);
}

/* ---- the end of a connection ---- */

static void finish_drain(struct session *s)
{
	if (s->draining && !s->links && s->drained) {
		void (*drained)(void *) = s->drained;

		s->drained = NULL;
		drained(s->drained_user);
	}
}

void session_gone(struct session *s)
{
	s->links--;
	finish_drain(s);
}

static void give_up(struct session *s)
{
	log_error("tunnel_failed", "the tunnel is given up",
		  L_STR("reason", err_name(s->fault.code)), L_STR("error", s->fault.why));
	s->wanted = false;
	session_enter(s, BUS_STATE_FAILED);
	session_arm(s);
	if (s->o.gave_up)
		s->o.gave_up(s->o.user, &s->fault);
}

void session_fail(struct session *s, const struct fault *why)
{
	const enum bus_state phase = s->state;
	struct bus_session *r = publish_record(s->o.publish);
	struct fault whole = { 0 };

	/* The engine knows no settings; we know which of this program is meant. */
	if (why->code == ERR_TRUST && phase == BUS_STATE_TLS && s->o.tls_settings) {
		fault_set(&whole, ERR_TRUST, "%s (see %s)", why->why, s->o.tls_settings);
		why = &whole;
	}
	s->fault = *why;
	s->failures++;
	if (is_serving(s)) {
		retry_lost(&s->retry, session_now(s), s->up_ns);
		s->attempt_ns = session_now(s); /* no attempt: nothing is deducted from the wait */
	}
	s->cause = state_time_cause(phase, s->link.ops != NULL, why);
	publish_failure(s->o.publish, s->cause, why);
	snprintf(r->last_error, sizeof(r->last_error), "%s", why->why);
	snprintf(r->last_error_phase, sizeof(r->last_error_phase), "%s", bus_state_name(phase));
	snprintf(r->last_error_reason, sizeof(r->last_error_reason), "%s", err_name(why->code));
	if (s->cause == BUS_CAUSE_DEAD_LINK)
		session_keep_dead(s);
	const uint64_t asked =
		s->link.ops ? S((uint64_t)s->link.ops->retry_after_s(s->link.self)) : 0;
	session_unlink(s, SSH_DISCONNECT_BY_APPLICATION, why->why);

	if (s->draining) {
		s->cause = BUS_CAUSE_DRAINED;
		session_enter(s, BUS_STATE_IDLE);
		s->drain_deadline_ns = UINT64_MAX;
		session_arm(s);
		finish_drain(s);
		return;
	}
	const enum retry_class class = retry_class_of(s->cause, why);
	if ((class == RETRY_REFUSED && s->o.give_up_on_refusal) ||
	    (s->o.retry_count >= 0 && s->failures > s->o.retry_count)) {
		give_up(s);
		return;
	}
	uint64_t random;
	session_entropy(NULL, &random, sizeof(random));
	const uint64_t wait =
		asked + retry_wait(&s->retry, s->cause, why, session_now(s), s->attempt_ns, random);
	log_write(class >= RETRY_REFUSED ? LOG_ERROR : LOG_WARN, "tunnel_retry",
		  "tunnel lost or not reached: trying again",
		  LOG_FIELDS(L_STR("phase", bus_state_name(phase)),
			     L_STR("reason", err_name(why->code)),
			     L_STR("cause", bus_cause_name(s->cause)), L_STR("error", why->why),
			     L_INT("failures", s->failures), L_NS("wait_s", wait)),
		  6);
	r->next_retry_realtime_ns = publish_realtime_ns() + wait;
	session_enter(s, BUS_STATE_BACKOFF);
	s->phase_deadline_ns = session_now(s) + wait;
	session_arm(s);
}

static void fail_because(struct session *s, enum err code, const char *text)
{
	struct fault why = { 0 };

	fault_set(&why, code, "%s", text);
	session_fail(s, &why);
}

/* ---- deadlines ---- */

static void close_idle(struct session *s)
{
	log_info("tunnel_idle_closed",
		 "no byte for the inactivity timeout: tunnel closed until the "
		 "control plane's answer changes",
		 L_NS("timeout_s", s->target.inactivity_ns));
	s->idle_closed = true;
	s->cause = BUS_CAUSE_IDLE_CLOSED;
	session_unlink(s, SSH_DISCONNECT_BY_APPLICATION, "idle");
	session_enter(s, BUS_STATE_IDLE);
	session_arm(s);
}

static void ping(struct session *s)
{
	if (s->link.ops->ping(s->link.self) < 0)
		s->next_ping_ns = session_now(s) + s->o.keepalive_ns; /* the link will say why */
	else
		s->ping_ns = session_now(s);
	channels_flush(&s->forwards.channels);
}

static void end_drain(struct session *s)
{
	if (s->forwards.n)
		log_warn("drain", "grace period is over: open connections are cut",
			 L_INT("channels", s->forwards.n));
	s->drain_deadline_ns = UINT64_MAX;
	s->cause = BUS_CAUSE_DRAINED;
	session_unlink(s, SSH_DISCONNECT_BY_APPLICATION, "draining done");
	session_enter(s, BUS_STATE_IDLE);
	session_arm(s);
	finish_drain(s);
}

/* As long as one of these is open the next life of this program can't listen. */
static void end_silent(struct session *s)
{
	uint64_t oldest;
	const size_t n = forward_set_end_silent(&s->forwards,
						session_now(s) - LIMIT_NS(DRAIN_SILENCE), &oldest);

	s->silence_ns = oldest == UINT64_MAX ? UINT64_MAX : oldest + LIMIT_NS(DRAIN_SILENCE);
	if (n)
		log_info("drain", "connections on which nothing moves are ended",
			 L_INT("channels", n), L_INT("left", s->forwards.n));
	channels_flush(&s->forwards.channels);
}

static void on_phase_timeout(struct session *s)
{
	struct fault why = { 0 };

	fault_set(&why, ERR_TIMEOUT, "the server did not answer in time while %s (%s)",
		  bus_state_name(s->state), s->target.url.host_header);
	session_fail(s, &why);
}

static void on_timer(struct timer *t)
{
	struct session *s = owner_of(t, struct session, timer);
	const uint64_t at = session_now(s);

	if (s->draining && s->state == BUS_STATE_DRAINING &&
	    (at >= s->drain_deadline_ns || !s->forwards.n)) {
		end_drain(s);
		return;
	}
	if (s->draining && s->state == BUS_STATE_DRAINING && at >= s->silence_ns) {
		end_silent(s);
		if (!s->link.ops)
			return; /* that was its end */
	}
	if (at >= s->phase_deadline_ns) {
		if (s->state == BUS_STATE_BACKOFF)
			session_attempt(s);
		else
			on_phase_timeout(s);
		return;
	}
	if (is_serving(s)) {
		if (s->ping_ns && at >= silence_deadline(s)) {
			fail_because(s, ERR_TIMEOUT, "the link is dead: no answer to a ping");
			return;
		}
		if (!s->ping_ns && s->o.keepalive_ns && at >= s->next_ping_ns)
			ping(s);
		if (at >= idle_deadline(s)) {
			close_idle(s);
			return;
		}
	}
	session_arm(s);
}

/* ---- life ---- */

/* What is awaited may be that nothing is open any more. */
static void on_forward_left(void *user)
{
	struct session *s = user;

	if (s->link.ops)
		session_arm(s);
}

static void free_target(struct session_target *t)
{
	free(t->remotes);
	free(t->forward);
	OPENSSL_cleanse(t, sizeof(*t));
}

/* A copy with remotes of its own. */
static void keep_target(struct session *s, const struct session_target *target)
{
	struct chisel_remote *remotes = s->target.remotes;
	uint16_t *forward = s->target.forward;

	must(target->n <= s->o.remotes_max);
	s->target = *target;
	s->target.remotes = memcpy(remotes, target->remotes, target->n * sizeof(*remotes));
	s->target.forward = memcpy(forward, target->forward, target->n * sizeof(*forward));
}

int session_new(struct session **out, const struct session_options *options, struct fault *why)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for the session");
	s->o = *options;
	if (!s->o.remotes_max)
		s->o.remotes_max = BUS_FORWARDS_MAX;
	must(s->o.remotes_max <= SESSION_REMOTES_MAX);
	s->target.remotes = calloc(s->o.remotes_max, sizeof(*s->target.remotes));
	s->target.forward = calloc(s->o.remotes_max, sizeof(*s->target.forward));
	if (!s->target.remotes || !s->target.forward) {
		free_target(&s->target);
		free(s);
		return fault_set(why, ERR_NOMEM, "no memory for the session's forwards");
	}
	s->cause = BUS_CAUSE_NOT_WANTED;
	s->dead_fd = s->link_fd = -1;
	retry_init(&s->retry, options->retry_max_ns);
	s->phase_deadline_ns = UINT64_MAX;
	s->drain_deadline_ns = s->silence_ns = UINT64_MAX;
	s->timer.fire = on_timer;
	s->forwards = (struct forward_set){
		.loop = options->loop,
		.publish = options->publish,
		.windows = options->windows,
		.left = on_forward_left,
		.user = s,
	};
	forward_set_init(&s->forwards);
	s->beat = (struct publish_beat){ .look = session_report, .user = s };
	publish_on_beat(options->publish, &s->beat);
	*out = s;
	return 0;
}

void session_abort(struct session *s)
{
	if (!s)
		return;
	dial_cancel(s->dial);
	s->dial = NULL;
	forward_set_abort(&s->forwards);
	if (s->link.ops)
		s->link.ops->close(s->link.self);
	s->link = (struct link){ 0 };
	s->state = BUS_STATE_IDLE;
	timer_clear(s->o.loop, &s->timer); /* a forward that left has armed it again */
}

void session_free(struct session *s)
{
	if (!s)
		return;
	publish_off_beat(s->o.publish, &s->beat);
	session_reset_dead(s);
	if (s->link_fd >= 0)
		close(s->link_fd);
	forward_set_fini(&s->forwards);
	free_target(&s->target);
	free(s);
}

static bool remote_eq(const struct chisel_remote *a, const struct chisel_remote *b)
{
	return a->bind_port == b->bind_port && a->port == b->port &&
	       strcmp(a->bind_host, b->bind_host) == 0 && strcmp(a->host, b->host) == 0;
}

bool session_target_eq(const struct session_target *a, const struct session_target *b)
{
	bool same = a->url.tls == b->url.tls && a->url.ssh == b->url.ssh &&
		    a->url.port == b->url.port && strcmp(a->url.host, b->url.host) == 0 &&
		    strcmp(a->url.path, b->url.path) == 0 &&
		    strcmp(a->fingerprint, b->fingerprint) == 0 && strcmp(a->user, b->user) == 0 &&
		    strcmp(a->password, b->password) == 0 && a->inactivity_ns == b->inactivity_ns &&
		    a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = a->forward[i] == b->forward[i] && remote_eq(&a->remotes[i], &b->remotes[i]);
	return same;
}

void session_up(struct session *s, const struct session_target *target)
{
	if (s->draining || (s->wanted && session_target_eq(&s->target, target)))
		return;
	if (s->wanted)
		session_unlink(s, SSH_DISCONNECT_BY_APPLICATION, "another target is wanted");
	keep_target(s, target);
	s->wanted = true;
	s->idle_closed = false;
	s->failures = 0;
	s->cause = BUS_CAUSE_STARTING;
	retry_begin(&s->retry, session_now(s));
	session_attempt(s);
}

void session_down(struct session *s)
{
	if (!s->wanted || s->draining)
		return;
	s->wanted = false;
	s->idle_closed = false;
	s->cause = BUS_CAUSE_NOT_WANTED;
	session_unlink(s, SSH_DISCONNECT_BY_APPLICATION, "the tunnel is not wanted any more");
	session_enter(s, BUS_STATE_IDLE);
	session_arm(s);
}

void session_retry_now(struct session *s)
{
	if (s->state != BUS_STATE_BACKOFF)
		return;
	s->phase_deadline_ns = session_now(s);
	session_arm(s);
}

void session_drain(struct session *s, uint64_t grace_ns, void (*done)(void *user), void *user)
{
	if (s->draining)
		return;
	s->draining = true;
	s->drained = done;
	s->drained_user = user;
	publish_draining(s->o.publish);
	if (s->state != BUS_STATE_UP) {
		end_drain(s);
		return;
	}
	s->drain_deadline_ns = session_now(s) + grace_ns;
	s->silence_ns = session_now(s) + LIMIT_NS(DRAIN_SILENCE);
	session_enter(s, BUS_STATE_DRAINING);
	s->link.ops->unlisten(s->link.self);
	channels_flush(&s->forwards.channels);
	if (s->state != BUS_STATE_DRAINING)
		return;
	timer_set(s->o.loop, &s->timer, session_now(s)); /* at once when nothing is open */
}

void session_trim(struct session *s)
{
	if (s->link.ops && !s->forwards.n)
		s->link.ops->trim(s->link.self);
}

enum bus_state session_state(const struct session *s)
{
	return s->state;
}

const struct session_target *session_target(const struct session *s)
{
	return s->wanted ? &s->target : NULL;
}

const struct fault *session_fault(const struct session *s)
{
	return &s->fault;
}
