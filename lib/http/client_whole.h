/*
 * client_whole -- a request whose response is wanted as a whole: status and body
 * within the client's body_max, in one call when all is there.  For JSON.
 */
#ifndef LIB_HTTP_CLIENT_WHOLE_H
#define LIB_HTTP_CLIENT_WHOLE_H

#include "lib/http/client.h"

struct http_result {
	int status;		/* 0: no whole response, see why */
	bool answered;		/* the peer began to respond; with status 0 it could not be read */
	struct span body;	/* good until the callback returns */
	struct fault why;	/* names the phase: resolve, connect, tls, request, response */
	uint64_t retry_after_s; /* of Retry-After in seconds; 0 when absent */
	const char *location;	/* of a redirect, without user, query and fragment; "" for none */
	uint64_t elapsed_ns;
};
typedef void http_done_fn(void *user, const struct http_result *result);

/* Calls done exactly once, later, unless the client is freed before; it may send
 * again or free the client.  Errors of http_request_new(): done is not called. */
MUST_USE int http_client_send(struct http_client *c, const struct http_request_out *request,
			      http_done_fn *done, void *user, struct fault *why);

#endif
