/* Who comes in and who ends for it, on a clock of the test's. */
#include "lib/http/server_admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "tests/support/cases.h"

#define MS UINT64_C(1000000)
enum {
	MAX = LIMIT_HTTP_CONNECTIONS,
	SHARE = LIMIT_HTTP_PEER_CONNECTIONS,
	RESERVED = LIMIT_HTTP_RESERVED
};

struct world {
	struct server_admission a;
	uint64_t now;
	size_t refused, ended;
};

static struct server_peer peer(const char *text)
{
	struct sockaddr_storage at = { .ss_family = strchr(text, ':') ? AF_INET6 : AF_INET };
	struct server_peer p;

	must(inet_pton(at.ss_family, text,
		       at.ss_family == AF_INET
			       ? (void *)&((struct sockaddr_in *)&at)->sin_addr
			       : (void *)&((struct sockaddr_in6 *)&at)->sin6_addr) == 1);
	server_peer_read(&p, &at);
	return p;
}

static struct server_peer stranger(int i)
{
	char text[32];

	snprintf(text, sizeof(text), "10.0.%d.%d", i / 200, i % 200 + 1);
	return peer(text);
}

static void end_seat(struct world *w, struct server_seat *s)
{
	server_admission_remove(&w->a, s);
	free(s);
}

/* A seat, or NULL: refused.  Who ended for it is in *victim (freed: to compare only). */
static struct server_seat *come(struct world *w, const struct server_peer *from,
				const struct server_seat **victim)
{
	struct server_seat *v, *s;

	if (!server_admission_ask(&w->a, from, w->now, &v)) {
		w->refused++;
		return NULL;
	}
	if (victim)
		*victim = v;
	if (v) {
		w->ended++;
		end_seat(w, v);
	}
	s = calloc(1, sizeof(*s));
	must(s);
	server_admission_add(&w->a, s, from, w->now);
	check(w->a.count <= MAX && s->peer->held <= SHARE);
	return s;
}

static void fini(struct world *w)
{
	while (w->a.first)
		end_seat(w, w->a.first);
	check(w->a.count == 0 && !w->a.last);
	for (size_t i = 0; i < array_len(w->a.peers); i++)
		check(w->a.peers[i].held == 0);
}

static void test_addresses(void)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{ "10.0.0.1", "10.0.0.1", true },
		{ "10.0.0.1", "10.0.0.2", false },
		{ "10.0.0.1", "::ffff:10.0.0.1", true },
		{ "::ffff:10.0.0.1", "::ffff:10.0.0.2", false },
		{ "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true },
		{ "2001:db8:0:1::1", "2001:db8:0:2::1", false },
		{ "::1", "127.0.0.1", false },
		{ "fe80::1", "fe80::2", true },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct server_peer a = peer(rows[i].a), b = peer(rows[i].b);

		check_row(rows[i].b,
			  (memcmp(a.address, b.address, sizeof(a.address)) == 0) == rows[i].same);
	}
}

/* One address takes its share and no more; then its oldest gives way, nobody else's. */
static void test_share_of_one(void)
{
	struct world w = { .now = 1000 * MS };
	const struct server_peer one = peer("10.0.0.1"), other = peer("10.0.0.2");
	struct server_seat *first[SHARE];
	const struct server_seat *victim;
	struct server_seat *quiet = come(&w, &other, NULL);

	for (int i = 0; i < SHARE; i++) {
		first[i] = come(&w, &one, NULL);
		w.now += 1 * MS;
	}
	check(w.ended == 0);
	for (int i = 0; i < SHARE; i++) { /* within their grace, too */
		check(come(&w, &one, &victim) && victim == first[i]);
		w.now += 1 * MS;
	}
	check(w.refused == 0 && quiet->peer->held == 1);
	check(come(&w, &other, &victim) && !victim);
	fini(&w);
}

/* What ends first, of one address: rows of a lower rank before those of a higher one. */
static void test_order(void)
{
	static const struct {
		const char *name;
		int rank;
		enum server_conn_state state;
		uint64_t age_ms, since_ms;
		unsigned responses;
	} rows[] = {
		{ "lingers", 0, SERVER_CONN_LINGER, 900, 300, 1 },
		{ "idle", 1, SERVER_CONN_IDLE, 900, 900, 0 },
		{ "pipelined", 1, SERVER_CONN_QUEUED, 800, 1, 3 },
		{ "in its head", 2, SERVER_CONN_HEAD, 900, 900, 0 },
		{ "many responses", 3, SERVER_CONN_SENDING, 5000, 1, LIMIT_HTTP_WORN_RESPONSES },
		{ "old", 3, SERVER_CONN_SENDING, LIMIT_HTTP_WORN_MS, 1, 1 },
		{ "its owner waits", 3, SERVER_CONN_EXCHANGE, LIMIT_HTTP_WORN_MS, 1, 1 },
		{ "slow", 4, SERVER_CONN_SENDING, 3000, LIMIT_HTTP_SLOW_MS, 1 },
		{ "answered", 5, SERVER_CONN_SENDING, 3001, 100, 1 },
		{ "just accepted", 6, SERVER_CONN_IDLE, 200, 200, 0 },
		{ "just sent its last", 6, SERVER_CONN_LINGER, 190, 10, 1 },
		{ "just accepted, answered", 7, SERVER_CONN_EXCHANGE, 240, 100, 1 },
	};
	struct world w = { .now = 100000 * MS };
	const struct server_peer one = peer("10.0.0.1");
	const struct server_seat *seats[array_len(rows)], *victim;

	/* in another order than that of the rows, and filled up with what is worth most */
	for (size_t k = 0; k < SHARE; k++) {
		const size_t i = k < array_len(rows) ? (k * 7 + 3) % array_len(rows) : k;
		struct server_seat *s = come(&w, &one, NULL);

		s->state = SERVER_CONN_SENDING;
		if (i >= array_len(rows))
			continue;
		s->state = rows[i].state;
		s->accepted_ns = w.now - rows[i].age_ms * MS;
		s->since_ns = w.now - rows[i].since_ms * MS;
		s->responses = rows[i].responses;
		seats[i] = s;
	}
	for (size_t n = 0; n < array_len(rows); n++) {
		size_t i = 0;
		struct server_seat *s = come(&w, &one, &victim);

		s->state = SERVER_CONN_SENDING;
		while (i < array_len(rows) && seats[i] != victim)
			i++;
		check_row(rows[n].name, i < array_len(rows) && rows[i].rank == rows[n].rank);
		if (i < array_len(rows))
			seats[i] = NULL;
	}
	fini(&w);
}

