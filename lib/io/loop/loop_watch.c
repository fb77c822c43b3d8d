/*
 * loop_watch -- descriptors that are watched for readiness (signalfd, eventfd,
 * sockets that connect), and listeners, which are watches that accept.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/loop/loop_backend.h"

/* ---- watches ---- */

static void retry(struct timer *t)
{
	struct watch *w = owner_of(t, struct watch, retry);

	if (!w->paused && w->loop->backend->watch_arm(w->loop, w))
		watch_retry_later(w);
}

void watch_retry_later(struct watch *w)
{
	timer_set(w->loop, &w->retry, loop_now(w->loop) + LOOP_RETRY_NS);
}

int watch_new_internal(struct watch **out, struct loop *l, int fd, short events,
		       watch_ready_fn *on_ready, void *user, struct fault *why)
{
	*out = NULL;
	struct watch *w = mem_alloc(&mem_heap, sizeof(*w));
	if (!w)
		return fault_set(why, ERR_NOMEM, "no memory to watch a descriptor");
	*w = (struct watch){
		.loop = l,
		.fd = fd,
		.events = events,
		.on_ready = on_ready,
		.user = user,
		.retry.fire = retry,
		.internal = true,
	};
	const int sys = l->backend->watch_arm(l, w);
	if (sys) {
		mem_free(&mem_heap, w);
		return fault_set_sys(why, sys, "watch descriptor %d", fd);
	}
	w->next = l->watches;
	if (w->next)
		w->next->prev = w;
	l->watches = w;
	*out = w;
	return 0;
}

int watch_new(struct watch **out, struct loop *l, int fd, watch_ready_fn *on_ready, void *user,
	      struct fault *why)
{
	const int rc = watch_new_internal(out, l, fd, POLLIN, on_ready, user, why);

	if (rc == 0) {
		(*out)->internal = false;
		l->counts.watches++;
	}
	return rc;
}

static void watch_pause(struct watch *w, bool paused)
{
	if (w->paused == paused)
		return;
	w->paused = paused;
	timer_clear(w->loop, &w->retry);
	if (paused)
		w->loop->backend->watch_disarm(w->loop, w);
	else if (w->loop->backend->watch_arm(w->loop, w))
		watch_retry_later(w);
}

void watch_close(struct watch *w)
{
	if (!w || w->closed)
		return;
	struct loop *l = w->loop;
	w->closed = true;
	timer_clear(l, &w->retry);
	if (!w->internal)
		l->counts.watches--;
	l->backend->watch_disarm(l, w);

	if (w->prev)
		w->prev->next = w->next;
	else
		l->watches = w->next;
	if (w->next)
		w->next->prev = w->prev;
	/* An event batch being walked, or the kernel, may still name it. */
	w->prev = NULL;
	w->next = l->dead_watches;
	l->dead_watches = w;
}

void loop_free_dead_watches(struct loop *l)
{
	struct watch **at = &l->dead_watches;

	while (*at) {
		struct watch *w = *at;
		if (w->begun || w->dirty) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		mem_free(&mem_heap, w);
	}
}

/* ---- listening sockets: a watch and accept4() ---- */

/* Connections taken per round.  A burst must not hold up the others; and what has been accepted is
 * served before many more come, so that a server which ends connections to make room does not end
 * one whose request it has not looked at yet. */
enum { ACCEPTS_PER_ROUND = 4 };

struct listener {
	struct loop *loop;
	struct watch *watch;
	struct timer retry;
	int fd;
	listener_accept_fn *on_accept;
	void *user;
	bool paused;
	struct loop_end end;
	bool *gone; /* set when closed from inside on_accept */
};

static void listener_retry(struct timer *t)
{
	struct listener *x = owner_of(t, struct listener, retry);

	watch_pause(x->watch, x->paused);
}

static void listener_ready(void *user)
{
	struct listener *x = user;
	bool gone = false;

	x->gone = &gone;
	for (int i = 0; i < ACCEPTS_PER_ROUND && !x->paused; i++) {
		const int fd = accept4(x->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* Out of descriptors or memory does not pass by asking again
			 * at once, and the listener stays readable. */
			if (errno != EAGAIN && errno != EINTR) {
				watch_pause(x->watch, true);
				timer_set(x->loop, &x->retry, loop_now(x->loop) + LOOP_RETRY_NS);
			}
			break;
		}
		x->on_accept(x->user, fd);
		if (gone)
			return;
	}
	x->gone = NULL;
}

static void listener_end(struct loop_end *e)
{
	struct listener *x = owner_of(e, struct listener, end);

	listener_close(x);
}

int listener_new(struct listener **out, struct loop *l, int fd, listener_accept_fn *on_accept,
		 void *user, struct fault *why)
{
	*out = NULL;
	struct listener *x = mem_alloc(&mem_heap, sizeof(*x));
	if (!x) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a listener");
	}
	*x = (struct listener){
		.loop = l,
		.fd = fd,
		.on_accept = on_accept,
		.user = user,
		.retry.fire = listener_retry,
		.end.call = listener_end,
	};
	const int rc = watch_new_internal(&x->watch, l, fd, POLLIN, listener_ready, x, why);
	if (rc < 0) {
		close(fd);
		mem_free(&mem_heap, x);
		return rc;
	}
	loop_at_end(l, &x->end);
	l->counts.listeners++;
	*out = x;
	return 0;
}

void listener_pause(struct listener *x, bool paused)
{
	x->paused = paused;
	timer_clear(x->loop, &x->retry);
	watch_pause(x->watch, paused);
}

void listener_close(struct listener *x)
{
	if (!x)
		return;
	if (x->gone)
		*x->gone = true;
	loop_end_clear(x->loop, &x->end);
	timer_clear(x->loop, &x->retry);
	watch_close(x->watch);
	x->loop->counts.listeners--;
	close(x->fd);
	mem_free(&mem_heap, x);
}
