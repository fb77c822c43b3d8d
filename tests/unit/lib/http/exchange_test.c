/* Exchanges that are answered later, in pieces, or never: on both loops, with nothing left. */
#include "lib/http/exchange.h"

#include "tests/unit/lib/http/reader.h"

#define MIB (UINT64_C(1) << 20)

/* ---- an owner of exchanges: what the query says is streamed ---- */

struct stream {
	struct owner *owner;
	struct stream *next;
	struct http_exchange *x;
	struct timer timer;
	uint64_t at, total; /* UINT64_MAX: for ever */
};

struct owner {
	struct loop *l;
	struct http_server *s;
	struct stream *streams;
	int begun, ended, gone, rooms;
	struct http_exchange *held; /* of /hold */
	size_t room_least;
};

static void forget(struct stream *st)
{
	struct stream **at = &st->owner->streams;

	while (*at != st)
		at = &(*at)->next;
	*at = st->next;
	timer_clear(st->owner->l, &st->timer);
	mem_free(&mem_heap, st);
}

static void pump(struct stream *st)
{
	uint8_t piece[10000];

	while (st->at < st->total) {
		const size_t n = (size_t)min_u64(sizeof(piece), st->total - st->at);
		for (size_t i = 0; i < n; i++)
			piece[i] = body_byte(st->at + i);
		const int took = http_exchange_write(st->x, piece, n);
		must(took >= 0);
		st->at += (uint64_t)took;
		check(http_exchange_room(st->x) <= LIMIT_HTTP_UNSENT);
		if ((size_t)took < n)
			return;
	}
	st->owner->ended++;
	http_exchange_end(st->x);
	forget(st);
}

static void on_room(struct http_exchange *x, void *user)
{
	struct stream *st = user;

	check(x == st->x && http_exchange_room(x) >= LIMIT_HTTP_UNSENT / 2);
	st->owner->rooms++;
	pump(st);
}

static void on_gone(void *user)
{
	struct stream *st = user;

	st->owner->gone++;
	if (st->owner->held == st->x)
		st->owner->held = NULL;
	forget(st);
}

static const struct http_exchange_handler handler = { .on_room = on_room, .on_gone = on_gone };

static void on_timer(struct timer *t)
{
	struct stream *st = (struct stream *)((char *)t - offsetof(struct stream, timer));

	must(http_exchange_begin(st->x, 200, NULL, 0, st->total) == 0);
	pump(st);
}

static uint64_t number(struct span s)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v * 10 + s.p[i] - '0';
	return v;
}

/* /later?n: n bytes, from a timer.  /known?n, /chunked?n: at once.  /endless.  /hold: nothing.
 * /idle: a head, then nothing.  /abort?n, /short?n: n bytes of more.  /bad: a field that is none,
 * then a good response.  /nothing: 204 */
static void on_request(void *user, struct http_exchange *x)
{
	static const struct http_field bad = { "X-Bad", "a\r\nX-Evil: 1" },
				       good = { "X-Good", "yes" };
	struct owner *o = user;
	const struct span path = http_exchange_path(x);
	const uint64_t n = number(http_exchange_query(x));
	const bool endless = span_is(path, "/endless");

	o->begun++;
	if (span_is(path, "/bad")) {
		check(http_exchange_begin(x, 200, &bad, 1, 0) == ERR_USAGE);
		must(http_exchange_begin(x, 200, &good, 1, 0) == 0);
		http_exchange_end(x);
		return;
	}
	if (span_is(path, "/nothing")) {
		must(http_exchange_begin(x, 204, NULL, 0, HTTP_LENGTH_UNKNOWN) == 0);
		http_exchange_end(x);
		return;
	}
	struct stream *st = mem_alloc_zeroed(&mem_heap, sizeof(*st));
	must(st);
	*st = (struct stream){ .owner = o,
			       .next = o->streams,
			       .x = x,
			       .total = endless ? UINT64_MAX : n,
			       .timer.fire = on_timer };
	o->streams = st;
	http_exchange_follow(x, &handler, st);
	if (span_is(path, "/later")) {
		timer_set(o->l, &st->timer, loop_now(o->l) + 3000000);
	} else if (span_is(path, "/hold")) {
		o->held = x;
	} else if (span_is(path, "/abort") || span_is(path, "/short")) {
		must(http_exchange_begin(x, 200, NULL, 0, n + 1) == 0);
		uint8_t piece[100];
		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = body_byte(i);
		must(http_exchange_write(x, piece, (size_t)n) == (int)n);
		(span_is(path, "/abort") ? http_exchange_abort : http_exchange_end)(x);
		forget(st);
	} else {
		must(http_exchange_begin(x, 200, NULL, 0,
					 span_is(path, "/known") ? n : HTTP_LENGTH_UNKNOWN) == 0);
		if (!span_is(path, "/idle"))
			pump(st);
	}
}

