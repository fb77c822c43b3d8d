/*
 * client.c keeps the requests of one origin: builds them, gives each a connection in
 * turn, ends them at their deadlines, repeats what may be repeated.  What is said on
 * a connection is client_h1.c's.
 */
#include "lib/http/client_private.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"

enum { BODY_MAX = 1024 * 1024, BEARER_MAX = 16 * 1024, CONNECTIONS_MAX = 4, WAITING_MAX = 64 };

static const uint64_t default_timeout_ns = 30000000000, silent_max_ns = 5000000000;

/* ---- the end of a request ---- */

/* The bearer token stands in it. */
static void wipe_wire(struct http_request *r)
{
	if (r->wire.p)
		explicit_bzero(r->wire.p, r->wire.cap);
	buf_fini(&r->wire);
}

static void take_out(struct http_request *r)
{
	struct http_client *c = r->client;
	struct http_request **at = &c->requests;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	timer_clear(c->loop, &r->deadline);
	if (!r->link)
		c->waiting_n--;
	wipe_wire(r);
}

static void give_turns(struct http_client *c)
{
	if (c->waiting_n)
		timer_set(c->loop, &c->turn, loop_now(c->loop));
}

void http_request_end(struct http_request *r, const struct fault *why)
{
	struct http_client *c = r->client;
	const struct http_request_handler *handler = r->handler;
	void *user = r->user;
	const struct http_request_end end = {
		.why = why ? *why : (struct fault){ 0 },
		.answered = r->link && http_link_answered(r->link),
		.repeated = r->repeated,
		.elapsed_ns = loop_now(c->loop) - r->began_ns,
	};

	take_out(r);
	if (r->link)
		http_link_release(r->link, !why && r->finished);
	mem_free(&mem_heap, r);
	give_turns(c);
	handler->on_end(user, &end);
}

void http_request_cancel(struct http_request *r)
{
	if (!r)
		return;
	struct http_client *c = r->client;

	take_out(r);
	if (r->link)
		http_link_release(r->link, false);
	mem_free(&mem_heap, r);
	give_turns(c);
}

/* ---- deadlines ---- */

static uint64_t total_end(const struct http_request *r)
{
	return r->timeout_ns == UINT64_MAX ? UINT64_MAX : r->began_ns + r->timeout_ns;
}

static uint64_t idle_end(const struct http_request *r)
{
	return r->idle_ns && !r->paused ? r->moved_ns + r->idle_ns : UINT64_MAX;
}

static void arm(struct http_request *r)
{
	const uint64_t at = min_u64(min_u64(total_end(r), idle_end(r)),
				    r->silent_ns ? r->silent_ns : UINT64_MAX);

	if (at == UINT64_MAX)
		timer_clear(r->client->loop, &r->deadline);
	else
		timer_set(r->client->loop, &r->deadline, at);
}

static void time_out(struct http_request *r, uint64_t limit_ns, const char *what)
{
	struct fault why = { 0 };

	fault_set(&why, ERR_TIMEOUT, "%s%s %" PRIu64 " ms",
		  r->link ? http_link_phase(r->link) : "request: ", what, limit_ns / 1000000);
	http_request_end(r, &why);
}

static void on_deadline(struct timer *t)
{
	struct http_request *r = owner_of(t, struct http_request, deadline);
	const uint64_t now = loop_now(r->client->loop);

	if (now >= total_end(r)) {
		time_out(r, r->timeout_ns, "not done within");
		return;
	}
	if (now >= idle_end(r)) {
		time_out(r, r->idle_ns, "no byte for");
		return;
	}
	/* What stands between has forgotten the connection, and says nothing. */
	if (r->silent_ns && now >= r->silent_ns && r->link && !http_link_answered(r->link))
		http_request_repeat(r);
	else if (r->silent_ns && now >= r->silent_ns)
		r->silent_ns = 0;
	arm(r);
}

/* ---- turns ---- */

void http_request_repeat(struct http_request *r)
{
	struct http_client *c = r->client;

	http_link_drop(r->link);
	r->link = NULL;
	r->repeated = true;
	r->silent_ns = 0;
	c->waiting_n++;
	give_turns(c);
}

static struct http_link *any_idle(struct http_client *c, const struct http_request *r)
{
	struct http_link *k = http_link_idle(c);

