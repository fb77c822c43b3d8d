#include "tunnel-sidecar/link.h"

#include <string.h>

#include "lib/app/program.h"
#include "lib/base/escape.h"
#include "lib/io/chisel_conn.h"
#include "tunnel-sidecar/session_private.h"

enum { TAG_CONFIG = 1, TAG_PING = 2 };

static struct ssh *engine(struct session *s)
{
	return chisel_stack_ssh(chisel_conn_stack(s->link.self));
}

static void send_config(struct session *s)
{
	struct buf json;
	buf_init(&json, &mem_heap, 64 * 1024);

	int rc = chisel_config_write(&json, program_version, s->target.remotes, s->target.n);
	if (rc >= 0)
		rc = ssh_global_request(engine(s), CHISEL_REQUEST_CONFIG, true,
					span_of(buf_bytes(&json).p, buf_len(&json)), TAG_CONFIG);
	buf_fini(&json);
	if (rc < 0) {
		session_fail_because(s, (enum err)rc, "the list of forwards could not be sent");
		return;
	}
	session_link_phase(s, BUS_STATE_CONFIGURING);
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
	const struct ssh_names *names = ssh_names(engine(s));

	if (ev->tag == TAG_PING)
		session_link_pong(s);
	else if (s->state != BUS_STATE_CONFIGURING)
		return;
	else if (ev->ok)
		session_link_up(s, names->cipher, names->kex, names->host_key);
	else
		refuse_config(s, ev->payload);
}

/* The channel's extra data must name a forward, byte for byte. */
static size_t find_forward(const struct session *s, const struct ssh_event *ev)
{
	for (size_t i = 0; span_is(ev->name, CHISEL_CHANNEL) && i < s->target.n; i++)
		if (span_is(span_of(ev->payload.p, ev->payload.n), s->targets[i]))
			return i;
	return SESSION_NO_FORWARD;
}

static void open_channel(struct session *s, const struct ssh_event *ev)
{
	const size_t forward = find_forward(s, ev);

	session_link_open(s, ev, forward);
	if (forward == SESSION_NO_FORWARD && !s->draining)
		ssh_charge(engine(s), GLITCH_FORBIDDEN_OPEN, 1);
}

static void on_event(void *user, const struct ssh_event *ev)
{
	struct session *s = user;
	char words[160];

	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		ssh_host_key_trust(engine(s), session_link_host_key(s, ev->fingerprint));
		return;
	case SSH_EVENT_READY:
		send_config(s);
		return;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply) {
			const bool ping = span_is(ev->name, CHISEL_REQUEST_PING);
			ssh_global_answer(engine(s), ping, span_str(ping ? "pong" : ""));
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
		session_link_event(s, ev);
		return;
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
	case SSH_EVENT_AUTH:	       /* server role only */
	case SSH_EVENT_CHANNEL_OPENED: /* we open none */
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_REQUEST: /* answered by the engine */
		return;
	}
}

static void on_gone(void *user)
{
	session_gone(user);
}

static void on_phase(void *user, enum chisel_stack_phase phase)
{
	struct session *s = user;

	if (phase == CHISEL_STACK_TLS)
		session_link_phase(s, BUS_STATE_TLS);
	else if (phase == CHISEL_STACK_UPGRADE)
		session_link_phase(s, BUS_STATE_UPGRADING);
	else if (phase == CHISEL_STACK_SSH)
		session_link_phase(s, BUS_STATE_SSH);
}

static void on_lost(void *user, const struct fault *why)
{
	session_fail(user, why);
}

static const struct chisel_conn_handler handler = {
	.on_event = on_event,
	.on_phase = on_phase,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

static void kick(void *self)
{
	chisel_conn_flush(self);
}

static int ping(void *self)
{
	return ssh_global_request(chisel_stack_ssh(chisel_conn_stack(self)), CHISEL_REQUEST_PING,
				  true, span_of(NULL, 0), TAG_PING);
}

static uint64_t heard_ns(void *self)
{
	return chisel_conn_heard_ns(self);
}

static unsigned retry_after_s(void *self)
{
	return chisel_stack_retry_after_s(chisel_conn_stack(self));
}

static void glitches(void *self, uint64_t counts[GLITCH_KINDS])
{
	chisel_stack_glitches(chisel_conn_stack(self), counts);
}

/* A chisel server listens as long as the session lasts. */
static void unlisten(void *self)
{
	(void)self;
}

static void trim(void *self)
{
	chisel_stack_trim(chisel_conn_stack(self));
}

static void close_link(void *self)
{
	chisel_conn_close(self);
}

static void part(void *self, enum ssh_disconnect_reason reason, const char *text)
{
	chisel_conn_shutdown(self, reason, text);
}

static const struct link_ops ops = {
	.kick = kick,
	.ping = ping,
	.heard_ns = heard_ns,
	.retry_after_s = retry_after_s,
	.glitches = glitches,
	.unlisten = unlisten,
	.trim = trim,
	.close = close_link,
	.part = part,
};

int link_chisel_new(struct link *out, struct channels *channels, struct session *s, int fd,
		    struct fault *why)
{
	const struct url *url = &s->target.url;
	const struct proxy_options proxy = { &s->target.proxy, url->host, url->port };
	struct carrier *carrier;
	const struct chisel_stack_options options = {
		.proxy = s->target.proxy.kind ? &proxy : NULL,
		.tls_ctx = url->tls ? s->o.tls_ctx : NULL,
		.tls = { .verify_name = s->o.skip_verify ? NULL
					: s->o.sni	 ? s->o.sni
							 : url->host,
			 .sni = s->o.sni	   ? s->o.sni
				: s->o.skip_verify ? url->host
						   : NULL },
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
			 .tx_max = SESSION_TX_MAX,
			 .channels_max = FORWARDS_MAX + LINK_CHANNELS_SPARE,
			 .manual_windows = true, /* windows.h */
			 .user = s->target.user,
			 .password = s->target.password },
	};
	const int rc = chisel_conn_new(&carrier, s->o.loop, fd, &options, &handler, s, why);

	if (rc < 0)
		return rc;
	*out = (struct link){ &ops, carrier, FORWARDS_MAX };
	*channels = channels_of_ssh(chisel_stack_ssh(chisel_conn_stack(carrier)));
	return 0;
}
