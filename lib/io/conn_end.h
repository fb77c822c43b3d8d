/*
 * conn_end -- how a connection of ours ends, once for all that own a client's
 * socket (conn, chisel_conn, ssh2): lost, closed at once, or closed gracefully.
 *
 * Closed gracefully: the owner's last message is sent, then a FIN.  What the peer still
 * sends is read and dropped until it closes too, for LIMIT_GOODBYE_MS at most.  A
 * socket that is closed with unread bytes sends a reset, and the peer may then lose
 * the last message.  This module has no protocol: the owner writes the message.
 */
#ifndef LIB_IO_CONN_END_H
#define LIB_IO_CONN_END_H

#include "lib/io/loop/loop.h"

/* Embedded by its owner, who reads the fields and writes `sock` and `peer_gone`. */
struct conn_end {
	struct loop *loop;
	struct sock *sock;
	struct timer linger;
	bool lost;	/* the owner has reported it */
	bool peer_gone; /* nothing we send will be read */
	bool graceful;	/* last words are leaving; no callback follows */
	bool fin;	/* … and have left: only the peer's end is awaited */
	bool closed;	/* sock_close() was called */
};

void conn_end_init(struct conn_end *e, struct loop *l);
/* From the owner's on_closed. */
void conn_end_fini(struct conn_end *e);

/* Whether events may still be handed out. */
static inline bool conn_end_is_open(const struct conn_end *e)
{
	return !e->closed && !e->graceful && !e->lost;
}

/* The connection is lost: true once, when the owner has to report it. */
bool conn_end_lose(struct conn_end *e);
/* Closes at once; idempotent. */
void conn_end_close(struct conn_end *e);
/* Begins to close gracefully: true when last words may be queued now.  False: it
 * was ending already, or there is nobody to hear them and it is closed. */
bool conn_end_begin(struct conn_end *e);
/* For on_data: true when the bytes, or the end of the stream, are its own. */
bool conn_end_received(struct conn_end *e, size_t n);
/* Whether a send may be started. */
bool conn_end_may_send(const struct conn_end *e);
/* Nothing waits to be sent: while closing gracefully, now comes the FIN. */
void conn_end_flushed(struct conn_end *e);
/* For on_error: the sentence of an errno; `peer` is "peer" or "server". */
void conn_end_sentence(struct fault *why, int sys, const char *peer);

#endif
