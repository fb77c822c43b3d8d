/* Requests as objects: several at once, bodies in pieces with back pressure, cancels
 * at every point, what is repeated and what never is. */
#include "lib/http/client.h"

#include <signal.h>

#include "tests/unit/lib/http/origin.h"
#include "tests/unit/lib/io/rig.h"

enum { BIG = 100 * 1000 * 1000, HEAD = 64 };

static SSL_CTX *server_tls, *good_ca;
static char *big; /* a response of BIG bytes */

struct got {
	struct http_request *r;
	struct http_client *free_in; /* freed inside the callback that comes next */
	int heads, ends, status, code, rooms;
	size_t bytes, pause_every, cancel_at, in_paused;
	uint32_t sum;
	bool paused, cancelled, repeated, answered, cancel_in_head;
	char why[FAULT_WHY_MAX];
};

static void on_head(void *user, const struct http_response *r)
{
	struct got *g = user;

	g->heads++;
	g->status = r->status;
	if (g->cancel_in_head) {
		g->cancelled = true;
		http_request_cancel(g->r);
	}
}

static void on_body(void *user, struct span piece)
{
	struct got *g = user;
	const size_t before = g->bytes;

	check(!g->paused && !g->cancelled && g->heads == 1);
	for (size_t i = 0; i < piece.n; i += 997)
		g->sum += piece.p[i];
	g->bytes += piece.n;
	if (g->free_in) {
		g->cancelled = true;
		http_client_free(g->free_in);
		return;
	}
	if (g->cancel_at && g->bytes >= g->cancel_at) {
		g->cancelled = true;
		http_request_cancel(g->r);
		return;
	}
	if (g->pause_every && before / g->pause_every != g->bytes / g->pause_every) {
		g->paused = true;
		http_request_pause(g->r, true);
	}
}

static void on_room(void *user)
{
	((struct got *)user)->rooms++;
}

static void on_end(void *user, const struct http_request_end *end)
{
	struct got *g = user;

	check(!g->cancelled);
	g->ends++;
	g->r = NULL;
	g->code = end->why.code;
	g->repeated = end->repeated;
	g->answered = end->answered;
	snprintf(g->why, sizeof(g->why), "%s", end->why.why);
}

static const struct http_request_handler handler = {
	.on_head = on_head, .on_body = on_body, .on_room = on_room, .on_end = on_end };

static struct http_client *client_new(struct loop *l, uint16_t port, SSL_CTX *ca, size_t at_once)
{
	struct http_client *c;
	const struct http_client_options options = { .tls = ca,
						     .host = "127.0.0.1",
						     .port = port,
						     .tls_ctx = ca,
						     .timeout_ns = 300000000000,
						     .connections_max = at_once,
						     .waiting_max = 6 };

	must(http_client_new(&c, l, &options, NULL) == 0);
	return c;
}

static void begin(struct http_client *c, const struct http_request_out *o, struct got *g)
{
	struct fault why = { 0 };

	if (!check(http_request_new(&g->r, c, o, &handler, g, &why) == 0))
		puts(why.why);
	check(!g->heads && !g->ends);
}

static void end_all(struct loop *l, struct http_client *c, struct origin *o)
{
	http_client_free(c);
	until(l, loop_counts(l).socks == 0);
	check(loop_counts(l).timers == 0);
	origin_stop(o);
}

static const struct http_request_out get = { .method = "GET", .path = "/" };
static const struct http_request_out get_again = { .method = "GET", .path = "/",
						   .repeatable = true };

/* ---- back pressure ---- */

static void hundred_megabytes(struct loop *l)
{
	const struct act acts[] = { { big, HOLD }, { NULL, KEEP } };
	const size_t rss = mem_heap_use().bytes;

	for (int tls = 0; tls < 2; tls++) {
		struct got g = { .pause_every = 3000000 };
		struct origin o;
		size_t pauses = 0;

		origin_start(&o, acts, tls ? server_tls : NULL);
		struct http_client *c = client_new(l, o.port, tls ? good_ca : NULL, 1);
		begin(c, &get, &g);
		for (int i = 0; i < 1000000 && !g.ends; i++) {
			step(l);
			if (!g.paused)
				continue;
			const size_t had = g.bytes;
			for (int n = 0; n < 3; n++)
				step(l);
			check(g.bytes == had);
			check(mem_heap_use().bytes - rss < 512 * 1024);
			g.paused = false;
			http_request_pause(g.r, false);
			pauses++;
		}
		check(g.ends == 1 && !g.code && g.bytes == BIG && pauses >= 30);
		end_all(l, c, &o);
	}
}

