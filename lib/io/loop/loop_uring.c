/*
 * The io_uring backend.  One operation per direction and socket; all of a
 * round are submitted, and waited for, with one system call.
 *
 * Sockets are made blocking: on a non-blocking descriptor the ring answers
 * EAGAIN instead of waiting.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lib/base/units.h"
#include "lib/io/loop/loop_uring.h"

/* What user_data points at, in its low bits; 0 is a cancel, whose own answer
 * says nothing that the cancelled operation's does not. */
enum tag { TAG_CANCEL, TAG_CONNECT, TAG_RECV, TAG_SEND, TAG_WATCH, TAG_MASK = 7 };

static int uring_open(struct loop *l, struct fault *why)
{
	struct uring_state *u = calloc(1, sizeof(*u));

	l->state = u;
	if (!u)
		return fault_set(why, ERR_NOMEM, "no memory for io_uring");
	const int rc = uring_ring_open(u, why);
	snprintf(l->unrestricted, sizeof(l->unrestricted), "%s", u->unrestricted.why);
	return rc;
}

static void uring_close(struct loop *l)
{
	struct uring_state *u = l->state;

	l->state = NULL;
	if (!u)
		return;
	uring_ring_close(u);
	free(u);
}

static int uring_adopt(struct loop *l, struct sock *s)
{
	int off = 0;

	(void)l;
	return ioctl(s->fd, FIONBIO, &off) < 0 ? errno : 0;
}

static uint64_t name_of(const void *p, enum tag tag)
{
	return (uint64_t)(uintptr_t)p | (uint64_t)tag;
}

/* NULL when the kernel takes no more now; the caller stays dirty. */
static struct io_uring_sqe *take_sqe(struct loop *l, const void *p, enum tag tag)
{
	struct uring_state *u = l->state;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		(void)io_uring_submit(&u->ring); /* full; a failure shows below */
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (sqe) {
		/* The prep calls leave user_data alone. */
		io_uring_sqe_set_data64(sqe, name_of(p, tag));
		l->counts.in_kernel++; /* one answer each: none of ours is multishot */
	}
	return sqe;
}

/* Of everything that user_data `name` is, cancels one; by name because that is
 * one hash look-up in the kernel where by descriptor is a walk over all. */
static bool cancel(struct loop *l, uint64_t name)
{
	struct io_uring_sqe *sqe = take_sqe(l, NULL, TAG_CANCEL);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, name, 0);
	return true;
}

/* ---- watches: one poll at a time, so that they are level triggered ---- */

static void dirty_watch(struct watch *w)
{
	if (w->dirty)
		return;
	w->dirty = true;
	w->dirty_next = w->loop->dirty_watches;
	w->loop->dirty_watches = w;
}

static int uring_watch_arm(struct loop *l, struct watch *w)
{
	(void)l;
	dirty_watch(w);
	return 0;
}

static void uring_watch_disarm(struct loop *l, struct watch *w)
{
	(void)l;
	dirty_watch(w);
}

static bool begin_watch(struct loop *l, struct watch *w)
{
	if (w->closed || w->paused) {
		if (w->begun && !w->cancelling)
			w->cancelling = cancel(l, name_of(w, TAG_WATCH));
		return !w->begun || w->cancelling;
	}
	if (w->begun)
		return true; /* if it is being cancelled: armed again by its answer */
	struct io_uring_sqe *sqe = take_sqe(l, w, TAG_WATCH);
	if (!sqe)
		return false;
	io_uring_prep_poll_add(sqe, w->fd, (unsigned)w->events);
	w->begun = true;
	return true;
}

static void flush_watches(struct loop *l)
{
	struct watch *w = l->dirty_watches;

	l->dirty_watches = NULL;
	while (w) {
		struct watch *next = w->dirty_next;
		w->dirty = false;
		if (!begin_watch(l, w))
			dirty_watch(w);
		w = next;
	}
}

static void watch_answered(struct watch *w, int res)
{
	const bool wanted = !w->cancelling && !w->closed && !w->paused;

	w->begun = w->cancelling = false;
	if (w->closed)
		return;
	if (res < 0 && res != -ECANCELED) {
		watch_retry_later(w);
		return;
	}
	dirty_watch(w); /* armed again at the end of the round, unless paused */
	if (wanted && !w->loop->ending)
		w->on_ready(w->user);
}

