/*
 * link_chisel -- the link to a chisel server: makes a chisel_conn from a connected socket,
 * sends the forwards as chisel's configuration, and turns its events into calls of the
 * link's handler. The wire formats are in lib/proto.
 */
#include "tunnel-sidecar/link.h"

#include <string.h>
#include <unistd.h>

#include "lib/app/program.h"
#include "lib/base/escape.h"
#include "lib/io/chisel_conn.h"
#include "lib/proto/ssh/ssh_packet.h"
#include "tunnel-sidecar/forward.h"

enum { TAG_CONFIG = 1, TAG_PING = 2 };

struct link_chisel {
	struct link_options o;
	struct chisel_conn *conn;
	bool is_configuring; /* the list of forwards is sent, and not answered */
	char targets[]; /* what a channel may name: a text for each remote, each with its NUL */
};

static struct ssh *engine(struct link_chisel *k)
{
	return chisel_stack_ssh(chisel_conn_stack(k->conn));
}

static void fail(struct link_chisel *k, const struct fault *why)
{
	k->o.handler->on_fail(k->o.user, why);
}

_Static_assert((int)CHISEL_CONFIG_MAX <= (int)SSH_REQUEST_MAX, "one request lists all remotes");
_Static_assert(SESSION_REMOTES_MAX <= CHISEL_REMOTES_MAX, "chisel takes them all");

static void send_config(struct link_chisel *k)
{
	struct buf json;
	buf_init(&json, &mem_heap, CHISEL_CONFIG_MAX);

	int rc = chisel_config_write(&json, program_version, k->o.target->remotes, k->o.target->n);
	if (rc >= 0)
		rc = ssh_global_request(engine(k), CHISEL_REQUEST_CONFIG, true,
					span_of(buf_bytes(&json).p, buf_len(&json)), TAG_CONFIG);
	buf_fini(&json);
	if (rc < 0) {
		struct fault why = { 0 };

		fault_set(&why, (enum err)rc, "the list of forwards could not be sent");
		fail(k, &why);
		return;
	}
	k->is_configuring = true;
	k->o.handler->on_phase(k->o.user, BUS_STATE_CONFIGURING);
}

/* The words of chisel's servers for "the port is still held" are theirs to
 * choose: any that say "listen" or "in use" are taken for it. */
static void refuse_config(struct link_chisel *k, struct mspan text)
{
	struct fault why = { 0 };
	char words[160];

	escape_text(words, sizeof(words), span_of(text.p, text.n));
	if (strstr(words, "listen") || strstr(words, "in use"))
		fault_set(&why, ERR_LISTEN, "the server can't listen for a forward: %s", words);
	else
		fault_set(&why, ERR_REFUSED, "the server refused the forwards: %s",
			  *words ? words : "no reason given");
	fail(k, &why);
}

static void on_config_reply(struct link_chisel *k, const struct ssh_event *ev)
{
	const struct ssh_names *names = ssh_names(engine(k));

	k->is_configuring = false;
	if (ev->ok)
		k->o.handler->on_up(k->o.user, &(struct link_names){ names->cipher, names->kex,
								     names->host_key });
	else
		refuse_config(k, ev->payload);
}

static void on_reply(struct link_chisel *k, const struct ssh_event *ev)
{
	if (ev->tag == TAG_PING)
		k->o.handler->on_pong(k->o.user);
	else if (k->is_configuring)
		on_config_reply(k, ev);
}

/* The texts of link_chisel.targets, as far as there is room; how many bytes they all are. */
static size_t write_targets(char *to, size_t room, const struct session_target *t)
{
	char text[CHISEL_HOST_MAX + 16];
	size_t at = 0;

	for (size_t i = 0; i < t->n; i++) {
		const size_t n = chisel_target_write(&t->remotes[i], text, sizeof(text)) + 1;

		if (at + n <= room)
			memcpy(to + at, text, n);
		at += n;
	}
	return at;
}

/* The channel's extra data must name a forward, byte for byte. */
static size_t find_forward(const struct link_chisel *k, const struct ssh_event *ev)
{
	const char *target = k->targets;

	for (size_t i = 0; span_is(ev->name, CHISEL_CHANNEL) && i < k->o.target->n; i++) {
		if (span_is(span_of(ev->payload.p, ev->payload.n), target))
			return i;
		target += strlen(target) + 1;
	}
	return LINK_NO_FORWARD;
}

static void open_channel(struct link_chisel *k, const struct ssh_event *ev)
{
	const size_t forward = find_forward(k, ev);

	k->o.handler->on_open(k->o.user, ev, forward);
	if (forward == LINK_NO_FORWARD)
		ssh_charge(engine(k), GLITCH_FORBIDDEN_OPEN, 1);
}