static void open_owner(struct owner *o, struct loop *l)
{
	*o = (struct owner){ .l = l };
	const struct http_server_options options = { .bind = "127.0.0.1",
						     .on_request = on_request,
						     .user = o };

	must(http_server_new(&o->s, l, &options, NULL) == 0);
}

static void close_owner(struct owner *o)
{
	http_server_free(o->s);
	check(o->streams == NULL); /* each was told */
	until(o->l, loop_counts(o->l).socks == 0 && loop_counts(o->l).listeners == 0);
}

/* ---- tests ---- */

static const struct {
	const char *name, *line, *version;
	int status;
	uint64_t length;
	enum http1_framing framing;
	bool closes, whole;
	const char *field;
} rows[] = {
	{ "from a timer", "GET /later?5", "1.1", 200, 5, HTTP1_LENGTH, false, true, NULL },
	{ "from a timer, nothing", "GET /later?0", "1.1", 200, 0, HTTP1_NO_BODY, false, true,
	  NULL },
	{ "length known", "GET /known?1000000", "1.1", 200, 1000000, HTTP1_LENGTH, false, true,
	  NULL },
	{ "ended at once: a length", "GET /chunked?50000", "1.1", 200, 50000, HTTP1_LENGTH, false,
	  true, NULL },
	{ "longer than the room: chunks", "GET /chunked?1000000", "1.1", 200, 1000000,
	  HTTP1_CHUNKED, false, true, NULL },
	{ "1.0 has no chunks", "GET /chunked?1000000", "1.0", 200, 1000000, HTTP1_UNTIL_CLOSE, true,
	  true, NULL },
	{ "HEAD of a length", "HEAD /known?1000000", "1.1", 200, 0, HTTP1_NO_BODY, false, true,
	  "Content-Length" },
	{ "HEAD of any length", "HEAD /chunked?1000000", "1.1", 200, 0, HTTP1_NO_BODY, false, true,
	  "Content-Length" },
	{ "no content", "GET /nothing", "1.1", 204, 0, HTTP1_NO_BODY, false, true, NULL },
	{ "aborted", "GET /abort?10", "1.1", 0, 0, HTTP1_NO_BODY, true, false, NULL },
	{ "ended too early", "GET /short?10", "1.1", 0, 0, HTTP1_NO_BODY, true, false, NULL },
	{ "a field that is none", "GET /bad", "1.1", 200, 0, HTTP1_NO_BODY, false, true, "X-Good" },
};

static void test_rows(struct loop *l)
{
	struct owner o;
	open_owner(&o, l);

	for (size_t i = 0; i < array_len(rows); i++) {
		const char *name = rows[i].name;
		struct reader *r = reader_new(l, o.s, 1, rows[i].line, rows[i].version);

		if (rows[i].whole)
			until(l, r->has_head && (r->body.done || rows[i].closes));
		if (rows[i].closes)
			until(l, r->eof || r->errors);
		check_row(name, !r->broken && !r->differs);
		check_row(name, !rows[i].status || (r->has_head && r->h.status == rows[i].status));
		check_row(name, r->got == rows[i].length || !rows[i].whole);
		if (r->has_head && rows[i].whole)
			check_row(name, r->body.framing == rows[i].framing ||
						rows[i].framing == HTTP1_NO_BODY);
		if (!rows[i].whole) /* the client can tell */
			check_row(name, r->errors > 0 && !r->body.done);
		if (rows[i].field)
			check_row(name, http1_field(&r->h, rows[i].field).n > 0);
		check_row(name, http1_field(&r->h, "X-Evil").n == 0);
		reader_free(r, false);
	}
	check(o.begun == (int)array_len(rows) && o.gone == 0);
	close_owner(&o);
}

