/*
 * race -- connects to the addresses of one host in turn, 250 ms apart, and keeps
 * the first that answers (RFC 8305). Names are looked up by lookup.c; the
 * overall deadline is in dial.c.
 */
#include "lib/io/race.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/loop/loop_backend.h"

static const uint64_t stagger_ns = 250000000; /* RFC 8305, 5: Connection Attempt Delay */
/* A SYN that was lost is sent again after 1, 3 and 7 s: with a new one every two
 * seconds a path that comes back is found within one. */
static const uint64_t again_ns = 2000000000;

struct attempt {
	struct race *race;
	struct watch *watch;
	int fd;
};

struct race {
	struct loop *loop;
	struct timer next;
	race_done_fn *done;
	void *user;
	size_t n, started, pending; /* the address of attempt i is to[i % n] */
	struct fault why;
	char name[128];
	struct sockaddr_storage to[RACE_MAX];
	struct attempt attempts[RACE_MAX];
};

void race_address_text(char *out, size_t size, const struct sockaddr_storage *a)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, size, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)a;
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%u", host, ntohs(in->sin_port));
	}
}

void race_interleave(struct sockaddr_storage *a, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		size_t j = i;
		while (j < n && a[j].ss_family == a[i - 1].ss_family)
			j++;
		if (j == n)
			return;
		/* Moved, not swapped: within a family the resolver's order stays. */
		const struct sockaddr_storage other = a[j];
		memmove(&a[i + 1], &a[i], (j - i) * sizeof(*a));
		a[i] = other;
	}
}

static void attempt_close(struct attempt *a, bool keep_fd)
{
	if (a->fd < 0)
		return;
	watch_close(a->watch);
	if (!keep_fd)
		close(a->fd);
	a->watch = NULL;
	a->fd = -1;
	a->race->pending--;
}

void race_cancel(struct race *r)
{
	if (!r)
		return;
	timer_clear(r->loop, &r->next);
	for (size_t i = 0; i < r->started; i++)
		attempt_close(&r->attempts[i], false);
	mem_free(&mem_heap, r);
}

static void finish(struct race *r, int fd, const struct sockaddr_storage *winner)
{
	race_done_fn *done = r->done;
	void *user = r->user;
	const struct fault why = r->why;
	const struct sockaddr_storage address = winner ? *winner : (struct sockaddr_storage){ 0 };

	race_cancel(r);
	done(user, fd, &address, &why);
}

/* A family that this host has not is the least telling of all reasons. */
static bool is_about_us(int sys)
{
	return sys == ENETUNREACH || sys == EADDRNOTAVAIL || sys == EAFNOSUPPORT;
}

static const struct sockaddr_storage *address_of(const struct attempt *a)
{
	return &a->race->to[(size_t)(a - a->race->attempts) % a->race->n];
}

static void note_failure(struct race *r, const struct attempt *a, int sys)
{
	char address[64];

	if (r->why.code && !is_about_us(r->why.sys))
		return;
	r->why = (struct fault){ 0 };
	race_address_text(address, sizeof(address), address_of(a));
	(void)fault_set_sys(&r->why, sys, "connect to %s (%s)", r->name, address);
}

static void start_next(struct race *r);

static void on_writable(void *user)
{
	struct attempt *a = user;
	struct race *r = a->race;
	int sys = 0;
	socklen_t n = sizeof(sys);

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0)
		sys = errno;
	if (sys) {
		note_failure(r, a, sys);
		attempt_close(a, false);
		if (r->started < r->n)
			start_next(r);
		else if (!r->pending)
			finish(r, -1, NULL);
		return;
	}
	const int fd = a->fd;
	attempt_close(a, true);
	finish(r, fd, address_of(a));
}

/* 0 when the answer will come through the watch, else an errno. */
static int attempt_begin(struct attempt *a, const struct sockaddr_storage *to)
{
	const int one = 1;
	const socklen_t n = to->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						      : sizeof(struct sockaddr_in);
	struct fault why = { 0 };

	a->fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return errno;
	a->race->pending++;
	(void)setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	int sys = 0;
	if (connect(a->fd, (const struct sockaddr *)to, n) < 0 && errno != EINPROGRESS &&
	    errno != EINTR)
		sys = errno;
	else if (watch_new_internal(&a->watch, a->race->loop, a->fd, POLLOUT, on_writable, a,
				    &why) < 0)
		sys = why.sys ? why.sys : ENOMEM;
	if (sys)
		attempt_close(a, false);
	return sys;
}

/* The next address, or in place of those that this host refuses the one after
 * it, to the end of a round. */
static void start_next(struct race *r)
{
	int sys;

	timer_clear(r->loop, &r->next);
	do {
		struct attempt *a = &r->attempts[r->started++];

		sys = attempt_begin(a, address_of(a));
		if (sys)
			note_failure(r, a, sys);
	} while (sys && r->started < RACE_MAX && r->started % r->n);
	if (!r->pending)
		finish(r, -1, NULL);
	else if (r->started < RACE_MAX)
		timer_set(r->loop, &r->next,
			  loop_now(r->loop) + (r->started % r->n ? stagger_ns : again_ns));
}

static void on_next(struct timer *t)
{
	start_next(owner_of(t, struct race, next));
}

int race_start(struct race **out, struct loop *l, const struct sockaddr_storage *to, size_t n,
	       const char *name, race_done_fn *done, void *user, struct fault *why)
{
	*out = NULL;
	must(n > 0);
	struct race *r = mem_alloc_zeroed(&mem_heap, sizeof(*r));
	if (!r)
		return fault_set(why, ERR_NOMEM, "no memory to connect to %s", name);
	r->loop = l;
	r->done = done;
	r->user = user;
	r->next.fire = on_next;
	r->n = min_size(n, RACE_MAX);
	memcpy(r->to, to, r->n * sizeof(*to));
	snprintf(r->name, sizeof(r->name), "%s", name);
	for (size_t i = 0; i < RACE_MAX; i++)
		r->attempts[i] = (struct attempt){ .race = r, .fd = -1 };
	race_interleave(r->to, r->n);
	timer_set(l, &r->next, loop_now(l));
	*out = r;
	return 0;
}
