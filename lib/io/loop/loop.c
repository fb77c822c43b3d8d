/*
 * loop -- the round of the event loop that both backends share: clock, timers,
 * wake-ups, sockets to serve, end of the round. The system calls for I/O are in
 * loop_epoll.c and loop_uring.c.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/units.h"
#include "lib/io/loop/loop_backend.h"

/* Rounds that loop_free() gives the kernel to let go of what is left; a healthy
 * one needs three. */
enum { LAST_ROUNDS = 100 };

uint64_t loop_read_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return timespec_ns(&t);
}

/* ---- wakes ---- */

void loop_wake(struct loop *l, struct loop_wake *w)
{
	if (__atomic_exchange_n(&w->pending, 1, __ATOMIC_ACQ_REL))
		return;
	struct loop_wake *head = __atomic_load_n(&l->wakes, __ATOMIC_RELAXED);
	do
		__atomic_store_n(&w->next, head, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&l->wakes, &head, w, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	if (head)
		return; /* whoever pushed first has rung */

	const int saved = errno; /* we may be in a signal handler */
	const uint64_t one = 1;
	/* Full is rung already: the counter is far from its limit otherwise. */
	(void)!write(l->wake_fd, &one, sizeof(one));
	errno = saved;
}

/* Moves what was pushed behind what is already taken, oldest first. */
static void take_wakes(struct loop *l)
{
	struct loop_wake *pushed = __atomic_exchange_n(&l->wakes, NULL, __ATOMIC_ACQUIRE);
	struct loop_wake *oldest = NULL;

	while (pushed) {
		struct loop_wake *next = pushed->next;
		pushed->next = oldest;
		oldest = pushed;
		pushed = next;
	}
	struct loop_wake **end = &l->woken;
	while (*end)
		end = &(*end)->next;
	*end = oldest;
}

void loop_wake_cancel(struct loop *l, struct loop_wake *w)
{
	while (__atomic_load_n(&w->pending, __ATOMIC_ACQUIRE)) {
		take_wakes(l);
		for (struct loop_wake **at = &l->woken; *at; at = &(*at)->next) {
			if (*at != w)
				continue;
			*at = w->next;
			__atomic_store_n(&w->pending, 0, __ATOMIC_RELEASE);
			return;
		}
		/* Another thread stands between its mark and its push. */
		sched_yield();
	}
}

static void call_woken(struct loop *l)
{
	take_wakes(l);
	/* A call may cancel others and wake itself again: the latter is for the
	 * next round, as it goes to l->wakes. */
	while (l->woken) {
		struct loop_wake *w = l->woken;
		l->woken = w->next;
		__atomic_store_n(&w->pending, 0, __ATOMIC_RELEASE);
		w->call(w);
	}
}

static void on_wake(void *user)
{
	struct loop *l = user;
	uint64_t n;

	(void)!read(l->wake_fd, &n, sizeof(n));
}

/* ---- those who end with the loop ---- */

void loop_at_end(struct loop *l, struct loop_end *e)
{
	e->prev = NULL;
	e->next = l->ends;
	if (e->next)
		e->next->prev = e;
	l->ends = e;
}

void loop_end_clear(struct loop *l, struct loop_end *e)
{
	if (e->prev)
		e->prev->next = e->next;
	else
		l->ends = e->next;
	if (e->next)
		e->next->prev = e->prev;
}

/* ---- rounds ---- */

static uint64_t time_to_sleep(const struct loop *l)
{
	if (l->dirty.head || l->ready.head || l->dirty_watches || l->woken)
		return 0;
	if (!l->counts.timers)
		return LOOP_FOREVER;
	/* The round may have taken long: a stale now only wakes us early. */
	const uint64_t at = l->timers[0]->at_ns;
	const uint64_t now = loop_read_clock();
	return at > now ? at - now : 0;
}

static void begin_round(struct loop *l)
{
	l->backend->flush(l);
	loop_free_retired(l);
	if (l->dead_watches)
		loop_free_dead_watches(l);
}

int loop_run(struct loop *l, struct fault *why)
{
	int rc = 0;

	must(!l->running);
	l->running = true;
	l->now_ns = loop_read_clock();
	while (!l->stopped && rc == 0) {
		begin_round(l);
		rc = l->backend->wait(l, l->stopped ? 0 : time_to_sleep(l), why);
		timers_fire(l);
		call_woken(l);
	}
	l->running = false;
	l->stopped = false;
	return rc;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

uint64_t loop_now(const struct loop *l)
{
	/* Between runs the round's clock stands still. */
	return l->running ? l->now_ns : loop_read_clock();
}

const char *loop_backend(const struct loop *l)
{
	return l->backend->name;
}

const char *loop_backend_reason(const struct loop *l)
{
	return l->reason;
}

const char *loop_unrestricted(const struct loop *l)
{
	return l->unrestricted;
}

struct loop_counts loop_counts(const struct loop *l)
{
	return l->counts;
}

void loop_trim(struct loop *l)
{
	loop_free_spares(l);
}

/* ---- life ---- */

static int fault_copy(struct fault *to, const struct fault *from)
{
	if (to && !to->code)
		*to = *from;
	return from->code;
}

static int open_backend(struct loop *l, enum loop_choice want, struct fault *why)
{
	struct fault refused = { 0 };

	if (want != LOOP_EPOLL) {
		l->backend = &loop_uring;
		const int rc = l->backend->open(l, &refused);
		if (rc == 0)
			return 0;
		l->backend->close(l);
		if (want == LOOP_URING)
			return fault_copy(why, &refused);
		snprintf(l->reason, sizeof(l->reason), "%s", refused.why);
		l->unrestricted[0] = '\0';
	}
	l->backend = &loop_epoll;
	return l->backend->open(l, why);
}

int loop_new(struct loop **out, enum loop_choice want, struct fault *why)
{
	*out = NULL;
	struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return fault_set(why, ERR_NOMEM, "no memory for a loop");
	l->now_ns = loop_read_clock();
	l->wake_fd = -1;

	int rc = open_backend(l, want, why);
	if (rc < 0)
		goto fail;
	const int sys = timers_open(l);
	if (sys) {
		rc = fault_set_sys(why, sys, "mmap of the timer heap");
		goto fail;
	}
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake_fd < 0) {
		rc = fault_set_sys(why, errno, "eventfd");
		goto fail;
	}
	rc = watch_new_internal(&l->wake_watch, l, l->wake_fd, POLLIN, on_wake, l, why);
	if (rc < 0)
		goto fail;
	*out = l;
	return 0;
fail:
	loop_free(l);
	return rc;
}

static void end_socks(struct loop *l)
{
	for (int i = 0; i < LAST_ROUNDS && l->socks; i++) {
		for (struct sock *s = l->socks; s; s = s->next)
			sock_close(s, false);
		begin_round(l);
		const uint64_t nap = time_to_sleep(l) ? 10000000u : 0;
		if (!l->socks || l->backend->wait(l, nap, NULL) < 0)
			break;
	}
}

static void end_watches(struct loop *l)
{
	while (l->ends)
		l->ends->call(l->ends);
	while (l->watches)
		watch_close(l->watches);
	for (int i = 0; i < LAST_ROUNDS && l->dead_watches; i++) {
		begin_round(l);
		if (l->dead_watches && l->backend->wait(l, 10000000u, NULL) < 0)
			break;
	}
}

/* What a broken ring never gave back; it is closed by now. */
static void end_the_rest(struct loop *l)
{
	while (l->socks) {
		struct sock *s = l->socks;
		s->closing = true;
		s->begun = 0;
		s->ready = false;
		l->closed = (struct sock_queue){ 0 };
		loop_retire(s);
		loop_free_retired(l);
	}
	for (struct watch *w = l->dead_watches; w; w = w->next)
		w->begun = w->dirty = false;
	loop_free_dead_watches(l);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	must(!l->running);
	l->ending = true; /* no callback but on_closed from here on */
	if (l->timers) {  /* else loop_new() has failed before anything could come */
		end_socks(l);
		end_watches(l);
	}
	l->backend->close(l);
	end_the_rest(l);
	loop_free_spares(l);
	timers_close(l);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	free(l);
}
