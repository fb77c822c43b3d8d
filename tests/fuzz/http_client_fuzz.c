/* A server that sends any bytes, ends and stays silent at any time, to a client whose
 * user pauses, resumes and cancels at any time: each request is told of one head, of
 * body while it is not paused, and of one end or none; nothing is left behind. */
#include "lib/http/client_private.h"

#include "lib/base/mem.h"
#include "tests/support/fakes/fake_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { REQUESTS = 3, MS = 1000000 };

static struct user {
	struct http_request *r; /* NULL: ended or cancelled */
	bool headed, paused, has_length;
	uint64_t length, got;
} users[REQUESTS];

static void on_head(void *user, const struct http_response *r)
{
	struct user *u = user;

	must(u->r && !u->headed && r->status >= 200 && r->status <= 999);
	(void)http_response_field(r, "Content-Type");
	u->headed = true;
	u->has_length = r->has_length;
	u->length = r->length;
	if (r->status == 299) {
		http_request_cancel(u->r);
		u->r = NULL;
	}
}

static void on_body(void *user, struct span piece)
{
	struct user *u = user;

	must(u->r && u->headed && !u->paused && piece.n);
	u->got += piece.n;
	must(!u->has_length || u->got <= u->length);
	if (piece.p[0] == 'P') {
		u->paused = true;
		http_request_pause(u->r, true);
	} else if (piece.p[0] == 'C') {
		http_request_cancel(u->r);
		u->r = NULL;
	}
}

static void on_room(void *user)
{
	struct user *u = user;
	struct fault why = { 0 };

	must(u->r);
	if (http_request_write(u->r, span_str("body"), &why) == 0)
		return;
	http_request_finish(u->r);
}

static void on_end(void *user, const struct http_request_end *end)
{
	struct user *u = user;

	must(u->r && (end->why.code || u->headed) && (!end->why.code || end->why.why[0]));
	must(end->why.code || !u->has_length || u->got == u->length || u == &users[1]);
	u->r = NULL;
}

static const struct http_request_handler handler = {
	.on_head = on_head, .on_body = on_body, .on_room = on_room, .on_end = on_end };

static void begin(struct http_client *c)
{
	static const struct http_request_out requests[REQUESTS] = {
		{ .method = "GET", .path = "/", .repeatable = true, .idle_ns = 500 * MS },
		{ .method = "HEAD", .path = "/h", .repeatable = true },
		{ .method = "POST", .path = "/p", .streams = true, .length = -1 },
	};

	for (size_t i = 0; i < REQUESTS; i++) {
		users[i] = (struct user){ 0 };
		must(http_request_new(&users[i].r, c, &requests[i], &handler, &users[i], NULL) ==
		     0);
	}
}

/* One thing that happens; how many bytes of the input it took. */
static size_t happen(const uint8_t *p, size_t n)
{
	struct user *u = &users[p[0] / 8 % REQUESTS];
	struct sock *s = fake_sock(p[0] / 32 % 2) ? fake_sock(p[0] / 32 % 2) : fake_sock(0);
	const size_t len = n > 1 ? min_size(p[1], n - 2) : 0;

	if (fake_dials() && p[0] % 8 != 7)
		fake_dial_end(0, p[0] % 8 == 6 ? 111 : 0);
	switch (p[0] % 8) {
	case 4:
		if (s)
			fake_give(s, p, 0);
		return 1;
	case 5:
		if (u->r && u->paused) {
			u->paused = false;
			http_request_pause(u->r, false);
		}
		return 1;
	case 6:
		if (u->r && p[0] & 128)
			http_request_cancel(u->r), u->r = NULL;
		return 1;
	case 7:
		fake_pass(100 * MS);
		return 1;
	default:
		if (s && sock_is_sending(s))
			fake_take(s);
		s = fake_sock(p[0] / 32 % 2) ? fake_sock(p[0] / 32 % 2) : fake_sock(0);
		if (s && len && sock_is_receiving(s))
			fake_give(s, p + 2, len);
		return min_size(n, 2 + len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct http_client_options options = {
		.host = "origin", .port = 80, .connections_max = 2, .timeout_ns = 3000000000 };
	const size_t blocks = mem_heap_use().blocks, timers = fake_timers();
	struct http_client *c;

	must(http_client_new(&c, fake_loop(), &options, NULL) == 0);
	begin(c);
	while (n) {
		const size_t took = happen(p, n);

		p += took;
		n -= took;
		fake_reap();
		fake_pass(1);
	}
	http_client_free(c);
	fake_pass(2000 * (uint64_t)MS);
	fake_reap();
	must(fake_timers() == timers && fake_socks() == 0 && fake_dials() == 0);
	must(mem_heap_use().blocks == blocks);
	return 0;
}
