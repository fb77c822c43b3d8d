/* Any bytes at a server's socket, cut into pieces of the first byte's length:
 * it lives on, forgets the connection, and each of its answers is well formed.
 * The path's first letter says how it is answered: t: from a timer, c: in
 * pieces, x: cut in the middle, n: never; else at once. */
#include "lib/http/server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/proto/http/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { INPUT_MAX = 32 * 1024, OUTPUT_MAX = 16 << 20 };

static struct loop *loop;
static struct http_server *server;
static uint8_t *answers;

/* The exchange that is not answered at once; a connection has one at a time. */
static struct {
	struct http_exchange *x;
	struct timer timer;
	size_t left;
	uint8_t how;
} later;
static bool cut; /* a response of this input was, so its end may be missing */

static void pump(void)
{
	static const uint8_t zeros[7000];

	while (later.left) {
		const size_t n = min_size(later.left, sizeof(zeros));
		const int took = http_exchange_write(later.x, zeros, n);

		must(took >= 0);
		later.left -= (size_t)took;
		if ((size_t)took < n)
			return;
		if (later.how == 'x' && later.left < 100000)
			break;
	}
	struct http_exchange *x = later.x;
	later.x = NULL;
	timer_clear(loop, &later.timer);
	cut |= later.how == 'x';
	(later.how == 'x' ? http_exchange_abort : http_exchange_end)(x);
}

static void begin_later(struct timer *t)
{
	(void)t;
	must(http_exchange_begin(later.x, 200, NULL, 0,
				 later.how == 't' ? later.left : HTTP_LENGTH_UNKNOWN) == 0);
	pump();
}

static void on_room(struct http_exchange *x, void *user)
{
	(void)user;
	must(x == later.x);
	pump();
}

static void on_gone(void *user)
{
	(void)user;
	must(later.x);
	timer_clear(loop, &later.timer);
	later.x = NULL;
	cut = true;
}

static const struct http_exchange_handler handler = { .on_room = on_room, .on_gone = on_gone };

static void serve(void *user, struct http_exchange *x)
{
	const struct span path = http_exchange_path(x);
	const uint8_t how = path.n > 1 ? path.p[1] : 0;
	struct buf body;

	(void)user;
	if (!http_exchange_allow(x, HTTP_GET | HTTP_HEAD, "GET, HEAD"))
		return;
	must(path.n > 0 && path.p[0] == '/' && !memchr(path.p, '?', path.n));
	if (how && strchr("tcxn", how)) {
		must(!later.x);
		later.x = x;
		later.how = how;
		later.left = how == 't' ? path.n : 200000;
		later.timer.fire = begin_later;
		http_exchange_follow(x, &handler, NULL);
		if (how == 'c')
			begin_later(NULL);
		else if (how != 'n')
			timer_set(loop, &later.timer, loop_now(loop));
		return;
	}
	buf_init(&body, &mem_heap, path.n);
	must(buf_append(&body, path.p, path.n) == 0);
	http_exchange_reply(x, 200, NULL, 0, &body);
}

static void finish(void)
{
	http_server_free(server);
	loop_free(loop);
	free(answers);
}

static void setup(void)
{
	const struct http_server_options o = { .bind = "127.0.0.1", .on_request = serve };

	must(loop_new(&loop, LOOP_EPOLL, NULL) == 0);
	must(http_server_new(&server, loop, &o, NULL) == 0);
	answers = malloc(OUTPUT_MAX);
	must(answers);
	atexit(finish);
}

static void ring(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void step(uint64_t ns)
{
	struct timer t = { .fire = ring };

	timer_set(loop, &t, loop_now(loop) + ns);
	must(loop_run(loop, NULL) == 0);
	timer_clear(loop, &t);
}

static int dial_server(void)
{
	const struct sockaddr_in at = { .sin_family = AF_INET,
					.sin_port = htons(http_server_port(server)),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct linger reset = { .l_onoff = 1 }; /* no TIME_WAIT: ports would run out */
	int fd = -1;

	/* Ports are everybody's on this machine: there may be none for a moment. */
	for (int i = 0; fd < 0; i++) {
		must(i < 1200);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0) {
			close(fd);
			fd = -1;
			usleep(50000);
		}
	}
	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	return fd;
}

/* Reads what is there; false at the end. */
static bool drain(int fd, size_t *n)
{
	for (;;) {
		const ssize_t got = recv(fd, answers + *n, OUTPUT_MAX - *n, MSG_DONTWAIT);

		if (got <= 0)
			return got < 0 && errno == EAGAIN;
		*n += (size_t)got;
	}
}

static bool is_next(const uint8_t *p, size_t n)
{
	return n > 9 && memcmp(p, "HTTP/1.1 ", 9) == 0 && isdigit(p[9]);
}

/* Passes over a body; what is left, or n + 1 where it ends too early. */
static size_t skip_body(const struct http1_head *h, const uint8_t *p, size_t n)
{
	struct http1_body body;
	size_t at = 0;

	must(http1_body_start(&body, h, false, NULL) >= 0);
	while (!body.done && at < n) {
		struct span piece = { 0 };
		const int took = http1_body_read(&body, p + at, n - at, &piece, NULL);

		must(took >= 0);
		if (took == 0)
			break;
		at += (size_t)took;
	}
	return body.done || body.framing == HTTP1_UNTIL_CLOSE ? at : n + 1;
}

static void check_answers(size_t n)
{
	static const int known[] = { 200, 400, 405, 413, 431, 505 };
	size_t at = 0;

	while (at < n) {
		struct http1_head h;
		const int head = http1_read_response(&h, answers + at, n - at, NULL);
		bool found = false;

		if (head == 0 && cut)
			return;
		must(head > 0);
		for (size_t i = 0; i < array_len(known); i++)
			found |= known[i] == h.status;
		must(found && http1_field_has(&h, "X-Content-Type-Options", "nosniff"));
		at += (size_t)head;
		/* after a HEAD no body comes: then the next answer, or the end */
		if (at == n || is_next(answers + at, n - at))
			continue;
		const size_t body = skip_body(&h, answers + at, n - at);
		must(body <= n - at || cut);
		at += body;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t got = 0;

	if (!server)
		setup();
	if (n < 1 || n > INPUT_MAX)
		return 0;
	cut = false;
	const size_t piece = p[0] % 16 ? p[0] * 8u : n;
	const int fd = dial_server();
	bool open = true;
	for (size_t at = 1; at < n && open; at += piece) {
		const ssize_t sent =
			send(fd, p + at, min_size(piece, n - at), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			break;
		step(0);
		open = drain(fd, &got);
	}
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 2000 && open; i++) {
		step(i < 20 ? 0 : 100000);
		open = drain(fd, &got);
	}
	must(!open); /* the server has answered and closed */
	check_answers(got);
	close(fd);
	for (int i = 0; i < 2000 && http_server_connections(server); i++)
		step(i < 20 ? 0 : 100000);
	must(http_server_connections(server) == 0 && !later.x);
	return 0;
}
