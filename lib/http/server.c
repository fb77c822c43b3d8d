#include "lib/http/server_h1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/proto/http/http1.h"

#define SECOND UINT64_C(1000000000)

enum {
	CONNECTIONS_MAX = 64,
	BACKLOG = 128,
	BODY_MAX = 4 << 20,
	HEAD_MAX = 2048,	       /* of an answer */
	GOODBYE_BYTES_MAX = 256 << 10, /* read and dropped after the last answer */
};

static const uint64_t usual_timeout_ns[SERVER_CONN_STATES] = {
	[SERVER_CONN_IDLE] = 30 * SECOND,     /* the first byte of a request */
	[SERVER_CONN_HEAD] = 5 * SECOND,      /* the rest of its head */
	[SERVER_CONN_RESPONSE] = 30 * SECOND, /* the client to take the answer */
	[SERVER_CONN_LINGER] = 2 * SECOND,    /* the client to close, after the last answer */
};

/* ---- the list, and states ---- */

static void unlink_conn(struct http_conn *c)
{
	struct http_server *s = c->server;

	*(c->prev ? &c->prev->next : &s->first) = c->next;
	*(c->next ? &c->next->prev : &s->newest) = c->prev;
	c->prev = c->next = NULL;
	s->count--;
}

static void link_newest(struct http_server *s, struct http_conn *c)
{
	c->prev = s->newest;
	*(s->newest ? &s->newest->next : &s->first) = c;
	s->newest = c;
	s->count++;
}

void http_conn_enter(struct http_conn *c, enum server_conn_state state)
{
	struct http_server *s = c->server;

	c->state = state;
	c->since_ns = loop_now(s->loop);
	unlink_conn(c);
	link_newest(s, c);
	timer_set(s->loop, &c->timer, loop_now(s->loop) + s->timeout_ns[state]);
}

void http_conn_end(struct http_conn *c, bool reset)
{
	struct http_server *s = c->server;

	must(s); /* no callback but on_closed comes after it has let go */
	timer_clear(s->loop, &c->timer);
	unlink_conn(c);
	c->server = NULL;
	if (s->drained && s->count == 0)
		timer_set(s->loop, &s->drained_soon, loop_now(s->loop));
	sock_close(c->sock, reset);
}

static void on_closed(void *user)
{
	struct http_conn *c = user;

	buf_fini(&c->in);
	buf_fini(&c->head);
	buf_fini(&c->body);
	mem_free(&mem_heap, c);
}

/* ---- callbacks ---- */

static void on_data(struct sock *sock, void *user, struct mspan data)
{
	struct http_conn *c = user;

	if (c->state == SERVER_CONN_RESPONSE)
		return; /* what was asked for before a 408, which is the last answer */
	if (data.n == 0) {
		http_conn_end(c, false);
		return;
	}
	if (c->state == SERVER_CONN_LINGER) {
		c->dropped += data.n;
		if (c->dropped > GOODBYE_BYTES_MAX)
			http_conn_end(c, true);
		else
			sock_recv(sock, HTTP1_REQUEST_HEAD_MAX);
		return;
	}
	if (c->state == SERVER_CONN_IDLE)
		http_conn_enter(c, SERVER_CONN_HEAD); /* empty lines as well: they are no reason to
							 wait longer */
	if (buf_append(&c->in, data.p, data.n) < 0) {
		http_conn_end(c, true);
		return;
	}
	/* Only a line's end can complete or break a head, or too much of it. */
	if (memchr(data.p, '\n', data.n) || buf_room(&c->in) == 0)
		http_conn_look(c);
	else
		sock_recv(sock, buf_room(&c->in));
}

/* The write side is closed first and what the client still sends is read: a
 * close with unread bytes would be a reset, which can overtake the answer. */
static void say_goodbye(struct http_conn *c)
{
	http_conn_enter(c, SERVER_CONN_LINGER);
	buf_consume(&c->in, buf_len(&c->in));
	sock_shutdown_write(c->sock);
	sock_recv(c->sock, HTTP1_REQUEST_HEAD_MAX);
}

static void on_sent(struct sock *sock, void *user)
{
	struct http_conn *c = user;

	(void)sock;
	buf_consume(&c->head, buf_len(&c->head));
	buf_consume(&c->body, buf_len(&c->body));
	if (c->last || c->server->drained) {
		say_goodbye(c);
		return;
	}
	http_conn_enter(c, SERVER_CONN_IDLE);
	http_conn_look(c);
}

static void on_error(struct sock *sock, void *user, int sys)
{
	(void)sock;
	(void)sys;
	http_conn_end(user, true);
}

static void on_timeout(struct timer *t)
{
	struct http_conn *c = (struct http_conn *)((char *)t - offsetof(struct http_conn, timer));

	switch (c->state) {
	case SERVER_CONN_HEAD:
		http_conn_refuse(c, 408, NULL, "the request did not come in time", false);
		return;
	case SERVER_CONN_RESPONSE:
		http_conn_end(c, true);
		return;
	case SERVER_CONN_IDLE:
	case SERVER_CONN_LINGER:
	case SERVER_CONN_STATES:
		http_conn_end(c, false);
		return;
	}
}

static const struct sock_handler handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

/* Under pressure a client has a part of its time to take an answer: 2 of 30 s. */
static bool is_slow(const struct http_server *s, const struct http_conn *c)
{
	return loop_now(s->loop) - c->since_ns >= s->timeout_ns[SERVER_CONN_RESPONSE] / 15;
}

/* Ends the connection that is worth least; false when all are being answered, and
 * none of them is slow. */
