#include "lib/io/loop/loop.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "tests/unit/lib/io/rig.h"

/* ---- timers ---- */

enum { TIMERS = 4000 };

struct item {
	struct timer timer;
	uint64_t at;   /* what the model knows; 0 = clear */
	uint64_t told; /* its turn, from 1 */
};

static struct {
	struct loop *l;
	struct item items[TIMERS];
	uint64_t turn, last_at;
	int wrong;
	uint32_t dice;
} heap;

static uint32_t dice(void)
{
	heap.dice = heap.dice * 1664525u + 1013904223u;
	return heap.dice >> 8;
}

static void fired(struct timer *t)
{
	struct item *i = (struct item *)(void *)t;

	heap.wrong += !i->at || i->told || i->at < heap.last_at || t->at_ns != 0;
	heap.last_at = i->at;
	i->told = ++heap.turn;
}

/* Random sets, moves and clears; then they fire sorted, the cleared never. */
static void timers_sorted(struct loop *l)
{
	const uint64_t base = loop_now(l) - 1000000000; /* all due: no waiting */
	size_t alive = 0;

	memset(&heap, 0, sizeof(heap));
	heap.l = l;
	heap.dice = 42;
	for (int round = 0; round < 5 * TIMERS; round++) {
		struct item *i = &heap.items[dice() % TIMERS];
		i->timer.fire = fired;
		if (dice() % 4) {
			i->at = base + dice() % 100000;
			timer_set(l, &i->timer, i->at);
		} else {
			i->at = 0;
			timer_clear(l, &i->timer);
			timer_clear(l, &i->timer);
		}
	}
	for (int n = 0; n < TIMERS; n++)
		alive += heap.items[n].at != 0;
	check(loop_counts(l).timers == alive);
	until(l, heap.turn >= alive);
	check(heap.turn == alive && heap.wrong == 0);
	for (int n = 0; n < TIMERS; n++)
		check((heap.items[n].at != 0) == (heap.items[n].told != 0));
}

static void test_timers_sorted(void)
{
	on_both(timers_sorted);
}

struct chain {
	struct timer timer, other, never;
	struct loop *l;
	int fired, others;
};

static void chain_other(struct timer *t)
{
	((struct chain *)(void *)((char *)t - offsetof(struct chain, other)))->others++;
}

static void chain_fire(struct timer *t)
{
	struct chain *c = (struct chain *)(void *)t;

	timer_clear(c->l, t); /* not set any more: changes nothing */
	timer_clear(c->l, &c->never);
	if (++c->fired < 5)
		timer_set(c->l, t, 1); /* the past: next round, again and again */
	else if (c->fired == 5)
		timer_set(c->l, &c->other, loop_now(c->l) + 1000);
}

static void timers_in_callbacks(struct loop *l)
{
	struct chain c = { .timer.fire = chain_fire,
			   .other.fire = chain_other,
			   .never.fire = (void (*)(struct timer *))abort,
			   .l = l };

	timer_set(l, &c.timer, 0);
	timer_set(l, &c.never, 2);
	timer_set(l, &c.never, 3);
	until(l, c.others == 1);
	check(c.fired == 5);

	/* One that always sets itself to the past does not hold up the rest. */
	c.fired = -1000000000;
	timer_set(l, &c.timer, 1);
	for (int i = 0; i < 3; i++)
		step(l);
	timer_clear(l, &c.timer);
}

static void test_timers_in_callbacks(void)
{
	on_both(timers_in_callbacks);
}

/* ---- wakes ---- */

enum { THREADS = 4, WAKES = 2000 };

struct waker {
	struct loop_wake wake;
	struct loop *l;
	int calls, rounds;
	int asked; /* written by the thread, read by the call */
	int seen;
};

static void woken(struct loop_wake *w)
{
	struct waker *k = (struct waker *)(void *)w;

	k->calls++;
	k->seen = __atomic_load_n(&k->asked, __ATOMIC_ACQUIRE);
}

