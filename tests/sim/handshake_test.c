/*
 * Both ends of a session until they are ready: whatever the wire does to the
 * bytes, it comes about or both say why it does not.
 */
#include <stdio.h>

#include "tests/support/cases.h"
#include "tests/support/wire_pair.h"

static struct wire_pair_options perfect(uint64_t seed, bool tls)
{
	return (struct wire_pair_options){
		.seed = seed, .tls = tls, .wire = { wire_perfect, wire_perfect }
	};
}

/* Runs until both are ready or nothing more can happen. */
static void run_until_ready(struct wire_pair *p)
{
	while (!wire_pair_is_ready(p) && wire_pair_round(p))
		;
}

static void test_comes_about(void)
{
	for (unsigned i = 0; i < sim_runs(300); i++) {
		const uint64_t seed = sim_seed() + i;
		struct dice d = { ~seed };
		struct wire_pair_options o = perfect(seed, i % 2);
		struct wire_pair p;

		o.answers_late = dice_one_in(&d, 2);
		o.wire[0] = wire_rough(&d);
		o.wire[1] = wire_rough(&d);
		wire_pair_init(&p, &o);
		run_until_ready(&p);
		check(wire_pair_is_ready(&p));
		check(p.end[0].rc == 0 && p.end[1].rc == 0);
		check(chisel_stack_phase(p.end[0].stack) == CHISEL_STACK_READY);
		check((chisel_stack_tls(p.end[0].stack) != NULL) == o.tls);
		wire_pair_fini(&p);
		sim_ran("comes about", seed);
	}
}

/* One fault, for good, in words; nothing comes after it. */
static void check_fault(struct wire_pair *p, struct wire_end *e)
{
	const int rc = e->rc;
	struct ssh_event ev;
	uint8_t more[] = "more";

	if (!check(rc < 0) || !e->stack)
		return;
	const struct fault first = *chisel_stack_fault(e->stack);
	check(first.code == (enum err)rc);
	check(strlen(first.why) > 10);
	check(chisel_stack_feed(e->stack, more, sizeof(more), p->now_ns) == rc);
	check(chisel_stack_next(e->stack, &ev) == rc);
	check(chisel_stack_feed_end(e->stack) == rc);
	check(chisel_stack_tick(e->stack, p->now_ns + 3600 * WIRE_SECOND) == rc);
	check(chisel_stack_deadline(e->stack) == UINT64_MAX);
	check(chisel_stack_next(e->stack, &ev) == rc);
	chisel_stack_close(e->stack, SSH_DISCONNECT_BY_APPLICATION, "bye");
	for (int i = 0; i < 10; i++)
		chisel_stack_sent(e->stack, chisel_stack_pending(e->stack).n);
	check(chisel_stack_pending(e->stack).n == 0);
	check(strcmp(chisel_stack_fault(e->stack)->why, first.why) == 0);
}

/* Bytes of the handshake, from each side. */
static void measure(bool tls, uint64_t bytes[2])
{
	const struct wire_pair_options o = perfect(7, tls);
	struct wire_pair p;

	wire_pair_init(&p, &o);
	run_until_ready(&p);
	check(wire_pair_is_ready(&p));
	bytes[0] = p.end[0].out.in;
	bytes[1] = p.end[1].out.in;
	wire_pair_fini(&p);
}

static void die_at(uint64_t at, int side, bool tls, bool half)
{
	struct wire_pair_options o = perfect(at, tls);
	struct wire_pair p;

	o.wire[side].dies_at = at;
	o.half = half;
	wire_pair_init(&p, &o);
	wire_pair_run(&p);
	check(!wire_pair_is_ready(&p) || p.end[0].rc || p.end[1].rc);
	for (int i = 0; i < 2; i++)
		if (!check(p.end[i].rc == ERR_CLOSED))
			printf(" [%s of %d %d: %s] ", i ? "server" : "client", side, half,
			       chisel_stack_fault(p.end[i].stack)->why);
	check_fault(&p, &p.end[0]);
	check_fault(&p, &p.end[1]);
	wire_pair_fini(&p);
}

