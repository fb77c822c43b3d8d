/*
 * HTTP/1.1 on one connection (RFC 9112): requests out of the bytes that come, one exchange at a
 * time, and its response framed by a length, in chunks or by the connection's end.  Sockets,
 * deadlines and who may connect are not its matter.
 */
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "lib/http/server_private.h"

enum { DROPPED_MAX = 256 << 10 }; /* read behind the last request, to learn of the client's end */

struct h1 {
	struct buf in;
	struct http_exchange *x; /* the one under way, or NULL */
	struct buf out;		 /* the piece of its body that is being sent */
	char chunk[24];		 /* the line in front of it */
	int minor;		 /* HTTP/1.<minor> of the request */
	bool head_sent, chunked;
	bool finishing; /* what is being sent is the end of the exchange */
	bool started;	/* bytes have come since the last exchange */
	bool queued;	/* what has come waits for its turn */
	bool last;	/* no further request is taken */
	bool eof;
	size_t dropped;
};

static struct h1 *h1_of(const struct server_conn *c)
{
	return c->codec_state;
}

/* ---- responses ---- */

static int write_date(struct buf *to)
{
	char text[48];
	const time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return http1_write_field(to, "Date", text);
}

static bool has_field(const struct http_field *fields, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(fields[i].name, name) == 0)
			return true;
	return false;
}

static int h1_begin(struct http_exchange *x, const struct http_field *fields, size_t n)
{
	static const struct http_field usual[] = {
		{ "X-Content-Type-Options", "nosniff" },
		{ "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'" },
		{ "Cache-Control", "no-store" },
	};
	int rc = http1_write_response(&x->head, x->status);

	if (rc == 0)
		rc = write_date(&x->head);
	for (size_t i = 0; rc == 0 && i < array_len(usual); i++)
		if (!has_field(fields, n, usual[i].name))
			rc = http1_write_field(&x->head, usual[i].name, usual[i].value);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = http1_write_field(&x->head, fields[i].name, fields[i].value);
	return rc;
}

/* Framing is decided when the head goes: a response that has ended by then has a length. */
static int finish_head(struct h1 *h, struct http_exchange *x)
{
	char length[24];
	int rc = 0;

	if (x->length == HTTP_LENGTH_UNKNOWN && x->ended)
		x->length = x->written;
	if (x->length != HTTP_LENGTH_UNKNOWN) {
		snprintf(length, sizeof(length), "%llu", (unsigned long long)x->length);
		if (x->status != 204 && x->status != 304)
			rc = http1_write_field(&x->head, "Content-Length", length);
	} else if (h->minor == 0) {
		x->last = true; /* the end of the connection is that of the body */
	} else {
		h->chunked = http_exchange_has_body(x);
		rc = http1_write_field(&x->head, "Transfer-Encoding", "chunked");
	}
	if (x->conn->server->drained)
		x->last = true;
	if (rc == 0)
		rc = http1_write_field(&x->head, "Connection", x->last ? "close" : "keep-alive");
	return rc == 0 ? http1_write_end(&x->head) : rc;
}

static int add_iov(struct iovec *iov, int n, const void *p, size_t len)
{
	if (len)
		iov[n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)p, .iov_len = len };
	return n;
}

static int add_buf(struct iovec *iov, int n, const struct buf *b)
{
	return add_iov(iov, n, buf_bytes(b).p, buf_len(b));
}

/* The piece of body that waits, and in chunked framing what stands around it. */
static int add_body(struct h1 *h, struct http_exchange *x, struct iovec *iov, int n)
{
	static const char tail[] = "\r\n0\r\n\r\n";
	size_t from = 2, to = 2; /* of tail */

	if (buf_len(&x->waiting)) {
		h->out = x->waiting;
		buf_init(&x->waiting, &mem_heap, LIMIT_HTTP_UNSENT);
		x->under_way = buf_len(&h->out);
		if (h->chunked) {
			const int len =
				snprintf(h->chunk, sizeof(h->chunk), "%zx\r\n", x->under_way);

			n = add_iov(iov, n, h->chunk, (size_t)len);
			from = 0;
		}
		n = add_buf(iov, n, &h->out);
	}
	if (h->chunked && x->ended)
		to = sizeof(tail) - 1;
	return add_iov(iov, n, tail + from, to - from);
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
static bool split_target(struct span target, struct http_exchange *x)
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
	x->path = span_of(target.p, mark ? (size_t)(mark - target.p) : target.n);
	x->query = mark ? span_of(mark + 1, target.n - x->path.n - 1) : span_of(NULL, 0);
	return true;
}

