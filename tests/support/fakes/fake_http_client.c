/* What was asked is kept as text; nothing is ever answered by itself. */
#include "tests/support/fakes/fake_http_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/must.h"

enum { WAITING_MAX = 8 };

struct http_client {
	http_done_fn *done; /* NULL: none is under way */
	void *user;
};

static struct {
	struct http_client *waiting[WAITING_MAX];
	size_t waiting_n, clients, asked;
	struct fake_request request;
	struct fake_origin origin;
	int refuse;
} fake;

void fake_http_reset(void)
{
	must(!fake.clients && !fake.waiting_n);
	memset(&fake, 0, sizeof(fake));
}

size_t fake_http_clients(void)
{
	return fake.clients;
}

size_t fake_http_asked(void)
{
	return fake.asked;
}

size_t fake_http_waiting(void)
{
	return fake.waiting_n;
}

const struct fake_request *fake_http_request(void)
{
	return &fake.request;
}

const struct fake_origin *fake_http_origin(void)
{
	return &fake.origin;
}

static void forget(size_t i)
{
	fake.waiting[i]->done = NULL;
	fake.waiting_n--;
	for (; i < fake.waiting_n; i++)
		fake.waiting[i] = fake.waiting[i + 1];
}

void fake_http_answer(const struct http_result *result)
{
	must(fake.waiting_n);
	struct http_client *c = fake.waiting[0];
	http_done_fn *done = c->done;
	forget(0);
	done(c->user, result);
}

void fake_http_refuse(enum err code)
{
	fake.refuse = code;
}

int http_client_new(struct http_client **out, struct loop *l, const struct http_client_options *o,
		    struct fault *why)
{
	struct http_client *c = calloc(1, sizeof(*c));

	(void)l;
	if (!c)
		return fault_set(why, ERR_NOMEM, "no memory");
	fake.clients++;
	fake.origin = (struct fake_origin){
		.tls = o->tls,
		.has_tls_ctx = o->tls_ctx,
		.has_proxy = o->proxy,
		.port = o->port,
		.timeout_ns = o->timeout_ns,
	};
	snprintf(fake.origin.host, sizeof(fake.origin.host), "%s", o->host);
	snprintf(fake.origin.host_header, sizeof(fake.origin.host_header), "%s", o->host_header);
	snprintf(fake.origin.user_agent, sizeof(fake.origin.user_agent), "%s", o->user_agent);
	*out = c;
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < fake.waiting_n; i++)
		if (fake.waiting[i] == c)
			forget(i--);
	fake.clients--;
	free(c);
}

bool http_client_is_busy(const struct http_client *c)
{
	return c->done;
}

int http_client_send(struct http_client *c, const struct http_request_out *q, http_done_fn *done,
		     void *user, struct fault *why)
{
	struct fake_request *r = &fake.request;

	must(!c->done && done && fake.waiting_n < WAITING_MAX);
	if (fake.refuse)
		return fault_set(why, fake.refuse, "request: refused by the test");
	fake.asked++;
	snprintf(r->method, sizeof(r->method), "%s", q->method);
	snprintf(r->path, sizeof(r->path), "%s", q->path);
	snprintf(r->bearer, sizeof(r->bearer), "%s", q->bearer ? q->bearer : "");
	snprintf(r->content_type, sizeof(r->content_type), "%s",
		 q->content_type ? q->content_type : "");
	snprintf(r->body, sizeof(r->body), "%.*s", (int)q->body.n,
		 q->body.n ? (const char *)q->body.p : "");
	c->done = done;
	c->user = user;
	fake.waiting[fake.waiting_n++] = c;
	return 0;
}
