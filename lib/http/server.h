/*
 * server -- an HTTP server: listens, gives each request to one function as an exchange
 * (exchange.h).
 *
 * Today it speaks HTTP/1.0 and 1.1 and takes no request bodies.  Bounds stand in limits.def:
 * connections in all and of one client address, a head's size and time, bytes that wait for a
 * client, the time it has to take them.  Where there are too many connections the newest is taken
 * and the one that is worth least ends (server_admission.h).
 */
#ifndef LIB_HTTP_SERVER_H
#define LIB_HTTP_SERVER_H

#include "lib/http/exchange.h"
#include "lib/io/loop/loop.h"

struct http_server;

/* A request has come.  Before it returns the exchange has ended or is followed. */
typedef void http_request_fn(void *user, struct http_exchange *x);

struct http_server_options {
	const char *bind; /* a numeric address, "*" or "localhost": server_listen.h */
	uint16_t port;	  /* 0: any; see http_server_port() */
	http_request_fn *on_request;
	void *user;
	/* How long a connection may be idle, a head may take, a client may take to accept what one
	 * send holds.  0: those of limits.def. */
	uint64_t idle_ns, head_ns, send_ns;
	uint64_t busy_ns; /* how long to try again, asleep, when the port is in use */
};

/* ERR_CONFIG: no address.  ERR_SYS names address and port; why->sys is EADDRINUSE or EACCES where
 * another port would help. */
MUST_USE int http_server_new(struct http_server **out, struct loop *l,
			     const struct http_server_options *options, struct fault *why);
/* Not from inside its callbacks.  Accepts NULL. */
void http_server_free(struct http_server *s);
/* Stops listening, closes what is idle, finishes exchanges under way, then calls done once,
 * later. */
void http_server_drain(struct http_server *s, void (*done)(void *user), void *user);
uint16_t http_server_port(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);

#endif
