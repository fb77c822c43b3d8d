/*
 * wire_pair -- a client's and a server's whole protocol stack at the two ends
 * of a fake wire, with one virtual clock: a session in one process, by seed.
 *
 * It does what a carrier does (feed, draw, send, tick) and no more; what the
 * channels are for is the test's.  Everything but what OpenSSL draws for its
 * own keys follows from the seed: a TLS signature may be a byte longer in the
 * next run.
 */
#ifndef TESTS_SUPPORT_WIRE_PAIR_H
#define TESTS_SUPPORT_WIRE_PAIR_H

#include "lib/proto/chisel_stack.h"
#include "tests/support/famine.h"
#include "tests/support/wire.h"

enum { WIRE_CLIENT, WIRE_SERVER };

#define WIRE_SECOND 1000000000ull

struct wire_end {
	struct stack *stack; /* NULL when chisel_stack_new() failed */
	struct famine famine;
	struct wire out;     /* to the other */
	uint64_t born_ns;
	int rc;              /* the first enum err */
	bool ready, disconnected, told_end;
	uint64_t told_ns;    /* when rc came */
	enum ssh_event_kind owed; /* HOST_KEY or AUTH that awaits its answer */
	size_t pending_max;
};

struct wire_pair {
	struct dice dice;
	uint64_t now_ns, until_ns; /* the clock stops there */
	bool half, answers_late;
	struct wire_end end[2];
	/* Optional; everything is accepted without it.  HOST_KEY and AUTH are
	 * answered before. */
	void (*on_event)(struct wire_pair *p, int side, const struct ssh_event *ev);
	/* Optional: the test's own doing, once a round: true when it did something. */
	bool (*on_round)(struct wire_pair *p, int side);
	void *user;
};

struct wire_pair_options {
	uint64_t seed;
	bool tls;
	bool answers_late; /* HOST_KEY and AUTH wait, whatever else arrives */
	bool half; /* a wire that dies leaves the other direction alive */
	struct wire_habits wire[2];    /* [WIRE_CLIENT]: from the client */
	size_t refuse_at[2];           /* the allocation to refuse, from 1 */
	uint32_t window, channels_max;
	uint64_t rekey_bytes[2];
	const char *ciphers;
};

/* Rules that most wires have: cut anywhere, late, now and then stalled. */
struct wire_habits wire_rough(struct dice *d);

/* Never fails; an end without a stack has its rc. */
void wire_pair_init(struct wire_pair *p, const struct wire_pair_options *options);
void wire_pair_fini(struct wire_pair *p);
/* Both ends once; false when nothing moves, whatever the clock says. */
bool wire_pair_round(struct wire_pair *p);
void wire_pair_run(struct wire_pair *p);
bool wire_pair_is_ready(const struct wire_pair *p); /* both */

/* argv[1] or SIM_SEED: the first seed; argv[2] or SIM_RUNS: how many runs.
 * Without them the test's own numbers count. */
void sim_arguments(int argc, char **argv);
uint64_t sim_seed(void);
unsigned sim_runs(unsigned usual);
/* To be called after each run: prints the seed with the first failure in it. */
void sim_ran(const char *what, uint64_t seed);

#endif
