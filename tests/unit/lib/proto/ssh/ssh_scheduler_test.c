/*
 * Who sends next: bulk in rotation, the silent first, control before data; and
 * windows that only the caller opens.
 */
#include "lib/proto/ssh/ssh_channel.h"
#include "tests/support/wire.h"
#include "tests/unit/lib/proto/ssh/pair.h"

enum { BULK = 4, SPARSE = BULK, ALL = BULK + 1, TX = 64 * 1024, QUANTUM = TX / 4, LOG = 4096 };

/* What the server got, packet by packet. */
struct rig {
	struct pair p;
	struct {
		uint32_t channel;
		size_t n;
	} log[LOG];
	size_t n;
	uint64_t bytes[ALL];
};

static uint8_t data[256 * 1024];

static void rig_init(struct rig *r, size_t tx_max)
{
	struct ssh_config c = pair_client_config(&r->p, &mem_heap);
	struct ssh_config s = pair_server_config(&r->p, &mem_heap);

	c.tx_max = tx_max;
	s.window = 64 << 20;
	pair_start(&r->p, &c, &s);
	for (int i = 0; i < ALL; i++)
		check(ssh_channel_open(r->p.c.ssh, "x", span_str("")) == i);
	pair_run(&r->p);
	check(ssh_channels_open(r->p.s.ssh) == ALL && r->p.c.rc == 0);
}

/* One packet travels; true when there was one. */
static bool carry_one(struct rig *r)
{
	struct ssh *to = r->p.s.ssh;
	struct ssh_event ev;
	const struct mspan out = ssh_pending(r->p.c.ssh);

	if (!out.n)
		return false;
	pair_put(&r->p.s, out.p, out.n);
	ssh_sent(r->p.c.ssh);
	pair_feed_quiet(&r->p, &r->p.s);
	while (ssh_next(to, &ev) == 1) {
		if (ev.kind != SSH_EVENT_CHANNEL_DATA)
			continue;
		must(r->n < LOG && ev.channel < ALL);
		r->log[r->n].channel = ev.channel;
		r->log[r->n++].n = ev.payload.n;
		r->bytes[ev.channel] += ev.payload.n;
	}
	return true;
}

/* Each bulk channel uses every turn it gets. */
static void serve(struct rig *r)
{
	struct ssh_event ev;

	while (ssh_next(r->p.c.ssh, &ev) == 1) {
		if (ev.kind != SSH_EVENT_CHANNEL_WRITABLE)
			continue;
		const int took = ssh_channel_write(r->p.c.ssh, ev.channel, data, sizeof(data));
		check(took > 0 && took < QUANTUM + 1024); /* and what was too little for a packet */
	}
}

static void saturate(struct rig *r)
{
	for (uint32_t i = 0; i < BULK; i++)
		pair_note(&r->p.c, ssh_channel_write(r->p.c.ssh, i, data, sizeof(data)));
	for (int i = 0; i < 50; i++) {
		check(carry_one(r));
		serve(r);
	}
	r->n = 0;
}

static void test_bulk_goes_round(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	rig_init(r, TX);
	saturate(r);
	memset(r->bytes, 0, sizeof(r->bytes));
	for (int i = 0; i < 400; i++) {
		check(carry_one(r));
		serve(r);
	}
	/* No channel twice in a row, and all the same amount but for a turn. */
	for (size_t i = 1; i < r->n; i++)
		check(r->log[i].channel != r->log[i - 1].channel);
	for (int i = 1; i < BULK; i++)
		check(r->bytes[i] + QUANTUM >= r->bytes[0] && r->bytes[0] + QUANTUM >= r->bytes[i]);
	check(r->bytes[0] > 90 * (uint64_t)QUANTUM);
	pair_fini(&r->p);
	free(r);
}

/* A word of a channel that was silent goes before all that the others have not
 * sealed yet, also when it comes again and again. */
