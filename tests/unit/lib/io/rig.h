/*
 * rig -- what the tests of lib/io share: one body run on both backends, TCP
 * pairs on the loopback, and a gate that nothing is left behind.
 */
#ifndef TESTS_UNIT_LIB_IO_RIG_H
#define TESTS_UNIT_LIB_IO_RIG_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/io/loop/loop.h"
#include "tests/support/cases.h"

static inline size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

struct rig_alarm {
	struct timer timer;
	struct loop *l;
};

static inline void rig_ring(struct timer *t)
{
	loop_stop(((struct rig_alarm *)(void *)t)->l);
}

/* Lets the loop run for about a millisecond. */
static inline void step(struct loop *l)
{
	struct rig_alarm a = { .timer.fire = rig_ring, .l = l };
	struct fault why = { 0 };

	timer_set(l, &a.timer, loop_now(l) + 1000000);
	if (!check(loop_run(l, &why) == 0))
		puts(why.why);
	timer_clear(l, &a.timer);
}

/* Runs until cond holds.  The bound is only reached by a failing test, which
 * then does not wait long for the rest. */
static int until_steps = 5000;

#define until(l, cond)                                                                             \
	do {                                                                                       \
		for (int until_i = 0; until_i < until_steps && !(cond); until_i++)                 \
			step(l);                                                                   \
		if (!check_row(loop_backend(l), cond))                                             \
			until_steps = 20;                                                          \
	} while (0)

static inline int listen_somewhere(int backlog, struct sockaddr_in *at)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(*at);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	must(fd >= 0 && bind(fd, (struct sockaddr *)at, n) == 0 && listen(fd, backlog) == 0);
	must(getsockname(fd, (struct sockaddr *)at, &n) == 0);
	return fd;
}

/* Two ends of a TCP connection, non-blocking. */
static inline void tcp_pair(int fd[2])
{
	struct sockaddr_in at;
	const int x = listen_somewhere(1, &at);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(fd[0], (struct sockaddr *)&at, sizeof(at)) == 0);
	fd[1] = accept4(x, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	must(fd[1] >= 0);
	const int flags = fcntl(fd[0], F_GETFL);
	must(fcntl(fd[0], F_SETFL, flags | O_NONBLOCK) == 0);
	close(x);
}

/* One end on the loop, and what it was told. */
struct end {
	struct sock *s;
	int connected, data, sent, errors, closed;
	int sys;
	bool eof, rearm, close_in_callback;
	size_t max;
	uint8_t got[70000];
	size_t got_n;
};

static inline void end_connected(struct sock *s, void *user, int sys)
{
	struct end *e = user;

	(void)s;
	e->connected++;
	e->sys = sys;
	if (e->close_in_callback)
		sock_close(e->s, false);
}

static inline void end_data(struct sock *s, void *user, struct mspan data)
{
	struct end *e = user;

	e->data++;
	check(data.n <= e->max);
	if (!data.n)
		e->eof = true;
	memset(data.p - SOCK_HEADROOM * (data.n > 0), 0xaa, SOCK_HEADROOM * (data.n > 0));
	const size_t n = min_size(data.n, sizeof(e->got) - e->got_n);
	if (n)
		memcpy(e->got + e->got_n, data.p, n);
	e->got_n += n;
	if (data.n)
		memset(data.p, 0xbb, data.n + SOCK_HEADROOM);
	if (e->close_in_callback)
		sock_close(s, false);
	else if (e->rearm && data.n)
		sock_recv(s, e->max);
}

static inline void end_sent(struct sock *s, void *user)
{
	struct end *e = user;

	e->sent++;
	if (e->close_in_callback)
		sock_close(s, false);
}

static inline void end_error(struct sock *s, void *user, int sys)
{
	struct end *e = user;

	e->errors++;
	e->sys = sys;
	if (e->close_in_callback)
		sock_close(s, false);
}

static inline void end_closed(void *user)
{
	struct end *e = user;

	e->closed++;
	e->s = NULL;
}

static const struct sock_handler end_handler = {
	.on_connected = end_connected,
	.on_data = end_data,
	.on_sent = end_sent,
	.on_error = end_error,
	.on_closed = end_closed,
};

static inline struct end *end_new(struct loop *l, int fd)
{
	struct end *e = calloc(1, sizeof(*e));

	must(e);
	e->max = 16384;
	check(sock_new(&e->s, l, fd, &end_handler, e, NULL) == 0);
	return e;
}

static inline void end_free(struct loop *l, struct end *e)
{
	if (e->s)
		sock_close(e->s, false);
	until(l, e->closed == 1);
	free(e);
}

static inline void end_send(struct end *e, const void *p, size_t n)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };

	sock_send(e->s, &iov, 1);
}

static inline void end_pair(struct loop *l, struct end *pair[2])
{
	int fd[2];

	tcp_pair(fd);
	pair[0] = end_new(l, fd[0]);
	pair[1] = end_new(l, fd[1]);
}

/* Runs body on a loop of each backend; then nothing may be alive. */
static inline void on_both(void (*body)(struct loop *l))
{
	static const enum loop_choice choices[] = { LOOP_EPOLL, LOOP_URING };

	for (size_t i = 0; i < array_len(choices); i++) {
		const size_t before = count_fds();
		const struct mem_use heap = mem_heap_use();
		struct fault why = { 0 };
		struct loop *l;
		if (loop_new(&l, choices[i], &why) < 0) {
			check(choices[i] == LOOP_URING);
			printf(" [uring skipped: %s] ", why.why);
			continue;
		}
		body(l);
		step(l);
		step(l); /* cancelled operations have their answers */
		const struct loop_counts c = loop_counts(l);
		check_row(loop_backend(l), c.in_kernel == 1); /* the loop's own watch */
		check_row(loop_backend(l), c.socks == 0);
		check_row(loop_backend(l), c.listeners == 0);
		check_row(loop_backend(l), c.watches == 0);
		check_row(loop_backend(l), c.timers == 0);
		check_row(loop_backend(l), c.in_flight == 0);
		loop_free(l);
		check_row(i ? "uring" : "epoll", mem_heap_use().blocks == heap.blocks);
		check_row(i ? "uring" : "epoll", count_fds() == before);
	}
}

#endif