static void test_dies_anywhere(void)
{
	const unsigned dense = sim_runs(0);

	for (int how = 0; how < 8; how++) {
		const bool tls = how & 1, half = how & 2;
		const int side = how >> 2;
		uint64_t bytes[2];

		measure(tls, bytes);
		for (uint64_t at = 0; at < bytes[side]; at += dense ? 1 : 37) {
			die_at(at, side, tls, half);
			sim_ran("dies", at);
		}
	}
}

/* Goes from deadline to deadline: none may act before its time. */
static void wait_out(struct wire_pair *p, struct wire_end *e)
{
	for (int i = 0; i < 100 && !e->rc; i++) {
		const uint64_t at = chisel_stack_deadline(e->stack);

		if (!check(at != UINT64_MAX))
			return;
		if (at > p->now_ns) {
			p->now_ns = at;
			check(chisel_stack_tick(e->stack, at - 1) == 0);
		}
		e->rc = chisel_stack_tick(e->stack, at);
	}
	e->told_ns = p->now_ns;
}

/* One end hears the first `heard` bytes of a good session, then nothing. */
static void fall_silent(uint64_t heard, int side, bool tls)
{
	struct wire_pair_options o = perfect(heard, tls);
	struct wire_pair p;

	o.wire[!side].mute_at = heard;
	wire_pair_init(&p, &o);
	p.until_ns = p.now_ns; /* all that moves without the clock */
	wire_pair_run(&p);
	struct wire_end *e = &p.end[side];
	check(e->rc == 0 && !e->ready);
	const enum chisel_stack_phase phase = chisel_stack_phase(e->stack);
	wait_out(&p, e);
	check(e->rc == ERR_TIMEOUT);
	check(e->told_ns - e->born_ns == (phase < CHISEL_STACK_SSH ? 10 : 15) * WIRE_SECOND);
	check_fault(&p, e);
	wire_pair_fini(&p);
}

static void test_silence_ends(void)
{
	const unsigned dense = sim_runs(0);

	for (int how = 0; how < 4; how++) {
		const bool tls = how & 1;
		const int side = how >> 1;
		uint64_t bytes[2];

		measure(tls, bytes);
		/* The server is ready before it hears of the client's READY: the
		 * last bytes don't matter to it. */
		for (uint64_t at = 0; at + 64 < bytes[!side]; at += dense ? 1 : 61) {
			fall_silent(at, side, tls);
			sim_ran("silence", at);
		}
	}
}

/* Each allocation refused in turn, up to READY. */
static bool starve(size_t nth, int side, bool tls)
{
	struct wire_pair_options o = perfect(3, tls);
	struct wire_pair p;

	o.refuse_at[side] = nth;
	wire_pair_init(&p, &o);
	run_until_ready(&p);
	const bool refused = p.end[side].famine.requests >= nth;
	if (refused && p.end[side].rc == 0)
		check(wire_pair_is_ready(&p)); /* it went without, or asked again */
	else if (refused && !check(p.end[side].rc == ERR_NOMEM))
		printf(" [%s] ", chisel_stack_fault(p.end[side].stack)->why);
	if (!refused)
		check(wire_pair_is_ready(&p));
	if (p.end[side].rc && p.end[side].stack)
		check_fault(&p, &p.end[side]);
	wire_pair_fini(&p);
	return refused;
}

static void test_famine(void)
{
	for (int how = 0; how < 4; how++)
		for (size_t nth = 1; starve(nth, how & 1, how & 2); nth++)
			sim_ran("famine", nth);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "comes about whatever the cuts", test_comes_about },
		{ "a wire that dies", test_dies_anywhere },
		{ "a silent peer", test_silence_ends },
		{ "famine", test_famine },
	};

	sim_arguments(argc, argv);
	return run_cases("sim handshake", cases, array_len(cases));
}
