/* Clients that hold what they can get, and one that only wants an answer. */
#include "lib/http/server.h"

#include <netinet/tcp.h>

#include "tests/unit/lib/http/reader.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
enum { FLOOD = 64, REQUESTS = 600, BIG = 3 << 20 };

static int served, refused;

static void serve(void *user, struct http_exchange *x)
{
	const bool big = span_is(http_exchange_path(x), "/big");

	if (span_is(http_exchange_path(x), "/costly") && !http_exchange_may_cost(x)) {
		refused++;
		http_exchange_reply_text(x, 503, NULL, 0, "no");
		return;
	}
	const size_t n = big ? BIG : 200;
	struct buf body;
	uint8_t *room;

	(void)user;
	served++;
	buf_init(&body, &mem_heap, BIG);
	must(buf_reserve(&body, n, &room) == 0);
	for (size_t i = 0; i < n; i++)
		room[i] = body_byte(i);
	buf_commit(&body, n);
	http_exchange_reply(x, 200, NULL, 0, &body);
}

static struct http_server *open_server(struct loop *l)
{
	const struct http_server_options o = { .bind = "127.0.0.1", .on_request = serve };
	struct http_server *s;

	served = 0;
	must(http_server_new(&s, l, &o, NULL) == 0);
	return s;
}

static void close_server(struct loop *l, struct http_server *s)
{
	http_server_free(s);
	until(l, loop_counts(l).socks == 0 && loop_counts(l).listeners == 0);
}

/* A client whose side holds next to nothing, so that it is always being answered; it takes `taste`
 * bytes when it is told to. */
static struct end *flooder(struct loop *l, const struct http_server *s, int host, size_t taste)
{
	static char all[REQUESTS * (sizeof(GET("/a")) - 1)];
	struct end *e = end_new(l, dial_from(s, 2, host, 2048));

	for (size_t i = 0; i < REQUESTS; i++)
		memcpy(all + i * (sizeof(GET("/a")) - 1), GET("/a"), sizeof(GET("/a")) - 1);
	end_send(e, all, sizeof(all));
	e->max = taste;
	return e;
}

static void taste(struct end *e)
{
	if (!e->eof && !e->errors && !sock_is_receiving(e->s))
		sock_recv(e->s, e->max);
}

/* One request on a new connection from that address; whether it was answered. */
static bool probe(struct loop *l, const struct http_server *s, int host)
{
	struct reader *r = reader_new(l, s, host, "GET /health", "1.1");

	until(l, (r->has_head && r->body.done) || r->eof || r->errors);
	const bool good = r->has_head && r->h.status == 200 && r->body.done && !r->differs;
	reader_free(r, false);
	return good;
}

/* All of one address, and each of its own; the prober comes from elsewhere, or from the same one
 * (a node's address). */
static void flood_and_probe(struct loop *l, bool one_address)
{
	struct http_server *s = open_server(l);
	struct end *flood[FLOOD];
	int good = 0, beside = 0;

	for (int i = 0; i < FLOOD; i++) {
		flood[i] = flooder(l, s, one_address ? 1 : 1 + i, 64);
		if (i % 8 == 7)
			step(l);
	}
	until(l, http_server_connections(s) ==
			 (one_address ? (size_t)LIMIT_HTTP_PEER_CONNECTIONS
				      : (size_t)LIMIT_HTTP_CONNECTIONS));
	for (int n = 0; n < 100; n++) {
		for (int i = 0; i < FLOOD; i++) {
			taste(flood[i]);
			if (flood[i]->eof || flood[i]->errors) { /* it comes back at once */
				end_free(l, flood[i]);
				flood[i] = flooder(l, s, one_address ? 1 : 1 + i, 64);
			}
		}
		good += probe(l, s, 200);
		if (one_address) { /* the flood's own address, 127.0.2.1 */
			struct end *e = end_new(l, dial_from(s, 2, 1, 0));

			e->rearm = true;
			sock_recv(e->s, e->max);
			end_send(e, GET("/a"), sizeof(GET("/a")) - 1);
			until(l, e->got_n > 200 || e->eof || e->errors);
			beside += e->got_n > 200 && memcmp(e->got, "HTTP/1.1 200", 12) == 0;
			end_free(l, e);
		}
	}
	check(good == 100);
	check(beside == (one_address ? 100 : 0));
	for (int i = 0; i < FLOOD; i++)
		end_free(l, flood[i]);
	close_server(l, s);
}

