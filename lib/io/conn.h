/*
 * conn -- the one life of a client's connection to an origin: dial, proxy, TLS with
 * ALPN, bytes both ways with back pressure, graceful close.  It knows nothing of
 * HTTP, nor of who may repeat what.
 *
 * What is sent may hold a token: conn's own copy is wiped once it is gone.
 */
#ifndef LIB_IO_CONN_H
#define LIB_IO_CONN_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"
#include "lib/proto/proxy.h"

#define CONN_SEND_MAX (256 * 1024)
#define CONN_HELD_MAX (64 * 1024) /* bytes that the owner has not taken yet */

struct conn;

enum conn_phase { CONN_RESOLVE, CONN_CONNECT, CONN_TLS, CONN_OPEN };

struct conn_handler {
	void (*on_open)(void *user); /* connected and, with TLS, trusted */
	/* Returns how many bytes were taken.  Where those are not all, the rest stays
	 * here, and nothing more is received until conn_resume().  `data` is good until
	 * it returns. */
	size_t (*on_data)(void *user, struct span data);
	void (*on_sent)(void *user); /* all is with the kernel */
	/* The connection is over, or never came; all bytes before that were taken.
	 * `whole`: the peer ended it in an orderly way, nothing can have been cut off.
	 * Called once. */
	void (*on_end)(void *user, const struct fault *why, bool whole);
};

struct conn_options {
	const char *host; /* without brackets */
	uint16_t port;
	SSL_CTX *tls_ctx;	       /* NULL: plain; kept by the caller */
	const char *alpn;	       /* with TLS: comma separated; NULL: none */
	const struct proxy_url *proxy; /* NULL: directly; used during conn_new() only */
	uint64_t timeout_ns;	       /* until it is open; the rest is the owner's to time */
};

/* The owner must conn_close() or conn_abort(), also after on_end.  Every callback
 * comes from the loop.  ERR_NOMEM, ERR_FULL. */
MUST_USE int conn_new(struct conn **out, struct loop *l, const struct conn_options *options,
		      const struct conn_handler *handler, void *user, struct fault *why);
/* At most CONN_SEND_MAX bytes, copied; a must: it is open and the last send
 * is done.  An enum err when the connection can't take them. */
MUST_USE int conn_send(struct conn *k, struct span data, struct fault *why);
/* The owner takes bytes again: they come from the loop, later. */
void conn_resume(struct conn *k);
enum conn_phase conn_phase(const struct conn *k);
struct span conn_alpn(const struct conn *k); /* what the server chose; n = 0: nothing */
/* No callback follows.  If TLS is open and no message is sent in part, close_notify is sent,
 * but nobody waits for it.  The memory is freed after the socket.  Accepts NULL. */
void conn_close(struct conn *k);
/* The same at once: what the peer still sends is refused.  Accepts NULL. */
void conn_abort(struct conn *k);

#endif
