/*
 * desired -- follows the control agent's record on the bus: checks it as a
 * hostile neighbour's, hands it to the session, answers with what became of it.
 * It dials nothing and holds no connection; the session does.
 */
#include "tunnel-sidecar/desired.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/app/log.h"
#include "lib/base/escape.h"
#include "lib/base/limits.h"
#include "lib/base/rate.h"
#include "lib/base/units.h"
#include "lib/io/file.h"
#include "lib/proto/ssh/ssh_fingerprint.h"
#include "shm/doorbell.h"
#include "shm/reader.h"
#include "tunnel-sidecar/proxy_choice.h"
#include "tunnel-sidecar/tunnel_sandbox.h"

#define POLL_NS 250000000ull

/* Changes of the tunnel that desired states cause. */
enum { TURNS_BURST = 3 };
#define TURN_EVERY_NS 5000000000ull

struct desired {
	struct desired_options o;
	struct bus_reader *reader;
	struct doorbell *doorbell; /* NULL: there is none */
	struct loop_wake rung;
	struct timer poll;
	struct bus_observed observed;
	struct fault fault; /* why gen_seen was refused; code 0: it was not */
	struct rate turns;
	struct rate said; /* log lines: a hostile neighbour makes 50 generations a second */
	bool held;	  /* gen_seen is valid and new, and waits for its turn */
	struct chisel_remote remotes[BUS_FORWARDS_MAX]; /* of a target that is looked at */
	uint16_t forward[BUS_FORWARDS_MAX];
};

/* One entry of tunnel.allowed_hosts: the name itself, or what ends in ".suffix". */
static bool is_host_of(const char *host, const char *entry, size_t n)
{
	const size_t len = strlen(host);

	if (n && entry[0] == '.')
		return len > n && strncasecmp(host + len - n, entry, n) == 0;
	return len == n && strncasecmp(host, entry, n) == 0;
}

static bool is_allowed(const char *host, const char *list)
{
	for (const char *at = list; *at;) {
		const size_t n = strcspn(at, ", ");

		if (n && is_host_of(host, at, n))
			return true;
		at += n + (at[n] != '\0');
	}
	return !*list;
}

/* Every text of the record is the control container's: bounded, then read by
 * the strict parsers that also read an operator's words. */
static int check_server(struct session_target *to, const struct bus_desired *r,
			const struct config *c, struct fault *why)
{
	int rc = chisel_gateway_read(&to->url, r->url, true, why);

	if (rc < 0)
		return rc;
	if (chisel_url_is_plain(&to->url) && !to->url.is_loopback && !c->allow_plain)
		return fault_set(
			why, ERR_CONFIG,
			"the tunnel URL is plain http to a host that is not this machine: set "
			"pipeops.tls.allow_plain when the way there is trusted");
	if (to->url.ssh && chisel_url_needs_fingerprint(&to->url, true) && !r->fingerprint[0] &&
	    !c->allow_plain)
		return fault_set(why, ERR_CONFIG,
				 "the tunnel URL is ssh and the control plane tells no fingerprint "
				 "of its host key, so "
				 "anybody could be that server: set pipeops.tls.allow_plain when "
				 "the way there is trusted");
	if (to->url.ssh && to->url.password[0])
		return fault_set(why, ERR_CONFIG,
				 "the tunnel URL holds a password, which people see on the bus");
	snprintf(to->user, sizeof(to->user), "%s", to->url.ssh ? to->url.user : "");
	if (!is_allowed(to->url.host, c->allowed_hosts))
		return fault_set(why, ERR_CONFIG,
				 "the tunnel server %.120s is not in tunnel.allowed_hosts",
				 to->url.host);
	if (!tunnel_sandbox_allows(c->server_ports, to->url.port))
		return fault_set(why, ERR_CONFIG,
				 "the tunnel server's port %u is not in tunnel.server_ports "
				 "(PIPEOPS_TUNNEL_SERVER_PORTS), which is %.60s",
				 to->url.port, c->server_ports);
	if (!r->fingerprint[0] && c->require_fingerprint)
		return fault_set(why, ERR_CONFIG,
				 "the control plane tells no fingerprint of the tunnel server's "
				 "host key, and tunnel.require_fingerprint requires one");
	if (r->fingerprint[0]) {
		rc = ssh_fingerprint_check(r->fingerprint, why);
		if (rc < 0)
			return rc;
		snprintf(to->fingerprint, sizeof(to->fingerprint), "%.63s", r->fingerprint);
	}
	return 0;
}

