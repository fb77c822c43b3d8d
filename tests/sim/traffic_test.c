/*
 * A whole session by chance: channels from both sides, traffic both ways in
 * pieces of any size, credit given late, ends in any order, keys exchanged in
 * between.  Every byte is checked against where it should be in its stream.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/wire_pair.h"

enum {
	STREAMS = 24,
	CHANNELS = 32,
	CHANNELS_FEW = 8,    /* more are refused, by the peer's table or ours */
	PATTERN = 65521,     /* prime: no piece of it lies like another */
	STREAM_MAX = 100000,
	WINDOW_LEAST = 1000,
};

/* One side of a channel. */
struct flow {
	int channel; /* -1: none, or no more */
	bool open, blocked, over;
	bool eof_sent, eof_got, close_sent;
	uint64_t to_send, sent, got, credited;
	uint64_t window;
	uint64_t close_at; /* having sent so much it closes, whoever still talks */
};

struct stream {
	int opener; /* who opened it; -1 = not yet */
	bool refused;
	struct flow flow[2];
};

struct session {
	struct wire_pair pair;
	struct dice dice;
	struct stream streams[STREAMS];
	int of_channel[2][CHANNELS]; /* the stream; -1 = none */
	unsigned opened, over;
	unsigned rekeyed[2];
	bool ending;
};

static uint8_t pattern[PATTERN];

static size_t place_of(int stream, int sender, uint64_t at)
{
	return (size_t)((at + (uint64_t)(2 * stream + sender) * 4099) % PATTERN);
}

static bool is_right(int stream, int sender, uint64_t at, struct mspan data)
{
	while (data.n) {
		const size_t place = place_of(stream, sender, at);
		const size_t piece = min_size(data.n, PATTERN - place);

		if (memcmp(pattern + place, data.p, piece) != 0)
			return false;
		data = (struct mspan){ data.p + piece, data.n - piece };
		at += piece;
	}
	return true;
}

/* ---- events ---- */

static void begin(struct session *x, int side, int stream, uint32_t channel)
{
	struct flow *f = &x->streams[stream].flow[side];

	must(channel < CHANNELS);
	check(x->of_channel[side][channel] == -1);
	x->of_channel[side][channel] = stream;
	f->channel = (int)channel;
}

static void finish(struct session *x, int side, int stream)
{
	struct flow *f = &x->streams[stream].flow[side];

	x->of_channel[side][f->channel] = -1;
	f->channel = -1;
	f->over = true;
	f->open = false;
	x->over++;
}

static void on_open(struct session *x, int side, const struct ssh_event *ev)
{
	struct ssh *ssh = chisel_stack_ssh(x->pair.end[side].stack);

	if (!check(ev->payload.n == 1 && ev->payload.p[0] < STREAMS))
		return;
	const int stream = ev->payload.p[0];
	if (dice_one_in(&x->dice, 8)) {
		ssh_channel_reject(ssh, ev->channel, SSH_OPEN_CONNECT_FAILED, "no");
		return;
	}
	begin(x, side, stream, ev->channel);
	x->streams[stream].flow[side].open = true;
	ssh_channel_accept(ssh, ev->channel);
}

static void on_data(struct session *x, int side, int stream, const struct ssh_event *ev)
{
	struct flow *f = &x->streams[stream].flow[side];

	check(f->open && !f->eof_got && !f->close_sent);
	check(is_right(stream, !side, f->got, ev->payload));
	f->got += ev->payload.n;
	check(f->got <= x->streams[stream].flow[!side].sent);
	check(f->got - f->credited <= f->window);
}