static void on_event(void *user, const struct ssh_event *ev)
{
	struct link_chisel *k = user;
	char words[160];

	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		ssh_host_key_trust(engine(k),
				   k->o.handler->on_host_key(k->o.user, ev->fingerprint));
		return;
	case SSH_EVENT_READY:
		send_config(k);
		return;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply) {
			const bool ping = span_is(ev->name, CHISEL_REQUEST_PING);
			ssh_global_answer(engine(k), ping, span_str(ping ? "pong" : ""));
		}
		return;
	case SSH_EVENT_GLOBAL_REPLY:
		on_reply(k, ev);
		return;
	case SSH_EVENT_CHANNEL_OPEN:
		open_channel(k, ev);
		return;
	case SSH_EVENT_CHANNEL_DATA:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
		k->o.handler->on_event(k->o.user, ev);
		return;
	case SSH_EVENT_REKEYED:
		k->o.handler->on_rekeyed(k->o.user);
		return;
	case SSH_EVENT_DISCONNECTED:
		escape_text(words, sizeof(words), span_of(ev->payload.p, ev->payload.n));
		struct fault why = { 0 };
		fault_set(&why, ERR_CLOSED, "the server disconnected: %s", words);
		fail(k, &why);
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
	struct link_chisel *k = user;
	const struct link_options o = k->o;

	mem_free(&mem_heap, k);
	o.handler->on_gone(o.user);
}

static void on_phase(void *user, enum chisel_stack_phase phase)
{
	struct link_chisel *k = user;

	if (phase == CHISEL_STACK_TLS)
		k->o.handler->on_phase(k->o.user, BUS_STATE_TLS);
	else if (phase == CHISEL_STACK_UPGRADE)
		k->o.handler->on_phase(k->o.user, BUS_STATE_UPGRADING);
	else if (phase == CHISEL_STACK_SSH)
		k->o.handler->on_phase(k->o.user, BUS_STATE_SSH);
}

static void on_lost(void *user, const struct fault *why)
{
	fail(user, why);
}

static const struct chisel_conn_handler handler = {
	.on_event = on_event,
	.on_phase = on_phase,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

struct chisel_conn *link_chisel_conn(void *self)
{
	return ((struct link_chisel *)self)->conn;
}

static int ping(void *self)
{
	return ssh_global_request(chisel_stack_ssh(chisel_conn_stack(link_chisel_conn(self))),
				  CHISEL_REQUEST_PING, true, span_of(NULL, 0), TAG_PING);
}

static uint64_t heard_ns(void *self)
{
	return chisel_conn_heard_ns(link_chisel_conn(self));
}

static unsigned retry_after_s(void *self)
{
	return chisel_stack_retry_after_s(chisel_conn_stack(link_chisel_conn(self)));
}

static void glitches(void *self, uint64_t counts[GLITCH_KINDS])
{
	chisel_stack_glitches(chisel_conn_stack(link_chisel_conn(self)), counts);
}

/* A chisel server listens as long as the session lasts. */
static void unlisten(void *self)
{
	(void)self;
}

static void trim(void *self)
{
	chisel_stack_trim(chisel_conn_stack(link_chisel_conn(self)));
}

static void close_link(void *self)
{
	chisel_conn_close(link_chisel_conn(self));
}

static void part(void *self, enum ssh_disconnect_reason reason, const char *text)
{
	chisel_conn_shutdown(link_chisel_conn(self), reason, text);
}

static const struct link_ops ops = {
	.ping = ping,
	.heard_ns = heard_ns,
	.retry_after_s = retry_after_s,
	.glitches = glitches,
	.unlisten = unlisten,
	.trim = trim,
	.close = close_link,
	.part = part,
};

int link_chisel_new(struct link *out, struct channels *channels, const struct link_options *o,
		    int fd, struct fault *why)
{
	const struct url *url = &o->target->url;
	const struct proxy_options proxy = { &o->target->proxy, url->host, url->port };
	const struct chisel_stack_options options = {
		.proxy = o->target->proxy.kind ? &proxy : NULL,
		.tls_ctx = url->tls ? o->tls_ctx : NULL,
		.tls = { .verify_name = o->skip_verify ? NULL
					: o->sni       ? o->sni
						       : url->host,
			 .sni = o->sni		 ? o->sni
				: o->skip_verify ? url->host
						 : NULL },
		.ws = { .host = o->host_header ? o->host_header : url->host_header,
			.path = url->path,
			.protocol = CHISEL_PROTOCOL,
			.headers = o->headers,
			.random = o->random },
		.ssh = { .role = SSH_CLIENT,
			 .version = CHISEL_CLIENT_VERSION,
			 .any_version = true,
			 .mem = &mem_heap,
			 .random = o->random,
			 .tx_max = LINK_TX_MAX,
			 .channels_max = FORWARDS_MAX + LINK_CHANNELS_SPARE,
			 .manual_windows = true, /* windows.h */
			 .user = o->target->user,
			 .password = o->target->password },
	};
	const size_t targets_n = write_targets(NULL, 0, o->target);
	struct link_chisel *k = mem_alloc_zeroed(&mem_heap, sizeof(*k) + targets_n);

	if (!k) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	k->o = *o;
	write_targets(k->targets, targets_n, o->target);
	const int rc = chisel_conn_new(&k->conn, o->loop, fd, &options, &handler, k, why);
	if (rc < 0) {
		mem_free(&mem_heap, k);
		return rc;
	}
	*out = (struct link){ &ops, k, FORWARDS_MAX };
	*channels = chisel_conn_channels(k->conn);
	return 0;
}
