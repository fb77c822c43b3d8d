#include "tunnel-sidecar/state_time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cases.h"

struct books {
	uint64_t ns[BUS_CAUSES_N];
};

static void book(void *user, enum bus_cause cause, uint64_t ns)
{
	struct books *b = user;

	b->ns[cause] += ns;
}

static uint64_t sum(const struct books *b)
{
	uint64_t all = 0;

	for (size_t i = 0; i < BUS_CAUSES_N; i++)
		all += b->ns[i];
	return all;
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	return *x ^= *x << 17;
}

/* Steps of ns to days, from each cause to each, with beats between: the parts are
 * the whole at every step, and each part is what a second book-keeper says. */
static void test_random_walk(void)
{
	struct books b = { 0 }, own = { 0 };
	const uint64_t start = 12345678901ull;
	struct state_time t = { start, BUS_CAUSE_NOT_WANTED, book, &b };
	uint64_t x = 88172645463325252ull, now = start;
	bool went[BUS_CAUSES_N][BUS_CAUSES_N] = { 0 };
	size_t moves = 0;

	for (int i = 0; i < 20000; i++) {
		const uint64_t step = next_random(&x) % (1ull << next_random(&x) % 47);
		const enum bus_cause to = next_random(&x) % BUS_CAUSES_N;

		own.ns[t.cause] += step;
		now += step;
		if (next_random(&x) % 3 == 0) {
			state_time_advance(&t, now);
		} else {
			moves += !went[t.cause][to];
			went[t.cause][to] = true;
			state_time_enter(&t, to, now);
		}
		if (sum(&b) != now - start) {
			check_row("sum is the wall clock", false);
			return;
		}
	}
	check(moves == (size_t)BUS_CAUSES_N * BUS_CAUSES_N);
	for (size_t c = 0; c < BUS_CAUSES_N; c++)
		check_row(bus_cause_name(c), b.ns[c] == own.ns[c]);
}

static void test_clock_that_falls_books_nothing(void)
{
	struct books b = { 0 };
	struct state_time t = { 100, BUS_CAUSE_DNS, book, &b };

	state_time_advance(&t, 100);
	state_time_advance(&t, 40);
	check(sum(&b) == 0);
	state_time_advance(&t, 101);
	check(sum(&b) == 1 && b.ns[BUS_CAUSE_DNS] == 1);
}

