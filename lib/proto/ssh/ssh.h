/*
 * ssh -- one SSH-2 connection, either role, as a sans-I/O engine.
 *
 * Transport (RFC 4253 with strict key exchange), user authentication
 * (RFC 4252: none, password) and channels (RFC 4254).  Bytes and time go in,
 * bytes and events come out; it owns no descriptor, clock or log.
 *
 * It does NOT know chisel, sessions, shells or agents: channel types and
 * global request names are the caller's strings.
 *
 * Life:  ssh_new, then in any order ssh_feed / ssh_next / ssh_pending /
 * ssh_sent / ssh_tick until ssh_next says SSH_EVENT_DISCONNECTED or a call
 * returns an enum err.  Errors are sticky: the reason is in ssh_fault(), a
 * DISCONNECT for the peer may still be pending, every later call answers
 * with the same code.
 */
#ifndef LIB_PROTO_SSH_SSH_H
#define LIB_PROTO_SSH_SSH_H

#include <openssl/evp.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/glitch.h"
#include "lib/base/mem.h"

struct ssh;

enum ssh_role { SSH_CLIENT, SSH_SERVER };

/* RFC 4250, 4.3 and 4.2.2: what channel_open_failure and disconnect may say. */
enum ssh_open_failure {
	SSH_OPEN_ADMINISTRATIVELY_PROHIBITED = 1,
	SSH_OPEN_CONNECT_FAILED = 2,
	SSH_OPEN_UNKNOWN_CHANNEL_TYPE = 3,
	SSH_OPEN_RESOURCE_SHORTAGE = 4,
};
enum ssh_disconnect_reason {
	SSH_DISCONNECT_PROTOCOL_ERROR = 2,
	SSH_DISCONNECT_KEY_EXCHANGE_FAILED = 3,
	SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE = 9,
	SSH_DISCONNECT_CONNECTION_LOST = 10,
	SSH_DISCONNECT_BY_APPLICATION = 11,
	SSH_DISCONNECT_TOO_MANY_CONNECTIONS = 12,
	SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE = 14,
};

#define SSH_FINGERPRINT_LEN 32 /* SHA-256 of the host key blob */

struct ssh_config {
	enum ssh_role role;
	const char
		*version; /* identification without CR LF, "SSH-2.0-…" or chisel's; RFC 4253, 4.2.
			   * Any "SSH-<x>-…" of the peer is accepted when any_version is set. */
	bool any_version; /* chisel says SSH-chisel-v3-…, which is no "2.0" */
	const struct mem *mem; /* every byte the engine holds comes from here */
	void (*random)(void *ctx, void *p, size_t n); /* entropy: cookies, padding, key exchange */
	void *random_ctx;

	/* Preference lists, comma separated, RFC 4251 names; NULL for the default
	 * (ciphers' default order is by CPU: AES-GCM first where it has AES). */
	const char *kex, *host_key_algos, *ciphers;
	bool no_strict_kex; /* tests only: do not offer kex-strict-*-v00@openssh.com */

	/* Own re-key triggers; 0 = 32 GiB (1 GiB for chacha20), 2^31 packets, 1 h. */
	uint64_t rekey_bytes, rekey_packets, rekey_ns;
	uint64_t handshake_ns; /* whole handshake and each re-key; 0 = 15 s and 30 s */

	uint32_t channels_max; /* open and half-open channels; 0 = 1024 */
	uint32_t window;       /* bytes granted at channel open; 0 = 2 MiB */
	bool manual_windows;   /* `window` as it stands, also 0; beyond it only ssh_channel_grow()
				* grants,   ssh_channel_credit() never does */
	uint32_t tx_headroom;  /* writable bytes kept in front of each pending packet */
	size_t tx_max;	       /* bytes of sealed packets waiting; 0 = 512 KiB */

	/* client */
	const char *user, *password; /* copied; wiped after authentication */
	/* server */
	EVP_PKEY *const *host_keys; /* kept by the caller for the engine's life */
	size_t host_keys_n;
};