_Static_assert(CONFIG_FORWARDS_MAX == BUS_FORWARDS_MAX, "each configured forward is on the bus");
_Static_assert(LIMIT_FORWARDS == BUS_FORWARDS_MAX, "the page of limits says so");

int desired_check(struct session_target *to, const struct bus_desired *r, const struct config *c,
		  struct fault *why)
{
	const int rc = check_server(to, r, c, why);

	if (rc < 0)
		return rc;
	if (r->n == 0 || r->n > BUS_FORWARDS_MAX)
		return fault_set(why, ERR_CONFIG,
				 "%" PRIu64 " forwards are wanted; 1 to %d are possible", r->n,
				 BUS_FORWARDS_MAX);
	for (size_t i = 0; i < r->n; i++) {
		const uint16_t port = r->forward[i].remote_port, target = r->forward[i].target;

		if (target >= c->forwards_n)
			return fault_set(
				why, ERR_CONFIG,
				"forward %u is wanted but %zu are configured: do both containers "
				"read the same tunnel.forwards?",
				target, c->forwards_n);
		if (!port)
			return fault_set(why, ERR_CONFIG, "forward %s has no remote port",
					 c->forwards[target].name);
		for (size_t j = 0; j < i; j++)
			if (r->forward[j].remote_port == port)
				return fault_set(why, ERR_CONFIG, "remote port %u is wanted twice",
						 port);
		struct chisel_remote *remote = &to->remotes[i];
		snprintf(remote->bind_host, sizeof(remote->bind_host), "0.0.0.0");
		remote->bind_port = port;
		snprintf(remote->host, sizeof(remote->host), "%s", c->forwards[target].host);
		remote->port = c->forwards[target].port;
		to->forward[i] = target;
	}
	to->n = r->n;
	to->inactivity_ns = r->inactivity_ns;
	return 0;
}

int desired_credentials(struct session_target *to, const char *handoff_dir, uint64_t generation,
			struct fault *why)
{
	char path[CONFIG_TEXT_MAX + 32], text[sizeof(to->user) + sizeof(to->password)];
	struct fault inner = { 0 };

	snprintf(path, sizeof(path), "%s/cred-%" PRIu64, handoff_dir, generation);
	const int n = file_read(text, sizeof(text), path, FILE_NO_FOLLOW | FILE_TEXT, NULL, &inner);
	if (n < 0)
		return fault_set(why, inner.code, "tunnel credentials: %s", inner.why);
	char *colon = strchr(text, ':');
	const bool good = colon && (size_t)(colon - text) < sizeof(to->user) &&
			  strlen(colon + 1) < sizeof(to->password);
	if (good) {
		*colon = '\0';
		if (*text || !to->url.ssh) /* else the URL's user stays */
			memcpy(to->user, text, strlen(text) + 1);
		memcpy(to->password, colon + 1, strlen(colon + 1) + 1);
	}
	explicit_bzero(text, sizeof(text));
	return good ? 0
		    : fault_set(why, ERR_CONFIG, "tunnel credentials: %s holds no user:password",
				path);
}

/* Whether the tunnel would turn to this target (NULL: to none). */
static bool is_turn(const struct desired *d, const struct session_target *to)
{
	const struct session_target *now = session_target(d->o.session);

	return to && now ? !session_target_eq(now, to) : to || now;
}

/* Turns to it, unless it must wait: then false. */
static bool turn(struct desired *d, const struct bus_desired *r, const struct session_target *to)
{
	uint64_t looks;

	if (is_turn(d, to) &&
	    !rate_allow_of(&d->turns, loop_now(d->o.loop), TURNS_BURST, TURN_EVERY_NS, &looks)) {
		if (!d->held)
			log_warn("tunnel_desired",
				 "the desired state changes too often: the newest one "
				 "has to wait",
				 L_INT("generation", r->gen));
		d->held = true;
		return false;
	}
	d->held = false;
	if (to)
		session_up(d->o.session, to);
	else
		session_down(d->o.session);
	return true;
}

/* Refused: why; NULL: taken. */
static void say(struct desired *d, const struct bus_desired *r, const struct fault *why)
{
	uint64_t missed;

	if (!rate_allow(&d->said, loop_now(d->o.loop), &missed))
		return;
	if (why)
		log_error("tunnel_desired", "the desired state is refused",
			  L_INT("generation", r->gen), L_STR("error", why->why),
			  L_INT("unsaid", missed));
	else
		log_info("tunnel_desired", "the desired state is taken",
			 L_INT("generation", r->gen),
			 L_STR("op", r->op == BUS_DESIRED_UP ? "up" : "down"),
			 L_INT("unsaid", missed));
}