static void test_silent_goes_first(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	rig_init(r, TX);
	saturate(r);
	for (int i = 0; i < 50; i++) {
		/* room: a keystroke is not cut and not kept waiting */
		check(ssh_channel_write(r->p.c.ssh, SPARSE, data, 100) == 100);
		const size_t before = r->n;
		const size_t ahead = ssh_pending_bytes(r->p.c.ssh);
		check(ahead <= TX);
		serve(r);
		while (r->n == before || r->log[r->n - 1].channel != SPARSE) {
			check(carry_one(r));
			serve(r);
		}
		size_t bytes = 0;
		for (size_t k = before; k < r->n; k++)
			bytes += r->log[k].n;
		check(bytes <= ahead); /* nothing that was sealed later */
		for (int k = 0; k < 20; k++) { /* its place comes up, and it is silent */
			check(carry_one(r));
			serve(r);
		}
	}
	pair_fini(&r->p);
	free(r);
}

/* One that asks while there is no room at all gets the next turn. */
static void test_silent_waits_in_front(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct ssh_event ev;

	rig_init(r, TX);
	saturate(r);
	ssh_set_tx_bound(r->p.c.ssh, SSH_TX_LEAST); /* full */
	check(ssh_channel_write(r->p.c.ssh, SPARSE, data, 100) == 0);
	ssh_set_tx_bound(r->p.c.ssh, TX);
	check(ssh_next(r->p.c.ssh, &ev) == 1);
	check(ev.kind == SSH_EVENT_CHANNEL_WRITABLE && ev.channel == SPARSE);
	check(ssh_channel_write(r->p.c.ssh, SPARSE, data, 100) == 100);
	/* It talks on at length: then it is one of many. */
	for (int i = 0; i < 60; i++) {
		check(carry_one(r));
		pair_note(&r->p.c, ssh_channel_write(r->p.c.ssh, SPARSE, data, sizeof(data)));
		serve(r);
	}
	memset(r->bytes, 0, sizeof(r->bytes));
	for (int i = 0; i < 400; i++) {
		check(carry_one(r));
		serve(r);
	}
	check(r->bytes[SPARSE] <= r->bytes[0] + 2 * QUANTUM);
	pair_fini(&r->p);
	free(r);
}

/* Bytes are shared, not packets: the peer of one channel takes small ones only. */
static void test_small_packets_get_their_share(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	rig_init(r, TX);
	ssh_channel_at(r->p.c.ssh, 1)->tx_packet = 1000;
	saturate(r);
	memset(r->bytes, 0, sizeof(r->bytes));
	for (int i = 0; i < 2000; i++) {
		check(carry_one(r));
		serve(r);
	}
	for (int i = 1; i < BULK; i++)
		check(r->bytes[i] + 2 * QUANTUM >= r->bytes[0] &&
		      r->bytes[0] + 2 * QUANTUM >= r->bytes[i]);
	pair_fini(&r->p);
	free(r);
}

/* A turn that is not used is another's; one that is held keeps its room. */
static void test_turns_are_given_back(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct ssh_event ev;
	const struct ssh_mux *m;

	rig_init(r, TX);
	m = &r->p.c.ssh->mux;
	saturate(r);
	while (carry_one(r))
		;
	unsigned given = 0;
	uint32_t holder = 0;
	while (ssh_next(r->p.c.ssh, &ev) == 1) {
		given++;
		holder = ev.channel;
	}
	check(given >= 2 && given < BULK); /* room for so many, and no more */
	check(m->promised <= TX);
	ssh_channel_pass(r->p.c.ssh, holder);
	check(ssh_next(r->p.c.ssh, &ev) == 1 && ev.channel != holder);
	const size_t promised = m->promised;
	ssh_channel_eof(r->p.c.ssh, ev.channel);
	check(m->promised < promised);
	check(ssh_channel_write(r->p.c.ssh, SPARSE, data, 100) ==
	      100); /* beside what is promised */
	for (uint32_t i = 0; i < ALL; i++)
		ssh_channel_close(r->p.c.ssh, i);
	check(m->promised == 0 && m->waiting_n == 0);
	check(ssh_next(r->p.c.ssh, &ev) == 0);
	pair_fini(&r->p);
	free(r);
}