static void test_flood_of_one_address(struct loop *l)
{
	flood_and_probe(l, true);
}

static void test_flood_of_many_addresses(struct loop *l)
{
	flood_and_probe(l, false);
}

static void test_many_idle(struct loop *l)
{
	enum { IDLE = 40 };
	struct http_server *s = open_server(l);
	struct end *idle[IDLE];

	for (int i = 0; i < IDLE; i++) {
		idle[i] = end_new(l, dial_from(s, 1, 9, 0));
		idle[i]->rearm = true;
		sock_recv(idle[i]->s, idle[i]->max);
		if (i % 2)
			end_send(idle[i], "GET /slow", 9);
		step(l);
	}
	until(l, http_server_connections(s) == LIMIT_HTTP_PEER_CONNECTIONS);
	check(probe(l, s, 9));
	until(l, idle[0]->eof || idle[0]->errors); /* the longest idle gave way */
	check(!idle[IDLE - 1]->eof && !idle[IDLE - 1]->errors);
	for (int i = 0; i < IDLE; i++)
		end_free(l, idle[i]);
	until(l, http_server_connections(s) == 0);
	close_server(l, s);
}

/* While others are turned away a connection is closed after some responses, and what it has
 * pipelined waits; when there is room it goes on for ever. */
static void test_pipelined_under_pressure(struct loop *l)
{
	struct http_server *s = open_server(l);
	struct end *e = end_new(l, dial_from(s, 1, 7, 0)), *others[LIMIT_HTTP_PEER_CONNECTIONS];
	static char all[100 * (sizeof(GET("/a")) - 1)];
	static const char close[] = "\r\nConnection: close\r\n";

	for (size_t i = 0; i < 100; i++)
		memcpy(all + i * (sizeof(GET("/a")) - 1), GET("/a"), sizeof(GET("/a")) - 1);
	e->rearm = true;
	sock_recv(e->s, e->max);
	end_send(e, all, sizeof(all));
	until(l, served == 100);
	check(!memmem(e->got, e->got_n, close, sizeof(close) - 1));
	end_free(l, e);
	until(l, http_server_connections(s) == 0);

	for (size_t i = 0; i < array_len(others); i++)
		others[i] = end_new(l, dial_from(s, 1, 7, 0));
	e = end_new(l, dial_from(s, 1, 7, 0));
	until(l, http_server_connections(s) == LIMIT_HTTP_PEER_CONNECTIONS);
	served = 0;
	e->rearm = true;
	sock_recv(e->s, e->max);
	end_send(e, all, sizeof(all));
	until(l, served >= 1);
	for (int i = 0; i < 20; i++)
		step(l);
	check(served < 20); /* not all hundred at once */
	end_free(l, e);
	for (size_t i = 0; i < array_len(others); i++)
		end_free(l, others[i]);

	/* one request after the other */
	for (size_t i = 0; i < array_len(others); i++)
		others[i] = end_new(l, dial_from(s, 1, 8, 0));
	e = end_new(l, dial_from(s, 1, 8, 0));
	until(l, http_server_connections(s) == LIMIT_HTTP_PEER_CONNECTIONS);
	served = 0;
	e->rearm = true;
	sock_recv(e->s, e->max);
	for (int n = 1; n <= LIMIT_HTTP_WORN_RESPONSES && !e->eof; n++) {
		end_send(e, GET("/a"), sizeof(GET("/a")) - 1);
		until(l, served == n && !sock_is_sending(e->s));
	}
	until(l, e->eof);
	check(served == LIMIT_HTTP_WORN_RESPONSES);
	check(memmem(e->got, e->got_n, close, sizeof(close) - 1) != NULL);
	end_free(l, e);
	for (size_t i = 0; i < array_len(others); i++)
		end_free(l, others[i]);
	close_server(l, s);
}