/* ---- cancelled ---- */

static void thousand_cancels(struct loop *l)
{
	static struct act acts[1001];
	struct origin o;
	static char text[200000];

	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n", 44);
	for (size_t i = 0; i < 1000; i++)
		acts[i] = (struct act){ text, CLOSE };
	origin_start(&o, acts, NULL);
	struct http_client *c = client_new(l, o.port, NULL, 4);
	size_t held = 0;
	for (int i = 0; i < 1000; i++) {
		if (i == 10) { /* what the loop keeps for a next time is there by now */
			until(l, loop_counts(l).socks == 0);
			loop_trim(l);
			held = mem_heap_use().blocks;
		}
		struct got g = { .cancel_at = 1 + (size_t)(i * 131) % 150000,
				 .cancel_in_head = i % 10 == 0 };

		begin(c, &get, &g);
		until(l, g.cancelled);
		check(!g.ends && !http_client_is_busy(c));
	}
	until(l, loop_counts(l).socks == 0);
	loop_trim(l);
	check(loop_counts(l).timers == 0 && mem_heap_use().blocks == held);
	end_all(l, c, &o);
}

static void cancelled_anywhere(struct loop *l)
{
	static const struct act acts[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", HOLD }, { NULL, KEEP } };

	for (int i = 0; i < 6; i++) {
		struct got g = { 0 }, waits = { 0 };
		struct origin o;

		origin_start(&o, acts, i & 1 ? server_tls : NULL);
		struct http_client *c = client_new(l, o.port, i & 1 ? good_ca : NULL, 1);
		begin(c, &get, &g);
		begin(c, &get, &waits);
		if (i / 2 == 1) /* the one that waits goes, then the other */
			http_request_cancel(waits.r);
		if (i / 2 == 2) { /* the client goes inside a callback of the first */
			g.free_in = c;
			until(l, g.cancelled);
			until(l, loop_counts(l).socks == 0);
			check(loop_counts(l).timers == 0);
			origin_stop(&o);
			continue;
		}
		until(l, g.bytes == 4);
		http_request_cancel(g.r);
		if (i / 2 == 0) /* the turn goes to the one that waits; the origin is done */
			until(l, waits.ends == 1 && waits.code);
		for (int n = 0; n < 3; n++)
			step(l);
		check(!g.ends && waits.ends == (i / 2 == 0));
		end_all(l, c, &o);
	}
	http_request_cancel(NULL);
}

/* ---- several at once ---- */

static void several_at_once(struct loop *l)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const struct act acts[] = { { ok, KEEP }, { ok, KEEP }, { ok, KEEP },
					   { ok, KEEP }, { ok, KEEP }, { ok, KEEP },
					   { ok, HOLD }, { NULL, KEEP } };
	struct got g[7] = { 0 };
	struct origin o;
	int ended = 0;

	origin_start(&o, acts, NULL);
	struct http_client *c = client_new(l, o.port, NULL, 1);
	for (size_t i = 0; i < array_len(g); i++)
		begin(c, &get, &g[i]);
	struct fault why = { 0 };
	struct http_request *more;
	check(http_request_new(&more, c, &get, &handler, NULL, &why) == ERR_FULL && !more);
	for (int i = 0; i < 20000 && ended < 7; i++) {
		step(l);
		ended = 0;
		for (size_t k = 0; k < array_len(g); k++)
			ended += g[k].ends;
		for (size_t k = 1; k < array_len(g); k++)
			check(g[k].ends <= g[k - 1].ends); /* in their order */
	}
	for (size_t i = 0; i < array_len(g); i++)
		check(g[i].ends == 1 && g[i].status == 200 && g[i].bytes == 2);
	end_all(l, c, &o);
	check(o.connections == 1 && o.requests == 7);
}

