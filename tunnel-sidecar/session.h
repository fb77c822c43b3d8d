/*
 * session -- one tunnel: connect, agree on the forwards, serve, come back.
 *
 * A state machine over dial, link and forward (states.def is its table; one
 * function enters a state).  It has a target, and not who asked for it: the bus
 * (desired.c) and the `client` verb (client.c) are its two users.
 */
#ifndef TUNNEL_SIDECAR_SESSION_H
#define TUNNEL_SIDECAR_SESSION_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"
#include "lib/proto/chisel.h"
#include "lib/proto/proxy.h"
#include "shm/bus.h"
#include "tunnel-sidecar/publish.h"

/* Forwards of one session, those of the `client` verb.  A session of the pod has at most
 * BUS_FORWARDS_MAX. */
#define SESSION_REMOTES_MAX CHISEL_REMOTES_MAX
_Static_assert(BUS_FORWARDS_MAX <= SESSION_REMOTES_MAX, "a session takes what the bus can say");

struct session;
struct ssh_key;
struct windows;

/* What is to be reached; compared by session_target_eq().  Hosts are half a kilobyte for each
 * remote, so these stand elsewhere: the caller's, room for as many as may be wanted. */
struct session_target {
	struct url url;
	struct proxy_url proxy; /* PROXY_NONE: connects directly; not compared */
	char fingerprint[64];	/* "" = any host key is taken, and that is logged */
	char user[128], password[256];
	struct chisel_remote *remotes;
	uint16_t *forward; /* index of each remote for the bus, below SESSION_REMOTES_MAX */
	size_t n;
	uint64_t inactivity_ns; /* 0: never closed for being idle */
};

struct session_options {
	struct loop *loop;
	struct publish *publish;
	struct windows *windows;  /* of the program, for all its sessions; kept by the caller */
	SSL_CTX *tls_ctx;	  /* kept by the caller; used for https and wss */
	const char *tls_settings; /* where the user sets trust and names; for sentences */
	bool skip_verify;
	const char *sni;	       /* NULL: the URL's host */
	const char *host_header;       /* NULL: the URL's */
	const char *const *headers;    /* NULL-ended, or NULL */
	const struct ssh_key *ssh_key; /* for ssh:// servers; NULL: none; kept by the caller */
	uint64_t keepalive_ns;	       /* 0: no pings */
	uint64_t retry_max_ns;	       /* longest wait between attempts */
	int64_t retry_count;	       /* attempts after the first failure; < 0: without end */
	size_t remotes_max;	       /* of any target; 0: BUS_FORWARDS_MAX */
	bool give_up_on_refusal; /* authentication or trust refused: end instead of slow retries */
	/* The session gave up (retry_count, refusal): why.  May be NULL. */
	void (*gave_up)(void *user, const struct fault *why);
	/* Any change of state, after it was published.  May be NULL. */
	void (*changed)(void *user, enum bus_state state);
	void *user;
};

MUST_USE int session_new(struct session **out, const struct session_options *options,
			 struct fault *why);
/* Ends everything at once, without a disconnect message; then loop_free(). Accepts NULL. */
void session_abort(struct session *s);
/* After loop_free(), which ends the connections. Accepts NULL. */
void session_free(struct session *s);

/* Brings the tunnel up at this target, of which it keeps a copy, remotes included; the
 * same target again changes nothing (also not a session that closed for being idle). */
void session_up(struct session *s, const struct session_target *target);
/* Closes the tunnel: disconnects from the server. */
void session_down(struct session *s);
/* Ends a wait between attempts; nothing else. */
void session_retry_now(struct session *s);
/* Refuses new channels, lets open ones end for at most grace_ns, says goodbye,
 * then calls done. */
void session_drain(struct session *s, uint64_t grace_ns, void (*done)(void *user), void *user);

/* Gives back memory that waits for a next use, unless a channel is open. */
void session_trim(struct session *s);

enum bus_state session_state(const struct session *s);
const struct session_target *session_target(const struct session *s); /* NULL: none wanted */
/* The last failure, kept until the tunnel is up again; code 0: none. */
const struct fault *session_fault(const struct session *s);

/* The same server, credentials and forwards, in the same order. */
bool session_target_eq(const struct session_target *a, const struct session_target *b);

#endif
