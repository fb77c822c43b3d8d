/*
 * https -- a small HTTP/1.1 server for the development control plane: TLS,
 * bodies up to 1 MiB, connections that stay open.  A test program's part: no
 * limits for a hostile crowd.
 */
#ifndef TESTS_DEVPLANE_HTTPS_H
#define TESTS_DEVPLANE_HTTPS_H

#include <openssl/ssl.h>

#include "lib/base/buf.h"
#include "lib/io/loop/loop.h"

struct https;

struct https_request {
	struct span method, path, query; /* query without "?" */
	struct span authorization, user_agent, content_type;
	struct span body;
};

struct https_reply {
	int status;                /* starts as 404; 0: close without an answer */
	const char *content_type;  /* static text */
	struct buf *body;          /* to append to */
};

typedef void https_serve_fn(void *user, const struct https_request *request,
			    struct https_reply *reply);

struct https_options {
	SSL_CTX *tls_ctx; /* NULL: plain */
	uint16_t port;    /* 0: any; on 127.0.0.1 */
	https_serve_fn *serve;
	void *user;
};

MUST_USE int https_new(struct https **out, struct loop *l, const struct https_options *options,
		       struct fault *why);
void https_stop(struct https *s); /* closes all connections; then loop_free() */
void https_free(struct https *s); /* after loop_free(); accepts NULL */
uint16_t https_port(const struct https *s);

#endif