	if (k && r->repeated) { /* the others were kept as long, and may be as dead */
		http_link_drop(k);
		k = NULL;
	}
	return k;
}

/* 1 when r has a connection now, 0 when there is none to be had. */
static int start(struct http_request *r, struct fault *why)
{
	struct http_client *c = r->client;
	struct http_link *k = any_idle(c, r);
	int rc;

	if (k && http_link_start(k, r, NULL) >= 0) {
		r->silent_ns =
			r->repeatable && !r->repeated && r->timeout_ns != UINT64_MAX
				? loop_now(c->loop) + min_u64(silent_max_ns, r->timeout_ns / 3)
				: 0;
	} else {
		if (k)
			http_link_drop(k);
		if (c->links_n >= c->options.connections_max)
			return 0;
		rc = http_link_new(&k, c, why);
		if (rc < 0)
			return rc;
		rc = http_link_start(k, r, why);
		if (rc < 0) {
			http_link_drop(k);
			return rc;
		}
	}
	r->link = k;
	arm(r);
	return 1;
}

static void on_turn(struct timer *t)
{
	struct http_client *c = owner_of(t, struct http_client, turn);
	struct http_request *r = c->requests;
	struct fault why = { 0 };

	while (r && r->link)
		r = r->next;
	if (!r)
		return;
	const int rc = start(r, &why);
	if (rc == 0)
		return; /* the next one that ends gives the turn on */
	if (rc > 0)
		c->waiting_n--;
	give_turns(c);
	if (rc < 0)
		http_request_end(r, &why);
}

/* ---- what is sent ---- */

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

static int write_length(struct buf *to, const struct http_request_out *o)
{
	char length[24];

	if (o->streams && o->length < 0)
		return http1_write_field(to, "Transfer-Encoding", "chunked");
	if (!o->streams && !o->body.n && strcmp(o->method, "POST") != 0 &&
	    strcmp(o->method, "PUT") != 0 && strcmp(o->method, "PATCH") != 0)
		return 0;
	snprintf(length, sizeof(length), "%" PRIu64,
		 o->streams ? (uint64_t)o->length : (uint64_t)o->body.n);
	return http1_write_field(to, "Content-Length", length);
}

static int write_request(const struct http_client *c, struct buf *to,
			 const struct http_request_out *o)
{
	int rc = http1_write_request(to, o->method, o->path);

	if (rc == 0)
		rc = http1_write_field(to, "Host", c->host_header);
	if (rc == 0 && c->user_agent[0])
		rc = http1_write_field(to, "User-Agent", c->user_agent);
	if (rc == 0)
		rc = http1_write_field(to, "Accept", o->accept ? o->accept : "application/json");
	if (rc == 0)
		rc = http1_write_field(to, "Accept-Encoding", "identity");
	if (rc == 0 && o->bearer)
		rc = write_bearer(to, o->bearer);
	if (rc == 0 && o->content_type)
		rc = http1_write_field(to, "Content-Type", o->content_type);
	if (rc == 0)
		rc = write_length(to, o);
	if (rc == 0)
		rc = http1_write_end(to);
	return rc == 0 ? buf_append(to, o->body.p, o->body.n) : rc;
}

static int build(struct http_request *r, const struct http_request_out *o, struct fault *why)
{
	if (o->bearer && !is_bearer(o->bearer))
		return fault_set(
			why, ERR_USAGE,
			"request: the token is empty, too long or has bytes that none may");
	const size_t text = strlen(o->path) + (o->bearer ? strlen(o->bearer) : 0);
	uint8_t *room;

	buf_init(&r->wire, &mem_heap, CONN_SEND_MAX);
	/* In one piece from the start: a buffer that grows leaves copies of the token. */
	int rc = o->body.n <= CONN_SEND_MAX && text <= CONN_SEND_MAX
			 ? buf_reserve(&r->wire, o->body.n + text + 4 * HTTP_TEXT_MAX, &room)
			 : ERR_LIMIT;
	if (rc == 0)
		rc = write_request(r->client, &r->wire, o);
	if (rc == ERR_USAGE)
		return fault_set(why, rc,
				 "request: method, path or a field has bytes that none may");
	return rc == 0 ? 0
		       : fault_set(why, rc,
				   rc == ERR_LIMIT ? "request: too large" : "request: no memory");
}