enum ssh_event_kind {
	SSH_EVENT_NONE,
	SSH_EVENT_HOST_KEY,	   /* client, once: fingerprint; answer with ssh_host_key_trust() */
	SSH_EVENT_AUTH,		   /* server: user, password (method none: password.p NULL);
				    * answer with ssh_auth_answer() */
	SSH_EVENT_READY,	   /* authenticated: channels and global requests may flow */
	SSH_EVENT_GLOBAL_REQUEST,  /* name, want_reply, payload; ssh_global_answer() in order if
				      wanted */
	SSH_EVENT_GLOBAL_REPLY,	   /* ok, payload, tag of the request */
	SSH_EVENT_CHANNEL_OPEN,	   /* peer opens: channel, name (type), payload (extra data) */
	SSH_EVENT_CHANNEL_OPENED,  /* ours was confirmed */
	SSH_EVENT_CHANNEL_REFUSED, /* ours was refused: code, payload (text); channel is gone */
	SSH_EVENT_CHANNEL_DATA,	   /* payload; give the credit back with ssh_channel_credit() */
	SSH_EVENT_CHANNEL_WRITABLE, /* a write that found no window or room, or would have been out
				     * of turn, may be tried again, or ssh_channel_pass() */
	SSH_EVENT_CHANNEL_REQUEST,  /* name, want_reply (already answered with failure) */
	SSH_EVENT_CHANNEL_EOF,	    /* the peer will send no more data */
	SSH_EVENT_CHANNEL_CLOSED,   /* both sides closed (ours is sent by the engine): id is free */
	SSH_EVENT_REKEYED,	    /* new keys are in force in both directions */
	SSH_EVENT_DISCONNECTED,	    /* the peer disconnected: code, payload (text) */
};

struct ssh_event {
	enum ssh_event_kind kind;
	uint32_t channel; /* local id, below channels_max */
	struct span name, user, password;
	struct mspan payload; /* good until the next call on the engine */
	bool want_reply, ok;
	uint32_t code;
	uint64_t tag;
	uint8_t fingerprint[SSH_FINGERPRINT_LEN];
	struct span host_key; /* the blob */
};

/* What was negotiated, for logs and metrics; "" before. */
struct ssh_names {
	const char *kex, *host_key, *cipher;
	bool strict;
	char peer_version[256]; /* as sent, NUL-terminated, printable ASCII only */
};

/* Numbers that only grow, for the bus. */
struct ssh_stats {
	uint64_t packets_in, packets_out, rekeys, unexpected_replies, ignored;
	struct glitches glitches; /* its counts; what is left is the engine's affair */
};

/* The caller owns *out.  ERR_NOMEM, ERR_CRYPTO, ERR_USAGE (bad config). */
MUST_USE int ssh_new(struct ssh **out, const struct ssh_config *config, uint64_t now_ns,
		     struct fault *why);
void ssh_free(struct ssh *s); /* accepts NULL; wipes keys */

/* Takes bytes of the peer from in[0..n), which it may change (decryption in
 * place).  Returns how many were taken: fewer than n when events wait to be
 * drawn with ssh_next(), or HOST_KEY or AUTH has not been answered; those
 * bytes must be fed again.  < 0: enum err. */
MUST_USE int ssh_feed(struct ssh *s, uint8_t *in, size_t n, uint64_t now_ns);

/* Draws one event: 1 with *ev filled, 0 when there is none, < 0: enum err. */
MUST_USE int ssh_next(struct ssh *s, struct ssh_event *ev);

/* The next sealed packet (the identification line first), whole, alone, with
 * config.tx_headroom writable bytes in front of it: one packet is one
 * WebSocket message.  n = 0 when nothing waits. */
struct mspan ssh_pending(struct ssh *s);
/* That packet (all of it) has been handed on. */
void ssh_sent(struct ssh *s);
/* Bytes of all packets that wait. */
size_t ssh_pending_bytes(const struct ssh *s);

