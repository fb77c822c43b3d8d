/*
 * One bit of all that crosses the wire is turned.  From the first sealed packet
 * on that is a fault, or silence which the next ping finds out; wrong data it is
 * never.  Before it, a bit may be one that nobody looks at: a header of the
 * upgrade, the padding of an unsealed packet.
 */
#include <stdio.h>

#include "tests/support/cases.h"
#include "tests/support/wire_pair.h"

enum { BYTES = 40000, PIECE = 3000 };

struct session {
	struct wire_pair pair;
	int channel[2];
	uint32_t sent[2], got[2];
	bool pinged[2], ponged[2], wrong;
	uint64_t ready_at[2]; /* bytes each had sent when both were ready */
};

static uint8_t byte_at(int sender, uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) + (uint32_t)sender * 101);
}

static void on_data(struct session *x, int side, const struct ssh_event *ev)
{
	for (size_t i = 0; i < ev->payload.n; i++)
		if (ev->payload.p[i] != byte_at(!side, x->got[side]++))
			x->wrong = true;
	if (x->got[side] > x->sent[!side])
		x->wrong = true;
	ssh_channel_credit(chisel_stack_ssh(x->pair.end[side].stack), ev->channel, ev->payload.n);
}

static void on_event(struct wire_pair *p, int side, const struct ssh_event *ev)
{
	struct session *x = p->user;
	struct ssh *ssh = chisel_stack_ssh(p->end[side].stack);

	if (ev->kind == SSH_EVENT_READY && side == WIRE_CLIENT)
		x->channel[side] = ssh_channel_open(ssh, "sim", span_str("x"));
	else if (ev->kind == SSH_EVENT_CHANNEL_OPEN)
		ssh_channel_accept(ssh, ev->channel);
	else if (ev->kind == SSH_EVENT_GLOBAL_REQUEST)
		ssh_global_answer(ssh, true, span_str("pong"));
	else if (ev->kind == SSH_EVENT_GLOBAL_REPLY)
		x->ponged[side] = ev->ok && ev->tag == 7;
	else if (ev->kind == SSH_EVENT_CHANNEL_DATA)
		on_data(x, side, ev);
	if (ev->kind == SSH_EVENT_CHANNEL_OPEN || ev->kind == SSH_EVENT_CHANNEL_OPENED)
		x->channel[side] = (int)ev->channel;
}

static bool on_round(struct wire_pair *p, int side)
{
	struct session *x = p->user;
	struct ssh *ssh = chisel_stack_ssh(p->end[side].stack);
	uint8_t piece[PIECE];
	uint32_t n = 0;

	if (wire_pair_is_ready(p) && !x->ready_at[side])
		x->ready_at[side] = p->end[side].out.in;
	if (x->channel[side] < 0 || !p->end[side].ready || x->sent[side] == BYTES)
		return false;
	while (n < PIECE && x->sent[side] + n < BYTES) {
		piece[n] = byte_at(side, x->sent[side] + n);
		n++;
	}
	const int taken = ssh_channel_writable(ssh, (uint32_t)x->channel[side]) < n
				  ? 0
				  : ssh_channel_write(ssh, (uint32_t)x->channel[side], piece, n);
	if (taken > 0)
		x->sent[side] += (uint32_t)taken;
	return taken > 0;
}

/* What the owner of a session does now and then; no answer in time: lost. */
static void ping(struct session *x)
{
	for (int side = 0; side < 2; side++) {
		const struct wire_end *e = &x->pair.end[side];

		if (e->rc || !e->ready)
			continue;
		x->pinged[side] = true;
		check(ssh_global_request(chisel_stack_ssh(e->stack), "ping", true, span_of(NULL, 0),
					 7) == 0);
	}
	x->pair.until_ns = x->pair.now_ns + 20 * WIRE_SECOND;
	wire_pair_run(&x->pair);
}

static void run(struct session *x, uint64_t seed, bool tls, int side, uint64_t bit)
{
	struct wire_pair_options o = { .seed = seed, .tls = tls,
				       .wire = { wire_perfect, wire_perfect } };

	*x = (struct session){ .channel = { -1, -1 } };
	o.wire[side].flip_bit = bit;
	wire_pair_init(&x->pair, &o);
	x->pair.until_ns = x->pair.now_ns + 20 * WIRE_SECOND;
	x->pair.on_event = on_event;
	x->pair.on_round = on_round;
	x->pair.user = x;
	wire_pair_run(&x->pair);
	ping(x);
}

static bool is_faulted(const struct session *x)
{
	return x->pair.end[0].rc < 0 || x->pair.end[1].rc < 0;
}

static bool is_whole(const struct session *x)
{
	return x->got[0] == BYTES && x->got[1] == BYTES && x->ponged[0] && x->ponged[1];
}

static void flip(uint64_t seed, bool tls, const uint64_t ready_at[2], const uint64_t all[2])
{
	struct dice d = { ~seed };
	struct session x;
	const int side = (int)dice_below(&d, 2);
	const bool early = dice_one_in(&d, 3);
	/* The ping's own bytes are not among them: nothing comes after it. */
	const uint64_t from = early ? 0 : ready_at[side];
	const uint64_t to = early ? ready_at[side] : all[side] - 300;
	const uint64_t bit = 8 * from + dice_below(&d, 8 * (to - from));

	run(&x, seed, tls, side, bit);
	check(!x.wrong);
	if (early)
		check(is_faulted(&x) || is_whole(&x));
	else if (!check(is_faulted(&x) || !x.ponged[0] || !x.ponged[1]))
		printf(" [bit %llu from side %d] ", (unsigned long long)bit, side);
	for (int i = 0; i < 2; i++)
		check(!x.pair.end[i].rc || *chisel_stack_fault(x.pair.end[i].stack)->why);
	wire_pair_fini(&x.pair);
	sim_ran(tls ? "flip in TLS" : "flip", seed);
}

static void flip_many(bool tls, unsigned usual)
{
	struct session good;

	run(&good, 1, tls, 0, WIRE_NEVER);
	check(!is_faulted(&good) && is_whole(&good) && !good.wrong);
	const uint64_t all[2] = { good.pair.end[0].out.in, good.pair.end[1].out.in };
	wire_pair_fini(&good.pair);
	for (unsigned i = 0; i < sim_runs(usual); i++)
		flip(sim_seed() + i, tls, good.ready_at, all);
}

static void test_plain(void)
{
	flip_many(false, 500);
}

static void test_tls(void)
{
	flip_many(true, 250);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "a bit is turned", test_plain },
		{ "a bit is turned under TLS", test_tls },
	};

	sim_arguments(argc, argv);
	return run_cases("sim flip", cases, array_len(cases));
}
