#include "tunnel-sidecar/session_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/app/program.h"
#include "lib/base/escape.h"

#define DIAL_NS S(10)
#define USER_TIMEOUT_MS 10000 /* unacknowledged bytes for this long: dead (RFC 5482) */

enum { TX_MAX = 256 * 1024 }; /* sealed bytes that may wait in front of a keystroke */

static void open_channel(struct session *s, const struct ssh_event *ev)
{
	uint64_t missed;

	if (!s->draining && s->state == BUS_STATE_UP && span_is(ev->name, CHISEL_CHANNEL))
		for (size_t i = 0; i < s->target.n; i++)
			if (span_is(span_of(ev->payload.p, ev->payload.n), s->targets[i])) {
				const struct chisel_remote *r = &s->target.remotes[i];

				forward_start(&s->forwards, ev->channel,
					      &(struct forward_target){ s->target.forward[i], r->host,
									r->port });
				return;
			}
	if (pace_take(&s->forwards.pace, session_now(s), &missed))
		log_warn("channel_rejected",
			 s->draining ? "draining: no new channels"
				     : "the server asked for a target that is no forward of this session",
			 L_SPAN("type", ev->name),
			 L_SPAN("target", span_of(ev->payload.p, ev->payload.n)),
			 L_INT("unsaid", missed));
	publish_channel_rejected(s->o.publish,
				 s->draining ? BUS_REFUSAL_DRAINING : BUS_REFUSAL_FORBIDDEN);
	channels_reject(&s->forwards.channels, ev->channel, SSH_OPEN_ADMINISTRATIVELY_PROHIBITED,
			s->draining ? "draining" : "no such forward");
	if (!s->draining)
		ssh_blame(stack_ssh(carrier_stack(s->carrier)), GLITCH_FORBIDDEN_OPEN, 1);
}

static void send_config(struct session *s)
{
	struct buf json;
	buf_init(&json, &mem_heap, 64 * 1024);

	int rc = chisel_config_write(&json, program_version, s->target.remotes, s->target.n);
	if (rc >= 0)
		rc = ssh_global_request(stack_ssh(carrier_stack(s->carrier)), CHISEL_REQUEST_CONFIG,
					true, span_of(buf_bytes(&json).p, buf_len(&json)), TAG_CONFIG);
	buf_fini(&json);
	if (rc < 0) {
		session_fail_because(s, (enum err)rc, "the list of forwards could not be sent");
		return;
	}
	session_enter(s, BUS_STATE_CONFIGURING);
	session_arm(s);
}

static void come_up(struct session *s)
{
	const struct ssh_names *names = ssh_names(stack_ssh(carrier_stack(s->carrier)));
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
		 L_STR("host_key", names->host_key), L_NS("took_s", session_now(s) - s->attempt_ns));
	session_enter(s, BUS_STATE_UP);
	session_arm(s);
}

/* The words of chisel's servers for "the port is still held" are theirs to
 * choose: any that say "listen" or "in use" are taken for it. */
static void refuse_config(struct session *s, struct mspan text)
{
	struct fault why = { 0 };
	char words[160];

	escape_text(words, sizeof(words), span_of(text.p, text.n));
	if (strstr(words, "listen") || strstr(words, "in use"))
		fault_set(&why, ERR_LISTEN, "the server can't listen for a forward: %s", words);
	else
		fault_set(&why, ERR_REFUSED, "the server refused the forwards: %s",
			  *words ? words : "no reason given");
	session_fail(s, &why);
}

static void on_reply(struct session *s, const struct ssh_event *ev)
{
	if (ev->tag == TAG_CONFIG && s->state == BUS_STATE_CONFIGURING) {
		if (ev->ok)
			come_up(s);
		else
			refuse_config(s, ev->payload);
	} else if (ev->tag == TAG_PING && s->ping_ns) {
		publish_ping(s->o.publish, session_now(s) - s->ping_ns);
		s->ping_ns = 0;
		s->next_ping_ns = session_now(s) + s->o.keepalive_ns;
		session_arm(s);
	}
}

static void on_host_key(struct session *s, const struct ssh_event *ev)
{
	char text[45];
	struct ssh *ssh = stack_ssh(carrier_stack(s->carrier));

	chisel_fingerprint_write(ev->fingerprint, text);
	if (!s->target.fingerprint[0])
		log_warn("host_key", "no fingerprint is configured: any host key is taken",
			 L_STR("fingerprint", text));
	const bool trusted = !s->target.fingerprint[0] ||
			     chisel_fingerprint_is(s->target.fingerprint, ev->fingerprint);
	if (!trusted)
		log_error("host_key", "the server's host key is not the expected one",
			  L_STR("fingerprint", text), L_STR("expected", s->target.fingerprint));
	ssh_host_key_trust(ssh, trusted);
}