/* ---- repeats ---- */

/* What stands between has forgotten the connection and drops what is sent on it. */
static void silent(struct loop *l)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const struct act acts[] = {
		{ ok, KEEP }, { "", HOLD }, { ok, HOLD }, { NULL, KEEP }
	};
	struct http_request_out o = get_again;
	struct got first = { 0 }, g = { 0 };
	struct origin origin;

	origin_start(&origin, acts, NULL);
	struct http_client *c = client_new(l, origin.port, NULL, 1);
	begin(c, &get, &first);
	until(l, first.ends);
	o.timeout_ns = 3000000000;
	begin(c, &o, &g);
	until(l, g.ends);
	check(g.status == 200 && !g.code && g.repeated);
	end_all(l, c, &origin);
	check(origin.connections == 2 && origin.requests == 3);
}

static void repeats(struct loop *l)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	static const char late[] =
		"HTTP/1.1 408 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	static const struct {
		const char *name;
		struct act acts[4];
		bool may;
		int status, requests;
		bool repeated;
	} rows[] = {
		{ "kept and dropped",
		  { { ok, KEEP }, { "", CLOSE }, { ok, HOLD } },
		  true,
		  200,
		  3,
		  true },
		{ "not said", { { ok, KEEP }, { "", CLOSE }, { ok, HOLD } }, false, 0, 2, false },
		{ "cut", { { ok, KEEP }, { "", CUT }, { ok, HOLD } }, true, 200, 3, true },
		{ "once only", { { ok, KEEP }, { "", CLOSE }, { "", CLOSE } }, true, 0, 3, true },
		{ "after a byte", { { ok, KEEP }, { "H", CLOSE } }, true, 0, 2, false },
		{ "timed out", { { ok, KEEP }, { late, HOLD }, { ok, HOLD } }, true, 200, 3, true },
		{ "timed out, not said", { { ok, KEEP }, { late, HOLD } }, false, 408, 2, false },
	};

	for (size_t i = 0; i < 2 * array_len(rows); i++) {
		const bool tls = i % 2;
		struct got first = { 0 }, g = { 0 };
		struct origin o;

		origin_start(&o, rows[i / 2].acts, tls ? server_tls : NULL);
		struct http_client *c = client_new(l, o.port, tls ? good_ca : NULL, 2);
		begin(c, &get, &first);
		until(l, first.ends);
		begin(c, rows[i / 2].may ? &get_again : &get, &g);
		until(l, g.ends);
		check_row(rows[i / 2].name, g.status == rows[i / 2].status);
		check_row(rows[i / 2].name, (g.code == 0) == (g.status != 0));
		check_row(rows[i / 2].name, g.repeated == rows[i / 2].repeated);
		end_all(l, c, &o);
		check_row(rows[i / 2].name, o.requests == rows[i / 2].requests);
	}
	silent(l);
	/* A fresh connection that ends is no reason to ask again. */
	struct got g = { 0 };
	struct origin o;
	const struct act acts[] = { { "", CLOSE }, { NULL, KEEP } };
	origin_start(&o, acts, NULL);
	struct http_client *c = client_new(l, o.port, NULL, 1);
	begin(c, &get_again, &g);
	until(l, g.ends);
	check(g.code && !g.repeated);
	end_all(l, c, &o);
	check(o.requests == 1);
}

/* ---- request bodies, deadlines, compressed responses ---- */

