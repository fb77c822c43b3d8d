#include "lib/http/client.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/io/conn.h"
#include "lib/proto/http/http1.h"

enum {
	BODY_MAX = 1024 * 1024,
	HEAD_MAX = HTTP1_ANSWER_HEAD_MAX + 64 * 1024, /* and what came with it */
	BEARER_MAX = 16 * 1024,
	INTERIM_MAX = 8, /* answers 1xx before the real one */
	TEXT_MAX = 256,
};

static const uint64_t default_timeout_ns = 30000000000, idle_max_ns = 60000000000;

struct answer {
	struct buf head, body;
	struct http1_body reader;
	int status; /* 0 until the head is complete */
	int interim;
	bool any, keep_alive;
	uint64_t retry_after_s;
	char location[TEXT_MAX];
};

struct http_client {
	struct loop *loop;
	char host[TEXT_MAX], host_header[TEXT_MAX], user_agent[TEXT_MAX];
	struct http_client_options options;
	struct conn *link; /* NULL: none; kept between requests */
	uint64_t idle_since_ns;

	http_done_fn *done; /* NULL: no request is under way */
	void *user;
	struct buf request; /* kept while it may have to be sent again */
	struct timer deadline;
	uint64_t began_ns, timeout_ns;
	bool is_head;
	bool reused; /* the link has carried a request before this one */
	bool sent;
	struct answer answer;
};

static void on_open(void *user);
static size_t on_data(void *user, struct span data);
static void on_sent(void *user);
static void on_end(void *user, const struct fault *why, bool whole);

static const struct conn_handler link_handler = {
	.on_open = on_open,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_end = on_end,
};

/* ---- the end of a request ---- */

static void drop_link(struct http_client *c)
{
	conn_close(c->link);
	c->link = NULL;
}

/* The bearer token stands in it. */
static void wipe_request(struct http_client *c)
{
	if (c->request.p)
		explicit_bzero(c->request.p, c->request.cap);
	buf_fini(&c->request);
}

/* The last thing done in any callback: `done` may send again or free c. */
static void finish(struct http_client *c, const struct fault *why)
{
	http_done_fn *done = c->done;
	struct buf body = c->answer.body;
	char location[TEXT_MAX];
	memcpy(location, c->answer.location, sizeof(location));
	const struct http_result r = {
		.status = why ? 0 : c->answer.status,
		.answered = c->answer.any,
		.body = why ? span_of(NULL, 0) : span_of(buf_bytes(&body).p, buf_len(&body)),
		.why = why ? *why : (struct fault){ 0 },
		.retry_after_s = c->answer.retry_after_s,
		.location = location,
		.elapsed_ns = loop_now(c->loop) - c->began_ns,
	};

	timer_clear(c->loop, &c->deadline);
	wipe_request(c);
	buf_fini(&c->answer.head);
	c->done = NULL;
	if (why || !c->sent || !c->answer.keep_alive)
		drop_link(c);
	c->answer = (struct answer){ 0 };
	c->idle_since_ns = loop_now(c->loop);
	done(c->user, &r);
	buf_fini(&body);
}

/* The words of a link with the phase in front of them; those of a dial have it. */
static void fail(struct http_client *c, const struct fault *why)
{
	struct fault named = { 0 };
	const char *phase = c->answer.any || c->sent ? "answer: " : "request: ";

	switch (conn_phase(c->link)) {
	case CONN_RESOLVE:
	case CONN_CONNECT:
		phase = "";
		break;
	case CONN_TLS:
		phase = "tls: ";
		break;
	case CONN_OPEN:
		break;
	}
	fault_set(&named, why->code, "%s%s", phase, why->why);
	named.sys = why->sys;
	finish(c, &named);
}

static void on_deadline(struct timer *t)
{
	struct http_client *c =
		(struct http_client *)((char *)t - offsetof(struct http_client, deadline));
	static const char *const names[] = { "resolve: ", "connect: ", "", "" };
	struct fault why = { 0 };

	fault_set(&why, ERR_TIMEOUT, "%snot done within %" PRIu64 " ms", names[conn_phase(c->link)],
		  c->timeout_ns / 1000000);
	fail(c, &why);
}

