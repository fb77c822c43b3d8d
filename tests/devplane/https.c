#include "tests/devplane/https.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/proto/http/http1.h"
#include "lib/proto/tls.h"

enum { BODY_MAX = 1 << 20, REPLY_MAX = 4 << 20, RECEIVE = 64 * 1024 };

struct https {
	struct loop *loop;
	struct https_options o;
	struct listener *listener;
	uint16_t port;
	struct peer *peers;
};

struct peer {
	struct https *server;
	struct peer *prev, *next;
	struct sock *sock;
	struct tls *tls;   /* NULL: plain */
	struct buf in;     /* plaintext that is not read yet */
	struct buf out;    /* plaintext that is not sent yet */
	struct buf body;   /* of one request */
	size_t in_flight;  /* bytes with the kernel */
	bool last;         /* closes after what waits */
	bool closing;
};

static void drop(struct peer *p)
{
	if (!p->closing)
		sock_close(p->sock, false);
	p->closing = true;
}

/* What can be sent now: ciphertext, or the plaintext itself. */
static struct span outgoing(struct peer *p)
{
	if (!p->tls)
		return span_of(buf_bytes(&p->out).p, buf_len(&p->out));
	while (buf_len(&p->out)) {
		const int n = tls_write(p->tls, buf_bytes(&p->out).p, buf_len(&p->out));

		if (n <= 0)
			break;
		buf_consume(&p->out, (size_t)n);
	}
	return tls_pending(p->tls);
}

static void flush(struct peer *p)
{
	if (p->closing || sock_is_sending(p->sock))
		return;
	const struct span out = outgoing(p);
	if (out.n) {
		p->in_flight = out.n;
		sock_send(p->sock, &(struct iovec){ (void *)(uintptr_t)out.p, out.n }, 1);
	} else if (p->last) {
		drop(p);
	}
}

static void answer(struct peer *p, const struct https_reply *reply, bool keep_alive)
{
	char length[24];

	snprintf(length, sizeof(length), "%zu", buf_len(reply->body));
	int rc = http1_write_response(&p->out, reply->status);
	if (rc >= 0 && reply->status != 204)
		rc = http1_write_field(&p->out, "Content-Length", length);
	if (rc >= 0 && buf_len(reply->body))
		rc = http1_write_field(&p->out, "Content-Type", reply->content_type);
	if (rc >= 0)
		rc = http1_write_field(&p->out, "Connection", keep_alive ? "keep-alive" : "close");
	if (rc >= 0)
		rc = http1_write_end(&p->out);
	if (rc >= 0 && reply->status != 204)
		rc = buf_append(&p->out, buf_bytes(reply->body).p, buf_len(reply->body));
	p->last = rc < 0 || !keep_alive;
}

static void serve(struct peer *p, const struct http1_head *head)
{
	const uint8_t *mark = memchr(head->target.p, '?', head->target.n);
	const size_t path_n = mark ? (size_t)(mark - head->target.p) : head->target.n;
	const struct https_request request = {
		.method = head->method,
		.path = span_of(head->target.p, path_n),
		.query = mark ? span_of(mark + 1, head->target.n - path_n - 1) : span_of(NULL, 0),
		.authorization = http1_field(head, "Authorization"),
		.user_agent = http1_field(head, "User-Agent"),
		.content_type = http1_field(head, "Content-Type"),
		.body = span_of(buf_bytes(&p->body).p, buf_len(&p->body)),
	};
	struct buf body;
	struct https_reply reply = { .status = 404,
				     .content_type = "application/json",
				     .body = &body };

	buf_init(&body, &mem_heap, REPLY_MAX);
	p->server->o.serve(p->server->o.user, &request, &reply);
	if (reply.status)
		answer(p, &reply, http1_is_keep_alive(head));
	else
		drop(p);
	buf_fini(&body);
}

/* Reads the body that follows a head: bytes taken, or -1 for "more to come". */
static ssize_t read_body(struct peer *p, const struct http1_head *head, const uint8_t *in, size_t n)
{
	struct http1_body b;
	size_t at = 0;

	buf_consume(&p->body, buf_len(&p->body));
	if (http1_body_start(&b, head, false, NULL) < 0) {
		drop(p);
		return -1;
	}
	while (b.framing != HTTP1_NO_BODY && !b.done) {
		struct span piece;
		const int took = http1_body_read(&b, in + at, n - at, &piece, NULL);

		if (took < 0 || buf_append(&p->body, piece.p, piece.n) < 0) {
			drop(p);
			return -1;
		}
		if (took == 0)
			return b.done ? (ssize_t)at : -1;
		at += (size_t)took;
	}
	return (ssize_t)at;
}