/* Requests behind one that its owner holds wait for it, and come in their order. */
static void test_pipelined_behind_one_that_waits(struct loop *l)
{
	static const char wire[] = "GET /later?1 HTTP/1.1\r\nHost: x\r\n\r\n"
				   "GET /chunked?2 HTTP/1.1\r\nHost: x\r\n\r\n"
				   "GET /later?3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	static const char *const want[] = { "Content-Length: 1\r\n", "Content-Length: 2\r\n",
					    "Content-Length: 3\r\n" };
	struct owner o;
	open_owner(&o, l);
	struct end *e = end_new(l, dial_from(o.s, 1, 1, 0));

	e->rearm = true;
	sock_recv(e->s, e->max);
	end_send(e, wire, sizeof(wire) - 1);
	until(l, e->eof);
	const uint8_t *at = e->got;
	for (size_t i = 0; i < array_len(want); i++) {
		at = at ? memmem(at, (size_t)(e->got + e->got_n - at), want[i], strlen(want[i]))
			: NULL;
		check_row(want[i], at != NULL);
	}
	check(o.begun == 3 && o.ended == 3 && o.gone == 0);
	end_free(l, e);
	close_owner(&o);
}

/* 100 MB through 64 KiB to one that stops, beside 50 that do not. */
static void test_a_reader_that_stops(struct loop *l)
{
	enum { OTHERS = 50 };
	struct owner o;
	struct reader *others[OTHERS];
	size_t done = 0;
	open_owner(&o, l);
	struct reader *slow = reader_new(l, o.s, 1, "GET /chunked?100000000", "1.1");

	slow->stop_at = 10 * MIB;
	until(l, slow->got >= slow->stop_at);
	until(l, o.streams && http_exchange_room(o.streams->x) == 0);
	/* The kernel takes some more while its buffers grow: until nothing has moved for a while.
	 */
	uint64_t stopped_at = o.streams->at;
	for (int still = 0; still < 200; still++) {
		step(l);
		if (o.streams->at != stopped_at)
			still = 0;
		stopped_at = o.streams->at;
	}
	const size_t heap = mem_heap_use().bytes;
	for (int i = 0; i < OTHERS; i++)
		others[i] = reader_new(l, o.s, 2 + i, "GET /chunked?2000000", "1.1");
	for (int i = 0; i < OTHERS; i++) {
		until(l, others[i]->body.done);
		check(others[i]->got == 2000000 && !others[i]->differs && !others[i]->broken);
		done += others[i]->body.done;
		reader_free(others[i], false);
	}
	check(done == OTHERS && o.ended == OTHERS && o.gone == 0);
	check(o.streams->at == stopped_at); /* nothing was made that nobody takes */
	check(http_exchange_room(o.streams->x) == 0);
	/* what stands in memory for the one that stopped has not grown by the others */
	until(l, http_server_connections(o.s) == 1);
	loop_trim(l);
	check(mem_heap_use().bytes <= heap + 4096);
	slow->stop_at = UINT64_MAX;
	reader_arm(slow);
	until(l, slow->body.done);
	check(slow->got == 100000000 && !slow->differs && !slow->broken);
	check(o.ended == OTHERS + 1 && o.rooms > 1000);
	reader_free(slow, false);
	close_owner(&o);
}

