/*
 * link -- one connection of a session to its gateway, whatever the gateway
 * speaks: chisel (link_chisel.c) or plain SSH (link_ssh2.c).
 *
 * A link is made from a connected socket.  It brings the session up by itself
 * (session_link_*() of session_private.h are its way back) and then carries
 * the channels.
 */
#ifndef TUNNEL_SIDECAR_LINK_H
#define TUNNEL_SIDECAR_LINK_H

#include "lib/io/channels.h"

struct session;

/* Channels that a link can hold beyond those that may be open: it tells of the surplus
 * too, so that each refusal is counted, and some are closed already but not by the peer. */
enum { LINK_CHANNELS_SPARE = 64 };

struct link_ops {
	/* The channels were driven: what is pending should be sent. */
	void (*kick)(void *self);
	/* Asks the server for an answer: session_link_pong(). */
	int (*ping)(void *self);
	uint64_t (*heard_ns)(void *self); /* loop_now() of the last byte received */
	/* How long the server asks to be left alone; 0: not at all. */
	unsigned (*retry_after_s)(void *self);
	/* What the server did without any use so far. */
	void (*glitches)(void *self, uint64_t counts[GLITCH_KINDS]);
	/* Draining: the server is to listen no more, where it can be told without ending the
	 * session.  Channels that are open go on. */
	void (*unlisten)(void *self);
	/* Gives back what is only kept for a next time. */
	void (*trim)(void *self);
	/* Ends at once, or with a goodbye; only session_gone() follows. */
	void (*close)(void *self);
	void (*part)(void *self, enum ssh_disconnect_reason reason, const char *text);
};

struct link {
	const struct link_ops *ops; /* NULL: there is none */
	void *self;
	size_t channels_max; /* how many it carries at once */
};

/* Take fd in success and failure.  What fails later goes to session_fail(). */
MUST_USE int link_chisel_new(struct link *out, struct channels *channels, struct session *s, int fd,
			     struct fault *why);
MUST_USE int link_ssh2_new(struct link *out, struct channels *channels, struct session *s, int fd,
			   struct fault *why);

#endif
