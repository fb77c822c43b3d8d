/*
 * http_conn -- one connection of an http_server.  Private to the two files of
 * it: http_server.c has connections, their states and deadlines, and the
 * server; http_conn.c reads requests and writes answers.
 */
#ifndef LIB_HTTP_SERVER_H1_H
#define LIB_HTTP_SERVER_H1_H

#include "lib/http/server.h"

/* What a connection waits for. */
enum server_conn_state {
	SERVER_CONN_IDLE,
	SERVER_CONN_HEAD,
	SERVER_CONN_RESPONSE,
	SERVER_CONN_LINGER,
	SERVER_CONN_STATES
};

struct http_conn {
	struct http_server *server; /* NULL once it has let go */
	struct sock *sock;
	struct http_conn *prev, *next; /* the server's list, the longest in its state first */
	enum server_conn_state state;
	uint64_t since_ns; /* it is in this state */
	struct timer timer;
	struct buf in, head, body;
	bool last; /* the connection ends with this answer */
	size_t dropped;
};

struct http_server {
	struct loop *loop;
	struct listener *listener;
	http_server_fn *serve;
	void *user;
	uint16_t port;
	uint64_t timeout_ns[SERVER_CONN_STATES];
	struct http_conn *first, *newest;
	size_t count;
	void (*drained)(void *user); /* set while draining */
	void *drained_user;
	struct timer drained_soon;
};

/* ---- http_server.c ---- */
void http_conn_enter(struct http_conn *c, enum server_conn_state state); /* and arms its deadline */
void http_conn_end(struct http_conn *c, bool reset);

/* ---- http_conn.c ---- */
/* Answers the request at the front of c->in, or asks for more of it. */
void http_conn_look(struct http_conn *c);
/* An answer of the server itself, always the last of its connection: after
 * such a request nobody knows where the next one begins. */
void http_conn_refuse(struct http_conn *c, int status, const char *extra, const char *why,
		      bool head_only);

#endif