/* ---- beginning what is asked for ---- */

static bool begin_connect(struct sock *s)
{
	struct io_uring_sqe *sqe = take_sqe(s->loop, s, TAG_CONNECT);

	if (!sqe)
		return false;
	io_uring_prep_connect(sqe, s->fd, (struct sockaddr *)&s->out->to, s->out->to_len);
	s->begun |= SOCK_OP_CONNECT;
	return true;
}

static bool begin_send(struct sock *s)
{
	if (sock_out_advance(s->out, 0)) {
		s->done |= SOCK_OP_SEND;
		loop_ready(s);
		return true;
	}
	struct io_uring_sqe *sqe = take_sqe(s->loop, s, TAG_SEND);
	if (!sqe)
		return false;
	io_uring_prep_sendmsg(sqe, s->fd, &s->out->msg, MSG_WAITALL | MSG_NOSIGNAL);
	s->begun |= SOCK_OP_SEND;
	return true;
}

static bool begin_recv(struct sock *s)
{
	struct uring_state *u = s->loop->state;
	const bool large = s->bulk && s->recv_max > u->pools[POOL_SMALL].buffer_bytes;
	const int group = large ? POOL_LARGE : POOL_SMALL;

	/* Whoever met an empty pool waits for its turn: of all that starve, no more
	 * ask again per round than there are buffers. */
	if (s->starved && !u->pools[group].quota)
		return false;
	struct io_uring_sqe *sqe = take_sqe(s->loop, s, TAG_RECV);
	if (!sqe)
		return false;
	if (s->starved)
		u->pools[group].quota--;
	io_uring_prep_recv(sqe, s->fd, NULL, s->recv_max, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = (uint16_t)group;
	if (s->drained)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	s->group = (uint8_t)group;
	s->starved = false;
	s->begun |= SOCK_OP_RECV;
	return true;
}

/* Closing or failed: nothing is told before the kernel has let go of all. */
static bool cancel_begun(struct sock *s)
{
	static const struct {
		uint8_t op;
		enum tag tag;
	} rows[] = {
		{ SOCK_OP_CONNECT, TAG_CONNECT },
		{ SOCK_OP_RECV, TAG_RECV },
		{ SOCK_OP_SEND, TAG_SEND },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		if (!(s->begun & rows[i].op) || (s->cancelling & rows[i].op))
			continue;
		if (!cancel(s->loop, name_of(s, rows[i].tag)))
			return false;
		s->cancelling |= rows[i].op;
	}
	return true;
}

/* Asks the kernel for all that s wants and it has not; false = not all. */
static bool begin(struct sock *s)
{
	if (s->closing || s->sys) {
		if (s->begun)
			return cancel_begun(s);
		if (!s->closing)
			loop_ready(s);
		else if (s->ready)
			return false; /* the next wait takes it off that list */
		else
			loop_retire(s);
		return true;
	}
	if (s->failed)
		return true;
	const uint8_t want = s->asked & (uint8_t) ~(s->begun | s->done);
	if (s->asked & SOCK_OP_CONNECT)
		return !(want & SOCK_OP_CONNECT) || begin_connect(s);
	bool all = true;
	if (want & SOCK_OP_SEND)
		all = begin_send(s);
	if (want & SOCK_OP_RECV)
		all = begin_recv(s) && all;
	sock_shutdown_if_due(s);
	return all;
}

static void uring_flush(struct loop *l)
{
	struct uring_state *u = l->state;
	struct sock_queue q = l->dirty;
	struct sock *s;

	for (int i = 0; i < POOLS; i++)
		u->pools[i].quota = u->pools[i].count;
	l->dirty = (struct sock_queue){ 0 };
	while ((s = loop_take_dirty(&q)))
		if (!begin(s))
			loop_dirty(s);
	flush_watches(l);
}

/* ---- handing out ---- */

static void fail(struct sock *s, int sys)
{
	if (!s->sys)
		s->sys = sys;
	loop_dirty(s);
}

static void received(struct sock *s, const struct io_uring_cqe *cqe)
{
	struct uring_state *u = s->loop->state;
	struct uring_pool *p = &u->pools[s->group];
	const bool has_buffer = cqe->flags & IORING_CQE_F_BUFFER;
	const unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	const size_t n = cqe->res > 0 ? (size_t)cqe->res : 0;

	if (!sock_wants(s, SOCK_OP_RECV) || s->sys) {
		/* too late, nobody waits for it */
	} else if (cqe->res == -ENOBUFS) {
		s->starved = true;
		s->drained = false;
		loop_dirty(s);
	} else if (cqe->res == -EINTR || cqe->res == -EAGAIN) {
		loop_dirty(s);
	} else if (cqe->res < 0) {
		fail(s, -cqe->res);
	} else {
		uint8_t none[1];
		s->bulk = n >= min_size(s->recv_max, u->pools[POOL_SMALL].buffer_bytes);
		s->drained = n && !(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY);
		sock_tell_data(s, (struct mspan){ .p = has_buffer ? uring_pool_buffer(p, id) : none,
						  .n = has_buffer ? n : 0 });
	}
	if (has_buffer)
		uring_pool_give(p, id);
}

static void sent(struct sock *s, int res)
{
	if (!sock_wants(s, SOCK_OP_SEND) || s->sys)
		return;
	if (res < 0 && res != -EINTR && res != -EAGAIN)
		fail(s, -res);
	else if (sock_out_advance(s->out, res > 0 ? (size_t)res : 0))
		sock_tell_sent(s);
	else
		loop_dirty(s); /* cut short by a signal: the rest */
}

static void sock_answered(struct sock *s, enum tag tag, const struct io_uring_cqe *cqe)
{
	const enum sock_op op = tag == TAG_RECV	  ? SOCK_OP_RECV
				: tag == TAG_SEND ? SOCK_OP_SEND
						  : SOCK_OP_CONNECT;

	s->begun &= (uint8_t)~op;
	s->cancelling &= (uint8_t)~op;
	if (op == SOCK_OP_RECV)
		received(s, cqe);
	else if (op == SOCK_OP_SEND)
		sent(s, cqe->res);
	else if (!s->sys)
		sock_tell_connected(s, -cqe->res);
	if (s->closing || (s->sys && !s->failed))
		loop_dirty(s);
}

static void answered(const struct io_uring_cqe *cqe)
{
	const enum tag tag = cqe->user_data & TAG_MASK;
	void *p = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);

	if (tag == TAG_WATCH)
		watch_answered(p, cqe->res);
	else if (tag != TAG_CANCEL)
		sock_answered(p, tag, cqe);
}