/* ---- the answer ---- */

static uint64_t read_seconds(struct span s)
{
	uint64_t v = 0;

	if (!s.n || s.n > 9)
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0; /* a date: rare, and its clock is not ours */
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	return v;
}

/* For people: where the answer points to.  Secrets stand before an "@" and behind "?" or "#". */
static void note_location(char to[TEXT_MAX], struct span s)
{
	size_t n = 0;

	while (n < s.n && n < TEXT_MAX - 1 && s.p[n] > ' ' && s.p[n] < 0x7f && s.p[n] != '?' &&
	       s.p[n] != '#')
		n++;
	if (n && !memchr(s.p, '@', n))
		memcpy(to, s.p, n);
	else
		n = 0;
	to[n] = '\0';
}

static int too_large(const struct answer *a, struct fault *why)
{
	return fault_set(why, ERR_LIMIT, "HTTP: body above %zu bytes", a->body.max);
}

static int note_head(struct http_client *c, const struct http1_head *h, struct fault *why)
{
	struct answer *a = &c->answer;

	if (h->status < 200)
		return h->status == 101 || ++a->interim > INTERIM_MAX
			       ? fault_set(why, ERR_PROTO,
					   "HTTP: interim answers that nobody asked for")
			       : 0;
	a->status = h->status;
	a->retry_after_s = read_seconds(http1_field(h, "Retry-After"));
	if (h->status >= 300 && h->status < 400)
		note_location(a->location, http1_field(h, "Location"));
	const int rc = http1_body_start(&a->reader, h, c->is_head, why);
	a->keep_alive = http1_is_keep_alive(h) && a->reader.framing != HTTP1_UNTIL_CLOSE;
	return rc == 0 && a->reader.framing == HTTP1_LENGTH && a->reader.left > a->body.max
		       ? too_large(a, why)
		       : rc;
}

/* 1 when the head of the real answer is complete, 0 when not yet. */
static int read_head(struct http_client *c, struct fault *why)
{
	struct answer *a = &c->answer;

	while (!a->status) {
		struct http1_head h;
		const struct mspan in = buf_bytes(&a->head);
		const int n = in.n ? http1_read_response(&h, in.p, in.n, why) : 0;
		const int rc = n > 0 ? note_head(c, &h, why) : n;

		if (rc < 0 || n == 0)
			return rc;
		buf_consume(&a->head, (size_t)n);
	}
	return 1;
}

/* 1 when the answer is complete. */
static int read_body(struct http_client *c, struct span in, struct fault *why)
{
	struct answer *a = &c->answer;

	while (in.n && !a->reader.done) {
		struct span payload;
		int rc = http1_body_read(&a->reader, in.p, in.n, &payload, why);

		if (rc < 0)
			return rc;
		in = span_of(in.p + rc, in.n - (size_t)rc);
		rc = payload.n ? buf_append(&a->body, payload.p, payload.n) : 0;
		if (rc == ERR_LIMIT)
			return too_large(a, why);
		if (rc < 0)
			return fault_set(why, rc, "no memory for a body");
	}
	if (in.n)
		a->keep_alive = false; /* bytes behind the answer: nothing to build on */
	return a->reader.done;
}

static int read_answer(struct http_client *c, struct span in, struct fault *why)
{
	struct answer *a = &c->answer;

	if (a->status)
		return read_body(c, in, why);
	int rc = buf_append(&a->head, in.p, in.n);
	if (rc < 0)
		return fault_set(why, rc, "no room for the head of an answer");
	rc = read_head(c, why);
	if (rc <= 0)
		return rc;
	const struct mspan rest = buf_bytes(&a->head);
	rc = read_body(c, span_of(rest.p, rest.n), why);
	buf_fini(&a->head);
	return rc;
}

/* ---- the link ---- */

