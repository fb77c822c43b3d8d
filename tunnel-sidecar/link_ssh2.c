#include "tunnel-sidecar/link.h"

#include <unistd.h>

#include "lib/io/ssh2/ssh2.h"
#include "tunnel-sidecar/session_private.h"
#include "tunnel-sidecar/ssh_key.h"

enum {
	TAG_PING = 1,
	OWN_BYTES = 1024 * 1024, /* what libssh2 needs where nothing waits: less than that */
	CHANNELS_MAX = 256, /* windows of 2 MiB each, and every one is looked at all the time */
};

static bool on_host_key(void *user, const uint8_t fingerprint[SSH_FINGERPRINT_LEN])
{
	return session_link_host_key(user, fingerprint);
}

static void on_phase(void *user, enum ssh2_phase phase)
{
	struct session *s = user;

	switch (phase) {
	case SSH2_PROXY:
		return;
	case SSH2_KEX:
		session_link_phase(s, BUS_STATE_SSH);
		return;
	case SSH2_AUTH:
		return; /* within the same deadline */
	case SSH2_LISTENING:
		session_link_phase(s, BUS_STATE_CONFIGURING);
		return;
	case SSH2_READY:
		break;
	}
	const struct ssh2_names names = ssh2_names(s->link.self);
	session_link_up(s, names.cipher, names.kex, names.host_key);
}

static void on_event(void *user, const struct ssh_event *ev)
{
	struct session *s = user;

	if (ev->kind == SSH_EVENT_GLOBAL_REPLY)
		session_link_pong(s);
	else if (ev->kind == SSH_EVENT_CHANNEL_OPEN)
		session_link_open(s, ev,
				  (size_t)ev->tag); /* one listen for each forward, in order */
	else
		session_link_event(s, ev);
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
			 "a channel was cut: memory is short, and its local reader was furthest "
			 "behind",
			 L_INT("unread", unread), L_INT("unsaid", missed));
}

static void on_lost(void *user, const struct fault *why)
{
	session_fail(user, why);
}

static void on_gone(void *user)
{
	session_gone(user);
}

static const struct ssh2_handler handler = {
	.on_host_key = on_host_key,
	.on_phase = on_phase,
	.on_event = on_event,
	.on_cut = on_cut,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

static void kick(void *self)
{
	ssh2_kick(self);
}

static int ping(void *self)
{
	return ssh2_ping(self, TAG_PING);
}

static uint64_t heard_ns(void *self)
{
	return ssh2_heard_ns(self);
}

static unsigned retry_after_s(void *self)
{
	(void)self; /* SSH has no words for it */
	return 0;
}

static void glitches(void *self, uint64_t counts[GLITCH_KINDS])
{
	memcpy(counts, ssh2_glitches(self)->counts, GLITCH_KINDS * sizeof(counts[0]));
}

static void unlisten(void *self)
{
	ssh2_unlisten(self);
}

static void trim(void *self)
{
	(void)self; /* its buffers hold nothing while they are empty */
}

static void close_link(void *self)
{
	ssh2_close(self);
}

static void part(void *self, enum ssh_disconnect_reason reason, const char *text)
{
	ssh2_part(self, reason, text);
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

_Static_assert(SESSION_REMOTES_MAX <= SSH2_LISTENS_MAX, "ssh2 takes them all");

int link_ssh2_new(struct link *out, struct channels *channels, struct session *s, int fd,
		  struct fault *why)
{
	const struct proxy_options proxy = { &s->target.proxy, s->target.url.host,
					     s->target.url.port };
	struct ssh2_listen listens[SESSION_REMOTES_MAX];
	const struct ssh_key *key = s->o.ssh_key;
	/* A quarter of the container's memory: from that on libssh2 cuts. */
	const uint64_t part = s->forwards.windows->budget.limit;
	struct ssh2 *link;

	if (!*s->target.user) {
		close(fd);
		return fault_set(why, ERR_CONFIG, "an SSH server wants a user, and none is known");
	}
	for (size_t i = 0; i < s->target.n; i++)
		listens[i] = (struct ssh2_listen){ s->target.remotes[i].bind_host,
						   s->target.remotes[i].bind_port };
	const int rc = ssh2_new(
		&link, s->o.loop, fd,
		&(struct ssh2_options){ .proxy = s->target.proxy.kind ? &proxy : NULL,
					.user = s->target.user,
					.password = s->target.password,
					.key = key ? span_of(key->text, key->n) : span_of(NULL, 0),
					.passphrase = key ? key->passphrase : NULL,
					.listens = listens,
					.listens_n = s->target.n,
					.channels_max = CHANNELS_MAX + LINK_CHANNELS_SPARE,
					.tx_max = SESSION_TX_MAX,
					.memory_max = (size_t)(2 * part) + OWN_BYTES,
					.held_max = (size_t)(part / 2) },
		&handler, s, why);
	if (rc < 0)
		return rc;
	*out = (struct link){ &ops, link, CHANNELS_MAX };
	*channels = ssh2_channels(link);
	return 0;
}