static bool make_room(struct http_server *s)
{
	static const enum server_conn_state order[] = { SERVER_CONN_LINGER, SERVER_CONN_IDLE,
							SERVER_CONN_HEAD, SERVER_CONN_RESPONSE };

	for (size_t i = 0; i < array_len(order); i++)
		for (struct http_conn *c = s->first; c; c = c->next)
			if (c->state == order[i] &&
			    (order[i] != SERVER_CONN_RESPONSE || is_slow(s, c))) {
				http_conn_end(c, order[i] != SERVER_CONN_IDLE);
				return true;
			}
	return false;
}

static void on_accept(void *user, int fd)
{
	struct http_server *s = user;
	const int on = 1;

	if (s->count >= CONNECTIONS_MAX && !make_room(s)) {
		close(fd);
		return;
	}
	struct http_conn *c = mem_alloc_zeroed(&mem_heap, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	buf_init(&c->in, &mem_heap, HTTP1_REQUEST_HEAD_MAX);
	buf_init(&c->head, &mem_heap, HEAD_MAX);
	buf_init(&c->body, &mem_heap, BODY_MAX);
	c->timer.fire = on_timeout;
	if (sock_new(&c->sock, s->loop, fd, &handler, c, NULL) < 0) {
		on_closed(c);
		return;
	}
	c->server = s;
	link_newest(s, c);
	http_conn_enter(c, SERVER_CONN_IDLE);
	sock_recv(c->sock, HTTP1_REQUEST_HEAD_MAX);
}

/* ---- the server ---- */

static socklen_t read_address(const struct http_server_options *o, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, o->bind, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(o->port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, o->bind, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(o->port);
		return sizeof(*v6);
	}
	return 0;
}

static int cannot_bind(const struct http_server_options *o, int sys, struct fault *why)
{
	if (sys == EADDRINUSE)
		return fault_set(
			why, ERR_SYS,
			"port %u on %s is already in use: set PIPEOPS_PORT or --port to a free one",
			o->port, o->bind);
	if (sys == EACCES)
		return fault_set(
			why, ERR_SYS,
			"port %u on %s is not allowed to this user: set PIPEOPS_PORT or --port "
			"to one above 1023",
			o->port, o->bind);
	return fault_set_sys(why, sys, "listen on port %u of %s", o->port, o->bind);
}

/* The kernel frees the listening socket of a killed process some milliseconds
 * after its io_uring, and who restarts it may be quicker. */
static int bind_patiently(int fd, const struct sockaddr *at, socklen_t n, uint64_t busy_ns)
{
	static const struct timespec nap = { .tv_nsec = 10000000 };

	while (bind(fd, at, n) < 0) {
		if (errno != EADDRINUSE || !busy_ns)
			return -1;
		nanosleep(&nap, NULL);
		busy_ns -= min_u64(busy_ns, (uint64_t)nap.tv_nsec);
	}
	return 0;
}

/* Returns the listening socket and notes the port it got. */
static int listen_at(const struct http_server_options *o, uint16_t *port, struct fault *why)
{
	struct sockaddr_storage at;
	socklen_t n = read_address(o, &at);
	const int on = 1;

	if (!n)
		return fault_set(why, ERR_CONFIG, "\"%.64s\" is no numeric address to listen on",
				 o->bind);
	const int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fault_set_sys(why, errno, "socket for port %u of %s", o->port, o->bind);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind_patiently(fd, (struct sockaddr *)&at, n, o->busy_ns) || listen(fd, BACKLOG) ||
	    getsockname(fd, (struct sockaddr *)&at, &n)) {
		const int rc = cannot_bind(o, errno, why);
		close(fd);
		return rc;
	}
	/* the port stands at the same place in both families */
	*port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	return fd;
}

static void on_drained(struct timer *t)
{
	struct http_server *s =
		(struct http_server *)((char *)t - offsetof(struct http_server, drained_soon));

	s->drained(s->drained_user);
}

static void set_timeouts(struct http_server *s, const struct http_server_options *o)
{
	const uint64_t wanted[SERVER_CONN_STATES] = { [SERVER_CONN_IDLE] = o->idle_ns,
						      [SERVER_CONN_HEAD] = o->head_ns,
						      [SERVER_CONN_RESPONSE] = o->answer_ns };

	for (size_t i = 0; i < SERVER_CONN_STATES; i++)
		s->timeout_ns[i] = wanted[i] ? wanted[i] : usual_timeout_ns[i];
}

int http_server_new(struct http_server **out, struct loop *l,
		    const struct http_server_options *options, struct fault *why)
{
	*out = NULL;
	struct http_server *s = mem_alloc_zeroed(&mem_heap, sizeof(*s));
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for the HTTP server");
	*s = (struct http_server){
		.loop = l,
		.serve = options->serve,
		.user = options->user,
		.drained_soon.fire = on_drained,
	};
	set_timeouts(s, options);
	int rc = listen_at(options, &s->port, why);
	if (rc >= 0)
		rc = listener_new(&s->listener, l, rc, on_accept, s, why);
	if (rc < 0) {
		http_server_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	listener_close(s->listener);
	s->drained = NULL;
	while (s->first)
		http_conn_end(s->first, false);
	timer_clear(s->loop, &s->drained_soon);
	mem_free(&mem_heap, s);
}

void http_server_drain(struct http_server *s, void (*done)(void *user), void *user)
{
	listener_close(s->listener);
	s->listener = NULL;
	s->drained = done;
	s->drained_user = user;
	for (struct http_conn *c = s->first, *next; c; c = next) {
		next = c->next;
		if (c->state == SERVER_CONN_IDLE || c->state == SERVER_CONN_HEAD)
			http_conn_end(c, false);
	}
	if (s->count == 0)
		timer_set(s->loop, &s->drained_soon, loop_now(s->loop));
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

size_t http_server_connections(const struct http_server *s)
{
	return s->count;
}
