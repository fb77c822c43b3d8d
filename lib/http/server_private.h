/*
 * server_private -- what the files of the server share; nobody else's.
 *
 *	server.c        the server: listening, admission, drain
 *	server_conn.c   one connection: its socket, states and deadlines; knows no HTTP
 *	server_h1.c     HTTP/1.1 on a connection: requests in, framed responses out
 *	exchange.c      one exchange: what its owner may call; knows no framing and no socket
 *
 * struct server_codec is the seam between a connection and what is spoken on it, so a second codec
 * (HTTP/2: many exchanges on one connection) stands beside server_h1.c.  The connection touches
 * its socket in two places, take_in() and send_out(): TLS would stand there.
 */
#ifndef LIB_HTTP_SERVER_PRIVATE_H
#define LIB_HTTP_SERVER_PRIVATE_H

#include "lib/base/rate.h"
#include "lib/http/server.h"
#include "lib/http/server_admission.h"
#include "lib/proto/http/http1.h"

enum { SERVER_IOV_MAX = 4 };

struct server_conn;

/* What is spoken on a connection.  After any of these calls the connection looks at wants(),
 * pull() and state() anew; none of them touches the socket. */
struct server_codec {
	int (*open)(struct server_conn *c); /* ERR_NOMEM; sets c->codec_state */
	/* The connection ends: its exchanges are gone.  Memory that is being sent stays. */
	void (*close)(struct server_conn *c);
	void (*free)(struct server_conn *c); /* accepts one that did not open */

	size_t (*wants)(const struct server_conn *c); /* bytes it would take; 0: read nothing */
	int (*feed)(struct server_conn *c, struct span in); /* at most so many; < 0: cut */
	void (*eof)(struct server_conn *c);		    /* nothing more will come */
	/* What to send next, good until sent(): how many of iov, 0: nothing, < 0: cut. */
	int (*pull)(struct server_conn *c, struct iovec iov[SERVER_IOV_MAX]);
	void (*sent)(struct server_conn *c);

	/* IDLE, HEAD, QUEUED or EXCHANGE. */
	enum server_conn_state (*state)(const struct server_conn *c);
	void (*expire)(struct server_conn *c);		  /* the deadline of HEAD has passed */
	void (*resume)(struct server_conn *c);		  /* that of QUEUED: it is its turn */
	bool (*is_finished)(const struct server_conn *c); /* nothing is left to do */

	/* Begins the head of a response; errors of http_exchange_begin(). */
	int (*begin)(struct http_exchange *x, const struct http_field *fields, size_t n);
};

extern const struct server_codec server_h1;

struct server_conn {
	struct http_server *server; /* NULL once it has let go */
	struct sock *sock;
	struct server_seat seat;
	const struct server_codec *codec;
	void *codec_state;
	struct timer deadline; /* of its state */
	struct timer soon;     /* an owner has called: look what there is to send */
	bool in_callback;      /* ours: it looks anyway, at the end */
	bool cut;	       /* an exchange was aborted */
	size_t dropped;	       /* while it lingers */
	size_t holds;	       /* bytes of its exchanges in server->held */
};

struct http_server {
	struct loop *loop;
	struct listener *listeners[2]; /* SERVER_LISTEN_MAX */
	http_request_fn *on_request;
	void *user;
	uint16_t port;
	uint64_t timeout_ns[SERVER_CONN_STATES]; /* 0: none */
	struct server_admission admission;
	struct rate costly;	     /* responses to addresses that press */
	size_t held;		     /* bytes of bodies above LIMIT_HTTP_SMALL_BODY */
	void (*drained)(void *user); /* set while draining */
	void *drained_user;
	struct timer drained_soon;
};

struct http_exchange {
	struct server_conn *conn;
	/* ---- the codec's, before on_request ---- */
	enum http_method method;
	struct span path, query;
	const struct http1_field *fields; /* NULL once on_request has returned */
	size_t fields_n;
	bool last; /* the connection ends after it */
	/* ---- exchange.c's ---- */
	const struct http_exchange_handler *handler;
	void *user;
	int status;
	bool begun, ended, wants_room;
	uint64_t length, written; /* of the body */
	size_t held;		  /* counted in server->held */
	struct buf whole;	  /* a body that was given away */
	/* ---- both: the codec takes from it ---- */
	struct buf head;    /* the codec's form */
	struct buf waiting; /* body; the codec takes all of it at once */
	size_t under_way;   /* of it, taken and not yet sent */
};

/* ---- server.c ---- */
/* Room for a body of n bytes; ends slow clients for it.  False: there is none. */
bool server_hold(struct http_server *s, struct http_exchange *x, size_t n);

/* ---- server_conn.c ---- */
/* Takes fd. */
void server_conn_new(struct http_server *s, int fd, const struct server_peer *from);
void server_conn_end(struct server_conn *c, bool reset);
void server_conn_kick(struct server_conn *c); /* an exchange of it has changed */

/* ---- exchange.c ---- */
struct http_exchange *http_exchange_new(struct server_conn *c); /* NULL: no memory */
void http_exchange_free(struct http_exchange *x);		/* accepts NULL */
void http_exchange_serve(struct http_exchange *x);		/* calls on_request */
void http_exchange_sent(struct http_exchange *x); /* what was under way; may call on_room */
void http_exchange_gone(struct http_exchange *x); /* calls on_gone, where the owner waits */

/* Whether the response has a body that is sent (not: HEAD, 204, 304). */
static inline bool http_exchange_has_body(const struct http_exchange *x)
{
	return x->method != HTTP_HEAD && x->status != 204 && x->status != 304;
}

#endif
