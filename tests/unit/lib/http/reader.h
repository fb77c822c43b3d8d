/*
 * reader -- a client of an http_server under test: sends one text, takes the response apart, counts
 * and compares its body, and stops reading when it is told to.  Each may come from an address of
 * its own.
 */
#ifndef TESTS_UNIT_LIB_HTTP_READER_H
#define TESTS_UNIT_LIB_HTTP_READER_H

#include "lib/http/server.h"
#include "lib/proto/http/http1.h"
#include "tests/unit/lib/io/rig.h"

struct reader {
	struct loop *l;
	struct sock *s;
	char wire[512]; /* what it sent */
	uint8_t head[4096];
	size_t head_n;
	struct http1_head h; /* spans in `head` */
	struct http1_body body;
	uint64_t got;	   /* bytes of body */
	uint64_t stop_at;  /* reads no further than about here */
	size_t piece;	   /* of one receive */
	bool has_head, eof, closed, broken, differs, sent;
	int errors;
};

/* What stands at a place of every body here. */
static inline uint8_t body_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

static inline void reader_arm(struct reader *r)
{
	if (r->s && !r->eof && !r->errors && r->got < r->stop_at)
		sock_recv(r->s, r->piece);
}

static inline void reader_body(struct reader *r, const uint8_t *p, size_t n)
{
	while (n && !r->body.done) {
		struct span piece = { 0 };
		const int took = http1_body_read(&r->body, p, n, &piece, NULL);

		if (took < 0 || (took == 0 && !piece.n)) {
			r->broken = true;
			return;
		}
		for (size_t i = 0; i < piece.n; i++)
			r->differs |= piece.p[i] != body_byte(r->got + i);
		r->got += piece.n;
		p += took;
		n -= (size_t)took;
	}
	r->broken |= n > 0;
}

static inline void reader_data(struct sock *s, void *user, struct mspan data)
{
	struct reader *r = user;

	(void)s;
	if (!data.n) {
		r->eof = true;
		return;
	}
	if (r->has_head) {
		reader_body(r, data.p, data.n);
	} else {
		const size_t n = min_size(data.n, sizeof(r->head) - r->head_n);
		const size_t before = r->head_n;

		memcpy(r->head + before, data.p, n);
		r->head_n += n;
		const int len = http1_read_response(&r->h, r->head, r->head_n, NULL);
		if (len > 0) {
			r->has_head = true;
			must(http1_body_start(&r->body, &r->h, strncmp(r->wire, "HEAD", 4) == 0,
					      NULL) >= 0);
			reader_body(r, data.p + ((size_t)len - before),
				    data.n - ((size_t)len - before));
		}
		r->broken |= len < 0;
	}
	reader_arm(r);
}

static inline void reader_sent(struct sock *s, void *user)
{
	(void)s;
	((struct reader *)user)->sent = true;
}

static inline void reader_error(struct sock *s, void *user, int sys)
{
	(void)s;
	(void)sys;
	((struct reader *)user)->errors++;
}

static inline void reader_closed(void *user)
{
	((struct reader *)user)->closed = true;
	((struct reader *)user)->s = NULL;
}

static const struct sock_handler reader_handler = {
	.on_data = reader_data,
	.on_sent = reader_sent,
	.on_error = reader_error,
	.on_closed = reader_closed,
};

/* A socket of 127.0.<net>.<host>, connected.  rcvbuf 0: the system's. */
static inline int dial_from(const struct http_server *s, int net, int host, int rcvbuf)
{
	const struct sockaddr_in at = { .sin_family = AF_INET,
					.sin_port = htons(http_server_port(s)),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in own = { .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(0x7f000000u | (uint32_t)net << 8 |
								  (uint32_t)host) };
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && bind(fd, (const struct sockaddr *)&own, sizeof(own)) == 0);
	if (rcvbuf)
		must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)) == 0);
	must(connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0);
	must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
	return fd;
}

/* "GET /path?query" or the like: sent as a request on a new connection. */
static inline struct reader *reader_new(struct loop *l, const struct http_server *s, int host,
					const char *line, const char *version)
{
	struct reader *r = calloc(1, sizeof(*r));

	must(r);
	*r = (struct reader){ .l = l, .stop_at = UINT64_MAX, .piece = 64 << 10 };
	must(sock_new(&r->s, l, dial_from(s, 1, host, 0), &reader_handler, r, NULL) == 0);
	const int n = snprintf(r->wire, sizeof(r->wire), "%s HTTP/%s\r\nHost: x\r\n\r\n", line,
			       version);
	const struct iovec iov = { .iov_base = r->wire, .iov_len = (size_t)n };
	sock_send(r->s, &iov, 1);
	reader_arm(r);
	return r;
}

static inline void reader_free(struct reader *r, bool reset)
{
	if (r->s)
		sock_close(r->s, reset);
	until(r->l, r->closed);
	free(r);
}

#endif