/* Half a turn used: the rest is left for the next one, and no more. */
static void test_half_a_turn(void)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct ssh_event ev;

	rig_init(r, TX);
	saturate(r);
	while (carry_one(r))
		;
	check(ssh_next(r->p.c.ssh, &ev) == 1);
	const uint32_t id = ev.channel;
	check(ssh_channel_write(r->p.c.ssh, id, data, QUANTUM / 2) == QUANTUM / 2);
	ssh_channel_want_write(r->p.c.ssh, id);
	for (int i = 0; i < 100; i++) {
		if (ssh_next(r->p.c.ssh, &ev) == 0) {
			check(carry_one(r));
			continue;
		}
		if (ev.channel == id)
			break;
		check(ssh_channel_write(r->p.c.ssh, ev.channel, data, sizeof(data)) > 0);
	}
	check(ev.channel == id);
	check(ssh_channel_write(r->p.c.ssh, id, data, sizeof(data)) <= QUANTUM / 2 + 1024);
	pair_fini(&r->p);
	free(r);
}

/* What is no data waits for no turn: it is sealed at once. */
static void test_control_goes_before_data(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	rig_init(r, TX);
	saturate(r);
	ssh_set_tx_bound(r->p.c.ssh, SSH_TX_LEAST); /* no data would be taken now */
	const uint64_t before = ssh_stats(r->p.c.ssh)->packets_out;
	check(ssh_global_request(r->p.c.ssh, "ping", true, span_str(""), 1) == 0);
	ssh_channel_grow(r->p.c.ssh, 0, 1000);
	ssh_channel_close(r->p.c.ssh, 3);
	check(ssh_stats(r->p.c.ssh)->packets_out == before + 3);
	pair_fini(&r->p);
	free(r);
}

/* The books after any row of calls: what the queues and turns add up to. */
static void audit(const struct ssh *s)
{
	const struct ssh_mux *m = &s->mux;
	uint32_t waiting = 0, listed = 0;
	size_t promised = 0;

	for (uint32_t i = 0; i < m->table_n; i++) {
		const struct ssh_channel *c = &m->table[i];
		if (c->state == SSH_CHANNEL_FREE)
			continue;
		waiting += c->list != SSH_LIST_NONE && c->blocked;
		listed += c->list != SSH_LIST_NONE;
		promised += c->promise;
		check(!c->has_turn || c->list == SSH_LIST_NONE);
		check(c->has_turn || c->promise == 0);
		check(!(c->blocked && c->list == SSH_LIST_NONE && c->tx_window &&
			c->state == SSH_CHANNEL_OPEN)); /* forgotten */
	}
	for (uint32_t i = m->fresh.head; i != SSH_CHANNEL_NONE; i = m->table[i].next)
		listed--;
	for (uint32_t i = m->bulk.head; i != SSH_CHANNEL_NONE; i = m->table[i].next)
		listed--;
	check(listed == 0);
	check(waiting == m->waiting_n && promised == m->promised);
}

static void do_anything(struct rig *r, struct dice *d, uint32_t *turns)
{
	struct ssh *s = r->p.c.ssh;
	const uint32_t id = (uint32_t)dice_below(d, ALL);
	struct ssh_event ev;

	switch (dice_below(d, 9)) {
	case 0:
	case 1:
		check(ssh_channel_write(s, id, data, (size_t)dice_below(d, sizeof(data))) >= 0);
		*turns &= ~(1u << id);
		break;
	case 2:
		ssh_channel_want_write(s, id);
		*turns &= ~(1u << id);
		break;
	case 3:
		ssh_channel_pass(s, id);
		*turns &= ~(1u << id);
		break;
	case 4:
		ssh_set_tx_bound(s, (size_t)dice_below(d, 2 * TX));
		break;
	case 5:
		ssh_channel_grow(r->p.s.ssh, id, 1 + (uint32_t)dice_below(d, 100000));
		pair_move(&r->p.s, &r->p.c);
		pair_feed_quiet(&r->p, &r->p.c);
		break;
	case 6:
		if (ssh_next(s, &ev) == 1 && ev.kind == SSH_EVENT_CHANNEL_WRITABLE)
			*turns |= 1u << ev.channel;
		break;
	default:
		r->n = 0;
		(void)carry_one(r);
	}
}

