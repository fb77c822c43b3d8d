#include "tests/support/wire_pair.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/certs.h"

/* ---- keys: made once ---- */

static EVP_PKEY *host_key(void)
{
	static const uint8_t seed[32] = "the host key of every simulation";
	static EVP_PKEY *key;

	if (!key)
		key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
	must(key);
	return key;
}

static SSL_CTX *context(int side)
{
	static SSL_CTX *ctx[2];

	if (!ctx[0]) {
		struct cert ca, leaf;

		certs_make_ca(&ca, "simulation");
		certs_make_leaf(&leaf, &ca, "DNS:gateway", -CERTS_DAY, CERTS_DAY);
		ctx[WIRE_CLIENT] = certs_client_ctx(&ca);
		ctx[WIRE_SERVER] = certs_server_ctx(&leaf);
		certs_fini(&ca);
		certs_fini(&leaf);
	}
	return ctx[side];
}

/* ---- life ---- */

struct wire_habits wire_rough(struct dice *d)
{
	static const size_t pieces[] = { 1, 2, 7, 100, 1500, 16384, 70000 };
	struct wire_habits h = wire_perfect;

	h.room = 70000;
	h.piece_max = pieces[dice_below(d, array_len(pieces))];
	h.delay_ns = dice_below(d, 3) * 20000000;
	h.stall_one_in = dice_one_in(d, 3) ? 20 : 0;
	h.stall_ns = 400000000;
	return h;
}

static void note(struct wire_pair *p, struct wire_end *e, int rc)
{
	if (rc >= 0 || e->rc)
		return;
	e->rc = rc;
	e->told_ns = p->now_ns;
}

static struct chisel_stack_options options_for(struct wire_pair *p,
					       const struct wire_pair_options *o, int side)
{
	static EVP_PKEY *keys[1];
	const bool server = side == WIRE_SERVER;

	keys[0] = host_key();
	return (struct chisel_stack_options){
		.tls_ctx = o->tls ? context(side) : NULL,
		.tls = { .server = server, .verify_name = server ? NULL : "gateway" },
		.ws = { .server = server, .host = "gateway", .path = "/", .random = dice_fill,
			.random_ctx = &p->dice },
		.ssh = { .role = server ? SSH_SERVER : SSH_CLIENT,
			 .version = server ? "SSH-chisel-v3-server" : "SSH-chisel-v3-client",
			 .any_version = true,
			 .mem = &p->end[side].famine.mem,
			 .random = dice_fill,
			 .random_ctx = &p->dice,
			 .ciphers = o->ciphers ? o->ciphers : "aes128-gcm@openssh.com",
			 .rekey_bytes = o->rekey_bytes[side],
			 .channels_max = o->channels_max,
			 .window = o->window,
			 .user = "u",
			 .password = "pw",
			 .host_keys = keys,
			 .host_keys_n = 1 },
	};
}

void wire_pair_init(struct wire_pair *p, const struct wire_pair_options *options)
{
	*p = (struct wire_pair){ .dice = { options->seed }, .now_ns = 1000 * WIRE_SECOND };
	p->until_ns = p->now_ns + 600 * WIRE_SECOND;
	p->half = options->half;
	p->answers_late = options->answers_late;
	for (int side = 0; side < 2; side++) {
		struct wire_end *e = &p->end[side];
		struct fault why = { 0 };

		famine_init(&e->famine, options->refuse_at[side]);
		wire_init(&e->out, &options->wire[side], &p->dice);
		e->born_ns = p->now_ns;
		const struct chisel_stack_options o = options_for(p, options, side);
		note(p, e, chisel_stack_new(&e->stack, &o, &e->famine.mem, p->now_ns, &why));
		check(e->rc == 0 || (why.code == (enum err)e->rc && *why.why));
		if (e->rc)
			e->stack = NULL;
	}
}

void wire_pair_fini(struct wire_pair *p)
{
	for (int side = 0; side < 2; side++) {
		chisel_stack_free(p->end[side].stack);
		wire_fini(&p->end[side].out);
		check(p->end[side].famine.live == 0);
	}
}

/* ---- what a carrier does ---- */

static void answer(struct wire_pair *p, int side, const struct ssh_event *ev)
{
	struct wire_end *e = &p->end[side];
	struct ssh *ssh = chisel_stack_ssh(e->stack);
	const bool accepted = span_is(ev->user, "u") && span_is(ev->password, "pw");

	if (p->answers_late && (ev->kind == SSH_EVENT_HOST_KEY ||
				(ev->kind == SSH_EVENT_AUTH && accepted)))
		e->owed = ev->kind;
	else if (ev->kind == SSH_EVENT_HOST_KEY)
		ssh_host_key_trust(ssh, true);
	else if (ev->kind == SSH_EVENT_AUTH)
		ssh_auth_answer(ssh, accepted);
	else if (ev->kind == SSH_EVENT_READY)
		e->ready = true;
	else if (ev->kind == SSH_EVENT_DISCONNECTED)
		e->disconnected = true;
	if (p->on_event)
		p->on_event(p, side, ev);
}

