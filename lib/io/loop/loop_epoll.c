/*
 * The epoll backend.  A socket is registered once, edge triggered for both
 * directions, when it first has to wait; what the last edges said is kept in
 * the socket, so the steady state needs no epoll_ctl and no read that only
 * fetches EAGAIN.  Other descriptors are level triggered.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/io/loop/loop_backend.h"

enum { EVENTS_PER_ROUND = 256 };

/* An event names a sock or, with the lowest bit set, a watch. */
static const uintptr_t tag_watch = 1;

struct epoll_state {
	int fd;
	struct epoll_event events[EVENTS_PER_ROUND];
	uint8_t *scratch; /* every receive lands here */
};

static int epoll_open(struct loop *l, struct fault *why)
{
	struct epoll_state *e = calloc(1, sizeof(*e));

	l->state = e;
	if (!e)
		return fault_set(why, ERR_NOMEM, "no memory for epoll");
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0)
		return fault_set_sys(why, errno, "epoll_create1");
	e->scratch = malloc(SOCK_RECV_MAX + 2 * SOCK_HEADROOM);
	if (!e->scratch)
		return fault_set(why, ERR_NOMEM, "no memory to receive into");
	return 0;
}

static void epoll_end(struct loop *l)
{
	struct epoll_state *e = l->state;

	l->state = NULL;
	if (!e)
		return;
	if (e->fd >= 0)
		close(e->fd);
	free(e->scratch);
	free(e);
}

static int epoll_adopt(struct loop *l, struct sock *s)
{
	(void)l;
	(void)s;
	return 0;
}

/* ---- watches ---- */

static int epoll_watch_arm(struct loop *l, struct watch *w)
{
	struct epoll_state *e = l->state;
	struct epoll_event ev = {
		.events = w->events == POLLOUT ? EPOLLOUT : EPOLLIN,
		.data.ptr = (void *)((uintptr_t)w | tag_watch),
	};

	if (w->begun)
		return 0;
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return errno;
	w->begun = true;
	l->counts.in_kernel++;
	return 0;
}

static void epoll_watch_disarm(struct loop *l, struct watch *w)
{
	struct epoll_state *e = l->state;

	if (!w->begun)
		return;
	(void)epoll_ctl(e->fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->begun = false;
	l->counts.in_kernel--;
}

/* ---- beginning what is asked for ---- */

static void fail(struct sock *s, int sys)
{
	s->sys = sys;
	loop_ready(s);
}

/* Adding reports the present state as the first edge. */
static bool see_edges(struct sock *s)
{
	struct epoll_state *e = s->loop->state;
	struct epoll_event ev = {
		/* Urgent data ends a receive early, see collect(). */
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.ptr = s,
	};

	if (s->registered)
		return true;
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, s->fd, &ev) < 0) {
		fail(s, errno);
		return false;
	}
	s->registered = true;
	s->loop->counts.in_kernel++;
	return true;
}

/* A descriptor that is closed leaves the set by itself, unless another one of the
 * same socket lives on. */
static void retire(struct sock *s)
{
	struct epoll_state *e = s->loop->state;

	if (s->registered)
		(void)epoll_ctl(e->fd, EPOLL_CTL_DEL, s->fd, NULL);
	s->loop->counts.in_kernel -= s->registered;
	s->registered = false;
	loop_retire(s);
}

static void begin_connect(struct sock *s)
{
	s->begun |= SOCK_OP_CONNECT;
	if (connect(s->fd, (struct sockaddr *)&s->out->to, s->out->to_len) == 0) {
		s->done |= SOCK_OP_CONNECT;
		loop_ready(s);
	} else if (errno == EINPROGRESS || errno == EINTR) {
		s->writable = false;
		/* Registered only now: before connect() the socket counts as hung up. */
		(void)see_edges(s);
	} else {
		fail(s, errno);
	}
}

/* Sends what the socket takes; sets done when that was all. */
static void try_send(struct sock *s)
{
	while (!sock_out_advance(s->out, 0)) {
		const ssize_t n = sendmsg(s->fd, &s->out->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			(void)sock_out_advance(s->out, (size_t)n);
		} else if (errno == EAGAIN) {
			s->writable = false;
			(void)see_edges(s);
			return;
		} else if (errno != EINTR) {
			fail(s, errno);
			return;
		}
	}
	s->done |= SOCK_OP_SEND;
	loop_ready(s);
}