static int open_link(struct http_client *c, struct fault *why)
{
	const uint64_t now = loop_now(c->loop), end = c->began_ns + c->timeout_ns;
	const struct conn_options options = {
		.host = c->host,
		.port = c->options.port,
		.tls_ctx = c->options.tls ? c->options.tls_ctx : NULL,
		.alpn = "http/1.1",
		.proxy = c->options.proxy,
		.timeout_ns = end > now ? end - now : 1,
	};

	c->reused = false;
	return conn_new(&c->link, c->loop, &options, &link_handler, c, why);
}

static void on_open(void *user)
{
	struct http_client *c = user;
	struct fault why = { 0 };
	const struct mspan b = buf_bytes(&c->request);

	if (conn_send(c->link, span_of(b.p, b.n), &why) < 0)
		fail(c, &why);
	else
		wipe_request(c); /* a fresh connection is not tried twice */
}

static void on_sent(void *user)
{
	((struct http_client *)user)->sent = true;
}

static size_t on_data(void *user, struct span data)
{
	struct http_client *c = user;
	struct fault why = { 0 };

	if (!c->done) {
		drop_link(c); /* an answer to nothing */
		return data.n;
	}
	if (!c->answer.any) {
		c->answer.any = true;
		wipe_request(c);
	}
	const int rc = read_answer(c, data, &why);
	if (rc < 0)
		fail(c, &why);
	else if (rc > 0)
		finish(c, NULL);
	return data.n;
}

/* A kept connection may have been closed by the peer while our request was on
 * its way.  Where it ended without one byte of answer the request is sent once
 * more, on a fresh connection and whatever its method: all that this agent
 * sends may be repeated (RFC 9110, 9.2.2; RFC 9112, 9.3.1). */
static bool try_again(struct http_client *c, const struct fault *why)
{
	struct fault again = { 0 };

	if (!c->reused || c->answer.any || (why->code != ERR_CLOSED && why->code != ERR_SYS))
		return false;
	drop_link(c);
	c->sent = false;
	if (open_link(c, &again) < 0)
		finish(c, &again);
	return true;
}

static void on_end(void *user, const struct fault *why, bool whole)
{
	struct http_client *c = user;

	if (!c->done)
		drop_link(c);
	else if (c->answer.status && c->answer.reader.framing == HTTP1_UNTIL_CLOSE && whole)
		finish(c, NULL);
	else if (!try_again(c, why))
		fail(c, why);
}

/* ---- the request ---- */

