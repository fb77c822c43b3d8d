/*
 * client_private -- what client.c (requests, their turns and deadlines) and
 * client_h1.c (one HTTP/1.1 connection) share.  For nobody else.
 */
#ifndef LIB_HTTP_CLIENT_PRIVATE_H
#define LIB_HTTP_CLIENT_PRIVATE_H

#include "lib/base/buf.h"
#include "lib/http/client.h"
#include "lib/io/conn.h"

enum { HTTP_TEXT_MAX = 256 };

struct http_link; /* a connection, see client_h1.c */

struct http_request {
	struct http_client *client;
	struct http_request *next; /* of the client's, in the order in which they came */
	struct http_link *link;	   /* NULL: waits for its turn */
	const struct http_request_handler *handler;
	void *user;
	struct buf wire;       /* head and whole body, while it may have to be sent */
	struct timer deadline; /* the earliest of the four below */
	uint64_t began_ns, timeout_ns, idle_ns;
	uint64_t silent_ns; /* sent on a kept connection: when it counts as dropped; else 0 */
	uint64_t moved_ns;  /* when the last byte went or came */
	uint64_t left;	    /* streams with a length: bytes still to be written */
	bool repeatable, repeated, is_head, streams, chunked, finished;
	bool paused;
};

struct http_client {
	struct loop *loop;
	char host[HTTP_TEXT_MAX], host_header[HTTP_TEXT_MAX], user_agent[HTTP_TEXT_MAX];
	struct http_client_options options;
	struct http_request *requests;
	struct http_link *links;
	size_t links_n, waiting_n;
	struct timer turn; /* somebody waits, and a connection may be had */
};

/* Takes r out of the client and calls on_end, or not (why->code 0, silently).  The
 * last thing to be done in any callback: the client may be gone. */
void http_request_end(struct http_request *r, const struct fault *why);
/* Back to the front of those that wait, for a fresh connection. */
void http_request_repeat(struct http_request *r);

/* client_h1.c.  A kept connection that is idle, or NULL. */
struct http_link *http_link_idle(struct http_client *c);
MUST_USE int http_link_new(struct http_link **out, struct http_client *c, struct fault *why);
/* Sends r, now or once the connection is open.  An enum err when it can't. */
MUST_USE int http_link_start(struct http_link *k, struct http_request *r, struct fault *why);
/* The request ended: the connection is kept where that is sound. */
void http_link_release(struct http_link *k, bool whole);
void http_link_drop(struct http_link *k);
MUST_USE int http_link_write(struct http_link *k, struct span data, struct fault *why);
void http_link_finish(struct http_link *k);
void http_link_resume(struct http_link *k);
/* "resolve: ", "connect: ", "tls: ", "request: " or "response: ". */
const char *http_link_phase(const struct http_link *k);
bool http_link_answered(const struct http_link *k);

#endif
