#include "tests/unit/lib/io/rig.h"

/* ---- the big one: every byte through an echo, in chunks of any size ---- */

enum { ECHO_BYTES = 64 << 20, PATTERN = 1000003 };

static uint8_t pattern[PATTERN + SOCK_RECV_MAX];

static uint32_t dice(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

struct echo {
	struct loop *l;
	struct sock *client, *server;
	uint32_t dice;
	size_t sent, received, sending;
	uint8_t held[SOCK_RECV_MAX];
	int wrong, closed;
};

static void client_sends(struct echo *x)
{
	struct iovec iov[5];
	int n = 0;

	x->sending = 0;
	while (n < (int)array_len(iov) && x->sent + x->sending < ECHO_BYTES) {
		size_t bytes = 1 + dice(&x->dice) % (dice(&x->dice) % 4 ? 60000 : 100);
		bytes = min_size(bytes, ECHO_BYTES - x->sent - x->sending);
		iov[n++] = (struct iovec){ .iov_base = pattern + (x->sent + x->sending) % PATTERN,
					   .iov_len = bytes };
		x->sending += bytes;
	}
	if (n)
		sock_send(x->client, iov, n);
	else
		sock_shutdown_write(x->client);
}

static void client_sent(struct sock *s, void *user)
{
	struct echo *x = user;

	(void)s;
	x->sent += x->sending;
	client_sends(x);
}

static size_t any_max(struct echo *x)
{
	return 1 + dice(&x->dice) % (dice(&x->dice) % 8 ? SOCK_RECV_MAX : 300);
}

static void client_data(struct sock *s, void *user, struct mspan data)
{
	struct echo *x = user;

	if (!data.n) {
		loop_stop(x->l);
		return;
	}
	x->wrong += memcmp(data.p, pattern + x->received % PATTERN, data.n) != 0;
	x->received += data.n;
	sock_recv(s, any_max(x));
}

static void server_data(struct sock *s, void *user, struct mspan data)
{
	struct echo *x = user;

	x->wrong += data.n > sizeof(x->held);
	if (!data.n) {
		sock_shutdown_write(s);
		return;
	}
	memcpy(x->held, data.p, data.n);
	memset(data.p - SOCK_HEADROOM, 0xee, data.n + 2 * SOCK_HEADROOM);
	const struct iovec iov = { .iov_base = x->held, .iov_len = data.n };
	sock_send(s, &iov, 1);
}

static void server_sent(struct sock *s, void *user)
{
	sock_recv(s, any_max(user));
}

static void echo_error(struct sock *s, void *user, int sys)
{
	struct echo *x = user;

	(void)s;
	(void)sys;
	x->wrong++;
	loop_stop(x->l);
}

static void echo_closed(void *user)
{
	((struct echo *)user)->closed++;
}

static void echo(struct loop *l)
{
	static const struct sock_handler client = { NULL, client_data, client_sent, echo_error,
						    echo_closed };
	static const struct sock_handler server = { NULL, server_data, server_sent, echo_error,
						    echo_closed };
	struct echo *x = calloc(1, sizeof(*x));
	int fd[2];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)((i % PATTERN) * 2654435761u >> 13);
	x->l = l;
	x->dice = 7;
	tcp_pair(fd);
	check(sock_new(&x->client, l, fd[0], &client, x, NULL) == 0);
	check(sock_new(&x->server, l, fd[1], &server, x, NULL) == 0);
	sock_recv(x->client, SOCK_RECV_MAX);
	sock_recv(x->server, SOCK_RECV_MAX);
	client_sends(x);
	check(loop_run(l, NULL) == 0);
	check_row(loop_backend(l), x->received == ECHO_BYTES);
	check_row(loop_backend(l), x->wrong == 0);
	sock_close(x->client, false);
	sock_close(x->server, false);
	until(l, x->closed == 2);
	free(x);
}

static void test_echo(void)
{
	on_both(echo);
}

/* ---- many sockets, more than there are buffers ---- */

enum { MANY = 300 };

static void many(struct loop *l)
{
	struct end *(*pairs)[2] = calloc(MANY, sizeof(*pairs));
	static uint8_t block[40000];

	for (int i = 0; i < MANY; i++)
		end_pair(l, pairs[i]);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			for (int side = 0; side < 2; side++) {
				struct end *e = pairs[i][side];
				e->got_n = 0;
				e->rearm = true;
				e->max = i % 3 ? SOCK_RECV_MAX : 1000;
				sock_recv(e->s, e->max);
				end_send(e, block, sizeof(block));
			}
		}
		for (int i = 0; i < MANY; i++)
			for (int side = 0; side < 2; side++)
				until(l, pairs[i][side]->got_n == sizeof(block) &&
						 pairs[i][side]->sent == round + 1);
	}
	check(loop_counts(l).socks == 2 * MANY);
	for (int i = 0; i < MANY; i++)
		for (int side = 0; side < 2; side++)
			sock_close(pairs[i][side]->s, false);
	until(l, loop_counts(l).socks == 0);
	for (int i = 0; i < MANY; i++)
		for (int side = 0; side < 2; side++)
			end_free(l, pairs[i][side]);
	free(pairs);
}