static void test_causes(void)
{
	static const struct {
		const char *name;
		enum bus_state state;
		bool at_proxy;
		enum err code;
		int sys;
		enum bus_cause want;
	} rows[] = {
		{ "no such name", BUS_STATE_RESOLVING, 0, ERR_NAME, 0, BUS_CAUSE_DNS },
		{ "slow name server", BUS_STATE_RESOLVING, 0, ERR_TIMEOUT, 0, BUS_CAUSE_DNS },
		{ "all look-ups busy", BUS_STATE_RESOLVING, 0, ERR_FULL, 0, BUS_CAUSE_LOCAL },
		{ "refused", BUS_STATE_CONNECTING, 0, ERR_SYS, ECONNREFUSED, BUS_CAUSE_TCP },
		{ "blackhole", BUS_STATE_CONNECTING, 0, ERR_TIMEOUT, 0, BUS_CAUSE_TCP },
		{ "no descriptor", BUS_STATE_CONNECTING, 0, ERR_SYS, EMFILE, BUS_CAUSE_LOCAL },
		{ "407", BUS_STATE_CONNECTING, 1, ERR_AUTH, 0, BUS_CAUSE_PROXY },
		{ "silent proxy", BUS_STATE_CONNECTING, 1, ERR_TIMEOUT, 0, BUS_CAUSE_PROXY },
		{ "certificate", BUS_STATE_TLS, 0, ERR_TRUST, 0, BUS_CAUSE_TLS },
		{ "no WebSocket", BUS_STATE_UPGRADING, 0, ERR_REFUSED, 0, BUS_CAUSE_UPGRADE },
		{ "401", BUS_STATE_UPGRADING, 0, ERR_AUTH, 0, BUS_CAUSE_AUTH },
		{ "no common cipher", BUS_STATE_SSH, 0, ERR_ALGO, 0, BUS_CAUSE_SSH },
		{ "reset in the handshake", BUS_STATE_SSH, 0, ERR_SYS, ECONNRESET, BUS_CAUSE_SSH },
		{ "password", BUS_STATE_SSH, 0, ERR_AUTH, 0, BUS_CAUSE_AUTH },
		{ "host key", BUS_STATE_SSH, 0, ERR_TRUST, 0, BUS_CAUSE_FINGERPRINT },
		{ "not allowed", BUS_STATE_CONFIGURING, 0, ERR_REFUSED, 0, BUS_CAUSE_CONFIG },
		{ "port is held", BUS_STATE_CONFIGURING, 0, ERR_LISTEN, 0,
		  BUS_CAUSE_CANNOT_LISTEN },
		{ "no pong", BUS_STATE_UP, 0, ERR_TIMEOUT, 0, BUS_CAUSE_DEAD_LINK },
		{ "unacknowledged", BUS_STATE_UP, 0, ERR_TIMEOUT, ETIMEDOUT, BUS_CAUSE_DEAD_LINK },
		{ "no route", BUS_STATE_UP, 0, ERR_SYS, EHOSTUNREACH, BUS_CAUSE_DEAD_LINK },
		{ "end of stream", BUS_STATE_UP, 0, ERR_CLOSED, 0, BUS_CAUSE_PEER_CLOSED },
		{ "RST", BUS_STATE_UP, 0, ERR_CLOSED, ECONNRESET, BUS_CAUSE_RESET },
		{ "broken frame", BUS_STATE_UP, 0, ERR_PROTO, 0, BUS_CAUSE_PROTOCOL },
		{ "too much", BUS_STATE_UP, 0, ERR_LIMIT, 0, BUS_CAUSE_PROTOCOL },
		{ "RST while draining", BUS_STATE_DRAINING, 0, ERR_SYS, EPIPE, BUS_CAUSE_RESET },
		{ "no memory", BUS_STATE_UP, 0, ERR_NOMEM, 0, BUS_CAUSE_LOCAL },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct fault why = { .code = rows[i].code, .sys = rows[i].sys };
		const enum bus_cause got = state_time_cause(rows[i].state, rows[i].at_proxy, &why);

		if (!check_row(rows[i].name, got == rows[i].want))
			printf("%s: got %s\n", rows[i].name, bus_cause_name(got));
	}
}

/* Whatever fails wherever: the tunnel is then down, for a reason that is not the
 * user's wish. */
static void test_every_failure_has_a_cause(void)
{
	for (unsigned state = 0; state < BUS_STATES_N; state++)
		for (int code = 1; code <= -ERR_FULL; code++) {
			const struct fault why = { .code = (enum err)-code };
			const enum bus_cause got = state_time_cause(state, code % 2, &why);

			check_row(bus_state_name(state),
				  got >= BUS_CAUSE_DNS && got < BUS_CAUSE_DRAINED);
		}
}

static void test_names(void)
{
	check(strcmp(bus_cause_name(BUS_CAUSE_CONNECTED), "none") == 0);
	check(strcmp(bus_cause_name(BUS_CAUSES_N), "unknown") == 0);
	for (unsigned i = 0; i < BUS_CAUSES_N; i++)
		check(strlen(bus_cause_name(i)) < sizeof(((struct bus_session *)0)->cause));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "random walk", test_random_walk },
		{ "falling clock", test_clock_that_falls_books_nothing },
		{ "causes", test_causes },
		{ "every failure", test_every_failure_has_a_cause },
		{ "names", test_names },
	};
	return run_cases("state_time", cases, array_len(cases));
}