static void on_event(void *user, const struct ssh_event *ev)
{
	struct session *s = user;
	struct ssh *ssh = stack_ssh(carrier_stack(s->carrier));
	struct forward *f = NULL;
	char words[160];

	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		on_host_key(s, ev);
		return;
	case SSH_EVENT_READY:
		send_config(s);
		return;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply) {
			const bool ping = span_is(ev->name, CHISEL_REQUEST_PING);
			ssh_global_answer(ssh, ping, span_str(ping ? "pong" : ""));
		}
		return;
	case SSH_EVENT_GLOBAL_REPLY:
		on_reply(s, ev);
		return;
	case SSH_EVENT_CHANNEL_OPEN:
		open_channel(s, ev);
		return;
	case SSH_EVENT_CHANNEL_DATA:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
		f = channels_user(&s->forwards.channels, ev->channel);
		break;
	case SSH_EVENT_REKEYED:
		publish_rekey(s->o.publish);
		return;
	case SSH_EVENT_DISCONNECTED:
		escape_text(words, sizeof(words), span_of(ev->payload.p, ev->payload.n));
		struct fault why = { 0 };
		fault_set(&why, ERR_CLOSED, "the server disconnected: %s", words);
		session_fail(s, &why);
		return;
	case SSH_EVENT_NONE:
	case SSH_EVENT_AUTH:             /* server role only */
	case SSH_EVENT_CHANNEL_OPENED:   /* we open none */
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_REQUEST:  /* answered by the engine */
		return;
	}
	if (f) /* else a channel that we closed ourselves */
		forward_on_event(f, ev);
}

/* ---- connecting ---- */

static void on_gone(void *user)
{
	session_gone(user);
}

static void on_phase(void *user, enum stack_phase phase)
{
	struct session *s = user;

	if (phase == STACK_TLS)
		session_enter(s, BUS_STATE_TLS);
	else if (phase == STACK_UPGRADE)
		session_enter(s, BUS_STATE_UPGRADING);
	else if (phase == STACK_SSH)
		session_enter(s, BUS_STATE_SSH);
	session_arm(s);
}

static void on_lost(void *user, const struct fault *why)
{
	session_fail(user, why);
}

static const struct carrier_handler carrier_handler = {
	.on_event = on_event,
	.on_phase = on_phase,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

static void set_user_timeout(int fd)
{
	const unsigned ms = USER_TIMEOUT_MS;

	/* Where the kernel refuses, the ping's deadline still finds a dead link. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static void on_dialled(void *user, struct dial_result *result)
{
	struct session *s = user;
	const struct chisel_url *url = &s->target.url;
	const struct proxy_options proxy = { s->o.proxy, url->host, url->port };
	const struct stack_options options = {
		.proxy = s->o.proxy ? &proxy : NULL,
		.tls_ctx = url->tls ? s->o.tls_ctx : NULL,
		.tls = { .verify_name = s->o.skip_verify ? NULL : s->o.sni ? s->o.sni : url->host,
			 .sni = s->o.sni ? s->o.sni : s->o.skip_verify ? url->host : NULL },
		.ws = { .host = s->o.host_header ? s->o.host_header : url->host_header,
			.path = url->path,
			.protocol = CHISEL_PROTOCOL,
			.headers = s->o.headers,
			.random = session_entropy },
		.ssh = { .role = SSH_CLIENT,
			 .version = CHISEL_CLIENT_VERSION,
			 .any_version = true,
			 .mem = &mem_heap,
			 .random = session_entropy,
			 .tx_max = TX_MAX,
			 .channels_max = FORWARDS_MAX,
			 .user = s->target.user,
			 .password = s->target.password },
	};

	s->dial = NULL;
	if (result->fd < 0) {
		if (result->phase == DIAL_CONNECTING && s->state == BUS_STATE_RESOLVING)
			session_enter(s, BUS_STATE_CONNECTING);
		session_fail(s, &result->why);
		return;
	}
	set_user_timeout(result->fd);
	session_enter(s, s->o.proxy ? BUS_STATE_CONNECTING : url->tls ? BUS_STATE_TLS : BUS_STATE_UPGRADING);
	const int rc = carrier_new(&s->carrier, s->o.loop, result->fd, &options, &carrier_handler, s,
				   &result->why);
	if (rc < 0) {
		s->carrier = NULL;
		session_fail(s, &result->why);
		return;
	}
	s->carriers++;
	s->forwards.channels = channels_of_ssh(stack_ssh(carrier_stack(s->carrier)));
	session_arm(s);
}

void session_attempt(struct session *s)
{
	struct fault why = { 0 };
	const struct dial_options options = {
		.host = s->o.proxy ? s->o.proxy->host : s->target.url.host,
		.port = s->o.proxy ? s->o.proxy->port : s->target.url.port,
		.timeout_ns = DIAL_NS,
	};
	struct bus_session *r = publish_record(s->o.publish);

	snprintf(r->server, sizeof(r->server), "%s", s->target.url.host_header);
	s->attempt_ns = session_now(s);
	publish_attempt(s->o.publish);
	session_enter(s, BUS_STATE_RESOLVING);
	s->phase_deadline_ns = UINT64_MAX; /* the dial has its own */
	if (dial_start(&s->dial, s->o.loop, &options, on_dialled, s, &why) < 0) {
		s->dial = NULL;
		session_fail(s, &why);
		return;
	}
	session_arm(s);
}

void session_report(void *user)
{
	struct session *s = user;
	uint64_t counts[GLITCH_KINDS];

	if (!s->carrier)
		return;
	stack_glitches(carrier_stack(s->carrier), counts);
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
	if (s->carrier) {
		publish_closed(s->o.publish, text);
		carrier_part(s->carrier, reason, text);
	}
	s->carrier = NULL;
}
