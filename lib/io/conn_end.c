/*
 * conn_end.c is the end of a client's socket: flags, one timer and the order FIN,
 * peer's end, close.  It sends no byte itself; its owners send their last words.
 */
#include "lib/io/conn_end.h"

#include <errno.h>
#include <string.h>

#include "lib/base/limits.h"
#include "lib/base/units.h"

static void on_linger(struct timer *t)
{
	conn_end_close(owner_of(t, struct conn_end, linger));
}

void conn_end_init(struct conn_end *e, struct loop *l)
{
	*e = (struct conn_end){ .loop = l, .linger.fire = on_linger };
}

/* The loop itself may have ended the socket: loop_free(). */
void conn_end_fini(struct conn_end *e)
{
	timer_clear(e->loop, &e->linger);
}

bool conn_end_lose(struct conn_end *e)
{
	if (e->graceful)
		conn_end_close(e);
	if (!conn_end_is_open(e))
		return false;
	return e->lost = true;
}

void conn_end_close(struct conn_end *e)
{
	if (e->closed)
		return;
	e->closed = true;
	timer_clear(e->loop, &e->linger);
	sock_close(e->sock, false);
}

bool conn_end_begin(struct conn_end *e)
{
	if (e->closed || e->graceful)
		return false;
	if (e->peer_gone) {
		conn_end_close(e);
		return false;
	}
	e->graceful = true;
	timer_set(e->loop, &e->linger, loop_now(e->loop) + LIMIT_NS(GOODBYE));
	sock_recv(e->sock, SOCK_RECV_MAX); /* may come from a callback that has not asked again */
	return true;
}

bool conn_end_received(struct conn_end *e, size_t n)
{
	if (!e->graceful)
		return e->closed;
	if (n)
		sock_recv(e->sock, SOCK_RECV_MAX);
	else
		conn_end_close(e);
	return true;
}

bool conn_end_may_send(const struct conn_end *e)
{
	return !e->closed && !e->fin && !sock_is_sending(e->sock);
}

void conn_end_flushed(struct conn_end *e)
{
	if (!e->graceful || e->fin || e->closed)
		return;
	e->fin = true;
	sock_shutdown_write(e->sock);
}

void conn_end_sentence(struct fault *why, int sys, const char *peer)
{
	if (sys == ETIMEDOUT) /* TCP_USER_TIMEOUT, or the kernel's own patience */
		fault_set(why, ERR_TIMEOUT, "the link is dead: bytes sent were never acknowledged");
	else if (sys == ECONNRESET || sys == EPIPE)
		fault_set(why, ERR_CLOSED, "the %s closed the connection: %s", peer, strerror(sys));
	else
		fault_set_sys(why, sys, "connection lost");
	why->sys = sys;
}
