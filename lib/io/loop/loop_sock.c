/*
 * loop_sock -- the sockets of a loop as the caller sees them: at most one
 * receive and one send asked for, callbacks only from loop_run(), memory that
 * outlives the kernel's use of it.
 */
#include <errno.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/io/loop/loop_backend.h"

enum { SPARE_OUT_MAX = 64 };

void loop_dirty(struct sock *s)
{
	struct sock_queue *q = &s->loop->dirty;

	if (s->dirty)
		return;
	s->dirty = true;
	s->dirty_next = NULL;
	if (q->tail)
		q->tail->dirty_next = s;
	else
		q->head = s;
	q->tail = s;
}

/* The next of q, which was l->dirty when the flush began. */
struct sock *loop_take_dirty(struct sock_queue *q)
{
	struct sock *s = q->head;

	if (s) {
		q->head = s->dirty_next;
		s->dirty = false;
	}
	return s;
}

void loop_ready(struct sock *s)
{
	struct sock_queue *q = &s->loop->ready;

	if (s->ready)
		return;
	s->ready = true;
	s->ready_next = NULL;
	if (q->tail)
		q->tail->ready_next = s;
	else
		q->head = s;
	q->tail = s;
}

struct sock *loop_next_ready(struct loop *l)
{
	struct sock *s = l->ready.head;

	if (s) {
		l->ready.head = s->ready_next;
		if (!l->ready.head)
			l->ready.tail = NULL;
		s->ready = false;
	}
	return s;
}

/* ---- vectors and addresses under way ---- */

static struct sock_out *take_out(struct loop *l)
{
	struct sock_out *o = l->spare_out;

	if (!o)
		return mem_alloc(&mem_heap, sizeof(*o));
	l->spare_out = o->next;
	l->count_spare_out--;
	return o;
}

static void give_out(struct sock *s)
{
	struct loop *l = s->loop;
	struct sock_out *o = s->out;

	s->out = NULL;
	if (!o)
		return;
	if (l->count_spare_out == SPARE_OUT_MAX) {
		mem_free(&mem_heap, o);
		return;
	}
	o->next = l->spare_out;
	l->spare_out = o;
	l->count_spare_out++;
}

void loop_free_spares(struct loop *l)
{
	while (l->spare_out) {
		struct sock_out *o = l->spare_out;
		l->spare_out = o->next;
		mem_free(&mem_heap, o);
	}
	l->count_spare_out = 0;
}