static void test_many(void)
{
	on_both(many);
}

/* ---- a storm: anything at any time, in callbacks too ---- */

enum { STORM = 24, STORM_STEPS = 1500 };

struct drop {
	struct sock *s;
	bool recv_asked, send_asked, shut, failed, closing;
};

static struct {
	struct drop drops[STORM];
	uint32_t dice;
	int alive, wrong, left; /* left: operations inside callbacks in this step */
	uint8_t bytes[SOCK_RECV_MAX];
} storm;

static void storm_act(struct drop *d)
{
	struct iovec iov[2];

	if (!d->s || d->closing)
		return;
	switch (dice(&storm.dice) % 12) {
	case 0:
		d->closing = true;
		sock_close(d->s, dice(&storm.dice) % 2);
		break;
	case 1:
		d->shut = true;
		sock_shutdown_write(d->s);
		break;
	case 2 ... 6:
		d->recv_asked = true;
		sock_recv(d->s, 1 + dice(&storm.dice) % SOCK_RECV_MAX);
		break;
	default:
		if (d->send_asked || d->shut || d->failed)
			break;
		d->send_asked = true;
		for (int i = 0; i < 2; i++)
			iov[i] = (struct iovec){ .iov_base = storm.bytes,
						 .iov_len = dice(&storm.dice) % SOCK_RECV_MAX };
		sock_send(d->s, iov, 2);
	}
}

static void storm_act_some(void)
{
	while (storm.left-- > 0)
		storm_act(&storm.drops[dice(&storm.dice) % STORM]);
}

static void storm_data(struct sock *s, void *user, struct mspan data)
{
	struct drop *d = user;

	storm.wrong += d->s != s || !d->recv_asked || d->closing || d->failed;
	memset(data.p - SOCK_HEADROOM * (data.n > 0), 1, data.n);
	d->recv_asked = false;
	storm_act_some();
}

static void storm_sent(struct sock *s, void *user)
{
	struct drop *d = user;

	storm.wrong += d->s != s || !d->send_asked || d->closing || d->failed;
	d->send_asked = false;
	storm_act_some();
}

static void storm_error(struct sock *s, void *user, int sys)
{
	struct drop *d = user;

	storm.wrong +=
		d->s != s || d->closing || d->failed || !sys || !(d->recv_asked || d->send_asked);
	d->failed = true;
	storm_act_some();
}

static void storm_closed(void *user)
{
	struct drop *d = user;

	storm.wrong += !d->s || !d->closing;
	*d = (struct drop){ 0 };
	storm.alive--;
	storm_act_some();
}

struct storm_stop {
	struct loop_wake wake;
	struct loop *l;
};

static void storm_stop(struct loop_wake *w)
{
	loop_stop(((struct storm_stop *)(void *)w)->l);
}

static void storm_blows(struct loop *l)
{
	struct storm_stop stop = { .wake.call = storm_stop, .l = l };
	static const struct sock_handler handler = { NULL, storm_data, storm_sent, storm_error,
						     storm_closed };

	memset(&storm, 0, sizeof(storm));
	storm.dice = 99;
	for (int n = 0; n < STORM_STEPS; n++) {
		for (int i = 0; i < STORM; i += 2) {
			struct drop *d = &storm.drops[i];
			int fd[2];
			if (d[0].s || d[1].s)
				continue;
			tcp_pair(fd);
			for (int side = 0; side < 2; side++)
				check(sock_new(&d[side].s, l, fd[side], &handler, &d[side], NULL) ==
				      0);
			storm.alive += 2;
		}
		for (int i = 0; i < 6; i++)
			storm_act(&storm.drops[dice(&storm.dice) % STORM]);
		storm.left = 6;
		loop_wake(l, &stop.wake); /* one round */
		check(loop_run(l, NULL) == 0);
	}
	storm.left = 0;
	for (int i = 0; i < STORM; i++) {
		if (storm.drops[i].s)
			sock_close(storm.drops[i].s, true);
		storm.drops[i].closing = true;
	}
	until(l, storm.alive == 0);
	check_row(loop_backend(l), storm.wrong == 0);
}

static void test_storm(void)
{
	on_both(storm_blows);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "echo of 64 MiB", test_echo },
		{ "many sockets", test_many },
		{ "storm", test_storm },
	};
	return run_cases("sock bulk", cases, array_len(cases));
}
