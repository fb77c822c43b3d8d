/*
 * One connection of a session: from the dial to the link, what the link tells while it
 * lasts, default deny of what the server opens, and its end.
 */
#include "tunnel-sidecar/session_private.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/limits.h"
#include "lib/proto/ssh/ssh_fingerprint.h"

/* ---- what a link tells ---- */

static void on_phase(void *user, enum bus_state state)
{
	struct session *s = user;

	session_enter(s, state);
	session_arm(s);
}

static bool on_host_key(void *user, const uint8_t fingerprint[SSH_FINGERPRINT_LEN])
{
	const struct session *s = user;
	char text[45];

	ssh_fingerprint_write(fingerprint, text);
	if (!s->target.fingerprint[0])
		log_warn("host_key", "no fingerprint is configured: any host key is accepted",
			 L_STR("fingerprint", text));
	const bool trusted =
		!s->target.fingerprint[0] || ssh_fingerprint_is(s->target.fingerprint, fingerprint);
	if (!trusted)
		log_error("host_key", "the server's host key is not the expected one",
			  L_STR("fingerprint", text), L_STR("expected", s->target.fingerprint));
	return trusted;
}

static void on_up(void *user, const struct link_names *names)
{
	struct session *s = user;
	struct bus_session *r = publish_record(s->o.publish);

	s->failures = 0;
	s->up_ns = session_now(s);
	s->fault = (struct fault){ 0 };
	s->next_ping_ns = session_now(s) + s->o.keepalive_ns;
	s->forwards.last_byte_ns = session_now(s);
	snprintf(r->cipher, sizeof(r->cipher), "%s", names->cipher);
	r->last_error[0] = r->last_error_phase[0] = r->last_error_reason[0] = '\0';
	publish_up(s->o.publish, s->target.n, session_now(s) - s->attempt_ns);
	log_info("tunnel_up", "forwards are agreed with the tunnel server",
		 L_STR("server", s->target.url.host_header), L_INT("forwards", s->target.n),
		 L_STR("cipher", names->cipher), L_STR("kex", names->kex),
		 L_STR("host_key", names->host_key),
		 L_NS("took_s", session_now(s) - s->attempt_ns));
	session_enter(s, BUS_STATE_UP);
	session_arm(s);
}

static void on_pong(void *user)
{
	struct session *s = user;

	if (!s->ping_ns)
		return;
	publish_ping(s->o.publish, session_now(s) - s->ping_ns);
	s->ping_ns = 0;
	s->next_ping_ns = session_now(s) + s->o.keepalive_ns;
	session_arm(s);
}

static void on_open(void *user, const struct ssh_event *ev, size_t forward)
{
	struct session *s = user;
	uint64_t missed;

	if (!s->draining && s->state == BUS_STATE_UP && forward < s->target.n) {
		const struct chisel_remote *r = &s->target.remotes[forward];

		forward_start(
			&s->forwards, ev->channel,
			&(struct forward_target){ s->target.forward[forward], r->host, r->port });
		return;
	}
	if (rate_allow(&s->forwards.rate, session_now(s), &missed))
		log_warn("channel_rejected",
			 s->draining ? "draining: no new channels"
				     : "the server asked for a target that is not a forward of "
				       "this session",
			 L_SPAN("type", ev->name),
			 L_SPAN("target", span_of(ev->payload.p, ev->payload.n)),
			 L_INT("unsaid", missed));
	publish_channel_rejected(s->o.publish,
				 s->draining ? BUS_REFUSAL_DRAINING : BUS_REFUSAL_FORBIDDEN);
	channels_reject(&s->forwards.channels, ev->channel, SSH_OPEN_ADMINISTRATIVELY_PROHIBITED,
			s->draining ? "draining" : "no such forward");
}

static void on_event(void *user, const struct ssh_event *ev)
{
	const struct session *s = user;
	struct forward *f = channels_user(&s->forwards.channels, ev->channel);

	if (f) /* else a channel that we closed ourselves */
		forward_on_event(f, ev);
}

static void on_rekeyed(void *user)
{
	const struct session *s = user;

	publish_rekey(s->o.publish);
}

static void on_cut(void *user, uint32_t channel, size_t unread)
{
	struct session *s = user;
	struct forward *f = channels_user(&s->forwards.channels, channel);
	uint64_t missed;

	if (f)
		forward_cut(f);
	if (rate_allow(&s->forwards.rate, session_now(s), &missed))
		log_warn("channel_closed",
			 "a channel was closed: memory is short, and its local reader was the "
			 "furthest behind",
			 L_INT("unread", unread), L_INT("unsaid", missed));
}

static void on_fail(void *user, const struct fault *why)
{
	session_fail(user, why);
}

static void on_gone(void *user)
{
	session_gone(user);
}

const struct link_handler session_link_handler = {
	.on_phase = on_phase,
	.on_host_key = on_host_key,
	.on_up = on_up,
	.on_open = on_open,
	.on_event = on_event,
	.on_pong = on_pong,
	.on_rekeyed = on_rekeyed,
	.on_cut = on_cut,
	.on_fail = on_fail,
	.on_gone = on_gone,
};

/* ---- connecting ---- */

enum { SEND_QUEUE = 256 * 1024 }; /* one batch of the stack's */

