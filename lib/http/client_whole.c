/*
 * client_whole.c collects one response for a caller that wants it whole.  It keeps
 * nothing once the caller was told.
 */
#include "lib/http/client_whole.h"

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/http/client_private.h"

struct whole {
	struct http_client *client;
	struct http_request *request;
	http_done_fn *done;
	void *user;
	struct buf body;
	int status;
	uint64_t began_ns, retry_after_s;
	char location[HTTP_TEXT_MAX];
};

static void whole_free(struct whole *w)
{
	buf_fini(&w->body);
	mem_free(&mem_heap, w);
}

/* The last thing done: `done` may free the client. */
static void finish(struct whole *w, const struct fault *why, bool answered, uint64_t elapsed_ns)
{
	const bool good = !why->code;
	const struct http_result r = {
		.status = good ? w->status : 0,
		.answered = answered,
		.body = good ? span_of(buf_bytes(&w->body).p, buf_len(&w->body)) : span_of(NULL, 0),
		.why = *why,
		.retry_after_s = w->retry_after_s,
		.location = w->location,
		.elapsed_ns = elapsed_ns,
	};

	w->done(w->user, &r);
	whole_free(w);
}

static void give_up(struct whole *w, enum err code)
{
	struct fault why = { 0 };

	if (code == ERR_LIMIT)
		fault_set(&why, code, "response: HTTP: body above %zu bytes", w->body.max);
	else
		fault_set(&why, code, "response: no memory for a body");
	http_request_cancel(w->request);
	finish(w, &why, true, loop_now(w->client->loop) - w->began_ns);
}

/* For people: where the response points to.  Secrets stand before an "@" and behind
 * "?" or "#". */
static void note_location(char to[HTTP_TEXT_MAX], struct span s)
{
	size_t n = 0;

	while (n < s.n && n < HTTP_TEXT_MAX - 1 && s.p[n] > ' ' && s.p[n] < 0x7f && s.p[n] != '?' &&
	       s.p[n] != '#')
		n++;
	if (n && !memchr(s.p, '@', n))
		memcpy(to, s.p, n);
	else
		n = 0;
	to[n] = '\0';
}

static void on_head(void *user, const struct http_response *r)
{
	struct whole *w = user;

	w->status = r->status;
	w->retry_after_s = r->retry_after_s;
	if (r->status >= 300 && r->status < 400)
		note_location(w->location, http_response_field(r, "Location"));
	if (r->has_length && r->length > w->body.max)
		give_up(w, ERR_LIMIT);
}

static void on_body(void *user, struct span piece)
{
	struct whole *w = user;
	const int rc = buf_append(&w->body, piece.p, piece.n);

	if (rc < 0)
		give_up(w, rc);
}

static void on_end(void *user, const struct http_request_end *end)
{
	finish(user, &end->why, end->answered, end->elapsed_ns);
}

static void on_cancel(void *user)
{
	whole_free(user);
}

static const struct http_request_handler handler = {
	.on_head = on_head,
	.on_body = on_body,
	.on_end = on_end,
	.on_cancel = on_cancel,
};

int http_client_send(struct http_client *c, const struct http_request_out *request,
		     http_done_fn *done, void *user, struct fault *why)
{
	struct whole *w = mem_alloc_zeroed(&mem_heap, sizeof(*w));

	if (!w)
		return fault_set(why, ERR_NOMEM, "request: no memory");
	must(!request->streams);
	w->client = c;
	w->done = done;
	w->user = user;
	w->began_ns = loop_now(c->loop);
	buf_init(&w->body, &mem_heap, c->options.body_max);
	const int rc = http_request_new(&w->request, c, request, &handler, w, why);
	if (rc < 0)
		whole_free(w);
	return rc;
}
