#include "lib/app/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/proto/http1.h"

#define SECOND UINT64_C(1000000000)

enum {
	CONNECTIONS_MAX = 64,
	BACKLOG = 128,
	BODY_MAX = 4 << 20,
	HELD_MAX = 16 << 20,	       /* of all answers that slow clients have not taken */
	HEAD_MAX = 2048,	       /* of an answer */
	GOODBYE_BYTES_MAX = 256 << 10, /* read and dropped after the last answer */
};

/* What a connection waits for. */
enum conn_state { CONN_IDLE, CONN_HEAD, CONN_ANSWER, CONN_GOODBYE, CONN_STATES };

static const uint64_t usual_timeout_ns[CONN_STATES] = {
	[CONN_IDLE] = 30 * SECOND,   /* the first byte of a request */
	[CONN_HEAD] = 5 * SECOND,    /* the rest of its head */
	[CONN_ANSWER] = 30 * SECOND, /* the client to take the answer */
	[CONN_GOODBYE] = 2 * SECOND, /* the client to close, after the last answer */
};

struct conn {
	struct http_server *server; /* NULL once it has let go */
	struct sock *sock;
	struct conn *prev, *next; /* the server's list, the longest in its state first */
	enum conn_state state;
	uint64_t since_ns; /* it is in this state */
	struct timer timer;
	struct buf in, head, body;
	bool last; /* the connection ends with this answer */
	size_t dropped;
};

struct http_server {
	struct loop *loop;
	struct listener *listener;
	http_server_fn *serve;
	void *user;
	uint16_t port;
	uint64_t timeout_ns[CONN_STATES];
	struct conn *first, *newest;
	size_t count;
	void (*drained)(void *user); /* set while draining */
	void *drained_user;
	struct timer drained_soon;
};

/* ---- the list, and states ---- */

static void unlink_conn(struct conn *c)
{
	struct http_server *s = c->server;

	*(c->prev ? &c->prev->next : &s->first) = c->next;
	*(c->next ? &c->next->prev : &s->newest) = c->prev;
	c->prev = c->next = NULL;
	s->count--;
}

static void link_newest(struct http_server *s, struct conn *c)
{
	c->prev = s->newest;
	*(s->newest ? &s->newest->next : &s->first) = c;
	s->newest = c;
	s->count++;
}

static void enter(struct conn *c, enum conn_state state)
{
	struct http_server *s = c->server;

	c->state = state;
	c->since_ns = loop_now(s->loop);
	unlink_conn(c);
	link_newest(s, c);
	timer_set(s->loop, &c->timer, loop_now(s->loop) + s->timeout_ns[state]);
}

static void end_conn(struct conn *c, bool reset)
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
	struct conn *c = user;

	buf_fini(&c->in);
	buf_fini(&c->head);
	buf_fini(&c->body);
	mem_give(&mem_heap, c);
}

/* ---- answers ---- */

static int write_date(struct buf *to)
{
	char text[48];
	const time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return http1_write_field(to, "Date", text);
}

static int write_head(struct conn *c, const struct http_server_reply *reply)
{
	const struct {
		const char *name, *value;
	} fields[] = {
		{ "Content-Type", reply->content_type },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'" },
		{ "Cache-Control", "no-store" },
		{ "Connection", c->last ? "close" : "keep-alive" },
	};
	char length[24];
	int rc = http1_write_answer(&c->head, reply->status);

	if (rc == 0)
		rc = write_date(&c->head);
	for (size_t i = 0; rc == 0 && i < array_len(fields); i++)
		rc = http1_write_field(&c->head, fields[i].name, fields[i].value);
	snprintf(length, sizeof(length), "%zu", buf_len(&c->body));
	if (rc == 0)
		rc = http1_write_field(&c->head, "Content-Length", length);
	if (rc == 0 && reply->extra)
		rc = buf_append(&c->head, reply->extra, strlen(reply->extra));
	return rc == 0 ? http1_write_end(&c->head) : rc;
}

static void send_answer(struct conn *c, const struct http_server_reply *reply, bool head_only)
{
	if (write_head(c, reply) < 0) {
		end_conn(c, true);
		return;
	}
	const struct mspan head = buf_bytes(&c->head), body = buf_bytes(&c->body);
	const struct iovec iov[] = {
		{ .iov_base = head.p, .iov_len = head.n },
		{ .iov_base = body.p, .iov_len = body.n },
	};
	enter(c, CONN_ANSWER);
	sock_send(c->sock, iov, head_only || !body.n ? 1 : 2);
}

/* An answer of the server itself, always the last of its connection: after
 * such a request nobody knows where the next one begins. */
static void refuse(struct conn *c, int status, const char *extra, const char *why, bool head_only)
{
	const struct http_server_reply reply = { .status = status,
						 .content_type = "text/plain; charset=utf-8",
						 .extra = extra };

	c->last = true;
	buf_consume(&c->body, buf_len(&c->body));
	if (buf_append(&c->body, why, strlen(why)) < 0 || buf_append(&c->body, "\n", 1) < 0) {
		end_conn(c, true);
		return;
	}
	send_answer(c, &reply, head_only);
}

