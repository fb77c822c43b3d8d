/*
 * A thread that sleeps on the word that control rings, through its own read-only map.
 * It carries no data: whoever is woken reads the record.
 */
#include "shm/doorbell.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/guard.h"
#include "shm/layout.h"

#define SLEEP_MS 1000 /* until the thread looks for another segment by itself */

/* One page of a segment, ours to unmap. */
struct ear {
	void *page; /* NULL: none */
	size_t at;  /* of the word in it */
};

struct doorbell {
	void (*rung)(void *user);
	void *user;
	pthread_t thread;
	uint64_t life; /* of the reader: what is followed; the loop's */

	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t news;
	struct ear next; /* for the thread to take */
	struct ear now;	 /* what it sleeps on */
	bool has_next, ends, has_ended;
};

static struct timespec in_ms(unsigned ms)
{
	return (struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };
}

static const _Atomic uint32_t *word_of(const struct ear *e)
{
	return (const void *)((const char *)e->page + e->at);
}

static void unmap(struct ear *e)
{
	if (e->page)
		munmap(e->page, BUS_PAGE);
	*e = (struct ear){ 0 };
}

/* The file may be cut under us: then the word is 0 from now on, and nobody rings. */
static uint32_t load(const struct ear *e)
{
	bus_guard_enter(e->page, BUS_PAGE);
	const uint32_t v = atomic_load_explicit(word_of(e), memory_order_acquire);
	(void)!bus_guard_leave();
	return v;
}

/* Sleeps until the word is not `seen`: true when that is so, false to look
 * around first. */
static bool is_rung(const struct ear *e, uint32_t seen)
{
	const struct timespec most = in_ms(SLEEP_MS);

	if (syscall(SYS_futex, word_of(e), FUTEX_WAIT, seen, &most, NULL, 0) == 0 ||
	    errno == EAGAIN || errno == EINTR)
		return load(e) != seen;
	if (errno != ETIMEDOUT) /* a map the kernel can't read: don't spin on it */
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	return false;
}

/* Takes what is to be followed; waits while that is nothing.  False at the end. */
static bool take(struct doorbell *d, bool *is_new)
{
	pthread_mutex_lock(&d->lock);
	while (!d->ends && !d->has_next && !d->now.page)
		pthread_cond_wait(&d->news, &d->lock);
	*is_new = d->has_next;
	if (d->has_next) {
		unmap(&d->now);
		d->now = d->next;
		d->next = (struct ear){ 0 };
		d->has_next = false;
	}
	const bool ends = d->has_ended = d->ends;
	pthread_mutex_unlock(&d->lock);
	return !ends;
}

static void *listen(void *user)
{
	const struct timespec pause = in_ms(DOORBELL_PAUSE_MS);
	struct doorbell *d = user;
	uint32_t seen = 0;
	bool is_new;

	while (take(d, &is_new)) {
		if (!d->now.page)
			continue;
		if (!is_new && !is_rung(&d->now, seen))
			continue;
		seen = load(&d->now);
		d->rung(d->user);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* Signals are the loop's: the thread gets none but its own faults. */
static int start(struct doorbell *d)
{
	sigset_t all, old;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	const int rc = pthread_create(&d->thread, NULL, listen, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

int doorbell_new(struct doorbell **out, void (*rung)(void *user), void *user, struct fault *why)
{
	struct doorbell *d = calloc(1, sizeof(*d));

	*out = NULL;
	if (!d)
		return fault_set(why, ERR_NOMEM, "no memory for the doorbell");
	d->rung = rung;
	d->user = user;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->news, NULL);
	const int rc = start(d);
	if (rc) {
		free(d);
		return fault_set_sys(why, rc, "start the thread of the doorbell");
	}
	*out = d;
	return 0;
}

/* Out of its sleep; FUTEX_WAKE needs no write access to the word. */
static void nudge(struct doorbell *d)
{
	pthread_cond_signal(&d->news);
	if (d->now.page)
		syscall(SYS_futex, word_of(&d->now), FUTEX_WAKE, 1, NULL, NULL, 0);
}

void doorbell_follow(struct doorbell *d, const struct bus_reader *r)
{
	struct bus_reader_place place;
	struct ear ear = { 0 };

	if (!d)
		return;
	const bool is_there = bus_reader_doorbell(r, &place);
	if (d->life == (is_there ? place.life : 0))
		return;
	d->life = is_there ? place.life : 0;
	if (is_there) {
		void *page = mmap(NULL, BUS_PAGE, PROT_READ, MAP_SHARED, place.fd,
				  (off_t)(place.off / BUS_PAGE * BUS_PAGE));
		if (page != MAP_FAILED)
			ear = (struct ear){ page, place.off % BUS_PAGE };
	}
	pthread_mutex_lock(&d->lock);
	unmap(&d->next);
	d->next = ear;
	d->has_next = true;
	nudge(d);
	pthread_mutex_unlock(&d->lock);
}

void doorbell_free(struct doorbell *d)
{
	if (!d)
		return;
	for (bool has_ended = false; !has_ended;) { /* it may be between its look and its sleep */
		pthread_mutex_lock(&d->lock);
		d->ends = true;
		has_ended = d->has_ended;
		nudge(d);
		pthread_mutex_unlock(&d->lock);
		if (!has_ended)
			nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	pthread_join(d->thread, NULL);
	unmap(&d->now);
	unmap(&d->next);
	pthread_cond_destroy(&d->news);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
