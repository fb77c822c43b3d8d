/*
 * loop_timer -- a binary heap of pointers to timers that their owners embed. It
 * reads no clock; loop.c passes the time.
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/io/loop/loop_backend.h"

/* timer_set() cannot fail, so the heap must not grow by allocation: it is
 * address space for more timers than a process has sockets, of which only the
 * pages in use cost memory. */
enum { TIMERS_MAX = 1 << 20 };

static const size_t heap_bytes = TIMERS_MAX * sizeof(struct timer *);

int timers_open(struct loop *l)
{
	void *p = mmap(NULL, heap_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	l->timers = p;
	return 0;
}

void timers_close(struct loop *l)
{
	if (l->timers)
		munmap(l->timers, heap_bytes);
	l->timers = NULL;
}

static void place(struct loop *l, struct timer *t, size_t slot)
{
	l->timers[slot] = t;
	t->slot = slot;
}

static void sift_up(struct loop *l, struct timer *t, size_t slot)
{
	while (slot) {
		const size_t parent = (slot - 1) / 2;
		if (l->timers[parent]->at_ns <= t->at_ns)
			break;
		place(l, l->timers[parent], slot);
		slot = parent;
	}
	place(l, t, slot);
}

static void sift_down(struct loop *l, struct timer *t, size_t slot)
{
	const size_t n = l->counts.timers;

	for (;;) {
		size_t child = 2 * slot + 1;
		if (child >= n)
			break;
		if (child + 1 < n && l->timers[child + 1]->at_ns < l->timers[child]->at_ns)
			child++;
		if (t->at_ns <= l->timers[child]->at_ns)
			break;
		place(l, l->timers[child], slot);
		slot = child;
	}
	place(l, t, slot);
}

static void settle(struct loop *l, struct timer *t, size_t slot)
{
	if (slot && t->at_ns < l->timers[(slot - 1) / 2]->at_ns)
		sift_up(l, t, slot);
	else
		sift_down(l, t, slot);
}

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns)
{
	const bool was_set = t->at_ns != 0;

	/* A timer that sets itself to the past again and again must not hold up
	 * the others: it has its next turn in the next round. */
	if (l->firing && at_ns <= l->now_ns)
		at_ns = l->now_ns + 1;
	t->at_ns = at_ns ? at_ns : 1;
	if (was_set) {
		settle(l, t, t->slot);
		return;
	}
	must(l->counts.timers < TIMERS_MAX);
	sift_up(l, t, l->counts.timers++);
}

void timer_clear(struct loop *l, struct timer *t)
{
	if (!t->at_ns)
		return;
	must(t->slot < l->counts.timers && l->timers[t->slot] == t);
	t->at_ns = 0;

	struct timer *last = l->timers[--l->counts.timers];
	if (last != t)
		settle(l, last, t->slot);
}

void timers_fire(struct loop *l)
{
	l->firing = true;
	while (l->counts.timers && l->timers[0]->at_ns <= l->now_ns) {
		struct timer *t = l->timers[0];
		timer_clear(l, t);
		t->fire(t);
	}
	l->firing = false;
}