/* ---- requests ---- */

/* Whether the request line is well formed but for a version we don't speak
 * ("PRI * HTTP/2.0"). */
static bool is_other_version(struct span in)
{
	const uint8_t *end = in.p ? memchr(in.p, '\r', in.n) : NULL;
	const size_t n = end ? (size_t)(end - in.p) : 0;
	static const char form[] = "? ? HTTP/d.d";
	const size_t tail = sizeof("HTTP/d.d") - 1;

	if (n < sizeof(form) - 1 || in.p[n - tail - 1] != ' ')
		return false;
	const uint8_t *v = in.p + n - tail;
	return memcmp(v, "HTTP/", 5) == 0 && v[5] >= '0' && v[5] <= '9' && v[6] == '.' &&
	       v[7] >= '0' && v[7] <= '9' && memcmp(v + 5, "1.0", 3) != 0 &&
	       memcmp(v + 5, "1.1", 3) != 0;
}

/* RFC 9112, 3.2: exactly one Host in HTTP/1.1, at most one before. */
static bool has_fit_host(const struct http1_head *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->fields_n; i++) {
		const struct span name = h->fields[i].name;
		n += name.n == 4 && strncasecmp((const char *)name.p, "host", 4) == 0;
	}
	return h->minor == 0 ? n <= 1 : n == 1;
}

/* Splits an origin-form target, or the absolute form that every server must
 * take (RFC 9112, 3.2.2). */
static bool split_target(struct span target, struct http_server_request *r)
{
	static const char http[] = "http://";
	const size_t n = sizeof(http) - 1;

	if (target.n > n && strncasecmp((const char *)target.p, http, n) == 0) {
		const uint8_t *slash = memchr(target.p + n, '/', target.n - n);

		if (!slash)
			return false;
		target = span_of(slash, target.n - (size_t)(slash - target.p));
	}
	if (!target.n || target.p[0] != '/')
		return false;
	const uint8_t *mark = memchr(target.p, '?', target.n);
	r->path = span_of(target.p, mark ? (size_t)(mark - target.p) : target.n);
	r->query = mark ? span_of(mark + 1, target.n - r->path.n - 1) : span_of(NULL, 0);
	return true;
}

static size_t count_held(const struct http_server *s)
{
	size_t n = 0;

	for (const struct conn *c = s->first; c; c = c->next)
		n += buf_len(&c->body);
	return n;
}

static void serve(struct conn *c, const struct http1_head *h)
{
	struct http_server_request request = {
		.head_only = span_is(h->method, "HEAD"),
		.accept = http1_field(h, "Accept"),
		.accept_encoding = http1_field(h, "Accept-Encoding"),
		.host = http1_field(h, "Host"),
		.origin = http1_field(h, "Origin"),
	};
	struct http_server_reply reply = { .status = 404,
					   .content_type = "text/plain; charset=utf-8",
					   .body = &c->body };
	struct http1_body body;

	if (!has_fit_host(h)) {
		refuse(c, 400, NULL, "a request has one Host field", request.head_only);
	} else if (!request.head_only && !span_is(h->method, "GET")) {
		refuse(c, 405, "Allow: GET, HEAD\r\n", "only GET and HEAD are answered here",
		       false);
	} else if (http1_body_start(&body, h, false, NULL) < 0) {
		refuse(c, 400, NULL, "the length of the request is ambiguous", request.head_only);
	} else if (!body.done) {
		refuse(c, 413, NULL, "a request has no body here", request.head_only);
	} else if (!split_target(h->target, &request)) {
		refuse(c, 400, NULL, "the target is no path", request.head_only);
	} else {
		c->server->serve(c->server->user, &request, &reply);
		c->last = !http1_is_keep_alive(h) || c->server->drained;
		if (count_held(c->server) > HELD_MAX)
			refuse(c, 503, "Retry-After: 5\r\n",
			       "too many answers wait for slow clients", request.head_only);
		else
			send_answer(c, &reply, request.head_only);
	}
}

/* RFC 9112, 2.2: an empty line before a request is passed over. */
static void skip_empty_lines(struct buf *in)
{
	static const char line[] = "\r\n";

	for (;;) {
		const struct mspan b = buf_bytes(in);

		if (!b.p || b.n < 2 || memcmp(b.p, line, 2) != 0)
			return;
		buf_consume(in, 2);
	}
}

