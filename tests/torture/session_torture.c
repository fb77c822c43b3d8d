/*
 * Each allocation, each system call, each completion of the ring fails in turn,
 * in a life of a tunnel that is as real as one process can have it: TLS, the
 * gateway, both backends, a bus that somebody could read.
 *
 *	session_torture [stride [row]]   every stride-th call only; one row only
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "tests/torture/life.h"

enum { CALLS_MAX = 3000, HANG_S = 60 };
enum on { BOTH, EPOLL, URING, WORLD };

static const struct row {
	const char *name;
	enum fail_kind kind;
	int sys;
	bool lasting;
	enum on on;
} rows[] = {
	{ "malloc", FAIL_ALLOC, ENOMEM, false, BOTH },
	{ "malloc, for good", FAIL_ALLOC, ENOMEM, true, BOTH },
	{ "OpenSSL's malloc", FAIL_LIBRARY_ALLOC, ENOMEM, false, EPOLL },
	{ "OpenSSL's malloc, for good", FAIL_LIBRARY_ALLOC, ENOMEM, true, EPOLL },
	{ "socket EMFILE", FAIL_socket, EMFILE, false, BOTH },
	{ "socket ENOBUFS", FAIL_socket, ENOBUFS, true, BOTH },
	{ "socketpair EMFILE", FAIL_socketpair, EMFILE, false, URING },
	{ "connect ECONNREFUSED", FAIL_connect, ECONNREFUSED, false, BOTH },
	{ "connect EADDRNOTAVAIL", FAIL_connect, EADDRNOTAVAIL, true, BOTH },
	{ "connect EINTR", FAIL_connect, EINTR, true, BOTH },
	{ "getaddrinfo EIO", FAIL_getaddrinfo, EIO, false, BOTH },
	{ "pthread_create EAGAIN", FAIL_pthread_create, EAGAIN, false, BOTH },
	{ "setsockopt EINVAL", FAIL_setsockopt, EINVAL, true, BOTH },
	{ "getsockopt ENOBUFS", FAIL_getsockopt, ENOBUFS, false, BOTH },
	{ "ioctl EIO", FAIL_ioctl, EIO, false, URING },
	{ "shutdown ENOTCONN", FAIL_shutdown, ENOTCONN, false, BOTH },
	{ "eventfd EMFILE", FAIL_eventfd, EMFILE, false, BOTH },
	{ "mmap ENOMEM", FAIL_mmap, ENOMEM, false, BOTH },
	{ "openat ENOSPC", FAIL_openat, ENOSPC, false, EPOLL },
	{ "openat EMFILE", FAIL_openat, EMFILE, true, EPOLL },
	{ "fallocate ENOSPC", FAIL_posix_fallocate, ENOSPC, false, EPOLL },
	{ "renameat EROFS", FAIL_renameat, EROFS, true, EPOLL },
	{ "mkdirat EACCES", FAIL_mkdirat, EACCES, true, EPOLL },
	{ "fchmod EPERM", FAIL_fchmod, EPERM, true, EPOLL },
	{ "write EAGAIN", FAIL_write, EAGAIN, false, EPOLL },
	{ "write EIO", FAIL_write, EIO, true, EPOLL },
	{ "epoll_create1 EMFILE", FAIL_epoll_create1, EMFILE, false, EPOLL },
	{ "epoll_ctl ENOMEM", FAIL_epoll_ctl, ENOMEM, false, EPOLL },
	{ "epoll_ctl ENOSPC", FAIL_epoll_ctl, ENOSPC, true, EPOLL },
	{ "epoll_wait EINTR", FAIL_epoll_wait, EINTR, false, EPOLL },
	{ "epoll_wait EBADF", FAIL_epoll_wait, EBADF, false, EPOLL },
	/* EAGAIN comes from the kernel with an edge to follow, else it is none. */
	{ "recv EINTR", FAIL_recv, EINTR, false, EPOLL },
	{ "recv ECONNRESET", FAIL_recv, ECONNRESET, false, EPOLL },
	{ "recv ENOMEM", FAIL_recv, ENOMEM, false, EPOLL },
	{ "recv ETIMEDOUT", FAIL_recv, ETIMEDOUT, false, EPOLL },
	{ "sendmsg EINTR", FAIL_sendmsg, EINTR, false, EPOLL },
	{ "sendmsg EPIPE", FAIL_sendmsg, EPIPE, false, EPOLL },
	{ "sendmsg ECONNRESET", FAIL_sendmsg, ECONNRESET, false, EPOLL },
	{ "sendmsg ENOBUFS", FAIL_sendmsg, ENOBUFS, false, EPOLL },
	{ "sendmsg short", FAIL_sendmsg, FAIL_SHORT, true, EPOLL },
	{ "ring setup EPERM", FAIL_ring_setup, EPERM, false, URING },
	{ "ring setup ENOMEM", FAIL_ring_setup, ENOMEM, false, URING },
	{ "ring buffers ENOMEM", FAIL_ring_register, ENOMEM, false, URING },
	{ "ring enter EINTR", FAIL_ring_enter, EINTR, false, URING },
	{ "ring enter EAGAIN", FAIL_ring_enter, EAGAIN, false, URING },
	{ "ring enter EBUSY", FAIL_ring_enter, EBUSY, false, URING },
	{ "ring enter ENOMEM", FAIL_ring_enter, ENOMEM, false, URING },
	{ "cqe recv ECANCELED", FAIL_cqe_recv, ECANCELED, false, URING },
	{ "cqe recv EAGAIN", FAIL_cqe_recv, EAGAIN, false, URING },
	{ "cqe recv EINTR", FAIL_cqe_recv, EINTR, false, URING },
	{ "cqe recv ENOBUFS", FAIL_cqe_recv, ENOBUFS, false, URING },
	{ "cqe recv ECONNRESET", FAIL_cqe_recv, ECONNRESET, false, URING },
	{ "cqe recv ENOMEM", FAIL_cqe_recv, ENOMEM, false, URING },
	{ "cqe send ECANCELED", FAIL_cqe_send, ECANCELED, false, URING },
	{ "cqe send EAGAIN", FAIL_cqe_send, EAGAIN, false, URING },
	{ "cqe send EINTR", FAIL_cqe_send, EINTR, false, URING },
	{ "cqe send EPIPE", FAIL_cqe_send, EPIPE, false, URING },
	{ "cqe send ENOBUFS", FAIL_cqe_send, ENOBUFS, false, URING },
	{ "cqe send short", FAIL_cqe_send, FAIL_SHORT, true, URING },
	{ "cqe poll ECANCELED", FAIL_cqe_poll, ECANCELED, false, URING },
	{ "cqe poll ENOMEM", FAIL_cqe_poll, ENOMEM, false, URING },
	{ "cqe order", FAIL_cqe_order, 0, true, URING },
	/* In the gateway, the service, the visitor: what the tunnel sees of it, and
	 * listeners, which only they have. */
	{ "peers' accept4 EMFILE", FAIL_accept4, EMFILE, false, WORLD },
	{ "peers' accept4 ENOBUFS", FAIL_accept4, ENOBUFS, false, WORLD },
	{ "peers' accept4 EINTR", FAIL_accept4, EINTR, false, WORLD },
	{ "peers' recv ECONNRESET", FAIL_recv, ECONNRESET, false, WORLD },
	{ "peers' sendmsg EPIPE", FAIL_sendmsg, EPIPE, false, WORLD },
	{ "peers' sendmsg short", FAIL_sendmsg, FAIL_SHORT, true, WORLD },
	{ "peers' epoll_wait EINTR", FAIL_epoll_wait, EINTR, false, WORLD },
};

