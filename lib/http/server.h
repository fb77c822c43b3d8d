/*
 * http_server -- a small HTTP/1.1 server for status pages.
 *
 * GET and HEAD only.  Bounds: head 8 KiB and 64 fields within 5 s, idle 30 s,
 * 64 connections (the longest idle one gives way, then the slowest head), one
 * answer at a time, taken within 30 s.  Every answer is whole in memory, 4 MiB
 * at most, 16 MiB of all that wait; between requests a connection keeps at most the bytes of a
 * head. Security headers are added to all of them.
 */
#ifndef LIB_HTTP_SERVER_H
#define LIB_HTTP_SERVER_H

#include "lib/base/buf.h"
#include "lib/io/loop/loop.h"

struct http_server;

struct http_server_request {
	bool head_only;	  /* HEAD */
	struct span path; /* decoded nowhere: as sent, without query */
	struct span query;
	struct span accept, accept_encoding, host, origin; /* n = 0 when absent */
};

struct http_server_reply {
	int status;
	const char *content_type; /* static text */
	const char *extra;	  /* further "Name: value\r\n" lines or NULL; static text */
	struct buf *body;	  /* to append to; empty at the call */
};

/* Fills *reply.  It starts as 404 text/plain. */
typedef void http_server_fn(void *user, const struct http_server_request *request,
			    struct http_server_reply *reply);

struct http_server_options {
	const char *bind; /* numeric address */
	uint16_t port;	  /* 0: any; see http_server_port() */
	http_server_fn *serve;
	void *user;
	uint64_t idle_ns, head_ns, answer_ns; /* 0: the bounds above */
	uint64_t busy_ns; /* how long to try again, asleep, when the port is in use */
};

/* ERR_SYS names address, port and what to do when it is in use. */
MUST_USE int http_server_new(struct http_server **out, struct loop *l,
			     const struct http_server_options *options, struct fault *why);
void http_server_free(struct http_server *s); /* accepts NULL */
/* Stops listening, closes what is idle, finishes answers under way, then calls
 * done once, later. */
void http_server_drain(struct http_server *s, void (*done)(void *user), void *user);
uint16_t http_server_port(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);

#endif