static void *waker_main(void *arg)
{
	struct waker *k = arg;

	for (int i = 1; i <= WAKES; i++) {
		__atomic_store_n(&k->asked, i, __ATOMIC_RELEASE);
		loop_wake(k->l, &k->wake);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void wakes_from_threads(struct loop *l)
{
	struct waker k[THREADS];
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		k[i] = (struct waker){ .wake.call = woken, .l = l };
		must(pthread_create(&threads[i], NULL, waker_main, &k[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++) {
		until(l, k[i].seen == WAKES);
		pthread_join(threads[i], NULL);
	}
	for (int i = 0; i < 3; i++)
		step(l);
	for (int i = 0; i < THREADS; i++) {
		check(k[i].calls >= 1 && k[i].calls <= WAKES);
		check(k[i].seen == WAKES); /* the last is never lost */
	}
}

static void test_wakes_from_threads(void)
{
	on_both(wakes_from_threads);
}

static struct {
	struct loop *l;
	struct loop_wake a, b, c;
	char order[16];
} order;

static void note(char c)
{
	order.order[strlen(order.order)] = c;
}

static void wake_a(struct loop_wake *w)
{
	(void)w;
	note('a');
	loop_wake_cancel(order.l, &order.b);
	if (strlen(order.order) == 1)
		loop_wake(order.l, &order.a); /* itself: once more, later */
}

static void wake_b(struct loop_wake *w)
{
	(void)w;
	note('b');
}

static void wake_c(struct loop_wake *w)
{
	(void)w;
	note('c');
}

static void wakes_in_order(struct loop *l)
{
	memset(&order, 0, sizeof(order));
	order.l = l;
	order.a.call = wake_a;
	order.b.call = wake_b;
	order.c.call = wake_c;
	loop_wake(l, &order.a);
	loop_wake(l, &order.b);
	loop_wake(l, &order.c);
	loop_wake(l, &order.a); /* is pending: one call */
	check(order.order[0] == 0);
	until(l, strlen(order.order) == 3);
	check(strcmp(order.order, "aca") == 0);
	loop_wake(l, &order.b);
	loop_wake_cancel(l, &order.b);
	loop_wake_cancel(l, &order.b);
	for (int i = 0; i < 3; i++)
		step(l);
	check(strcmp(order.order, "aca") == 0);
}

static void test_wakes_in_order(void)
{
	on_both(wakes_in_order);
}

/* ---- watches ---- */

struct seen {
	struct watch *w;
	int fd, calls;
	bool drain, close;
};

static void on_ready(void *user)
{
	struct seen *s = user;
	uint64_t v;

	s->calls++;
	if (s->drain)
		check(read(s->fd, &v, 1) == 1);
	if (s->close) {
		watch_close(s->w);
		s->w = NULL;
	}
}

static void on_event(void *user)
{
	struct seen *s = user;
	uint64_t v;

	s->calls++;
	check(read(s->fd, &v, sizeof(v)) == sizeof(v));
}

static void watches(struct loop *l)
{
	struct seen e = { .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	check(watch_new(&e.w, l, e.fd, on_event, &e, NULL) == 0);
	check(loop_counts(l).watches == 1);
	for (int i = 1; i < 4; i++) {
		const uint64_t one = 1;
		check(write(e.fd, &one, 8) == 8);
		until(l, e.calls == i);
	}
	step(l);
	check(e.calls == 3);

	/* Level: who leaves bytes behind is called again; who closes, never. */
	int fd[2];
	must(pipe(fd) == 0);
	struct seen p = { .fd = fd[0], .drain = true };
	check(watch_new(&p.w, l, fd[0], on_ready, &p, NULL) == 0);
	check(write(fd[1], "abc", 3) == 3);
	until(l, p.calls == 3);
	p.close = true;
	check(write(fd[1], "de", 2) == 2);
	until(l, p.w == NULL);
	step(l);
	check(p.calls == 4);

	/* The descriptor may go right behind watch_close(). */
	p = (struct seen){ .fd = fd[0], .drain = true };
	check(watch_new(&p.w, l, fd[0], on_ready, &p, NULL) == 0);
	p.calls = 0;
	watch_close(p.w);
	close(fd[0]);
	close(fd[1]);
	watch_close(NULL);
	watch_close(e.w);
	close(e.fd);
	step(l);
	check(p.calls == 0);
}

static void test_watches(void)
{
	on_both(watches);
}

/* ---- listeners ---- */

enum { BURST = 200 };

static struct {
	struct listener *x;
	int fd[BURST], n;
	int close_at;
} door;

static void accepted(void *user, int fd)
{
	(void)user;
	must(door.n < BURST);
	check((fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
	door.fd[door.n++] = fd;
	if (door.n == door.close_at) {
		listener_close(door.x);
		door.x = NULL;
	}
}

static void knock(const struct sockaddr_in *at, int *fd)
{
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(*fd, (const struct sockaddr *)at, sizeof(*at)) == 0);
}

static void go_home(int *guests, int n)
{
	for (int i = 0; i < n; i++)
		close(guests[i]);
	for (int i = 0; i < door.n; i++)
		close(door.fd[i]);
	door.n = 0;
}

static void listeners(struct loop *l)
{
	struct sockaddr_in at;
	int guests[BURST];

	memset(&door, 0, sizeof(door));
	check(listener_new(&door.x, l, listen_somewhere(BURST, &at), accepted, NULL, NULL) == 0);
	for (int i = 0; i < BURST; i++)
		knock(&at, &guests[i]);
	until(l, door.n == BURST);
	check(loop_counts(l).listeners == 1);
	go_home(guests, BURST);

	listener_pause(door.x, true);
	listener_pause(door.x, true);
	for (int i = 0; i < 10; i++)
		knock(&at, &guests[i]);
	for (int i = 0; i < 5; i++)
		step(l);
	check(door.n == 0);
	listener_pause(door.x, false);
	until(l, door.n == 10);
	go_home(guests, 10);

	door.close_at = 3; /* closed from inside its own callback */
	for (int i = 0; i < 5; i++)
		knock(&at, &guests[i]);
	until(l, door.n == 3);
	step(l);
	check(door.n == 3 && !door.x);
	go_home(guests, 5);
	listener_close(door.x);
}

static void test_listeners(void)
{
	on_both(listeners);
}

/* Out of descriptors: a pause instead of a spin, and then it goes on. */
static void out_of_descriptors(struct loop *l)
{
	struct sockaddr_in at;
	struct rlimit before;
	int guest;

	memset(&door, 0, sizeof(door));
	check(listener_new(&door.x, l, listen_somewhere(8, &at), accepted, NULL, NULL) == 0);
	knock(&at, &guest);
	must(getrlimit(RLIMIT_NOFILE, &before) == 0);
	const struct rlimit none = { .rlim_cur = 3, .rlim_max = before.rlim_max };
	must(setrlimit(RLIMIT_NOFILE, &none) == 0);
	until(l, loop_counts(l).timers == 1); /* the pause */
	must(setrlimit(RLIMIT_NOFILE, &before) == 0);
	for (int i = 0; i < 5; i++) {
		step(l);
		check(door.n == 0 || loop_counts(l).timers == 0);
	}
	until(l, door.n == 1);
	listener_close(door.x);
	go_home(&guest, 1);
}

static void test_out_of_descriptors(void)
{
	on_both(out_of_descriptors);
}

/* ---- the loop itself ---- */

static void stop_first(struct loop *l)
{
	loop_stop(l);
	check(loop_run(l, NULL) == 0);
	const uint64_t a = loop_now(l);
	step(l);
	check(loop_now(l) > a);
}

static void test_stop(void)
{
	on_both(stop_first);
	loop_free(NULL);
}

/* A loop with a listener that nobody closed. */
static void test_free_with_listener(void)
{
	const size_t before = count_fds();
	struct sockaddr_in at;
	struct loop *l;
	int guest;

	check(loop_new(&l, LOOP_AUTO, NULL) == 0);
	check(listener_new(&door.x, l, listen_somewhere(8, &at), accepted, NULL, NULL) == 0);
	knock(&at, &guest);
	loop_free(l);
	close(guest);
	check(count_fds() == before);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "timers sorted", test_timers_sorted },
		{ "timers in callbacks", test_timers_in_callbacks },
		{ "wakes from threads", test_wakes_from_threads },
		{ "wakes in order", test_wakes_in_order },
		{ "watches", test_watches },
		{ "listeners", test_listeners },
		{ "out of descriptors", test_out_of_descriptors },
		{ "stop", test_stop },
		{ "free with listener", test_free_with_listener },
	};
	return run_cases("loop", cases, array_len(cases));
}