/* Four addresses with as much as they can get: a fifth, which holds none, is always let in, and
 * what it holds does not end. */
static void test_reserve(void)
{
	struct world w = { .now = 1000 * MS };

	for (int i = 0; i < 400; i++) {
		const struct server_peer from = stranger(i % 4);

		(void)come(&w, &from, NULL);
		w.now += 1 * MS;
	}
	check(w.a.count == MAX - RESERVED);
	for (int i = 0; i < 200; i++) {
		const struct server_peer probe = peer("10.9.9.9");
		struct server_seat *s = come(&w, &probe, NULL);

		check(s != NULL);
		for (int k = 0; k < 20; k++) { /* the flood goes on while it is answered */
			const struct server_peer from = stranger(k % 4);

			(void)come(&w, &from, NULL);
		}
		check(s && s->peer->held == 1);
		if (s)
			end_seat(&w, s);
		w.now += 5 * MS;
	}
	fini(&w);
}

/* The reserve is used up by many addresses: one that holds none still gets in, for the oldest. */
static void test_many_addresses(void)
{
	struct world w = { .now = 1000 * MS };

	for (int i = 0; i < 1000; i++) {
		const struct server_peer from = stranger(i);
		const size_t before = w.a.count;
		const struct server_seat *oldest = w.a.first, *victim = NULL;

		check(come(&w, &from, &victim) != NULL);
		check(before < MAX ? !victim : victim == oldest);
	}
	check(w.refused == 0);
	/* who holds some already has to wait until somebody is past his grace */
	struct server_peer again;
	memcpy(again.address, w.a.last->peer->address, sizeof(again.address));
	const struct server_seat *victim;
	check(come(&w, &again, &victim) && victim); /* its own: it holds as much as any other */
	fini(&w);
}

/* A newcomer ends a connection of the address that holds most, not of a quieter one. */
static void test_of_the_one_that_holds_most(void)
{
	struct world w = { .now = 1000 * MS };
	const struct server_peer big = peer("10.0.0.1"), quiet = peer("10.0.0.2");
	struct server_seat *kept = come(&w, &quiet, NULL);
	const struct server_seat *victim;

	for (int i = 0; i < SHARE; i++)
		(void)come(&w, &big, NULL);
	for (int i = 0; w.a.count < MAX - RESERVED; i++) {
		const struct server_peer from = stranger(100 + i);
		(void)come(&w, &from, NULL);
	}
	check(w.ended == 0);
	check(come(&w, &quiet, &victim) == NULL); /* all of the big one's are new */
	w.now += LIMIT_HTTP_GRACE_MS * MS;
	check(come(&w, &quiet, &victim) != NULL && victim != kept);
	check(kept->peer->held == 2);
	fini(&w);
}

static void test_pressure(void)
{
	struct world w = { .now = 1000 * MS };
	const struct server_peer one = peer("10.0.0.1"), other = peer("10.0.0.2");
	struct server_seat *quiet = come(&w, &other, NULL), *last = NULL;

	for (int i = 0; i < SHARE; i++)
		last = come(&w, &one, NULL);
	check(!server_admission_is_pressed(&w.a, last, w.now));
	last = come(&w, &one, NULL);
	check(server_admission_is_pressed(&w.a, last, w.now));
	check(!server_admission_is_pressed(&w.a, quiet, w.now));
	w.now += LIMIT_HTTP_PRESSED_MS * MS;
	check(!server_admission_is_pressed(&w.a, last, w.now));
	check(!server_seat_is_worn(last, w.now));
	last->responses = LIMIT_HTTP_WORN_RESPONSES;
	check(server_seat_is_worn(last, w.now));
	check(server_seat_is_worn(quiet, w.now + LIMIT_HTTP_WORN_MS * MS));
	fini(&w);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "addresses", test_addresses },
		{ "share of one", test_share_of_one },
		{ "order", test_order },
		{ "reserve", test_reserve },
		{ "many addresses", test_many_addresses },
		{ "of the one that holds most", test_of_the_one_that_holds_most },
		{ "pressure", test_pressure },
	};
	return run_cases("server_admission", cases, array_len(cases));
}