static bool answer_owed(struct wire_pair *p, struct wire_end *e)
{
	const enum ssh_event_kind owed = e->owed;

	if (owed == SSH_EVENT_NONE || e->rc)
		return false;
	if (!dice_one_in(&p->dice, 8))
		return true; /* in a later round */
	e->owed = SSH_EVENT_NONE;
	if (owed == SSH_EVENT_HOST_KEY)
		ssh_host_key_trust(chisel_stack_ssh(e->stack), true);
	else
		ssh_auth_answer(chisel_stack_ssh(e->stack), true);
	return true;
}

static bool draw(struct wire_pair *p, int side)
{
	struct wire_end *e = &p->end[side];
	struct ssh_event ev;
	bool moved = false;
	int rc;

	while ((rc = chisel_stack_next(e->stack, &ev)) == 1) {
		moved = true;
		answer(p, side, &ev);
	}
	note(p, e, rc);
	return moved;
}

static bool send_some(struct wire_pair *p, struct wire_end *e)
{
	const struct span out = chisel_stack_pending(e->stack);

	if (out.n > e->pending_max)
		e->pending_max = out.n;
	if (!out.n) {
		/* Last words are out: like a carrier that parts. */
		const bool parts = e->rc && !e->out.closed;
		if (parts)
			wire_close(&e->out);
		return parts;
	}
	const size_t part = dice_one_in(&p->dice, 4) ? 1 + dice_below(&p->dice, out.n) : out.n;
	const size_t n = wire_put(&e->out, out.p, part, p->now_ns);
	if (n)
		chisel_stack_sent(e->stack, n);
	return n > 0;
}

static bool receive_some(struct wire_pair *p, int side)
{
	struct wire_end *e = &p->end[side];
	struct wire *in = &p->end[!side].out;
	size_t n;
	uint8_t *piece = wire_take(in, p->now_ns, &n);

	if (piece) {
		if (!e->rc)
			note(p, e, chisel_stack_feed(e->stack, piece, n, p->now_ns));
		if (!e->rc)
			(void)draw(p, side);
		free(piece);
		return true;
	}
	if (e->told_end || !wire_has_ended(in))
		return false;
	e->told_end = true;
	if (!e->rc)
		(void)chisel_stack_feed_end(e->stack);
	return draw(p, side) || true;
}

static bool do_end(struct wire_pair *p, int side)
{
	struct wire_end *e = &p->end[side];
	bool moved;

	if (!e->stack) { /* nobody is there: what comes falls to the ground */
		wire_die(&p->end[!side].out);
		wire_close(&e->out);
		return false;
	}
	if (!e->rc && p->now_ns >= chisel_stack_deadline(e->stack))
		note(p, e, chisel_stack_tick(e->stack, p->now_ns));
	moved = answer_owed(p, e);
	moved |= draw(p, side);
	if (!e->rc && p->on_round)
		moved |= p->on_round(p, side);
	moved |= send_some(p, e);
	moved |= receive_some(p, side);
	return moved;
}

/* A connection that dies in one direction is gone in both. */
static void die_together(struct wire_pair *p)
{
	for (int side = 0; side < 2; side++)
		if (p->end[side].out.in >= p->end[side].out.habits.dies_at)
			wire_die(&p->end[!side].out);
}

static bool let_time_pass(struct wire_pair *p)
{
	uint64_t at = UINT64_MAX;

	for (int side = 0; side < 2; side++) {
		at = min_u64(at, wire_next_ns(&p->end[side].out));
		if (p->end[side].stack && !p->end[side].rc)
			at = min_u64(at, chisel_stack_deadline(p->end[side].stack));
	}
	if (at > p->until_ns)
		return false;
	if (at > p->now_ns)
		p->now_ns = at;
	return true;
}

bool wire_pair_round(struct wire_pair *p)
{
	const int first = (int)dice_below(&p->dice, 2);
	const bool a = do_end(p, first);
	const bool b = do_end(p, !first);

	if (!p->half)
		die_together(p);

	return a || b || let_time_pass(p);
}

bool wire_pair_is_ready(const struct wire_pair *p)
{
	return p->end[0].ready && p->end[1].ready;
}

void wire_pair_run(struct wire_pair *p)
{
	while (wire_pair_round(p))
		;
}

/* ---- seeds ---- */

static uint64_t first_seed = 1;
static unsigned runs;
static unsigned failures;

void sim_arguments(int argc, char **argv)
{
	const char *seed = argc > 1 ? argv[1] : getenv("SIM_SEED");
	const char *many = argc > 2 ? argv[2] : getenv("SIM_RUNS");

	if (seed) {
		first_seed = strtoull(seed, NULL, 0);
		runs = 1;
	}
	if (many)
		runs = (unsigned)strtoul(many, NULL, 0);
}

uint64_t sim_seed(void)
{
	return first_seed;
}

unsigned sim_runs(unsigned usual)
{
	return runs ? runs : usual;
}

void sim_ran(const char *what, uint64_t seed)
{
	const unsigned now = CU_get_number_of_failures();

	if (now != failures)
		printf(" [%s: seed %llu] ", what, (unsigned long long)seed);
	failures = now;
}