static void test_books_balance(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct rig *r = calloc(1, sizeof(*r));
		struct dice d = { seed };
		uint32_t turns = 0;
		struct ssh_event ev;

		rig_init(r, TX);
		for (uint32_t i = 0; i < ALL; i++) /* windows that close now and then */
			ssh_channel_at(r->p.c.ssh, i)->tx_window = 50000;
		for (int i = 0; i < 500; i++) {
			do_anything(r, &d, &turns);
			audit(r->p.c.ssh);
		}
		/* Nobody is forgotten: whoever waits, and has a window, gets a turn. */
		ssh_set_tx_bound(r->p.c.ssh, TX);
		for (uint32_t i = 0; i < ALL; i++) {
			ssh_channel_pass(r->p.c.ssh, i);
			ssh_channel_grow(r->p.s.ssh, i, 1000000);
			ssh_channel_want_write(r->p.c.ssh, i);
		}
		pair_move(&r->p.s, &r->p.c);
		pair_feed_quiet(&r->p, &r->p.c);
		turns = 0;
		for (int i = 0; i < 100; i++) {
			r->n = 0;
			(void)carry_one(r);
			while (ssh_next(r->p.c.ssh, &ev) == 1) {
				turns |= 1u << ev.channel;
				ssh_channel_pass(r->p.c.ssh, ev.channel);
			}
		}
		check(turns == (1u << ALL) - 1);
		check(r->p.c.rc == 0);
		pair_fini(&r->p);
		free(r);
	}
}

/* --- windows that the caller opens --- */

static void test_windows_by_hand(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);

	s.manual_windows = true;
	pair_start(&p, &c, &s);
	p.s.hold_credit = p.s.hold_offers = true;
	check(ssh_channel_open(p.c.ssh, "x", span_str("")) == 0);
	pair_run(&p);
	const uint32_t there = p.s.channel;
	ssh_channel_grow(p.s.ssh, there, 1000);
	ssh_channel_grow(p.s.ssh, there, 500);
	ssh_channel_accept(p.s.ssh, there);
	pair_run(&p);
	check(ssh_channel_writable(p.c.ssh, 0) == 1500);
	check(ssh_channel_write(p.c.ssh, 0, data, 5000) == 1500);
	pair_run(&p);
	check(p.s.got == 1500);
	ssh_channel_credit(p.s.ssh, there, 1500); /* passed on: and yet no more is granted */
	pair_run(&p);
	check(ssh_channel_writable(p.c.ssh, 0) == 0);
	ssh_channel_grow(p.s.ssh, there, 20);
	pair_run(&p);
	check(ssh_channel_writable(p.c.ssh, 0) == 20);
	/* The window on the wire has 32 bits, however often it is opened. */
	for (int i = 0; i < 3; i++)
		ssh_channel_grow(p.s.ssh, there, UINT32_MAX);
	pair_run(&p);
	check(p.c.rc == 0 && p.s.rc == 0);
	check(ssh_channel_at(p.c.ssh, 0)->tx_window == UINT32_MAX);
	pair_fini(&p);
}

static const struct test_case cases[] = {
	{ "bulk goes round", test_bulk_goes_round },
	{ "silent goes first", test_silent_goes_first },
	{ "silent waits in front", test_silent_waits_in_front },
	{ "small packets get their share", test_small_packets_get_their_share },
	{ "turns are given back", test_turns_are_given_back },
	{ "half a turn", test_half_a_turn },
	{ "control goes before data", test_control_goes_before_data },
	{ "books balance", test_books_balance },
	{ "windows by hand", test_windows_by_hand },
};

int main(void)
{
	return run_cases("ssh_scheduler", cases, array_len(cases));
}
