/*
 * http_client -- requests to one origin, one at a time, over a connection
 * that is kept and reused.  HTTP/1.1 over TLS (or plain, where the caller
 * allows it).  Total deadline per request, bounded answer, no redirects.
 *
 * A request on a kept connection that ends without one byte of answer is sent
 * once more on a fresh one, whatever its method: send only what may be repeated.
 */
#ifndef LIB_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"
#include "lib/proto/proxy.h"

struct http_client;

struct http_client_options {
	bool tls;
	const char *host; /* without brackets */
	uint16_t port;
	const char *host_header;
	SSL_CTX *tls_ctx; /* with tls; kept by the caller */
	const char *user_agent;
	const struct proxy_url *proxy; /* NULL: directly; kept by the caller */
	uint64_t timeout_ns;	       /* whole request; 0 = 30 s */
	size_t body_max;	       /* answer; 0 = 1 MiB */
};

struct http_request_out {
	const char *method, *path; /* path with query */
	const char *bearer;	   /* token or NULL; never logged */
	const char *content_type;  /* with a body */
	struct span body;	   /* copied */
};

struct http_result {
	int status;		/* 0: no whole answer, see why */
	bool answered;		/* the peer began to answer; with status 0 it could not be read */
	struct span body;	/* good until the callback returns */
	struct fault why;	/* names the phase: resolve, connect, tls, request, answer */
	uint64_t retry_after_s; /* of Retry-After in seconds; 0 when absent */
	const char *location;	/* of a redirect, without user, query and fragment; "" for none */
	uint64_t elapsed_ns;
};
typedef void http_done_fn(void *user, const struct http_result *result);

MUST_USE int http_client_new(struct http_client **out, struct loop *l,
			     const struct http_client_options *options, struct fault *why);
/* Cancels without a callback; the socket goes later.  Before the loop, and also
 * from inside `done`.  Accepts NULL. */
void http_client_free(struct http_client *c);
/* Calls done exactly once, later; it may send the next request.  A must: no
 * request is under way.  ERR_USAGE (bytes that none may: CR, LF, spaces), ERR_LIMIT,
 * ERR_NOMEM, ERR_FULL: done is not called. */
MUST_USE int http_client_send(struct http_client *c, const struct http_request_out *request,
			      http_done_fn *done, void *user, struct fault *why);
bool http_client_is_busy(const struct http_client *c);

#endif