/* What belongs to a channel must find its stream alive. */
static void on_channel(struct session *x, int side, const struct ssh_event *ev)
{
	const int stream = ev->channel < CHANNELS ? x->of_channel[side][ev->channel] : -1;

	if (!check(stream >= 0))
		return;
	struct flow *f = &x->streams[stream].flow[side];
	if (ev->kind == SSH_EVENT_CHANNEL_OPENED) {
		check(!f->open);
		f->open = true;
	} else if (ev->kind == SSH_EVENT_CHANNEL_REFUSED) {
		check(!f->open && !f->got && !f->sent);
		x->streams[stream].refused = true;
		x->over++; /* the other's */
		finish(x, side, stream);
	} else if (ev->kind == SSH_EVENT_CHANNEL_DATA) {
		on_data(x, side, stream, ev);
	} else if (ev->kind == SSH_EVENT_CHANNEL_WRITABLE) {
		check(f->open && f->blocked && !f->eof_sent);
		f->blocked = false;
	} else if (ev->kind == SSH_EVENT_CHANNEL_EOF) {
		check(f->open && !f->eof_got && !f->close_sent);
		check(f->got == x->streams[stream].flow[!side].sent);
		f->eof_got = true;
	} else if (ev->kind == SSH_EVENT_CHANNEL_CLOSED) {
		finish(x, side, stream);
	}
}

static void on_event(struct wire_pair *p, int side, const struct ssh_event *ev)
{
	struct session *x = p->user;

	switch (ev->kind) {
	case SSH_EVENT_CHANNEL_OPEN:
		on_open(x, side, ev);
		return;
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_DATA:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
		on_channel(x, side, ev);
		return;
	case SSH_EVENT_REKEYED:
		x->rekeyed[side]++;
		return;
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_GLOBAL_REQUEST:
	case SSH_EVENT_GLOBAL_REPLY:
		check(!"an event that nobody caused");
		return;
	case SSH_EVENT_NONE:
	case SSH_EVENT_HOST_KEY:
	case SSH_EVENT_AUTH:
	case SSH_EVENT_READY:
	case SSH_EVENT_DISCONNECTED:
		return;
	}
}

/* ---- the sides' own doing ---- */

static bool open_one(struct session *x, int side)
{
	struct ssh *ssh = chisel_stack_ssh(x->pair.end[side].stack);

	if (x->opened == STREAMS)
		return false;
	if (!dice_one_in(&x->dice, 3))
		return ssh_channels_open(ssh) == 0; /* later, but without waiting for anything */
	const int stream = (int)x->opened;
	const uint8_t name = (uint8_t)stream;
	const int channel = ssh_channel_open(ssh, "sim", span_of(&name, 1));
	if (channel == ERR_FULL)
		return false;
	if (!check(channel >= 0))
		return false;
	x->opened++;
	x->streams[stream].opener = side;
	begin(x, side, stream, (uint32_t)channel);
	return true;
}

static bool write_some(struct session *x, int side, int stream)
{
	struct flow *f = &x->streams[stream].flow[side];
	struct ssh *ssh = chisel_stack_ssh(x->pair.end[side].stack);
	const uint64_t left = f->to_send - f->sent;
	const size_t place = place_of(stream, side, f->sent);
	const size_t want =
		1 + (size_t)dice_below(&x->dice, dice_one_in(&x->dice, 3) ? 70000 : 2000);
	const size_t n = min_size(min_size(want, (size_t)left), PATTERN - place);
	const size_t room = ssh_channel_writable(ssh, (uint32_t)f->channel);
	const int taken = ssh_channel_write(ssh, (uint32_t)f->channel, pattern + place, n);

	if (!check(taken >= 0 && (size_t)taken >= min_size(n, room) && (size_t)taken <= n))
		return false;
	f->sent += (uint64_t)taken;
	f->blocked = (size_t)taken < n;
	return true;
}

