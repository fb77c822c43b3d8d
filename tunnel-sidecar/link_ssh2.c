/*
 * link_ssh2 -- the link to a plain SSH server: logs in and asks for the ports through
 * lib/io/ssh2, and turns its events into calls of the link's handler. It does not call
 * libssh2 itself.
 */
#include "tunnel-sidecar/link.h"

#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/io/ssh2/ssh2.h"
#include "tunnel-sidecar/ssh_key.h"

enum {
	TAG_PING = 1,
	OWN_BYTES = 1024 * 1024, /* what libssh2 needs where nothing waits: less than that */
	CHANNELS_MAX = 256, /* windows of 2 MiB each, and every one is looked at all the time */
};

struct link_ssh2 {
	struct link_options o;
	struct ssh2 *ssh;
};

static bool on_host_key(void *user, const uint8_t fingerprint[SSH_FINGERPRINT_LEN])
{
	const struct link_ssh2 *k = user;

	return k->o.handler->on_host_key(k->o.user, fingerprint);
}

static void on_phase(void *user, enum ssh2_phase phase)
{
	const struct link_ssh2 *k = user;

	switch (phase) {
	case SSH2_PROXY:
		return;
	case SSH2_KEX:
		k->o.handler->on_phase(k->o.user, BUS_STATE_SSH);
		return;
	case SSH2_AUTH:
		return; /* within the same deadline */
	case SSH2_LISTENING:
		k->o.handler->on_phase(k->o.user, BUS_STATE_CONFIGURING);
		return;
	case SSH2_READY:
		break;
	}
	const struct ssh2_names names = ssh2_names(k->ssh);
	k->o.handler->on_up(k->o.user,
			    &(struct link_names){ names.cipher, names.kex, names.host_key });
}

static void on_event(void *user, const struct ssh_event *ev)
{
	const struct link_ssh2 *k = user;

	if (ev->kind == SSH_EVENT_GLOBAL_REPLY)
		k->o.handler->on_pong(k->o.user);
	else if (ev->kind == SSH_EVENT_CHANNEL_OPEN) /* one listen for each forward, in order */
		k->o.handler->on_open(k->o.user, ev, (size_t)ev->tag);
	else
		k->o.handler->on_event(k->o.user, ev);
}

static void on_cut(void *user, uint32_t channel, size_t unread)
{
	const struct link_ssh2 *k = user;

	k->o.handler->on_cut(k->o.user, channel, unread);
}

static void on_lost(void *user, const struct fault *why)
{
	const struct link_ssh2 *k = user;

	k->o.handler->on_fail(k->o.user, why);
}

static void on_gone(void *user)
{
	struct link_ssh2 *k = user;
	const struct link_options o = k->o;

	mem_free(&mem_heap, k);
	o.handler->on_gone(o.user);
}

static const struct ssh2_handler handler = {
	.on_host_key = on_host_key,
	.on_phase = on_phase,
	.on_event = on_event,
	.on_cut = on_cut,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

static struct ssh2 *ssh_of(void *self)
{
	return ((struct link_ssh2 *)self)->ssh;
}

static int ping(void *self)
{
	return ssh2_ping(ssh_of(self), TAG_PING);
}

static uint64_t heard_ns(void *self)
{
	return ssh2_heard_ns(ssh_of(self));
}

static unsigned retry_after_s(void *self)
{
	(void)self; /* SSH has no words for it */
	return 0;
}

static void glitches(void *self, uint64_t counts[GLITCH_KINDS])
{
	memcpy(counts, ssh2_glitches(ssh_of(self))->counts, GLITCH_KINDS * sizeof(counts[0]));
}

static void unlisten(void *self)
{
	ssh2_unlisten(ssh_of(self));
}

static void trim(void *self)
{
	(void)self; /* its buffers hold nothing while they are empty */
}

static void close_link(void *self)
{
	ssh2_close(ssh_of(self));
}

static void part(void *self, enum ssh_disconnect_reason reason, const char *text)
{
	ssh2_shutdown(ssh_of(self), reason, text);
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

_Static_assert(SESSION_REMOTES_MAX <= SSH2_LISTENS_MAX, "ssh2 takes them all");

int link_ssh2_new(struct link *out, struct channels *channels, const struct link_options *o, int fd,
		  struct fault *why)
{
	const struct proxy_options proxy = { &o->target->proxy, o->target->url.host,
					     o->target->url.port };
	const struct ssh_key *key = o->ssh_key;
	/* A quarter of the container's memory: from that on libssh2 cuts. */
	const uint64_t part = o->windows_bytes;

	if (!*o->target->user) {
		close(fd);
		return fault_set(why, ERR_CONFIG,
				 "an SSH server needs a user, and none is configured");
	}
	struct link_ssh2 *k = mem_alloc_zeroed(&mem_heap, sizeof(*k));
	struct ssh2_listen *listens = mem_alloc_zeroed(&mem_heap, o->target->n * sizeof(*listens));

	if (!k || !listens) {
		mem_free(&mem_heap, k);
		mem_free(&mem_heap, listens);
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	k->o = *o;
	for (size_t i = 0; i < o->target->n; i++)
		listens[i] = (struct ssh2_listen){ o->target->remotes[i].bind_host,
						   o->target->remotes[i].bind_port };
	const int rc = ssh2_new(
		&k->ssh, o->loop, fd,
		&(struct ssh2_options){ .proxy = o->target->proxy.kind ? &proxy : NULL,
					.user = o->target->user,
					.password = o->target->password,
					.key = key ? span_of(key->text, key->n) : span_of(NULL, 0),
					.passphrase = key ? key->passphrase : NULL,
					.listens = listens,
					.listens_n = o->target->n,
					.channels_max = CHANNELS_MAX + LINK_CHANNELS_SPARE,
					.tx_max = LINK_TX_MAX,
					.memory_max = (size_t)(2 * part) + OWN_BYTES,
					.held_max = (size_t)(part / 2) },
		&handler, k, why);
	mem_free(&mem_heap, listens);
	if (rc < 0) {
		mem_free(&mem_heap, k);
		return rc;
	}
	*out = (struct link){ &ops, k, CHANNELS_MAX };
	*channels = ssh2_channels(k->ssh);
	return 0;
}
