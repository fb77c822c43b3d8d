/*
 * link -- one connection of a session to its gateway, whatever the gateway
 * speaks: chisel (link_chisel.c) or plain SSH (link_ssh2.c).
 *
 * A link is made from a connected socket.  It brings the session up by itself, tells of it
 * through its handler, and then carries the channels.  It knows no session.
 */
#ifndef TUNNEL_SIDECAR_LINK_H
#define TUNNEL_SIDECAR_LINK_H

#include "lib/io/channels.h"
#include "tunnel-sidecar/session.h"

struct chisel_conn;

/* Sealed bytes that may wait in front of a keystroke. */
enum { LINK_TX_MAX = 256 * 1024 };
#define LINK_NO_FORWARD SIZE_MAX

struct link_names {
	const char *cipher, *kex, *host_key;
};

/* What a link tells, from the loop, until close() or part(); then only on_gone follows. */
struct link_handler {
	void (*on_phase)(void *user, enum bus_state state); /* up to CONFIGURING */
	/* Whether the server is the one that was meant. */
	bool (*on_host_key)(void *user, const uint8_t fingerprint[SSH_FINGERPRINT_LEN]);
	void (*on_up)(void *user, const struct link_names *names);
	/* The server opens a channel for the target's forward of this index, or for what is
	 * none: LINK_NO_FORWARD, to be rejected. */
	void (*on_open)(void *user, const struct ssh_event *ev, size_t forward);
	void (*on_event)(void *user, const struct ssh_event *ev); /* of a channel */
	void (*on_pong)(void *user);
	void (*on_rekeyed)(void *user);
	/* The link gives a channel up for want of memory; so many bytes were not read. */
	void (*on_cut)(void *user, uint32_t channel, size_t unread);
	void (*on_fail)(void *user, const struct fault *why);
	void (*on_gone)(void *user);
};

/* All but the numbers stays the caller's for the life of the link. */
struct link_options {
	struct loop *loop;
	const struct session_target *target;
	SSL_CTX *tls_ctx;
	bool skip_verify;
	const char *sni, *host_header; /* NULL: the URL's */
	const char *const *headers;
	const struct ssh_key *ssh_key;
	uint64_t windows_bytes; /* memory for what comes, a quarter of the container's */
	void (*random)(void *ctx, void *p, size_t n);
	const struct link_handler *handler;
	void *user;
};

/* Channels that a link can hold beyond those that may be open: it tells of the surplus
 * too, so that each refusal is counted, and some are closed already but not by the peer. */
enum { LINK_CHANNELS_SPARE = 64 };

struct link_ops {
	/* Asks the server for an answer: on_pong.  Leaves with channels_flush(). */
	int (*ping)(void *self);
	uint64_t (*heard_ns)(void *self); /* loop_now() of the last byte received */
	/* How long the server asks to be left alone; 0: not at all. */
	unsigned (*retry_after_s)(void *self);
	/* What the server did without any use so far. */
	void (*glitches)(void *self, uint64_t counts[GLITCH_KINDS]);
	/* Draining: the server is to listen no more, where it can be told without ending the
	 * session.  Leaves with channels_flush().  Channels that are open go on. */
	void (*unlisten)(void *self);
	/* Gives back what is only kept for a next time. */
	void (*trim)(void *self);
	/* Ends at once, or with a goodbye; only on_gone follows. */
	void (*close)(void *self);
	void (*part)(void *self, enum ssh_disconnect_reason reason, const char *text);
};

struct link {
	const struct link_ops *ops; /* NULL: there is none */
	void *self;
	size_t channels_max; /* how many it carries at once */
};

/* Take fd in success and failure; the options are copied.  ERR_NOMEM, ERR_SYS, ERR_CONFIG.
 * What fails later goes to on_fail. */
MUST_USE int link_chisel_new(struct link *out, struct channels *channels,
			     const struct link_options *options, int fd, struct fault *why);
MUST_USE int link_ssh2_new(struct link *out, struct channels *channels,
			   const struct link_options *options, int fd, struct fault *why);

/* For tests that speak as the server: the connection of a link to a chisel server. */
struct chisel_conn *link_chisel_conn(void *self);

#endif