static struct {
	uint64_t lives, of[LIFE_ENDS_N], bugs, wrong_reasons;
} totals;
static char now_doing[128];

/* The reason that a failed call ends in, where it ends a connection. */
static bool is_right(const struct row *r, const struct fault *why)
{
	if (!why->code || !why->why[0])
		return false;
	if (r->on == WORLD) /* it only sees that somebody is gone */
		return why->code == ERR_CLOSED || why->code == ERR_LISTEN;
	if (why->sys == r->sys || (r->sys == ENOMEM && why->code == ERR_NOMEM))
		return true;
	switch (r->sys) {
	case ECONNRESET:
	case EPIPE:
		return why->code == ERR_CLOSED;
	case ETIMEDOUT:
		return why->code == ERR_TIMEOUT;
	case EIO: /* resolve */
		return why->code == ERR_NAME;
	case EAGAIN: /* a thread */
		return why->code == ERR_NOMEM;
	}
	/* OpenSSL does not always say that it was for memory; and what is too short for
	 * the ring's test of itself is a wrong echo. */
	return r->kind == FAIL_LIBRARY_ALLOC || r->sys == FAIL_SHORT;
}

/* Nothing is lost by it: it is asked for again. */
static bool is_harmless(const struct row *r)
{
	return r->sys == EINTR || r->sys == FAIL_SHORT || r->kind == FAIL_cqe_order ||
	       (r->kind == FAIL_cqe_recv && r->sys == ENOBUFS) ||
	       (r->kind >= FAIL_ring_enter && (r->sys == EAGAIN || r->sys == EBUSY));
}

