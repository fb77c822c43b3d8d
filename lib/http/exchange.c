/*
 * One exchange as its owner sees it: the request's parts, and a response in pieces with a bound on
 * what waits.  It knows neither framing (server_h1.c) nor sockets (server_conn.c): it notes what
 * was asked for, and the connection looks soon.
 */
#include <strings.h>

#include "lib/http/server_private.h"

enum { HEAD_MAX = 16 * 1024, WHOLE_MAX = 4 << 20 };

struct http_exchange *http_exchange_new(struct server_conn *c)
{
	struct http_exchange *x = mem_alloc_zeroed(&mem_heap, sizeof(*x));

	if (!x)
		return NULL;
	x->conn = c;
	x->length = HTTP_LENGTH_UNKNOWN;
	buf_init(&x->head, &mem_heap, HEAD_MAX);
	buf_init(&x->waiting, &mem_heap, LIMIT_HTTP_UNSENT);
	buf_init(&x->whole, &mem_heap, WHOLE_MAX);
	return x;
}

void http_exchange_free(struct http_exchange *x)
{
	if (!x)
		return;
	buf_fini(&x->head);
	buf_fini(&x->waiting);
	buf_fini(&x->whole);
	mem_free(&mem_heap, x);
}

/* ---- the request ---- */

struct span http_exchange_path(const struct http_exchange *x)
{
	return x->path;
}

struct span http_exchange_query(const struct http_exchange *x)
{
	return x->query;
}

struct span http_exchange_field(const struct http_exchange *x, const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; x->fields && i < x->fields_n; i++)
		if (x->fields[i].name.n == n &&
		    strncasecmp((const char *)x->fields[i].name.p, name, n) == 0)
			return x->fields[i].value;
	return span_of(NULL, 0);
}

/* ---- the codec's calls ---- */

void http_exchange_serve(struct http_exchange *x)
{
	struct http_server *s = x->conn->server;

	s->on_request(s->user, x);
	must(x->ended || x->handler); /* else nobody would ever answer, nor learn of its end */
	x->fields = NULL;
	x->path = x->query = span_of(NULL, 0);
}

void http_exchange_sent(struct http_exchange *x)
{
	x->under_way = 0;
	if (x->ended || !x->wants_room || http_exchange_room(x) < LIMIT_HTTP_UNSENT / 2)
		return;
	x->wants_room = false;
	if (x->handler->on_room)
		x->handler->on_room(x, x->user);
}

void http_exchange_gone(struct http_exchange *x)
{
	const bool waits = !x->ended && x->handler;

	x->ended = true;
	x->conn->server->held -= x->held;
	x->conn->holds -= x->held;
	x->held = 0;
	if (waits)
		x->handler->on_gone(x->user);
}

/* ---- the owner's calls ---- */

void http_exchange_follow(struct http_exchange *x, const struct http_exchange_handler *handler,
			  void *user)
{
	must(!x->ended && handler->on_gone);
	x->handler = handler;
	x->user = user;
}

int http_exchange_begin(struct http_exchange *x, int status, const struct http_field *fields,
			size_t n, uint64_t length)
{
	must(!x->begun && !x->ended && status >= 200 && status <= 599);
	x->status = status;
	x->length = length;
	const int rc = x->conn->codec->begin(x, fields, n);
	if (rc < 0) {
		buf_consume(&x->head, buf_len(&x->head));
		return rc;
	}
	x->begun = true;
	server_conn_kick(x->conn);
	return 0;
}

size_t http_exchange_room(const struct http_exchange *x)
{
	return LIMIT_HTTP_UNSENT - buf_len(&x->waiting) - x->under_way;
}

int http_exchange_write(struct http_exchange *x, const void *p, size_t n)
{
	must(x->begun && !x->ended);
	must(x->length == HTTP_LENGTH_UNKNOWN || n <= x->length - x->written);
	const bool dropped = !http_exchange_has_body(x);
	const size_t taken = min_size(n, dropped ? LIMIT_HTTP_UNSENT : http_exchange_room(x));

	if (taken < n && !dropped)
		x->wants_room = true;
	if (taken && !dropped) {
		const int rc = buf_append(&x->waiting, p, taken);

		if (rc < 0)
			return rc;
		server_conn_kick(x->conn);
	}
	x->written += taken;
	return (int)taken;
}

void http_exchange_abort(struct http_exchange *x)
{
	must(!x->ended);
	x->ended = true;
	x->conn->cut = true;
	server_conn_kick(x->conn);
}

void http_exchange_end(struct http_exchange *x)
{
	must(x->begun && !x->ended);
	if (http_exchange_has_body(x) && x->length != HTTP_LENGTH_UNKNOWN &&
	    x->written != x->length) {
		http_exchange_abort(x);
		return;
	}
	x->ended = true;
	server_conn_kick(x->conn);
}

static void reply_taken(struct http_exchange *x, int status, const struct http_field *fields,
			size_t n)
{
	const size_t length = buf_len(&x->whole);

	if (http_exchange_begin(x, status, fields, n, length) < 0) {
		http_exchange_abort(x);
		return;
	}
	x->written = length;
	http_exchange_end(x);
}

void http_exchange_reply_text(struct http_exchange *x, int status, const struct http_field *fields,
			      size_t n, const char *text)
{
	struct http_field all[8] = { { "Content-Type", "text/plain; charset=utf-8" } };

	must(n < array_len(all));
	for (size_t i = 0; i < n; i++)
		all[i + 1] = fields[i];
	buf_consume(&x->whole, buf_len(&x->whole));
	if (buf_append(&x->whole, text, strlen(text)) < 0 || buf_append(&x->whole, "\n", 1) < 0) {
		http_exchange_abort(x);
		return;
	}
	reply_taken(x, status, all, n + 1);
}

void http_exchange_reply(struct http_exchange *x, int status, const struct http_field *fields,
			 size_t n, struct buf *body)
{
	static const struct http_field later = { "Retry-After", "5" };

	must(!x->begun && !x->ended && body->mem == &mem_heap && buf_len(body) <= WHOLE_MAX);
	if (!server_hold(x->conn->server, x, buf_len(body))) {
		buf_consume(body, buf_len(body));
		http_exchange_reply_text(x, 503, &later, 1,
					 "too many responses wait for slow clients");
		return;
	}
	const size_t max = body->max;
	x->whole = *body;
	buf_init(body, &mem_heap, max);
	reply_taken(x, status, fields, n);
}

bool http_exchange_may_cost(struct http_exchange *x)
{
	struct http_server *s = x->conn->server;
	const uint64_t now = loop_now(s->loop);
	uint64_t missed;

	return !server_admission_is_pressed(&s->admission, &x->conn->seat, now) ||
	       rate_allow_of(&s->costly, now, LIMIT_HTTP_COSTLY, LIMIT_NS(HTTP_COSTLY_REFILL),
			     &missed);
}

bool http_exchange_allow(struct http_exchange *x, unsigned methods, const char *allow)
{
	const struct http_field field = { "Allow", allow };

	if (x->method & methods)
		return true;
	x->last = true;
	http_exchange_reply_text(x, 405, &field, 1, "this method is not answered here");
	return false;
}