static void streamed_requests(struct loop *l)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	static const struct act acts[] = { { ok, KEEP }, { NULL, KEEP } };
	const struct http_request_out put = {
		.method = "PUT", .path = "/", .streams = true, .length = 9000 };
	char body[9001];
	size_t at = 0;
	struct got g = { 0 };
	struct origin o;
	struct fault why = { 0 };

	memset(body, 'b', sizeof(body));
	origin_start(&o, acts, NULL);
	struct http_client *c = client_new(l, o.port, NULL, 1);
	begin(c, &put, &g);
	check(http_request_write(g.r, span_of(body, 9001), &why) == ERR_USAGE);
	check(http_request_write(g.r, span_of(body, 10), NULL) == 0); /* not connected yet */
	while (at < 9000) {
		const int rooms = g.rooms;
		until(l, g.rooms > rooms);
		const int n =
			http_request_write(g.r, span_of(body, min_size(9000 - at, 4000)), NULL);
		if (!check(n > 0))
			break;
		at += (size_t)n;
		check(http_request_write(g.r, span_of(body, 1), NULL) <= 0 || at >= 9000);
	}
	http_request_finish(g.r);
	until(l, g.ends);
	check(g.status == 200 && !g.code);
	end_all(l, c, &o);
	check(strstr(o.last, "Content-Length: 9000\r\n") && o.requests == 1);
	check(strspn(strstr(o.last, "\r\n\r\n") + 4, "b") == 9000);
}

static void idle_deadline(struct loop *l)
{
	static const struct act acts[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", HOLD }, { NULL, KEEP } };
	struct http_request_out o = { .method = "GET", .path = "/", .timeout_ns = UINT64_MAX,
				      .idle_ns = 60000000 };
	struct got g = { 0 };
	struct origin origin;

	origin_start(&origin, acts, NULL);
	struct http_client *c = client_new(l, origin.port, NULL, 1);
	begin(c, &o, &g);
	until(l, g.ends);
	check(g.code == ERR_TIMEOUT && strcmp(g.why, "response: no byte for 60 ms") == 0);
	check(g.answered && g.bytes == 4);
	end_all(l, c, &origin);
}

static void compressed(struct loop *l)
{
	static const struct {
		const char *coding;
		bool refused;
	} rows[] = { { "gzip", true }, { "br", true }, { "gzip, identity", true },
		     { "identity", false }, { "x\x1b[2J", true } };

	for (size_t i = 0; i < array_len(rows); i++) {
		char text[128];
		const struct act acts[] = { { text, HOLD }, { NULL, KEEP } };
		struct got g = { 0 };
		struct origin o;

		snprintf(text, sizeof(text),
			 "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: 2\r\n\r\nok",
			 rows[i].coding);
		origin_start(&o, acts, NULL);
		struct http_client *c = client_new(l, o.port, NULL, 1);
		begin(c, &get, &g);
		until(l, g.ends);
		check_row(rows[i].coding, (g.code == ERR_PROTO) == rows[i].refused);
		check_row(rows[i].coding, g.bytes == (rows[i].refused ? 0 : 2));
		check_row(rows[i].coding, !strchr(g.why, '\x1b'));
		check_row(rows[i].coding,
			  !rows[i].refused || i == 4 || strstr(g.why, "compressed"));
		end_all(l, c, &o);
	}
}

static void test_big(void) { on_both(hundred_megabytes); }
static void test_cancels(void) { on_both(thousand_cancels); }
static void test_anywhere(void) { on_both(cancelled_anywhere); }
static void test_several(void) { on_both(several_at_once); }
static void test_repeats(void) { on_both(repeats); }
static void test_streamed(void) { on_both(streamed_requests); }
static void test_idle(void) { on_both(idle_deadline); }
static void test_compressed(void) { on_both(compressed); }

int main(void)
{
	static const struct test_case cases[] = {
		{ "100 MB to a reader that pauses", test_big },
		{ "1,000 cancels in the middle of a body", test_cancels },
		{ "cancelled anywhere", test_anywhere },
		{ "several at once", test_several },
		{ "repeats", test_repeats },
		{ "streamed request bodies", test_streamed },
		{ "idle deadline", test_idle },
		{ "compressed responses", test_compressed },
	};

	signal(SIGPIPE, SIG_IGN); /* the origin's OpenSSL writes to closed sockets */
	big = malloc(BIG + HEAD + 1);
	must(big);
	const int n = snprintf(big, HEAD, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
	memset(big + n, 'z', BIG);
	big[n + BIG] = '\0';
	server_tls = origin_tls(&good_ca);
	const int bad = run_cases("http_client_stream", cases, array_len(cases));
	SSL_CTX_free(server_tls);
	SSL_CTX_free(good_ca);
	free(big);
	return bad;
}
