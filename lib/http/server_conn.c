/*
 * One connection of the server: its socket, what it waits for and until when.  What is spoken on
 * it is its codec's matter; nothing here knows HTTP.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "lib/http/server_private.h"

enum {
	RECV_MAX = HTTP1_REQUEST_HEAD_MAX,
	LINGER_BYTES_MAX = 256 << 10, /* read and dropped after the last response */
};

static struct server_conn *conn_of(struct timer *t, size_t offset)
{
	return (struct server_conn *)((char *)t - offset);
}

/* The only place where the state changes: with it the time since when, and the deadline. */
static void enter(struct server_conn *c, enum server_conn_state state)
{
	struct http_server *s = c->server;

	c->seat.state = state;
	c->seat.since_ns = loop_now(s->loop);
	if (s->timeout_ns[state])
		timer_set(s->loop, &c->deadline, loop_now(s->loop) + s->timeout_ns[state]);
	else
		timer_clear(s->loop, &c->deadline);
}

void server_conn_end(struct server_conn *c, bool reset)
{
	struct http_server *s = c->server;

	must(s);	       /* no callback but on_closed comes after it has let go */
	c->in_callback = true; /* an owner's on_gone changes nothing here any more */
	c->codec->close(c);
	timer_clear(s->loop, &c->deadline);
	timer_clear(s->loop, &c->soon);
	server_admission_remove(&s->admission, &c->seat);
	c->server = NULL;
	if (s->drained && s->admission.count == 0)
		timer_set(s->loop, &s->drained_soon, loop_now(s->loop));
	sock_close(c->sock, reset);
}

static void on_closed(void *user)
{
	struct server_conn *c = user;

	c->codec->free(c);
	mem_free(&mem_heap, c);
}

/* The write side is closed first and what the client still sends is read: a
 * close with unread bytes would be a reset, which can overtake the response. */
static void linger(struct server_conn *c)
{
	enter(c, SERVER_CONN_LINGER);
	sock_shutdown_write(c->sock);
	sock_recv(c->sock, RECV_MAX);
}

static void send_out(struct server_conn *c, const struct iovec *iov, int n)
{
	enter(c, SERVER_CONN_SENDING); /* each send has its own deadline */
	sock_send(c->sock, iov, n);
}

/* After anything has happened: sends what there is, reads if more is wanted, ends if nothing is
 * left.  The connection may be gone afterwards. */
static void look(struct server_conn *c)
{
	struct iovec iov[SERVER_IOV_MAX];

	c->in_callback = false;
	if (c->cut) {
		server_conn_end(c, true);
		return;
	}
	if (!sock_is_sending(c->sock)) {
		const int n = c->codec->pull(c, iov);

		if (n < 0) {
			server_conn_end(c, true);
			return;
		}
		if (n > 0) {
			send_out(c, iov, n);
		} else if (c->codec->is_finished(c)) {
			linger(c);
			return;
		} else if (c->codec->state(c) != c->seat.state) {
			enter(c, c->codec->state(c));
		}
	}
	const size_t wants = c->codec->wants(c);
	if (wants)
		sock_recv(c->sock, wants);
}

void server_conn_kick(struct server_conn *c)
{
	if (!c->in_callback)
		timer_set(c->server->loop, &c->soon, loop_now(c->server->loop));
}

static void on_soon(struct timer *t)
{
	look(conn_of(t, offsetof(struct server_conn, soon)));
}

/* Nothing is sent after the client's end is known to be gone, so there is no one to linger for. */
static void on_eof(struct server_conn *c)
{
	c->in_callback = true;
	c->codec->eof(c);
	if (!c->cut && !sock_is_sending(c->sock) && c->codec->is_finished(c))
		server_conn_end(c, false);
	else
		look(c);
}

static void take_in(struct sock *sock, void *user, struct mspan data)
{
	struct server_conn *c = user;

	if (c->seat.state == SERVER_CONN_LINGER) {
		c->dropped += data.n;
		if (!data.n || c->dropped > LINGER_BYTES_MAX)
			server_conn_end(c, data.n > 0);
		else
			sock_recv(sock, RECV_MAX);
		return;
	}
	if (!data.n) {
		on_eof(c);
		return;
	}
	c->in_callback = true;
	if (c->codec->feed(c, span_of(data.p, data.n)) < 0)
		c->cut = true;
	look(c);
}

static void on_sent(struct sock *sock, void *user)
{
	struct server_conn *c = user;

	(void)sock;
	c->in_callback = true;
	c->codec->sent(c);
	look(c);
}

static void on_error(struct sock *sock, void *user, int sys)
{
	(void)sock;
	(void)sys;
	server_conn_end(user, true);
}

static void on_deadline(struct timer *t)
{
	struct server_conn *c = conn_of(t, offsetof(struct server_conn, deadline));

	switch (c->seat.state) {
	case SERVER_CONN_HEAD:
	case SERVER_CONN_QUEUED:
		c->in_callback = true;
		(c->seat.state == SERVER_CONN_HEAD ? c->codec->expire : c->codec->resume)(c);
		look(c);
		return;
	case SERVER_CONN_SENDING:
		server_conn_end(c, true);
		return;
	case SERVER_CONN_IDLE:
	case SERVER_CONN_EXCHANGE:
	case SERVER_CONN_LINGER:
	case SERVER_CONN_STATES:
		server_conn_end(c, false);
		return;
	}
}

static const struct sock_handler handler = {
	.on_data = take_in,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

void server_conn_new(struct http_server *s, int fd, const struct server_peer *from)
{
	struct server_conn *c = mem_alloc_zeroed(&mem_heap, sizeof(*c));
	const int on = 1;

	if (!c) {
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->codec = &server_h1;
	c->deadline.fire = on_deadline;
	c->soon.fire = on_soon;
	c->server = s;
	if (c->codec->open(c) < 0) {
		close(fd);
		on_closed(c);
		return;
	}
	if (sock_new(&c->sock, s->loop, fd, &handler, c, NULL) < 0) {
		on_closed(c);
		return;
	}
	server_admission_add(&s->admission, &c->seat, from, loop_now(s->loop));
	enter(c, SERVER_CONN_IDLE);
	sock_recv(c->sock, c->codec->wants(c));
}