static bool is_bearer(const char *token)
{
	for (const char *p = token; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return *token && strlen(token) <= BEARER_MAX;
}

static int write_bearer(struct buf *to, const char *token)
{
	const char *const texts[] = { "Authorization: Bearer ", token, "\r\n" };
	int rc = 0;

	for (size_t i = 0; i < array_len(texts) && rc == 0; i++)
		rc = buf_append(to, texts[i], strlen(texts[i]));
	return rc;
}

static int write_request(struct http_client *c, const struct http_request_out *r)
{
	struct buf *to = &c->request;
	char length[24];

	snprintf(length, sizeof(length), "%zu", r->body.n);
	const bool has_body = r->body.n || strcmp(r->method, "POST") == 0 ||
			      strcmp(r->method, "PUT") == 0 || strcmp(r->method, "PATCH") == 0;
	int rc = http1_write_request(to, r->method, r->path);
	if (rc == 0)
		rc = http1_write_field(to, "Host", c->host_header);
	if (rc == 0 && c->user_agent[0])
		rc = http1_write_field(to, "User-Agent", c->user_agent);
	if (rc == 0)
		rc = http1_write_field(to, "Accept", "application/json");
	if (rc == 0)
		rc = http1_write_field(to, "Accept-Encoding", "identity");
	if (rc == 0 && r->bearer)
		rc = write_bearer(to, r->bearer);
	if (rc == 0 && r->content_type)
		rc = http1_write_field(to, "Content-Type", r->content_type);
	if (rc == 0 && has_body)
		rc = http1_write_field(to, "Content-Length", length);
	if (rc == 0)
		rc = http1_write_end(to);
	return rc == 0 ? buf_append(to, r->body.p, r->body.n) : rc;
}

static int build_request(struct http_client *c, const struct http_request_out *r, struct fault *why)
{
	if (r->bearer && !is_bearer(r->bearer))
		return fault_set(
			why, ERR_USAGE,
			"request: the token is empty, too long or has bytes that none may");
	const size_t text = strlen(r->path) + (r->bearer ? strlen(r->bearer) : 0);
	uint8_t *room;

	buf_init(&c->request, &mem_heap, CONN_SEND_MAX);
	/* In one piece from the start: a buffer that grows leaves copies of the token. */
	int rc = r->body.n <= CONN_SEND_MAX && text <= CONN_SEND_MAX
			 ? buf_reserve(&c->request, r->body.n + text + 4 * TEXT_MAX, &room)
			 : ERR_LIMIT;
	if (rc == 0)
		rc = write_request(c, r);
	if (rc == 0)
		return 0;
	wipe_request(c);
	if (rc == ERR_USAGE)
		return fault_set(why, rc,
				 "request: method, path or a field has bytes that none may");
	return fault_set(why, rc, rc == ERR_LIMIT ? "request: too large" : "request: no memory");
}

/* Over the kept connection where there is one. */
static int start_request(struct http_client *c, struct fault *why)
{
	const struct mspan b = buf_bytes(&c->request);

	c->reused = true;
	if (c->link && loop_now(c->loop) - c->idle_since_ns > idle_max_ns)
		drop_link(c); /* what stands between may have forgotten it */
	if (c->link && conn_send(c->link, span_of(b.p, b.n), NULL) == 0)
		return 0;
	drop_link(c);
	return open_link(c, why);
}

int http_client_send(struct http_client *c, const struct http_request_out *request,
		     http_done_fn *done, void *user, struct fault *why)
{
	must(!c->done);
	int rc = build_request(c, request, why);
	if (rc < 0)
		return rc;
	c->began_ns = loop_now(c->loop);
	c->sent = false;
	c->is_head = strcmp(request->method, "HEAD") == 0;
	c->answer = (struct answer){ 0 };
	buf_init(&c->answer.head, &mem_heap, HEAD_MAX);
	buf_init(&c->answer.body, &mem_heap, c->options.body_max);
	rc = start_request(c, why);
	if (rc < 0) {
		wipe_request(c);
		return rc;
	}
	c->done = done;
	c->user = user;
	timer_set(c->loop, &c->deadline, c->began_ns + c->timeout_ns);
	return 0;
}

bool http_client_is_busy(const struct http_client *c)
{
	return c->done;
}

/* ---- life ---- */

static bool copy_text(char to[TEXT_MAX], const char *from)
{
	const size_t n = from ? strlen(from) : 0;

	if (n >= TEXT_MAX)
		return false;
	memcpy(to, from ? from : "", n + 1);
	return true;
}

int http_client_new(struct http_client **out, struct loop *l,
		    const struct http_client_options *options, struct fault *why)
{
	*out = NULL;
	must(!options->tls || options->tls_ctx);
	struct http_client *c = mem_alloc_zeroed(&mem_heap, sizeof(*c));
	if (!c)
		return fault_set(why, ERR_NOMEM, "no memory for an HTTP client");
	c->loop = l;
	c->options = *options;
	c->options.body_max = options->body_max ? options->body_max : BODY_MAX;
	c->timeout_ns = options->timeout_ns ? options->timeout_ns : default_timeout_ns;
	c->deadline.fire = on_deadline;
	if (!copy_text(c->host, options->host) || !c->host[0] ||
	    !copy_text(c->host_header,
		       options->host_header ? options->host_header : options->host) ||
	    !copy_text(c->user_agent, options->user_agent)) {
		mem_free(&mem_heap, c);
		return fault_set(why, ERR_USAGE,
				 "request: host or user agent is empty or above %d bytes",
				 TEXT_MAX - 1);
	}
	*out = c;
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	timer_clear(c->loop, &c->deadline);
	drop_link(c);
	wipe_request(c);
	buf_fini(&c->answer.head);
	buf_fini(&c->answer.body);
	mem_free(&mem_heap, c);
}