uint64_t ssh_deadline(const struct ssh *s);	       /* ns; UINT64_MAX for none */
MUST_USE int ssh_tick(struct ssh *s, uint64_t now_ns); /* a passed deadline acts */
/* Gives back memory that waits for a next use.  The engine does so by itself
 * when a second or two have passed without a packet. */
void ssh_trim(struct ssh *s);

const struct fault *ssh_fault(const struct ssh *s);
const struct ssh_names *ssh_names(const struct ssh *s);
const struct ssh_stats *ssh_stats(const struct ssh *s);

void ssh_host_key_trust(struct ssh *s, bool trusted); /* false: ERR_TRUST follows */
void ssh_auth_answer(struct ssh *s, bool accepted);

/* Starts a key exchange of our own accord (tests; the triggers call it too). */
void ssh_rekey(struct ssh *s);

/* Global requests (RFC 4254, 4).  A wanted reply comes back with `tag`.
 * ERR_FULL: 64 replies are outstanding already. */
MUST_USE int ssh_global_request(struct ssh *s, const char *name, bool want_reply,
				struct span payload, uint64_t tag);
/* Answers the oldest unanswered global request that wanted one. */
void ssh_global_answer(struct ssh *s, bool ok, struct span payload);

/* Channels (RFC 4254, 5).  open returns the local id or ERR_FULL. */
MUST_USE int ssh_channel_open(struct ssh *s, const char *type, struct span extra);
void ssh_channel_accept(struct ssh *s, uint32_t channel);
void ssh_channel_reject(struct ssh *s, uint32_t channel, enum ssh_open_failure code,
			const char *text);

/* How much ssh_channel_write() would take now: peer's window, its packet
 * bound, room for sealed bytes, and no key exchange under way. */
size_t ssh_channel_writable(const struct ssh *s, uint32_t channel);
/* Seals up to n bytes into packets; returns how many were taken.  When fewer
 * than n, SSH_EVENT_CHANNEL_WRITABLE follows once there is room again. */
MUST_USE int ssh_channel_write(struct ssh *s, uint32_t channel, const uint8_t *p, size_t n);
/* SSH_EVENT_CHANNEL_WRITABLE follows once a write would take something. */
void ssh_channel_want_write(struct ssh *s, uint32_t channel);
/* WRITABLE is a turn, and others wait for theirs: it ends with the next write, or
 * with this, for who has nothing to write after all. */
void ssh_channel_pass(struct ssh *s, uint32_t channel);
/* The bound of sealed data that waits, from 4 KiB to config.tx_max (the default):
 * what a newcomer's first byte waits for.  Control messages are not part of it. */
void ssh_set_tx_bound(struct ssh *s, size_t n);
/* The caller has passed on n bytes of CHANNEL_DATA: the window opens again
 * (coalesced: the engine sends an adjust at half a window). */
void ssh_channel_credit(struct ssh *s, uint32_t channel, size_t n);
/* Grants `more` bytes beyond what was granted at open: the window grows.  Before
 * the channel is open, the window it opens with. */
void ssh_channel_grow(struct ssh *s, uint32_t channel, uint32_t more);
void ssh_channel_eof(struct ssh *s, uint32_t channel);	 /* after all writes; idempotent */
void ssh_channel_close(struct ssh *s, uint32_t channel); /* idempotent; CLOSED follows */

/* The caller's own pointer for a live channel; still there when it hears that
 * the channel is gone. */
void ssh_channel_set_user(struct ssh *s, uint32_t channel, void *user);
void *ssh_channel_user(const struct ssh *s, uint32_t channel);
uint32_t ssh_channels_open(const struct ssh *s);

/* The peer did what the caller finds useless (an open for a target that is none):
 * counted and paid like what the engine itself finds so.  ERR_LIMIT may follow. */
void ssh_charge(struct ssh *s, enum glitch_kind kind, unsigned cost);

/* Queues DISCONNECT; nothing but what is pending is sent after it. */
void ssh_disconnect(struct ssh *s, enum ssh_disconnect_reason reason, const char *text);

#endif
