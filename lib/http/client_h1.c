/*
 * client_h1.c is one HTTP/1.1 connection of a client: it sends one request at a time
 * and reads its response.  Which request, and whether again, is client.c's.
 */
#include <stdio.h>
#include <strings.h>

#include "lib/base/escape.h"
#include "lib/base/mem.h"
#include "lib/http/client_private.h"

enum {
	HEAD_MAX = HTTP1_RESPONSE_HEAD_MAX + 1, /* one more: the parser says "too large" */
	INTERIM_MAX = 8,			/* responses 1xx before the real one */
	REQUEST_TIMEOUT = 408,
};

static const uint64_t idle_max_ns = 60000000000;

struct http_link {
	struct http_client *client;
	struct http_link *next;
	struct conn *conn;
	struct http_request *request; /* NULL: idle */
	uint64_t idle_since_ns;
	bool reused;   /* it has carried a request before this one */
	bool sent;     /* what was given to conn is with the kernel */
	bool sending;  /* conn's on_sent is awaited */
	bool last_due; /* the last chunk of a streamed body */
	/* the response */
	struct buf head;
	struct http1_body body;
	int status, interim;
	bool any, keep_alive;
	/* A callback of conn's is running: what is dropped meanwhile is freed behind it. */
	unsigned busy;
	bool dropped;
};

/* ---- the life of a connection ---- */

static void leave(struct http_link *k)
{
	if (--k->busy == 0 && k->dropped)
		mem_free(&mem_heap, k);
}

static void drop(struct http_link *k, bool gently)
{
	struct http_link **at = &k->client->links;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	k->client->links_n--;
	(gently ? conn_close : conn_abort)(k->conn);
	buf_fini(&k->head);
	k->request = NULL;
	k->dropped = true;
	k->busy++;
	leave(k);
}

void http_link_drop(struct http_link *k)
{
	drop(k, !k->request || !k->any);
}

static void reset(struct http_link *k)
{
	buf_fini(&k->head);
	buf_init(&k->head, &mem_heap, HEAD_MAX);
	k->body = (struct http1_body){ 0 };
	k->status = k->interim = 0;
	k->any = k->keep_alive = k->sent = k->last_due = false;
}

void http_link_release(struct http_link *k, bool whole)
{
	if (!whole || !k->sent || k->sending || !k->keep_alive) {
		/* A peer that still sends a body is not listened to. */
		drop(k, whole || !k->status);
		return;
	}
	k->request = NULL;
	k->reused = true;
	k->idle_since_ns = loop_now(k->client->loop);
	reset(k);
}

struct http_link *http_link_idle(struct http_client *c)
{
	struct http_link *next;

	for (struct http_link *k = c->links; k; k = next) {
		next = k->next;
		if (k->request)
			continue;
		if (loop_now(c->loop) - k->idle_since_ns <= idle_max_ns)
			return k;
		http_link_drop(k); /* what stands between may have forgotten it */
	}
	return NULL;
}

const char *http_link_phase(const struct http_link *k)
{
	static const char *const names[] = {
		[CONN_RESOLVE] = "resolve: ", [CONN_CONNECT] = "connect: ", [CONN_TLS] = "tls: "
	};
	const enum conn_phase phase = conn_phase(k->conn);

	if (phase != CONN_OPEN)
		return names[phase];
	return k->any || k->sent ? "response: " : "request: ";
}

bool http_link_answered(const struct http_link *k)
{
	return k->any;
}

/* ---- the end ---- */

static void fail(struct http_link *k, const struct fault *why)
{
	struct fault named = { 0 };
	/* Until it is connected conn's sentence names the phase itself. */
	const bool dialling = conn_phase(k->conn) < CONN_TLS;

	fault_set(&named, why->code, "%s%s", dialling ? "" : http_link_phase(k), why->why);
	named.sys = why->sys;
	http_request_end(k->request, &named);
}

static bool may_repeat(const struct http_link *k)
{
	const struct http_request *r = k->request;

	return k->reused && r->repeatable && !r->repeated;
}

/* ---- the response ---- */

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

/* Identity was asked for (RFC 9110, 12.5.3). */
static int refuse_compressed(const struct http1_head *h, struct fault *why)
{
	const struct span coding = http1_field(h, "Content-Encoding");
	char shown[40];

	if (!coding.n || (coding.n == 8 && http1_field_has(h, "Content-Encoding", "identity")))
		return 0;
	escape_text(shown, sizeof(shown), coding);
	return fault_set(why, ERR_PROTO,
			 "HTTP: the response is compressed (%s), which was not asked for: "
			 "something between changes responses",
			 shown);
}