/* What takes work is refused to the address that floods, never to others, nor without a flood. */
static void test_costly_under_pressure(struct loop *l)
{
	enum { ASKED = 3 * LIMIT_HTTP_COSTLY };
	struct http_server *s = open_server(l);
	struct end *others[LIMIT_HTTP_PEER_CONNECTIONS];

	for (int flood = 0; flood < 2; flood++) {
		refused = served = 0;
		for (size_t i = 0; flood && i < array_len(others); i++)
			others[i] = end_new(l, dial_from(s, 1, 7, 0));
		/* each on a connection of its own, for which one of the others ends */
		struct reader *r[ASKED];
		for (int i = 0; i < ASKED; i++) {
			r[i] = reader_new(l, s, 7, "GET /costly", "1.1");
			r[i]->stop_at = 0;
			until(l, served + refused == i + 1);
			if (!flood) {
				reader_free(r[i], false);
				until(l, http_server_connections(s) == 0);
			}
		}
		check(flood ? refused > 0 && served >= LIMIT_HTTP_COSTLY : refused == 0);
		struct reader *other = reader_new(l, s, 8, "GET /costly", "1.1");
		until(l, other->has_head && other->body.done);
		check(other->h.status == 200);
		reader_free(other, false);
		for (int i = 0; flood && i < ASKED; i++)
			reader_free(r[i], false);
		for (size_t i = 0; flood && i < array_len(others); i++)
			end_free(l, others[i]);
	}
	close_server(l, s);
}

/* Large responses that nobody takes are bounded; small ones are answered all the same, and large
 * ones again once those who hold them are slow. */
static void test_large_ones_that_wait(struct loop *l)
{
	enum { SLOW = 12 };
	struct http_server *s = open_server(l);
	struct end *slow[SLOW];

	for (int i = 0; i < SLOW; i++) {
		slow[i] = end_new(l, dial_from(s, 1, 10 + i, 2048));
		end_send(slow[i], GET("/big"), sizeof(GET("/big")) - 1);
	}
	until(l, served == SLOW);
	check(mem_heap_use().bytes < LIMIT_HTTP_HELD + (8u << 20));
	for (int i = 0; i < 20; i++)
		check(probe(l, s, 100));
	struct reader *r = reader_new(l, s, 100, "GET /big", "1.1");
	until(l, r->has_head);
	check(r->h.status == 503 && http1_field(&r->h, "Retry-After").n > 0);
	reader_free(r, false);
	const uint64_t from = loop_now(l);
	until(l, loop_now(l) - from > LIMIT_NS(HTTP_SLOW));
	r = reader_new(l, s, 100, "GET /big", "1.1");
	until(l, r->has_head && r->body.done);
	check(r->h.status == 200 && r->got == BIG && !r->differs);
	reader_free(r, false);
	for (int i = 0; i < SLOW; i++)
		end_free(l, slow[i]);
	close_server(l, s);
}

#define ON_BOTH(name)                       \
	static void name##_on_both(void)    \
	{                                   \
		on_both(name);              \
	}

ON_BOTH(test_flood_of_one_address)
ON_BOTH(test_flood_of_many_addresses)
ON_BOTH(test_many_idle)
ON_BOTH(test_pipelined_under_pressure)
ON_BOTH(test_costly_under_pressure)
ON_BOTH(test_large_ones_that_wait)

int main(void)
{
	static const struct test_case cases[] = {
		{ "flood of one address", test_flood_of_one_address_on_both },
		{ "flood of many addresses", test_flood_of_many_addresses_on_both },
		{ "many idle", test_many_idle_on_both },
		{ "pipelined under pressure", test_pipelined_under_pressure_on_both },
		{ "costly under pressure", test_costly_under_pressure_on_both },
		{ "large ones that wait", test_large_ones_that_wait_on_both },
	};
	return run_cases("server_flood", cases, array_len(cases));
}