/* Answers the request at the front of c->in, or asks for more of it. */
static void look(struct conn *c)
{
	struct http1_head head;
	struct fault why = { 0 };

	skip_empty_lines(&c->in);
	const struct mspan in = buf_bytes(&c->in);
	const int n = in.n ? http1_read_request(&head, in.p, in.n, &why) : 0;
	if (n > 0) {
		serve(c, &head); /* the spans of head stand in c->in until here */
		buf_consume(&c->in, (size_t)n);
	} else if (n == 0) {
		if (in.n && c->state == CONN_IDLE) /* a part of the next one came early */
			enter(c, CONN_HEAD);
		sock_recv(c->sock, HTTP1_REQUEST_HEAD_MAX - in.n);
	} else {
		const bool version = n == ERR_PROTO && is_other_version(span_of(in.p, in.n));
		const int status = version ? 505 : n == ERR_LIMIT ? 431 : 400;

		refuse(c, status, NULL, version ? "HTTP/1.1 is spoken here" : why.why, false);
	}
}

/* ---- callbacks ---- */

static void on_data(struct sock *sock, void *user, struct mspan data)
{
	struct conn *c = user;

	if (c->state == CONN_ANSWER)
		return; /* what was asked for before a 408, which is the last answer */
	if (data.n == 0) {
		end_conn(c, false);
		return;
	}
	if (c->state == CONN_GOODBYE) {
		c->dropped += data.n;
		if (c->dropped > GOODBYE_BYTES_MAX)
			end_conn(c, true);
		else
			sock_recv(sock, HTTP1_REQUEST_HEAD_MAX);
		return;
	}
	if (c->state == CONN_IDLE)
		enter(c, CONN_HEAD); /* empty lines as well: they are no reason to wait longer */
	if (buf_append(&c->in, data.p, data.n) < 0) {
		end_conn(c, true);
		return;
	}
	/* Only a line's end can complete or break a head, or too much of it. */
	if (memchr(data.p, '\n', data.n) || buf_room(&c->in) == 0)
		look(c);
	else
		sock_recv(sock, buf_room(&c->in));
}

/* The write side is closed first and what the client still sends is read: a
 * close with unread bytes would be a reset, which can overtake the answer. */
static void say_goodbye(struct conn *c)
{
	enter(c, CONN_GOODBYE);
	buf_consume(&c->in, buf_len(&c->in));
	sock_shutdown_write(c->sock);
	sock_recv(c->sock, HTTP1_REQUEST_HEAD_MAX);
}

static void on_sent(struct sock *sock, void *user)
{
	struct conn *c = user;

	(void)sock;
	buf_consume(&c->head, buf_len(&c->head));
	buf_consume(&c->body, buf_len(&c->body));
	if (c->last || c->server->drained) {
		say_goodbye(c);
		return;
	}
	enter(c, CONN_IDLE);
	look(c);
}

static void on_error(struct sock *sock, void *user, int sys)
{
	(void)sock;
	(void)sys;
	end_conn(user, true);
}

static void on_timeout(struct timer *t)
{
	struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, timer));

	switch (c->state) {
	case CONN_HEAD:
		refuse(c, 408, NULL, "the request did not come in time", false);
		return;
	case CONN_ANSWER:
		end_conn(c, true);
		return;
	case CONN_IDLE:
	case CONN_GOODBYE:
	case CONN_STATES:
		end_conn(c, false);
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
static bool is_slow(const struct http_server *s, const struct conn *c)
{
	return loop_now(s->loop) - c->since_ns >= s->timeout_ns[CONN_ANSWER] / 15;
}

/* Ends the connection that is worth least; false when all are being answered, and
 * none of them is slow. */
static bool make_room(struct http_server *s)
{
	static const enum conn_state order[] = { CONN_GOODBYE, CONN_IDLE, CONN_HEAD, CONN_ANSWER };

	for (size_t i = 0; i < array_len(order); i++)
		for (struct conn *c = s->first; c; c = c->next)
			if (c->state == order[i] && (order[i] != CONN_ANSWER || is_slow(s, c))) {
				end_conn(c, order[i] != CONN_IDLE);
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
	struct conn *c = mem_take_zeroed(&mem_heap, sizeof(*c));
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
	enter(c, CONN_IDLE);
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
	if (bind(fd, (struct sockaddr *)&at, n) || listen(fd, BACKLOG) ||
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
	const uint64_t wanted[CONN_STATES] = {
		[CONN_IDLE] = o->idle_ns, [CONN_HEAD] = o->head_ns, [CONN_ANSWER] = o->answer_ns
	};

	for (size_t i = 0; i < CONN_STATES; i++)
		s->timeout_ns[i] = wanted[i] ? wanted[i] : usual_timeout_ns[i];
}

int http_server_new(struct http_server **out, struct loop *l,
		    const struct http_server_options *options, struct fault *why)
{
	*out = NULL;
	struct http_server *s = mem_take_zeroed(&mem_heap, sizeof(*s));
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
		end_conn(s->first, false);
	timer_clear(s->loop, &s->drained_soon);
	mem_give(&mem_heap, s);
}

void http_server_drain(struct http_server *s, void (*done)(void *user), void *user)
{
	listener_close(s->listener);
	s->listener = NULL;
	s->drained = done;
	s->drained_user = user;
	for (struct conn *c = s->first, *next; c; c = next) {
		next = c->next;
		if (c->state == CONN_IDLE || c->state == CONN_HEAD)
			end_conn(c, false);
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