static void serve_all(struct peer *p)
{
	while (!p->closing && !p->last && buf_len(&p->in)) {
		const struct mspan in = buf_bytes(&p->in);
		struct http1_head head;
		struct fault why = { 0 };
		const int n = http1_read_request(&head, in.p, in.n, &why);

		if (n < 0) {
			fprintf(stderr, "devplane: %s\n", why.why);
			drop(p);
		}
		if (n <= 0)
			return;
		const ssize_t body = read_body(p, &head, in.p + n, in.n - (size_t)n);
		if (body < 0)
			return;
		serve(p, &head);
		buf_consume(&p->in, (size_t)n + (size_t)body);
	}
}

/* Draws what TLS has decrypted; false when the connection is over. */
static bool draw(struct peer *p)
{
	struct tls_event ev;
	int rc;

	while ((rc = tls_next(p->tls, &ev)) == 1) {
		if (ev.kind == TLS_EVENT_DATA && buf_append(&p->in, ev.data.p, ev.data.n) < 0)
			return false;
		if (ev.kind == TLS_EVENT_CLOSED)
			return false;
	}
	return rc == 0;
}

static bool decrypt(struct peer *p, struct mspan data)
{
	while (data.n) {
		const int took = tls_feed(p->tls, data.p, data.n, loop_now(p->server->loop));

		if (took < 0 || !draw(p))
			return false;
		data.p += took;
		data.n -= (size_t)took;
	}
	return true;
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct peer *p = user;
	const bool good =
		data.n && (p->tls ? decrypt(p, data) : buf_append(&p->in, data.p, data.n) == 0);

	serve_all(p);
	if (!good) {
		/* A refused handshake leaves an alert behind: it should still go. */
		p->last = true;
		flush(p);
		return;
	}
	if (p->closing)
		return;
	flush(p);
	if (!p->closing)
		sock_recv(s, RECEIVE);
}

static void on_sent(struct sock *s, void *user)
{
	struct peer *p = user;

	(void)s;
	if (p->tls)
		tls_sent(p->tls, p->in_flight);
	else
		buf_consume(&p->out, p->in_flight);
	flush(p);
}

static void on_error(struct sock *s, void *user, int sys)
{
	(void)s;
	(void)sys;
	drop(user);
}

static void on_closed(void *user)
{
	struct peer *p = user;

	if (p->prev)
		p->prev->next = p->next;
	else
		p->server->peers = p->next;
	if (p->next)
		p->next->prev = p->prev;
	tls_free(p->tls);
	buf_fini(&p->in);
	buf_fini(&p->out);
	buf_fini(&p->body);
	free(p);
}

static const struct sock_handler handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

static void on_accept(void *user, int fd)
{
	struct https *s = user;
	struct peer *p = calloc(1, sizeof(*p));
	struct fault why = { 0 };
	int rc = 0;

	must(p);
	p->server = s;
	buf_init(&p->in, &mem_heap, BODY_MAX + HTTP1_REQUEST_HEAD_MAX);
	buf_init(&p->out, &mem_heap, REPLY_MAX + HTTP1_RESPONSE_HEAD_MAX);
	buf_init(&p->body, &mem_heap, BODY_MAX);
	if (s->o.tls_ctx)
		rc = tls_new(&p->tls, s->o.tls_ctx, &(struct tls_options){ .server = true },
			     &mem_heap, loop_now(s->loop), &why);
	if (rc < 0)
		close(fd);
	else
		rc = sock_new(&p->sock, s->loop, fd, &handler, p, &why);
	if (rc < 0) {
		fprintf(stderr, "devplane: %s\n", why.why);
		tls_free(p->tls);
		free(p);
		return;
	}
	p->next = s->peers;
	if (p->next)
		p->next->prev = p;
	s->peers = p;
	sock_recv(p->sock, RECEIVE);
}

int https_new(struct https **out, struct loop *l, const struct https_options *options,
	      struct fault *why)
{
	struct https *s = calloc(1, sizeof(*s));
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(options->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(to);
	const int one = 1;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(s);
	s->loop = l;
	s->o = *options;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&to, &n) < 0) {
		free(s);
		return fault_set(why, ERR_SYS, "can't listen on 127.0.0.1:%u", options->port);
	}
	s->port = ntohs(to.sin_port);
	const int rc = listener_new(&s->listener, l, fd, on_accept, s, why);
	if (rc < 0) {
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void https_stop(struct https *s)
{
	listener_close(s->listener);
	s->listener = NULL;
	for (struct peer *p = s->peers, *next; p; p = next) {
		next = p->next;
		drop(p);
	}
}

void https_free(struct https *s)
{
	free(s);
}

uint16_t https_port(const struct https *s)
{
	return s->port;
}