static bool start_exchange(struct server_conn *c)
{
	struct h1 *h = h1_of(c);

	h->x = http_exchange_new(c);
	if (!h->x) {
		c->cut = true;
		return false;
	}
	h->x->method = HTTP_GET;
	h->head_sent = h->chunked = h->finishing = false;
	c->seat.responses++;
	return true;
}

/* A response of the server itself, always the last of its connection: after
 * such a request nobody knows where the next one begins. */
static void refuse(struct server_conn *c, int status, const char *why)
{
	h1_of(c)->x->last = true;
	http_exchange_reply_text(h1_of(c)->x, status, NULL, 0, why);
}

static enum http_method method_of(const struct http1_head *head)
{
	return span_is(head->method, "GET")    ? HTTP_GET
	       : span_is(head->method, "HEAD") ? HTTP_HEAD
					       : HTTP_OTHER;
}

static void serve(struct server_conn *c, const struct http1_head *head)
{
	struct h1 *h = h1_of(c);
	struct http_server *s = c->server;
	struct http1_body body;

	if (!start_exchange(c))
		return;
	struct http_exchange *x = h->x;
	h->minor = head->minor;
	x->method = method_of(head);
	x->fields = head->fields;
	x->fields_n = head->fields_n;
	if (!has_fit_host(head)) {
		refuse(c, 400, "a request has one Host field");
		return;
	}
	if (http1_body_start(&body, head, false, NULL) < 0) {
		refuse(c, 400, "the length of the request is ambiguous");
		return;
	}
	if (!body.done && x->method != HTTP_OTHER) {
		refuse(c, 413, "a request has no body here");
		return;
	}
	if (!split_target(head->target, x)) {
		if (x->method == HTTP_OTHER) /* "OPTIONS *", "CONNECT host:port" */
			x->path = head->target;
		else {
			refuse(c, 400, "the target is no path");
			return;
		}
	}
	x->last = !body.done || !http1_is_keep_alive(head) ||
		  (server_seat_is_worn(&c->seat, loop_now(s->loop)) &&
		   server_admission_is_pressed(&s->admission, &c->seat, loop_now(s->loop)));
	http_exchange_serve(x);
	if (h->eof && !x->ended)
		c->cut = true; /* it left before its pipelined request was reached */
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

/* Serves the request at the front of h->in, if it is whole. */
static void look_for_request(struct server_conn *c)
{
	struct h1 *h = h1_of(c);
	struct http1_head head;
	struct fault why = { 0 };

	skip_empty_lines(&h->in);
	const struct mspan in = buf_bytes(&h->in);
	const int n = in.n ? http1_read_request(&head, in.p, in.n, &why) : 0;
	if (n > 0) {
		serve(c, &head); /* the spans of head stand in h->in until here */
		buf_consume(&h->in, (size_t)n);
	} else if (n < 0 && start_exchange(c)) {
		const bool version = n == ERR_PROTO && is_other_version(span_of(in.p, in.n));

		h->minor = 1;
		refuse(c,
		       version		? 505
		       : n == ERR_LIMIT ? 431
					: 400,
		       version ? "HTTP/1.1 is spoken here" : why.why);
	}
}

/* The exchange is over.  The next request may be there already; while connections end for others,
 * it waits. */
static void finish(struct server_conn *c)
{
	struct h1 *h = h1_of(c);
	struct http_server *s = c->server;

	h->last = h->x->last || s->drained;
	http_exchange_gone(h->x);
	http_exchange_free(h->x);
	h->x = NULL;
	if (h->last)
		buf_consume(&h->in, buf_len(&h->in));
	h->started = buf_len(&h->in) > 0;
	if (!h->started)
		return;
	if (server_admission_is_pressed(&s->admission, &c->seat, loop_now(s->loop)))
		h->queued = true;
	else
		look_for_request(c);
}

/* ---- struct server_codec ---- */

static int h1_open(struct server_conn *c)
{
	struct h1 *h = mem_alloc_zeroed(&mem_heap, sizeof(*h));

	if (!h)
		return ERR_NOMEM;
	buf_init(&h->in, &mem_heap, HTTP1_REQUEST_HEAD_MAX);
	c->codec_state = h;
	return 0;
}

static void h1_close(struct server_conn *c)
{
	if (h1_of(c)->x)
		http_exchange_gone(h1_of(c)->x);
}

static void h1_free(struct server_conn *c)
{
	struct h1 *h = h1_of(c);

	if (!h)
		return;
	http_exchange_free(h->x);
	buf_fini(&h->in);
	buf_fini(&h->out);
	mem_free(&mem_heap, h);
}

static bool is_ignoring(const struct h1 *h)
{
	return h->last || (h->x && h->x->last);
}

/* While the owner of an exchange takes its time the client is still listened to: its end is only
 * seen by reading. */
static size_t h1_wants(const struct server_conn *c)
{
	const struct h1 *h = h1_of(c);

	if (h->eof)
		return 0;
	if (is_ignoring(h))
		return h->x && !h->x->ended && h->dropped < DROPPED_MAX ? HTTP1_REQUEST_HEAD_MAX
									: 0;
	return buf_room(&h->in);
}

static int h1_feed(struct server_conn *c, struct span in)
{
	struct h1 *h = h1_of(c);

	if (is_ignoring(h)) {
		h->dropped += in.n;
		return h->dropped < DROPPED_MAX || !h->x || h->x->ended ? 0 : ERR_LIMIT;
	}
	const int rc = buf_append(&h->in, in.p, in.n);
	if (rc < 0)
		return rc;
	h->started = true; /* empty lines as well: they are no reason to wait longer */
	/* Only a line's end can complete or break a head, or too much of it. */
	if (!h->x && !h->queued && (memchr(in.p, '\n', in.n) || buf_room(&h->in) == 0))
		look_for_request(c);
	/* Whoever pipelines this much behind a response that is not there yet gets that one only,
	 * so that there is room to hear of the client's end. */
	if (h->x && !h->x->ended && buf_room(&h->in) == 0) {
		h->x->last = true;
		buf_consume(&h->in, buf_len(&h->in));
	}
	return 0;
}

static void h1_eof(struct server_conn *c)
{
	struct h1 *h = h1_of(c);

	h->eof = true;
	if (h->x && !h->x->ended)
		c->cut = true; /* see on_gone */
}

static int h1_pull(struct server_conn *c, struct iovec iov[SERVER_IOV_MAX])
{
	struct h1 *h = h1_of(c);

	while (h->x && h->x->begun) {
		struct http_exchange *x = h->x;
		int n = 0;

		if (!h->head_sent) {
			if (finish_head(h, x) < 0)
				return ERR_NOMEM;
			h->head_sent = true;
			n = add_buf(iov, n, &x->head);
			if (http_exchange_has_body(x))
				n = add_buf(iov, n, &x->whole);
		}
		n = add_body(h, x, iov, n);
		h->finishing = x->ended;
		if (n || !x->ended)
			return n;
		finish(c); /* all had been sent when its owner ended it */
	}
	return 0;
}

static void h1_sent(struct server_conn *c)
{
	struct h1 *h = h1_of(c);

	buf_fini(&h->out);
	h->out = (struct buf){ 0 };
	buf_consume(&h->x->head, buf_len(&h->x->head));
	if (h->finishing)
		finish(c);
	else
		http_exchange_sent(h->x);
}

static enum server_conn_state h1_state(const struct server_conn *c)
{
	const struct h1 *h = h1_of(c);

	return h->x	    ? SERVER_CONN_EXCHANGE
	       : h->queued  ? SERVER_CONN_QUEUED
	       : h->started ? SERVER_CONN_HEAD
			    : SERVER_CONN_IDLE;
}

static void h1_expire(struct server_conn *c)
{
	struct h1 *h = h1_of(c);

	if (!start_exchange(c))
		return;
	h->minor = 1;
	refuse(c, 408, "the request did not come in time");
}

static void h1_resume(struct server_conn *c)
{
	h1_of(c)->queued = false;
	look_for_request(c);
}

static bool h1_is_finished(const struct server_conn *c)
{
	const struct h1 *h = h1_of(c);

	return !h->x && (h->last || (h->eof && !h->queued));
}

const struct server_codec server_h1 = {
	.open = h1_open,
	.close = h1_close,
	.free = h1_free,
	.wants = h1_wants,
	.feed = h1_feed,
	.eof = h1_eof,
	.pull = h1_pull,
	.sent = h1_sent,
	.state = h1_state,
	.expire = h1_expire,
	.resume = h1_resume,
	.is_finished = h1_is_finished,
	.begin = h1_begin,
};