static void serve(struct sock *s)
{
	if (s->sys && !s->begun)
		sock_tell_error(s, s->sys);
	else if (s->done & SOCK_OP_SEND)
		sock_tell_sent(s);
}

static int submit_and_sleep(struct uring_state *u, uint64_t timeout_ns)
{
	struct io_uring_cqe *cqe;

	if (timeout_ns == 0)
		return io_uring_submit_and_get_events(&u->ring);
	if (timeout_ns == LOOP_FOREVER)
		return io_uring_submit_and_wait(&u->ring, 1);
	struct __kernel_timespec t = {
		.tv_sec = (long long)(timeout_ns / NS_PER_S),
		.tv_nsec = (long long)(timeout_ns % NS_PER_S),
	};
	return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &t, NULL);
}

static int uring_sleep(struct loop *l, uint64_t timeout_ns, struct fault *why)
{
	struct uring_state *u = l->state;
	const int rc = submit_and_sleep(u, timeout_ns);

	/* EBUSY and EAGAIN: completions must be taken, or memory found, first. */
	if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN)
		return fault_set_sys(why, -rc, "io_uring_enter");
	l->now_ns = loop_read_clock();
	for (unsigned n = io_uring_cq_ready(&u->ring); n; n--) {
		struct io_uring_cqe *at;
		if (io_uring_peek_cqe(&u->ring, &at) < 0)
			break;
		const struct io_uring_cqe cqe = *at;
		io_uring_cqe_seen(&u->ring, at);
		l->counts.in_kernel--;
		answered(&cqe);
	}
	struct sock *s;
	while ((s = loop_next_ready(l)))
		serve(s);
	return 0;
}

const struct loop_backend loop_uring = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.adopt = uring_adopt,
	.watch_arm = uring_watch_arm,
	.watch_disarm = uring_watch_disarm,
	.flush = uring_flush,
	.wait = uring_sleep,
};