static void count(const struct row *r, const struct life *life)
{
	totals.lives++;
	totals.of[life->end]++;
	if (life->end >= LIFE_STUCK) {
		totals.bugs++;
		printf("BUG     %s: %s\n", now_doing, life->note);
	} else if ((life->end == LIFE_RECOVERED && is_harmless(r)) ||
		   (life->end >= LIFE_RECOVERED && !is_right(r, &life->why))) {
		totals.wrong_reasons++;
		printf("REASON  %s: %s: %s\n", now_doing, err_name(life->why.code), life->why.why);
	}
}

static void torture(struct world *w, const struct row *r, enum loop_choice io, const char *bus,
		    unsigned stride)
{
	const char *loop = io == LOOP_EPOLL ? "epoll" : "uring";
	uint64_t of[LIFE_ENDS_N], calls = 0;
	const uint64_t before = totals.lives;

	memcpy(of, totals.of, sizeof(of));
	/* The first, and then not the same calls in each row, where some are left out. */
	const uint64_t second = 2 + (uint64_t)(r - rows) % stride;
	for (uint64_t nth = 1; nth < CALLS_MAX; nth = nth == 1 ? second : nth + stride) {
		const struct fail_plan plan = { r->kind, r->sys, nth, r->lasting };
		struct life life;

		snprintf(now_doing, sizeof(now_doing), "%s, %s, call %llu", r->name, loop,
			 (unsigned long long)nth);
		alarm(HANG_S);
		life_run(&life, w, io, bus, &plan, r->on == WORLD);
		count(r, &life);
		if (life.end == LIFE_UNTOUCHED)
			break;
		calls = nth;
	}
	printf("%-28s %-6s %6llu %6llu %8llu %8llu %8llu\n", r->name, loop,
	       (unsigned long long)calls, (unsigned long long)(totals.lives - before),
	       (unsigned long long)(totals.of[LIFE_UNMOVED] - of[LIFE_UNMOVED]),
	       (unsigned long long)(totals.of[LIFE_RECOVERED] - of[LIFE_RECOVERED]),
	       (unsigned long long)(totals.of[LIFE_REFUSED] - of[LIFE_REFUSED]));
	fflush(stdout);
}

static bool has_uring(void)
{
	struct fault why = { 0 };
	struct loop *l;

	if (loop_new(&l, LOOP_URING, &why) < 0) {
		printf("skipped io_uring: %s\n", why.why);
		return false;
	}
	loop_free(l);
	return true;
}

static void on_alarm(int signo)
{
	(void)signo;
	(void)!write(STDOUT_FILENO, "HANGS   ", 8);
	(void)!write(STDOUT_FILENO, now_doing, strlen(now_doing));
	(void)!write(STDOUT_FILENO, "\n", 1);
	abort();
}

static void remove_bus(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' || strlen(e->d_name) > 2)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	(void)rmdir(dir);
}

int main(int argc, char **argv)
{
	const unsigned stride =
		argc > 1 && strtol(argv[1], NULL, 10) > 0 ? (unsigned)strtol(argv[1], NULL, 10) : 1;
	char bus[] = "/tmp/torture-XXXXXX";

	fail_start();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_alarm);
	log_start(&(struct log_options){ .component = "torture", .level = LOG_DEBUG, .json = true,
					 .fd = open("/dev/null", O_WRONLY | O_CLOEXEC) });
	if (!mkdtemp(bus))
		return 1;
	struct world *w = world_new();
	const bool uring = has_uring();
	printf("%-28s %-6s %6s %6s %8s %8s %8s\n", "what fails", "loop", "calls", "lives",
	       "unmoved", "back", "refused");
	for (const struct row *r = rows; r < rows + array_len(rows); r++) {
		if (argc > 2 && !strstr(r->name, argv[2]))
			continue;
		if (r->on != URING)
			torture(w, r, LOOP_EPOLL, bus, stride);
		if ((r->on == BOTH || r->on == URING) && uring)
			torture(w, r, LOOP_URING, bus, stride);
	}
	alarm(0);
	world_free(w);
	remove_bus(bus);
	printf("%llu untouched, %llu unmoved, %llu came back, %llu refused to go on; %llu bugs, "
	       "%llu wrong "
	       "reasons\n",
	       (unsigned long long)totals.of[LIFE_UNTOUCHED],
	       (unsigned long long)totals.of[LIFE_UNMOVED],
	       (unsigned long long)totals.of[LIFE_RECOVERED],
	       (unsigned long long)totals.of[LIFE_REFUSED], (unsigned long long)totals.bugs,
	       (unsigned long long)totals.wrong_reasons);
	const uint64_t failed = totals.bugs + totals.wrong_reasons;
	printf("%llu passed, %llu failed\n", (unsigned long long)(totals.lives - failed),
	       (unsigned long long)failed);
	return totals.bugs || totals.wrong_reasons;
}
