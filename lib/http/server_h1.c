#include "lib/http/server_h1.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "lib/proto/http/http1.h"

enum { HELD_MAX = 16 << 20 }; /* of all answers that slow clients have not taken */

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

static int write_head(struct http_conn *c, const struct http_server_reply *reply)
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
	int rc = http1_write_response(&c->head, reply->status);

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

static void send_answer(struct http_conn *c, const struct http_server_reply *reply, bool head_only)
{
	if (write_head(c, reply) < 0) {
		http_conn_end(c, true);
		return;
	}
	const struct mspan head = buf_bytes(&c->head), body = buf_bytes(&c->body);
	const struct iovec iov[] = {
		{ .iov_base = head.p, .iov_len = head.n },
		{ .iov_base = body.p, .iov_len = body.n },
	};
	http_conn_enter(c, SERVER_CONN_RESPONSE);
	sock_send(c->sock, iov, head_only || !body.n ? 1 : 2);
}

void http_conn_refuse(struct http_conn *c, int status, const char *extra, const char *why,
		      bool head_only)
{
	const struct http_server_reply reply = { .status = status,
						 .content_type = "text/plain; charset=utf-8",
						 .extra = extra };

	c->last = true;
	buf_consume(&c->body, buf_len(&c->body));
	if (buf_append(&c->body, why, strlen(why)) < 0 || buf_append(&c->body, "\n", 1) < 0) {
		http_conn_end(c, true);
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

	for (const struct http_conn *c = s->first; c; c = c->next)
		n += buf_len(&c->body);
	return n;
}

static void serve(struct http_conn *c, const struct http1_head *h)
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
		http_conn_refuse(c, 400, NULL, "a request has one Host field", request.head_only);
	} else if (!request.head_only && !span_is(h->method, "GET")) {
		http_conn_refuse(c, 405, "Allow: GET, HEAD\r\n",
				 "only GET and HEAD are answered here", false);
	} else if (http1_body_start(&body, h, false, NULL) < 0) {
		http_conn_refuse(c, 400, NULL, "the length of the request is ambiguous",
				 request.head_only);
	} else if (!body.done) {
		http_conn_refuse(c, 413, NULL, "a request has no body here", request.head_only);
	} else if (!split_target(h->target, &request)) {
		http_conn_refuse(c, 400, NULL, "the target is no path", request.head_only);
	} else {
		c->server->serve(c->server->user, &request, &reply);
		c->last = !http1_is_keep_alive(h) || c->server->drained;
		if (count_held(c->server) > HELD_MAX)
			http_conn_refuse(c, 503, "Retry-After: 5\r\n",
					 "too many answers wait for slow clients",
					 request.head_only);
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

void http_conn_look(struct http_conn *c)
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
		if (in.n && c->state == SERVER_CONN_IDLE) /* a part of the next one came early */
			http_conn_enter(c, SERVER_CONN_HEAD);
		sock_recv(c->sock, HTTP1_REQUEST_HEAD_MAX - in.n);
	} else {
		const bool version = n == ERR_PROTO && is_other_version(span_of(in.p, in.n));
		const int status = version ? 505 : n == ERR_LIMIT ? 431 : 400;

		http_conn_refuse(c, status, NULL, version ? "HTTP/1.1 is spoken here" : why.why,
				 false);
	}
}