/* A client leaves in the middle of a body, a thousand times, in each of the ways there are. */
static void test_a_thousand_cancelled(struct loop *l)
{
	enum { AT_ONCE = 10, ROUNDS = 100 };
	static const char *const lines[] = { "GET /endless", "GET /chunked?5000000", "GET /idle?9",
					     "GET /known?5000000", "GET /hold" };
	struct owner o;
	struct reader *r[AT_ONCE];
	struct mem_use heap = { 0 };
	size_t timers = 0;
	open_owner(&o, l);

	for (int round = 0; round <= ROUNDS; round++) {
		const int before = o.gone;

		for (int i = 0; i < AT_ONCE; i++) {
			r[i] = reader_new(l, o.s, 1 + i, lines[(i + round) % (int)array_len(lines)],
					  "1.1");
			r[i]->stop_at = 1 + (uint64_t)(round * 4001 + i * 301) % 1000000;
		}
		for (int i = 0; i < AT_ONCE; i++)
			until(l, r[i]->got >= min_u64(r[i]->stop_at, 300000) ||
					 strstr(r[i]->wire, "/hold") ||
					 (strstr(r[i]->wire, "/idle") && r[i]->has_head));
		until(l, o.begun == (round + 1) * AT_ONCE);
		for (int i = 0; i < AT_ONCE; i++)
			if (r[i]->s)
				sock_close(r[i]->s, (i + round) % 2);
		for (int i = 0; i < AT_ONCE; i++)
			reader_free(r[i], false);
		until(l, o.gone == before + AT_ONCE && http_server_connections(o.s) == 0);
		until(l, loop_counts(l).socks == 0);
		loop_trim(l);
		if (round == 0) { /* what is kept for a next time is there now */
			heap = mem_heap_use();
			timers = loop_counts(l).timers;
		}
	}
	check(o.ended == 0 && o.streams == NULL);
	check(mem_heap_use().blocks == heap.blocks && mem_heap_use().bytes == heap.bytes);
	check(loop_counts(l).timers == timers && loop_counts(l).in_flight == 0);
	close_owner(&o);
}

/* An owner that takes its time is told at once, not when it writes. */
static void test_told_while_it_waits(struct loop *l)
{
	struct owner o;
	open_owner(&o, l);

	for (int reset = 0; reset < 2; reset++) {
		struct reader *r = reader_new(l, o.s, 1, "GET /hold", "1.1");

		until(l, o.held != NULL);
		reader_free(r, reset);
		until(l, o.gone == reset + 1);
		check(o.held == NULL);
	}
	struct reader *r = reader_new(l, o.s, 1, "GET /hold", "1.1");
	until(l, o.held != NULL);
	http_server_free(o.s);
	check(o.gone == 3 && o.streams == NULL);
	until(l, r->eof || r->errors);
	reader_free(r, false);
	until(l, loop_counts(l).socks == 0);
}

/* Draining waits for an exchange that its owner has not ended. */
static void count_call(void *user)
{
	++*(int *)user;
}

static void test_drain_waits_for_owners(struct loop *l)
{
	struct owner o;
	int drained = 0;
	open_owner(&o, l);
	struct reader *r = reader_new(l, o.s, 1, "GET /hold", "1.1");

	until(l, o.held != NULL);
	http_server_drain(o.s, count_call, &drained);
	for (int i = 0; i < 5; i++)
		step(l);
	check(drained == 0);
	struct stream *st = o.streams;
	st->total = 7;
	on_timer(&st->timer);
	until(l, r->eof);
	check(r->got == 7 && http1_field_has(&r->h, "Connection", "close"));
	reader_free(r, false);
	until(l, drained == 1);
	close_owner(&o);
}

#define ON_BOTH(name)                       \
	static void name##_on_both(void)    \
	{                                   \
		on_both(name);              \
	}

ON_BOTH(test_rows)
ON_BOTH(test_pipelined_behind_one_that_waits)
ON_BOTH(test_a_reader_that_stops)
ON_BOTH(test_a_thousand_cancelled)
ON_BOTH(test_told_while_it_waits)
ON_BOTH(test_drain_waits_for_owners)

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows_on_both },
		{ "pipelined behind one that waits", test_pipelined_behind_one_that_waits_on_both },
		{ "a reader that stops", test_a_reader_that_stops_on_both },
		{ "a thousand cancelled", test_a_thousand_cancelled_on_both },
		{ "told while it waits", test_told_while_it_waits_on_both },
		{ "drain waits for owners", test_drain_waits_for_owners_on_both },
	};
	return run_cases("exchange", cases, array_len(cases));
}