static void set_user_timeout(int fd)
{
	const unsigned ms = LIMIT_USER_TIMEOUT_MS;

	/* Where the kernel refuses, the ping's deadline still finds a dead link. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

/* What the network has not taken yet stays with us, where a keystroke still goes
 * before it; without this the kernel would queue megabytes. */
static void set_send_queue(int fd)
{
	const int bytes = SEND_QUEUE;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

/* What the socket carries first. */
static enum bus_state first_state(const struct session *s)
{
	if (s->target.proxy.kind)
		return BUS_STATE_CONNECTING;
	if (s->target.url.ssh)
		return BUS_STATE_SSH;
	return s->target.url.tls ? BUS_STATE_TLS : BUS_STATE_UPGRADING;
}

/* The server may not know that the link is dead, and hold the forwards' ports.  A
 * socket that is closed with bytes in flight gives up by itself, and the goodbye's
 * retransmissions back off to many seconds: so one stays open, and patient. */
void session_keep_dead(struct session *s)
{
	const unsigned patience_ms = 0; /* the kernel's own: a quarter of an hour */

	session_reset_dead(s);
	s->dead_fd = s->link_fd;
	s->link_fd = -1;
	if (s->dead_fd >= 0)
		(void)setsockopt(s->dead_fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms,
				 sizeof(patience_ms));
}

/* Packets get through again: the reset, too. */
void session_reset_dead(struct session *s)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	if (s->dead_fd < 0)
		return;
	/* Not by closing: the link may still say its goodbye to nobody. */
	(void)connect(s->dead_fd, &nobody, sizeof(nobody));
	close(s->dead_fd);
	s->dead_fd = -1;
}

static void on_dialled(void *user, struct dial_result *result)
{
	struct session *s = user;

	s->dial = NULL;
	if (result->fd < 0) {
		session_fail(s, &result->why);
		return;
	}
	session_reset_dead(s);
	if (result->is_remembered)
		log_warn("dns_remembered",
			 "the server's name can't be looked up: its last address is used",
			 L_STR("address", result->address));
	set_send_queue(result->fd);
	set_user_timeout(result->fd);
	s->link_fd = fcntl(result->fd, F_DUPFD_CLOEXEC, 0);
	session_enter(s, first_state(s));
	const struct link_options options = {
		.loop = s->o.loop,
		.target = &s->target,
		.tls_ctx = s->o.tls_ctx,
		.skip_verify = s->o.skip_verify,
		.sni = s->o.sni,
		.host_header = s->o.host_header,
		.headers = s->o.headers,
		.ssh_key = s->o.ssh_key,
		.windows_bytes = s->forwards.windows->budget.limit,
		.random = session_entropy,
		.handler = &session_link_handler,
		.user = s,
	};
	int (*const link_new)(struct link *, struct channels *, const struct link_options *, int,
			      struct fault *) = s->target.url.ssh ? link_ssh2_new : link_chisel_new;
	if (link_new(&s->link, &s->forwards.channels, &options, result->fd, &result->why) < 0) {
		session_fail(s, &result->why);
		return;
	}
	s->links++;
	forward_set_share_out(&s->forwards, s->target.forward, s->target.n, s->link.channels_max);
	session_arm(s);
}

/* The dial has its own deadline; it knows better what it waited for. */
static void enter_dial_phase(struct session *s, enum bus_state state)
{
	session_enter(s, state);
	s->phase_deadline_ns = UINT64_MAX;
	session_arm(s);
}

static void on_resolved(void *user)
{
	enter_dial_phase(user, BUS_STATE_CONNECTING);
}

void session_attempt(struct session *s)
{
	struct fault why = { 0 };
	const struct dial_options options = {
		.host = s->target.proxy.kind ? s->target.proxy.host : s->target.url.host,
		.port = s->target.proxy.kind ? s->target.proxy.port : s->target.url.port,
		.timeout_ns = LIMIT_NS(SERVER_DIAL),
		.on_resolved = on_resolved,
		.ask_anew = true,
		.stale_ns = UINT64_MAX, /* whoever answers there has to prove itself */
	};
	struct bus_session *r = publish_record(s->o.publish);

	snprintf(r->server, sizeof(r->server), "%s", s->target.url.host_header);
	s->attempt_ns = session_now(s);
	publish_attempt(s->o.publish);
	enter_dial_phase(s, BUS_STATE_RESOLVING);
	if (dial_start(&s->dial, s->o.loop, &options, on_dialled, s, &why) < 0) {
		s->dial = NULL;
		session_fail(s, &why);
	}
}

void session_report(void *user)
{
	struct session *s = user;
	uint64_t counts[GLITCH_KINDS];

	if (!s->link.ops)
		return;
	s->link.ops->glitches(s->link.self, counts);
	for (enum glitch_kind k = 0; k < GLITCH_KINDS; k++) {
		if (counts[k] == s->glitches_said[k])
			continue;
		publish_glitches(s->o.publish, k, counts[k] - s->glitches_said[k]);
		s->glitches_said[k] = counts[k];
	}
}

void session_unlink(struct session *s, enum ssh_disconnect_reason reason, const char *text)
{
	dial_cancel(s->dial);
	s->dial = NULL;
	s->ping_ns = 0;
	forward_set_abort(&s->forwards);
	session_report(s);
	memset(s->glitches_said, 0, sizeof(s->glitches_said));
	if (s->link.ops) {
		publish_closed(s->o.publish, text);
		s->link.ops->part(s->link.self, reason, text);
	}
	s->link = (struct link){ 0 };
	if (s->link_fd >= 0)
		close(s->link_fd);
	s->link_fd = -1;
}