static bool end_some(struct session *x, int side, int stream)
{
	struct flow *f = &x->streams[stream].flow[side];
	struct ssh *ssh = chisel_stack_ssh(x->pair.end[side].stack);
	const bool done = f->sent == f->to_send;

	if (done && !f->eof_sent && dice_one_in(&x->dice, 2)) {
		ssh_channel_eof(ssh, (uint32_t)f->channel);
		ssh_channel_eof(ssh, (uint32_t)f->channel); /* idempotent */
		f->eof_sent = true;
		return true;
	}
	/* Orderly, or now and then without waiting for anybody. */
	if ((f->eof_sent && f->eof_got && dice_one_in(&x->dice, 2)) || f->sent >= f->close_at) {
		ssh_channel_close(ssh, (uint32_t)f->channel);
		ssh_channel_close(ssh, (uint32_t)f->channel);
		f->close_sent = true;
		return true;
	}
	return false;
}

static bool credit_some(struct session *x, int side, int stream)
{
	struct flow *f = &x->streams[stream].flow[side];
	struct ssh *ssh = chisel_stack_ssh(x->pair.end[side].stack);
	const uint64_t held = f->got - f->credited;

	if (!held)
		return false;
	const uint64_t n = dice_one_in(&x->dice, 2) ? held : dice_below(&x->dice, held + 1);
	f->credited += n;
	ssh_channel_credit(ssh, (uint32_t)f->channel, (size_t)n);
	if (dice_one_in(&x->dice, 60)) {
		ssh_channel_grow(ssh, (uint32_t)f->channel, 5000);
		f->window += 5000;
	}
	return true;
}

static bool drive(struct session *x, int side, int stream)
{
	const struct flow *f = &x->streams[stream].flow[side];
	bool moved = false;

	if (f->channel < 0 || !f->open || f->close_sent)
		return false;
	if (!f->blocked && f->sent < f->to_send && !f->eof_sent)
		moved = write_some(x, side, stream);
	if (dice_one_in(&x->dice, 2))
		moved |= credit_some(x, side, stream);
	return end_some(x, side, stream) || moved || f->got > f->credited ||
	       (f->sent == f->to_send && !f->eof_sent) || (f->eof_sent && f->eof_got);
}

static bool on_round(struct wire_pair *p, int side)
{
	struct session *x = p->user;
	bool moved = false;

	if (!p->end[side].ready || x->ending)
		return false;
	moved = open_one(x, side);
	for (int stream = 0; stream < (int)x->opened; stream++)
		moved |= drive(x, side, stream);
	if (moved && dice_one_in(&x->dice, 60))
		ssh_rekey(chisel_stack_ssh(p->end[side].stack));
	return moved;
}

/* ---- sessions ---- */

/* Less goes over a wire that lets single bytes through. */
static void prepare(struct session *x, uint64_t stream_max)
{
	for (int i = 0; i < STREAMS; i++) {
		struct stream *t = &x->streams[i];

		t->opener = -1;
		for (int side = 0; side < 2; side++) {
			const bool mute = dice_one_in(&x->dice, 4),
				   hasty = dice_one_in(&x->dice, 8);
			const uint64_t n = mute ? 0 : dice_below(&x->dice, stream_max);

			t->flow[side] = (struct flow){
				.channel = -1,
				.to_send = n,
				.close_at = hasty ? dice_below(&x->dice, n + 1) : UINT64_MAX,
			};
		}
	}
	for (int i = 0; i < 2 * CHANNELS; i++)
		x->of_channel[i / CHANNELS][i % CHANNELS] = -1;
}

static void begin_session(struct session *x, uint64_t seed, bool tls)
{
	static const char *const ciphers[] = { "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
					       "chacha20-poly1305@openssh.com" };
	struct wire_pair_options o = { .seed = seed, .tls = tls, .channels_max = CHANNELS };

	*x = (struct session){ .dice = { ~seed } };
	if (dice_one_in(&x->dice, 5))
		o.channels_max = CHANNELS_FEW;
	o.window = WINDOW_LEAST + (uint32_t)dice_below(&x->dice, 100000);
	o.ciphers = ciphers[dice_below(&x->dice, array_len(ciphers))];
	for (int side = 0; side < 2; side++)
		o.wire[side] = wire_rough(&x->dice);
	prepare(x, min_size(o.wire[0].piece_max, o.wire[1].piece_max) < 100 ? 1000 : STREAM_MAX);
	for (int side = 0; side < 2; side++) {
		o.rekey_bytes[side] =
			dice_one_in(&x->dice, 2) ? 3000 + dice_below(&x->dice, 90000) : 0;
		for (int i = 0; i < STREAMS; i++)
			x->streams[i].flow[side].window = o.window;
	}
	wire_pair_init(&x->pair, &o);
	x->pair.on_event = on_event;
	x->pair.on_round = on_round;
	x->pair.user = x;
}