static void fill(struct http_request *r, const struct http_request_out *o)
{
	const uint64_t now = loop_now(r->client->loop);

	r->deadline.fire = on_deadline;
	r->began_ns = r->moved_ns = now;
	r->timeout_ns = o->timeout_ns ? o->timeout_ns : r->client->options.timeout_ns;
	r->idle_ns = o->idle_ns;
	r->repeatable = o->repeatable;
	r->is_head = strcmp(o->method, "HEAD") == 0;
	r->streams = o->streams;
	r->chunked = o->streams && o->length < 0;
	r->left = o->streams && o->length > 0 ? (uint64_t)o->length : 0;
	r->finished = !o->streams;
}

int http_request_new(struct http_request **out, struct http_client *c,
		     const struct http_request_out *request,
		     const struct http_request_handler *handler, void *user, struct fault *why)
{
	struct http_request **at = &c->requests;

	must(!request->streams || (!request->repeatable && !request->body.n));
	*out = NULL;
	if (c->waiting_n >= c->options.waiting_max)
		return fault_set(why, ERR_FULL, "request: %zu wait already", c->waiting_n);
	struct http_request *r = mem_alloc_zeroed(&mem_heap, sizeof(*r));
	if (!r)
		return fault_set(why, ERR_NOMEM, "request: no memory");
	r->client = c;
	r->handler = handler;
	r->user = user;
	fill(r, request);
	int rc = build(r, request, why);
	if (rc >= 0)
		rc = c->waiting_n ? 0 : start(r, why);
	if (rc < 0) {
		wipe_wire(r);
		mem_free(&mem_heap, r);
		return rc;
	}
	while (*at)
		at = &(*at)->next;
	*at = r;
	if (rc == 0) {
		c->waiting_n++;
		arm(r);
	}
	*out = r;
	return 0;
}

void http_request_pause(struct http_request *r, bool paused)
{
	const bool was = r->paused;

	r->paused = paused;
	if (!was || paused)
		return;
	r->moved_ns = loop_now(r->client->loop);
	arm(r);
	if (r->link)
		http_link_resume(r->link);
}

int http_request_write(struct http_request *r, struct span data, struct fault *why)
{
	must(r->streams && !r->finished);
	if (!r->chunked && data.n > r->left)
		return fault_set(why, ERR_USAGE, "request: more bytes than were announced");
	if (!r->link || !data.n)
		return 0;
	const int n =
		http_link_write(r->link, span_of(data.p, min_size(data.n, HTTP_WRITE_MAX)), why);
	if (n > 0 && !r->chunked)
		r->left -= (uint64_t)n;
	return n;
}

void http_request_finish(struct http_request *r)
{
	must(r->streams && !r->finished && !r->left);
	r->finished = true;
	if (r->link)
		http_link_finish(r->link);
}

/* ---- life ---- */

static bool copy_text(char to[HTTP_TEXT_MAX], const char *from)
{
	const size_t n = from ? strlen(from) : 0;

	if (n >= HTTP_TEXT_MAX)
		return false;
	memcpy(to, from ? from : "", n + 1);
	return true;
}

static size_t or_default(size_t value, size_t otherwise)
{
	return value ? value : otherwise;
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
	c->turn.fire = on_turn;
	c->options = *options;
	c->options.body_max = or_default(options->body_max, BODY_MAX);
	c->options.connections_max = or_default(options->connections_max, CONNECTIONS_MAX);
	c->options.waiting_max = or_default(options->waiting_max, WAITING_MAX);
	if (!c->options.timeout_ns)
		c->options.timeout_ns = default_timeout_ns;
	if (!options->host || !*options->host || !copy_text(c->host, options->host) ||
	    !copy_text(c->host_header,
		       options->host_header ? options->host_header : options->host) ||
	    !copy_text(c->user_agent, options->user_agent)) {
		mem_free(&mem_heap, c);
		return fault_set(why, ERR_USAGE, "host or user agent is empty or too long");
	}
	*out = c;
	return 0;
}

bool http_client_is_busy(const struct http_client *c)
{
	return c->requests;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	while (c->requests) {
		const struct http_request_handler *handler = c->requests->handler;
		void *user = c->requests->user;

		http_request_cancel(c->requests);
		if (handler->on_cancel)
			handler->on_cancel(user);
	}
	while (c->links)
		http_link_drop(c->links);
	timer_clear(c->loop, &c->turn);
	mem_free(&mem_heap, c);
}