/* 1 when it is the head of the real response, 0 for an interim one. */
static int note_head(struct http_link *k, const struct http1_head *h, struct fault *why)
{
	if (h->status < 200)
		return h->status == 101 || ++k->interim > INTERIM_MAX
			       ? fault_set(why, ERR_PROTO,
					   "HTTP: interim responses that nobody asked for")
			       : 0;
	k->status = h->status;
	int rc = http1_body_start(&k->body, h, k->request->is_head, why);
	if (rc == 0 && k->body.framing != HTTP1_NO_BODY)
		rc = refuse_compressed(h, why);
	k->keep_alive = http1_is_keep_alive(h) && k->body.framing != HTTP1_UNTIL_CLOSE;
	return rc < 0 ? rc : 1;
}

struct span http_response_field(const struct http_response *r, const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; i < r->fields_n; i++)
		if (r->fields[i].name.n == n &&
		    strncasecmp((const char *)r->fields[i].name.p, name, n) == 0)
			return r->fields[i].value;
	return span_of(NULL, 0);
}

static void tell_head(struct http_link *k, const struct http1_head *h)
{
	const struct http_request *r = k->request;
	const struct http_response response = {
		.status = h->status,
		.fields = h->fields,
		.fields_n = h->fields_n,
		.retry_after_s = read_seconds(http1_field(h, "Retry-After")),
		.has_length = k->body.framing == HTTP1_LENGTH,
		.length = k->body.framing == HTTP1_LENGTH ? k->body.left : 0,
	};

	if (r->handler->on_head)
		r->handler->on_head(r->user, &response);
}

/* Takes bytes of heads until the real one is whole; how many, or an enum err. */
static int take_head(struct http_link *k, struct span in, struct fault *why)
{
	size_t at = 0;

	while (!k->dropped && !k->status && at < in.n) {
		const size_t had = buf_len(&k->head), add = min_size(in.n - at, buf_room(&k->head));
		struct http1_head h;
		int rc = buf_append(&k->head, in.p + at, add);
		if (rc < 0)
			return fault_set(why, rc, "no memory for the head of a response");
		const struct mspan b = buf_bytes(&k->head);
		const int n = http1_read_response(&h, b.p, b.n, why);
		if (n < 0)
			return n;
		if (n == 0) {
			at += add;
			continue;
		}
		at += (size_t)n - had;
		rc = note_head(k, &h, why);
		if (rc < 0)
			return rc;
		/* It stood there before we asked: the connection timed out, not we. */
		if (rc > 0 && k->status == REQUEST_TIMEOUT && !k->keep_alive && may_repeat(k)) {
			http_request_repeat(k->request);
			return (int)in.n;
		}
		if (rc > 0)
			tell_head(k, &h);
		if (!k->dropped)
			buf_consume(&k->head, buf_len(&k->head));
	}
	return (int)at;
}

/* How many bytes were taken: not all where the request is paused. */
static int take_body(struct http_link *k, struct span in, struct fault *why)
{
	size_t at = 0;

	while (!k->dropped && at < in.n && !k->body.done && !k->request->paused) {
		struct span payload;
		const int rc = http1_body_read(&k->body, in.p + at, in.n - at, &payload, why);

		if (rc < 0)
			return rc;
		at += (size_t)rc;
		if (payload.n)
			k->request->handler->on_body(k->request->user, payload);
	}
	return (int)at;
}

static size_t take(struct http_link *k, struct span in)
{
	struct fault why = { 0 };
	int n = k->status ? 0 : take_head(k, in, &why);
	size_t at = n > 0 ? (size_t)n : 0;

	if (n >= 0 && !k->dropped && k->status) {
		n = take_body(k, span_of(in.p + at, in.n - at), &why);
		at += n > 0 ? (size_t)n : 0;
	}
	if (k->dropped)
		return in.n;
	if (n < 0) {
		fail(k, &why);
		return in.n;
	}
	if (!k->status || !k->body.done)
		return at;
	if (at < in.n)
		k->keep_alive = false; /* bytes behind the response: nothing to build on */
	http_request_end(k->request, NULL);
	return in.n;
}

/* ---- what conn tells ---- */

static int send_request(struct http_link *k, struct fault *why)
{
	const struct mspan b = buf_bytes(&k->request->wire);
	const int rc = conn_send(k->conn, span_of(b.p, b.n), why);

	k->sending = rc >= 0;
	return rc;
}

static void on_open(void *user)
{
	struct http_link *k = user;
	const struct span alpn = conn_alpn(k->conn);
	struct fault why = { 0 };

	k->busy++;
	if (alpn.n && !span_is(alpn, "http/1.1"))
		fault_set(&why, ERR_PROTO, "the server chose a protocol that was not offered");
	else
		(void)send_request(k, &why);
	if (why.code)
		fail(k, &why);
	leave(k);
}