bool sock_out_advance(struct sock_out *o, size_t n)
{
	struct msghdr *m = &o->msg;

	while (m->msg_iovlen && n >= m->msg_iov->iov_len) {
		n -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	if (!m->msg_iovlen)
		return true;
	m->msg_iov->iov_base = (uint8_t *)m->msg_iov->iov_base + n;
	m->msg_iov->iov_len -= n;
	return false;
}

void sock_shutdown_if_due(struct sock *s)
{
	if (!s->shut_asked || s->shut_done || (s->asked & (SOCK_OP_SEND | SOCK_OP_CONNECT)))
		return;
	s->shut_done = true;
	/* A failure means that the connection is gone: the receive will say so. */
	(void)shutdown(s->fd, SHUT_WR);
}

/* ---- what the owner is told ---- */

static void ask(struct sock *s, enum sock_op op)
{
	s->asked |= (uint8_t)op;
	s->loop->counts.in_flight++;
	loop_dirty(s);
}

static void forget(struct sock *s, uint8_t ops)
{
	s->loop->counts.in_flight -= (size_t)__builtin_popcount(s->asked & ops);
	s->asked &= (uint8_t)~ops;
	s->done &= (uint8_t)~ops;
}

void sock_tell_connected(struct sock *s, int sys)
{
	if (!sock_wants(s, SOCK_OP_CONNECT))
		return;
	forget(s, SOCK_OP_CONNECT);
	give_out(s);
	if (sys) {
		forget(s, UINT8_MAX);
		s->failed = true;
	} else {
		loop_dirty(s); /* what was asked meanwhile */
	}
	if (s->handler->on_connected)
		s->handler->on_connected(s, s->user, sys);
}

void sock_tell_data(struct sock *s, struct mspan data)
{
	if (!sock_wants(s, SOCK_OP_RECV))
		return;
	forget(s, SOCK_OP_RECV);
	if (s->handler->on_data)
		s->handler->on_data(s, s->user, data);
}

void sock_tell_sent(struct sock *s)
{
	if (!sock_wants(s, SOCK_OP_SEND))
		return;
	forget(s, SOCK_OP_SEND);
	give_out(s);
	if (s->shut_asked)
		loop_dirty(s);
	if (s->handler->on_sent)
		s->handler->on_sent(s, s->user);
}

void sock_tell_error(struct sock *s, int sys)
{
	if (s->failed || s->closing)
		return;
	must(!s->begun);
	s->failed = true;
	forget(s, UINT8_MAX);
	give_out(s);
	if (s->handler->on_error)
		s->handler->on_error(s, s->user, sys);
}

/* ---- the end of a socket ---- */

void loop_retire(struct sock *s)
{
	struct sock_queue *q = &s->loop->closed;

	must(!s->begun && !s->ready);
	s->ready_next = NULL;
	if (q->tail)
		q->tail->ready_next = s;
	else
		q->head = s;
	q->tail = s;
}

void loop_free_retired(struct loop *l)
{
	while (l->closed.head) {
		struct sock *s = l->closed.head;
		l->closed.head = s->ready_next;
		if (!l->closed.head)
			l->closed.tail = NULL;

		if (s->reset) {
			const struct linger now = { .l_onoff = 1, .l_linger = 0 };
			(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		}
		close(s->fd);
		give_out(s);
		if (s->prev)
			s->prev->next = s->next;
		else
			l->socks = s->next;
		if (s->next)
			s->next->prev = s->prev;
		l->counts.socks--;

		void (*const on_closed)(void *) = s->handler->on_closed;
		void *user = s->user;
		mem_free(&mem_heap, s);
		if (on_closed)
			on_closed(user);
	}
}

/* ---- loop.h ---- */

int sock_new(struct sock **out, struct loop *l, int fd, const struct sock_handler *handler,
	     void *user, struct fault *why)
{
	*out = NULL;
	struct sock *s = mem_alloc_zeroed(&mem_heap, sizeof(*s));
	if (!s) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a socket");
	}
	*s = (struct sock){ .loop = l, .fd = fd, .handler = handler, .user = user };
	s->writable = true;

	const int sys = l->backend->adopt(l, s);
	if (sys) {
		close(fd);
		mem_free(&mem_heap, s);
		return fault_set_sys(why, sys, "take a socket into the loop");
	}
	s->next = l->socks;
	if (s->next)
		s->next->prev = s;
	l->socks = s;
	l->counts.socks++;
	*out = s;
	return 0;
}

/* The vector's or the address's place; without memory the socket fails, later
 * and in words, as if the kernel had refused. */
static struct sock_out *borrow_out(struct sock *s)
{
	must(!s->out);
	s->out = take_out(s->loop);
	if (!s->out) {
		s->sys = ENOMEM;
		loop_dirty(s);
	}
	return s->out;
}

void sock_connect(struct sock *s, const struct sockaddr *to, socklen_t len)
{
	if (s->closing || s->failed || s->sys)
		return;
	must(!(s->asked & (SOCK_OP_CONNECT | SOCK_OP_SEND)));
	must(len <= sizeof(struct sockaddr_storage));
	struct sock_out *o = borrow_out(s);
	if (!o)
		return;
	memcpy(&o->to, to, len);
	o->to_len = len;
	ask(s, SOCK_OP_CONNECT);
}

void sock_recv(struct sock *s, size_t max)
{
	if (s->closing || s->failed || s->sys || (s->asked & SOCK_OP_RECV))
		return;
	must(max > 0);
	s->recv_max = (uint32_t)min_size(max, SOCK_RECV_MAX);
	ask(s, SOCK_OP_RECV);
}

bool sock_is_receiving(const struct sock *s)
{
	return sock_wants(s, SOCK_OP_RECV);
}

void sock_send(struct sock *s, const struct iovec *iov, int n)
{
	if (s->closing || s->failed || s->sys)
		return;
	must(n >= 0 && n <= SOCK_IOV_MAX);
	must(!(s->asked & (SOCK_OP_CONNECT | SOCK_OP_SEND)) && !s->shut_asked);
	struct sock_out *o = borrow_out(s);
	if (!o)
		return;
	if (n)
		memcpy(o->iov, iov, (size_t)n * sizeof(*iov));
	o->msg = (struct msghdr){ .msg_iov = o->iov, .msg_iovlen = (size_t)n };
	ask(s, SOCK_OP_SEND);
}

bool sock_is_sending(const struct sock *s)
{
	return sock_wants(s, SOCK_OP_SEND);
}

void sock_shutdown_write(struct sock *s)
{
	if (s->closing || s->failed)
		return;
	s->shut_asked = true;
	loop_dirty(s);
}

void sock_close(struct sock *s, bool reset)
{
	if (s->closing)
		return;
	s->closing = true;
	s->reset = reset;
	/* s->out stays: the kernel may be reading the vector. */
	forget(s, UINT8_MAX);
	loop_dirty(s);
}

int sock_fd(const struct sock *s)
{
	return s->fd;
}