static void apply(struct desired *d, const struct bus_desired *r)
{
	struct session_target target;
	struct fault why = { 0 };
	const bool unseen = r->gen != d->observed.gen_seen, news = unseen || d->held;
	const bool up = r->op == BUS_DESIRED_UP && d->o.config->tunnel_enabled;
	bool waits = false;
	int rc = 0;

	memset(&target, 0, sizeof(target));
	target.remotes = d->remotes;
	target.forward = d->forward;
	if (up)
		rc = desired_check(&target, r, d->o.config, &why);
	if (rc >= 0 && up && r->cred_gen)
		rc = desired_credentials(&target, d->o.config->handoff_dir, r->cred_gen, &why);
	if (rc >= 0 && up)
		rc = proxy_choice_find(&target, NULL, &why);
	if (rc >= 0)
		waits = !turn(d, r, up ? &target : NULL);
	else
		d->held = false;
	const bool is_refused =
		rc < 0 && (news || why.code != d->fault.code || strcmp(why.why, d->fault.why) != 0);
	if (is_refused || (rc >= 0 && news && !waits))
		say(d, r, is_refused ? &why : NULL);
	OPENSSL_cleanse(&target, sizeof(target));
	d->fault = why;
	d->observed.gen_seen = r->gen;
	if (rc >= 0 && !waits)
		d->observed.gen_applied = r->gen;
	if (waits ? unseen : news || rc < 0)
		desired_answer(d);
}

void desired_answer(struct desired *d)
{
	const struct fault *why = d->fault.code ? &d->fault : session_fault(d->o.session);

	d->observed.state = session_state(d->o.session);
	d->observed.error = (uint64_t)-why->code;
	snprintf(d->observed.error_text, sizeof(d->observed.error_text), "%s", why->why);
	publish_observed(d->o.publish, &d->observed);
}

static void on_poll(struct timer *t)
{
	struct desired *d = owner_of(t, struct desired, poll);
	struct bus_desired record;
	uint8_t writer[16];

	timer_set(d->o.loop, &d->poll, loop_now(d->o.loop) + POLL_NS);
	const enum bus_presence presence = bus_reader_refresh(d->reader, loop_now(d->o.loop));
	if (presence == BUS_ABSENT || presence == BUS_UNREADABLE)
		return;
	doorbell_follow(d->doorbell, d->reader);
	bus_reader_incarnation(d->reader, writer);
	if (memcmp(writer, d->observed.writer, sizeof(writer)) != 0) {
		memcpy(d->observed.writer, writer, sizeof(writer));
		d->observed.gen_seen = d->observed.gen_applied = 0;
	}
	if (bus_read_desired(d->reader, &record) == 1 && record.gen)
		apply(d, &record);
}

/* In the doorbell's thread. */
static void on_doorbell(void *user)
{
	struct desired *d = user;

	loop_wake(d->o.loop, &d->rung);
}

static void on_rung(struct loop_wake *w)
{
	on_poll(&(owner_of(w, struct desired, rung))->poll);
}

/* The poll does without; so a thread that can't be had is no failure. */
static void listen_to_doorbell(struct desired *d)
{
	struct fault why = { 0 };

	d->rung.call = on_rung;
	if (!d->o.is_peer_gone && doorbell_new(&d->doorbell, on_doorbell, d, &why) < 0)
		log_info("doorbell", "the bus is only polled, without the doorbell",
			 L_STR("reason", why.why));
}

int desired_new(struct desired **out, const struct desired_options *options, struct fault *why)
{
	struct desired *d = calloc(1, sizeof(*d));

	if (!d)
		return fault_set(why, ERR_NOMEM, "no memory to follow the bus");
	d->o = *options;
	d->poll.fire = on_poll;
	const int rc = bus_reader_new(&d->reader, options->config->bus_dir, BUS_CONTROL, why);
	if (rc < 0) {
		free(d);
		return rc;
	}
	listen_to_doorbell(d);
	timer_set(options->loop, &d->poll, loop_now(options->loop) + 1);
	*out = d;
	return 0;
}

void desired_quiet(struct desired *d)
{
	if (!d)
		return;
	doorbell_free(d->doorbell);
	d->doorbell = NULL;
	loop_wake_cancel(d->o.loop, &d->rung);
}

void desired_free(struct desired *d)
{
	if (!d)
		return;
	bus_reader_free(d->reader);
	free(d);
}