static size_t on_data(void *user, struct span data)
{
	struct http_link *k = user;
	size_t taken = data.n;

	k->busy++;
	if (!k->request) {
		http_link_drop(k); /* a response to nothing */
	} else {
		k->any = true;
		k->request->moved_ns = loop_now(k->client->loop);
		taken = take(k, data);
	}
	leave(k);
	return taken;
}

static void on_sent(void *user)
{
	struct http_link *k = user;
	struct http_request *r = k->request;

	k->busy++;
	k->sending = false;
	if (r) {
		k->sent = true;
		r->moved_ns = loop_now(k->client->loop);
		if (k->last_due)
			http_link_finish(k);
		else if (!r->finished && r->handler->on_room)
			r->handler->on_room(r->user);
	}
	leave(k);
}

/* A kept connection may have been closed by the peer while our request was on its
 * way (RFC 9112, 9.3.1). */
static void on_end(void *user, const struct fault *why, bool whole)
{
	struct http_link *k = user;
	const bool gone =
		why->code == ERR_CLOSED || why->code == ERR_SYS || why->code == ERR_TIMEOUT;

	k->busy++;
	if (!k->request)
		http_link_drop(k);
	else if (k->status && k->body.framing == HTTP1_UNTIL_CLOSE && whole)
		http_request_end(k->request, NULL);
	else if (!k->any && gone && may_repeat(k))
		http_request_repeat(k->request);
	else
		fail(k, why);
	leave(k);
}

static const struct conn_handler conn_handler = {
	.on_open = on_open,
	.on_data = on_data,
	.on_sent = on_sent,
	.on_end = on_end,
};

/* ---- what client.c asks for ---- */

int http_link_new(struct http_link **out, struct http_client *c, struct fault *why)
{
	const struct conn_options options = {
		.host = c->host,
		.port = c->options.port,
		.tls_ctx = c->options.tls ? c->options.tls_ctx : NULL,
		.alpn = "http/1.1",
		.proxy = c->options.proxy,
		.timeout_ns = c->options.timeout_ns,
	};
	struct http_link *k = mem_alloc_zeroed(&mem_heap, sizeof(*k));

	if (!k)
		return fault_set(why, ERR_NOMEM, "request: no memory");
	k->client = c;
	reset(k);
	const int rc = conn_new(&k->conn, c->loop, &options, &conn_handler, k, why);
	if (rc < 0) {
		mem_free(&mem_heap, k);
		return rc;
	}
	k->next = c->links;
	c->links = k;
	c->links_n++;
	*out = k;
	return 0;
}

int http_link_start(struct http_link *k, struct http_request *r, struct fault *why)
{
	k->request = r;
	const int rc = conn_phase(k->conn) == CONN_OPEN ? send_request(k, why) : 0;
	if (rc < 0)
		k->request = NULL;
	return rc;
}

static int send_chunk(struct http_link *k, struct span data, struct fault *why)
{
	char line[24];
	struct buf chunk;

	buf_init(&chunk, &mem_heap, HTTP_WRITE_MAX + sizeof(line) + 2);
	const int n = snprintf(line, sizeof(line), "%zx\r\n", data.n);
	int rc = buf_append(&chunk, line, (size_t)n);
	if (rc >= 0)
		rc = buf_append(&chunk, data.p, data.n);
	if (rc >= 0)
		rc = buf_append(&chunk, "\r\n", 2);
	if (rc >= 0)
		rc = conn_send(k->conn, span_of(buf_bytes(&chunk).p, buf_len(&chunk)), why);
	else
		fault_set(why, rc, "request: no memory");
	buf_fini(&chunk);
	return rc;
}

int http_link_write(struct http_link *k, struct span data, struct fault *why)
{
	if (conn_phase(k->conn) != CONN_OPEN || k->sending || !k->sent)
		return 0;
	const int rc =
		k->request->chunked ? send_chunk(k, data, why) : conn_send(k->conn, data, why);
	if (rc == ERR_CLOSED)
		return 0; /* on_end comes */
	k->sending = rc >= 0;
	return rc < 0 ? rc : (int)data.n;
}

void http_link_finish(struct http_link *k)
{
	static const char last[] = "0\r\n\r\n";

	if (!k->request->chunked)
		return;
	k->last_due = conn_phase(k->conn) != CONN_OPEN || k->sending || !k->sent;
	if (!k->last_due)
		k->sending = conn_send(k->conn, span_str(last), NULL) >= 0;
}

void http_link_resume(struct http_link *k)
{
	conn_resume(k->conn);
}
