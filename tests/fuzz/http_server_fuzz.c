/* Any bytes at a server's socket, cut into pieces of the first byte's length:
 * it lives on, forgets the connection, and each of its answers is well formed. */
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

static void serve(void *user, const struct http_server_request *r, struct http_server_reply *reply)
{
	(void)user;
	reply->status = 200;
	must(r->path.n > 0 && r->path.p[0] == '/' && !memchr(r->path.p, '?', r->path.n));
	must(buf_append(reply->body, r->path.p, r->path.n) == 0);
}

static void finish(void)
{
	http_server_free(server);
	loop_free(loop);
	free(answers);
}

static void setup(void)
{
	const struct http_server_options o = { .bind = "127.0.0.1", .serve = serve };

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

static void check_answers(size_t n)
{
	static const char *const known[] = { "200", "400", "405", "413", "431", "505" };
	size_t at = 0;

	while (at < n) {
		struct http1_head h;
		const int head = http1_read_response(&h, answers + at, n - at, NULL);
		bool found = false;

		must(head > 0);
		for (size_t i = 0; i < array_len(known); i++)
			found |= strtol(known[i], NULL, 10) == h.status;
		must(found && http1_field_has(&h, "X-Content-Type-Options", "nosniff"));
		const struct span length = http1_field(&h, "Content-Length");
		must(length.n > 0);
		at += (size_t)head;
		/* after a HEAD no body comes: then the next answer, or the end */
		const size_t body = strtoul((const char *)length.p, NULL, 10);
		if (at < n && !(n - at > 9 && memcmp(answers + at, "HTTP/1.1 ", 9) == 0 &&
				isdigit(answers[at + 9]))) {
			must(body <= n - at);
			at += body;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	size_t got = 0;

	if (!server)
		setup();
	if (n < 1 || n > INPUT_MAX)
		return 0;
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
	must(http_server_connections(server) == 0);
	return 0;
}