static bool is_over(const struct session *x)
{
	return x->over == 2 * STREAMS;
}

/* What one sent and ended in order, the other has. */
static void check_streams(struct session *x)
{
	for (int i = 0; i < STREAMS; i++)
		for (int side = 0; side < 2; side++) {
			const struct flow *from = &x->streams[i].flow[side];
			const struct flow *to = &x->streams[i].flow[!side];

			check(from->channel == -1);
			if (to->eof_got)
				check(to->got == from->sent);
		}
}

/* Nothing flows: what was taken for traffic goes back. */
static void check_idle(struct session *x)
{
	struct wire_pair *p = &x->pair;

	x->ending = true;
	p->until_ns = p->now_ns + 30 * WIRE_SECOND;
	wire_pair_run(p);
	for (int side = 0; side < 2; side++) {
		check(p->end[side].rc == 0);
		check(ssh_channels_open(chisel_stack_ssh(p->end[side].stack)) == 0);
		check(p->end[side].famine.live <= 12);
		check(p->end[side].pending_max <= 512 * 1024);
	}
}

/* Thresholds that small must have been passed. */
static void check_rekeys(const struct session *x)
{
	check(x->rekeyed[0] == x->rekeyed[1]);
	for (int side = 0; side < 2; side++)
		check(ssh_stats(chisel_stack_ssh(x->pair.end[side].stack))->rekeys ==
		      x->rekeyed[side]);
}

static void part(struct session *x)
{
	struct wire_pair *p = &x->pair;
	const int first = (int)dice_below(&x->dice, 2);

	chisel_stack_close(p->end[first].stack, SSH_DISCONNECT_BY_APPLICATION, "that was all");
	wire_pair_run(p);
	check(p->end[!first].disconnected);
	check(p->end[!first].rc == ERR_CLOSED);
	check(strstr(chisel_stack_fault(p->end[!first].stack)->why, "that was all") != NULL);
}

static void run_session(uint64_t seed, bool tls)
{
	struct session x;

	begin_session(&x, seed, tls);
	for (int i = 0; i < 400000 && !is_over(&x) && wire_pair_round(&x.pair); i++)
		;
	if (!check(is_over(&x)))
		printf(" [%u of %u opened, %u over; %s; %s] ", x.opened, STREAMS, x.over,
		       chisel_stack_fault(x.pair.end[0].stack)->why,
		       chisel_stack_fault(x.pair.end[1].stack)->why);
	else {
		check_streams(&x);
		check_idle(&x);
		check_rekeys(&x);
		part(&x);
	}
	wire_pair_fini(&x.pair);
	sim_ran(tls ? "traffic over TLS" : "traffic", seed);
}

static void test_plain(void)
{
	for (unsigned i = 0; i < sim_runs(20); i++)
		run_session(sim_seed() + i, false);
}

static void test_tls(void)
{
	for (unsigned i = 0; i < sim_runs(20); i++)
		run_session(sim_seed() + i, true);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "channels by chance", test_plain },
		{ "channels by chance, over TLS", test_tls },
	};
	struct dice d = { 42 };

	dice_fill(&d, pattern, sizeof(pattern));
	sim_arguments(argc, argv);
	return run_cases("sim traffic", cases, array_len(cases));
}
