/*
 * conn -- one connection to an origin for http_client: dials, through a proxy
 * or not, speaks TLS where that is asked for, moves bytes.  It knows nothing of HTTP.
 *
 * What is sent may hold a token: the link's own copy is wiped once it is gone.
 */
#ifndef LIB_IO_CONN_H
#define LIB_IO_CONN_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"
#include "lib/proto/proxy.h"

#define CONN_SEND_MAX (256 * 1024)

struct conn;

enum conn_phase { CONN_RESOLVE, CONN_CONNECT, CONN_TLS, CONN_OPEN };

struct conn_handler {
	void (*on_open)(void *user);		       /* connected and, with TLS, trusted */
	void (*on_data)(void *user, struct span data); /* good until it returns */
	void (*on_sent)(void *user);		       /* all is with the kernel */
	/* The connection is over, or never came.  `whole`: the peer ended it in an
	 * orderly way, nothing can have been cut off.  Called once. */
	void (*on_end)(void *user, const struct fault *why, bool whole);
};

struct conn_options {
	const char *host; /* without brackets */
	uint16_t port;
	SSL_CTX *tls_ctx;	       /* NULL: plain; kept by the caller */
	const struct proxy_url *proxy; /* NULL: directly; used during conn_new() only */
	uint64_t timeout_ns;	       /* of the dial; TLS and the rest are the caller's to time */
};

/* The owner must conn_close(), also after on_end.  ERR_NOMEM, ERR_FULL. */
MUST_USE int conn_new(struct conn **out, struct loop *l, const struct conn_options *options,
		      const struct conn_handler *handler, void *user, struct fault *why);
/* At most CONN_SEND_MAX bytes, copied; a must: it is open and the last send
 * is done.  An enum err when the connection can't take them. */
MUST_USE int conn_send(struct conn *k, struct span data, struct fault *why);
enum conn_phase conn_phase(const struct conn *k);
/* No callback follows.  Says TLS's goodbye without making anybody wait for it;
 * memory goes once the socket has.  Accepts NULL. */
void conn_close(struct conn *k);

#endif