static void begin(struct sock *s)
{
	if (s->closing) {
		s->begun = 0;
		if (s->ready)
			loop_dirty(s); /* the next wait takes it off that list */
		else
			retire(s);
		return;
	}
	if (s->failed)
		return;
	if (s->sys) {
		loop_ready(s);
		return;
	}
	if (s->asked & SOCK_OP_CONNECT) {
		if (!(s->begun & SOCK_OP_CONNECT))
			begin_connect(s);
		return; /* the rest is begun when it is connected */
	}
	if ((s->asked & SOCK_OP_SEND) && !(s->done & SOCK_OP_SEND) && s->writable)
		try_send(s);
	if ((s->asked & SOCK_OP_RECV) && !s->sys && see_edges(s) && s->readable)
		loop_ready(s);
	sock_shutdown_if_due(s);
}

static void epoll_flush(struct loop *l)
{
	struct sock_queue q = l->dirty;
	struct sock *s;

	l->dirty = (struct sock_queue){ 0 };
	while ((s = loop_take_dirty(&q)))
		begin(s);
}

/* ---- handing out ---- */

static void finish_connect(struct sock *s)
{
	int sys = s->sys;
	socklen_t n = sizeof(sys);

	if (!(s->done & SOCK_OP_CONNECT) && !sys) {
		if (!s->writable)
			return;
		if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0)
			sys = errno;
	}
	s->begun = 0;
	s->sys = 0;
	sock_tell_connected(s, sys);
}

static void receive(struct sock *s)
{
	struct epoll_state *e = s->loop->state;
	uint8_t *p = e->scratch + SOCK_HEADROOM;
	const size_t max = s->recv_max;
	const ssize_t n = recv(s->fd, p, max, MSG_DONTWAIT);

	if (n < 0) {
		if (errno == EAGAIN) {
			s->readable = false;
		} else if (errno == EINTR) {
			loop_dirty(s);
		} else {
			sock_tell_error(s, errno);
		}
		return;
	}
	if (n == 0)
		s->short_means_nothing = true; /* the end stays readable */
	else if ((size_t)n < max && !s->short_means_nothing)
		s->readable = false;
	sock_tell_data(s, (struct mspan){ .p = p, .n = (size_t)n });
}

static void serve(struct sock *s)
{
	if (sock_wants(s, SOCK_OP_CONNECT)) {
		finish_connect(s);
		return;
	}
	if (s->sys) {
		sock_tell_error(s, s->sys);
		return;
	}
	if (sock_wants(s, SOCK_OP_SEND)) {
		if (!(s->done & SOCK_OP_SEND) && s->writable)
			try_send(s);
		if (s->sys) {
			sock_tell_error(s, s->sys);
			return;
		}
		if (s->done & SOCK_OP_SEND)
			sock_tell_sent(s);
	}
	if (sock_wants(s, SOCK_OP_RECV) && s->readable && !s->sys)
		receive(s);
}

static void collect(struct sock *s, uint32_t events)
{
	const uint32_t broken = EPOLLERR | EPOLLHUP;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | broken))
		s->readable = true;
	if (events & (EPOLLOUT | broken))
		s->writable = true;
	/* No further edge will tell of the end behind the data, or of the data
	 * behind the urgent mark at which recv() stops. */
	if (events & (EPOLLRDHUP | EPOLLPRI | broken))
		s->short_means_nothing = true;
	loop_ready(s);
}

static int timeout_ms(uint64_t ns)
{
	if (ns == LOOP_FOREVER)
		return -1;
	return (int)min_u64((ns + 999999) / 1000000, 3600000);
}

static int epoll_sleep(struct loop *l, uint64_t timeout_ns, struct fault *why)
{
	struct epoll_state *e = l->state;
	int n = epoll_wait(e->fd, e->events, EVENTS_PER_ROUND, timeout_ms(timeout_ns));

	if (n < 0 && errno != EINTR)
		return fault_set_sys(why, errno, "epoll_wait");
	l->now_ns = loop_read_clock();
	for (int i = 0; i < n; i++) {
		const uintptr_t tagged = (uintptr_t)e->events[i].data.ptr;
		if (!(tagged & tag_watch))
			collect(e->events[i].data.ptr, e->events[i].events);
	}
	for (int i = 0; i < n; i++) {
		const uintptr_t tagged = (uintptr_t)e->events[i].data.ptr;
		struct watch *w = (struct watch *)(tagged & ~tag_watch);
		/* An earlier callback of this batch may have closed it. */
		if ((tagged & tag_watch) && w->begun && !l->ending)
			w->on_ready(w->user);
	}
	struct sock *s;
	while ((s = loop_next_ready(l)))
		serve(s);
	return 0;
}

const struct loop_backend loop_epoll = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_end,
	.adopt = epoll_adopt,
	.watch_arm = epoll_watch_arm,
	.watch_disarm = epoll_watch_disarm,
	.flush = epoll_flush,
	.wait = epoll_sleep,
};
