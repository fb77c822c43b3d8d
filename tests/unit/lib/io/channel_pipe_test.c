/*
 * Two programs joined by pipes, as a tunnel joins them: end -- pipe -- channel
 * -- pipe -- end, all on one loop.
 */
#include "lib/io/channel_pipe.h"
#include "tests/unit/lib/io/session.h"

enum { LINKS = 2, WINDOW = 256 * 1024, BUFFER = 16 * 1024, MUCH = 8 * 1024 * 1024 };

/* One side of a link: the pipe, and the program's end of its socket. */
struct side {
	struct node *node;
	struct channel_pipe *pipe; /* NULL once it is gone or aborted */
	uint32_t channel;
	int inner_fd;
	int gone;
	uint64_t bytes[2]; /* by enum pipe_direction */
	uint64_t passed;
	struct end *end;
};

struct links {
	struct node nodes[2];
	struct side sides[LINKS][2];
	int started;
};

static void on_bytes(void *user, enum pipe_direction d, size_t n)
{
	((struct side *)user)->bytes[d] += n;
}

static void on_passed(void *user, size_t n)
{
	((struct side *)user)->passed += n;
}

static void on_pipe_gone(void *user)
{
	struct side *s = user;

	s->gone++;
	s->pipe = NULL;
}

static struct pipe_budget budget;

static void start_pipe(struct side *s, struct loop *l, uint32_t channel)
{
	const struct channel_pipe_options o = {
		.loop = l,
		.channels = chisel_conn_channels(s->node->carrier),
		.channel = channel,
		.fd = s->inner_fd,
		.budget = &budget,
		.on_bytes = on_bytes,
		.on_passed = on_passed,
		.on_gone = on_pipe_gone,
		.user = s,
	};

	s->channel = channel;
	check(channel_pipe_new(&s->pipe, &o, NULL) == 0);
	ssh_channel_set_user(node_ssh(s->node), channel, s);
}

static struct loop *the_loop;

static void on_channel(struct node *n, const struct ssh_event *ev)
{
	struct links *k = n->user;
	const int server = n == &k->nodes[1];
	struct side *s = ssh_channel_user(node_ssh(n), ev->channel);

	if (ev->kind == SSH_EVENT_CHANNEL_OPEN) {
		must(ev->payload.n == 1 && ev->payload.p[0] < LINKS);
		const int which = ev->payload.p[0];
		ssh_channel_accept(node_ssh(n), ev->channel);
		start_pipe(&k->sides[which][server], the_loop, ev->channel);
		k->started++;
	} else if (ev->kind == SSH_EVENT_CHANNEL_OPENED) {
		start_pipe(&k->sides[ev->channel][server], the_loop, ev->channel);
		k->started++;
	} else if (!s || !s->pipe) {
		return;
	} else if (ev->kind == SSH_EVENT_CHANNEL_DATA) {
		channel_pipe_on_data(s->pipe, ev->payload);
	} else if (ev->kind == SSH_EVENT_CHANNEL_WRITABLE) {
		channel_pipe_on_writable(s->pipe);
	} else if (ev->kind == SSH_EVENT_CHANNEL_EOF) {
		channel_pipe_on_eof(s->pipe);
	} else if (ev->kind == SSH_EVENT_CHANNEL_CLOSED) {
		channel_pipe_on_closed(s->pipe);
	}
}

/* Links that are up: small buffers of the kernel, so that bounds show. */
static struct links *links_new(struct loop *l)
{
	struct links *k = calloc(1, sizeof(*k));
	const int size = BUFFER;

	must(k);
	the_loop = l;
	for (int i = 0; i < 2; i++) {
		k->nodes[i].on_channel = on_channel;
		k->nodes[i].user = k;
	}
	nodes_start(k->nodes, l, false, WINDOW);
	for (uint8_t i = 0; i < LINKS; i++) {
		for (int j = 0; j < 2; j++) {
			int fd[2];

			tcp_pair(fd);
			for (int e = 0; e < 2; e++)
				must(!setsockopt(fd[e], SOL_SOCKET, SO_RCVBUF, &size,
						 sizeof(size)) &&
				     !setsockopt(fd[e], SOL_SOCKET, SO_SNDBUF, &size,
						 sizeof(size)));
			k->sides[i][j].node = &k->nodes[j];
			k->sides[i][j].inner_fd = fd[0];
			k->sides[i][j].end = end_new(l, fd[1]);
			k->sides[i][j].end->rearm = true;
		}
		check(ssh_channel_open(node_ssh(&k->nodes[0]), "t", span_of(&i, 1)) == i);
	}
	chisel_conn_flush(k->nodes[0].carrier);
	until(l, k->started == 2 * LINKS);
	return k;
}

static void links_free(struct loop *l, struct links *k)
{
	for (int j = 0; j < 2; j++) {
		for (int i = 0; i < LINKS; i++)
			if (k->sides[i][j].pipe)
				channel_pipe_abort(k->sides[i][j].pipe);
	}
	nodes_end(k->nodes, l);
	for (int i = 0; i < LINKS * 2; i++) {
		struct side *s = &k->sides[i / 2][i % 2];

		until(l, s->gone);
		check(s->gone == 1);
		end_free(l, s->end);
	}
	free(k);
}

static void hear(struct side *s)
{
	sock_recv(s->end->s, s->end->max);
}

/* Both directions end one after the other; the later one still carries. */
static void half_close(struct loop *l, int first)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][first], *b = &k->sides[0][!first];

	hear(a);
	hear(b);
	end_send(a->end, "question", 8);
	until(l, b->end->got_n == 8);
	check(!b->end->eof);
	sock_shutdown_write(a->end->s);
	until(l, b->end->eof);
	check(!a->end->eof && !a->gone && !b->gone);
	end_send(b->end, "an answer", 9);
	until(l, a->end->got_n == 9);
	check(memcmp(a->end->got, "an answer", 9) == 0 && memcmp(b->end->got, "question", 8) == 0);
	sock_shutdown_write(b->end->s);
	until(l, a->gone && b->gone && a->end->eof);
	check(a->bytes[PIPE_TO_CHANNEL] == 8 && a->bytes[PIPE_TO_SOCKET] == 9);
	check(a->end->errors == 0 && b->end->errors == 0);
	check(ssh_channels_open(node_ssh(&k->nodes[0])) == 1);
	links_free(l, k);
}

static void body_half_close(struct loop *l)
{
	half_close(l, 0);
	half_close(l, 1);
}

static void body_both_end_at_once(struct loop *l)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][0], *b = &k->sides[0][1];

	hear(a);
	hear(b);
	end_send(a->end, "x", 1);
	end_send(b->end, "y", 1);
	sock_shutdown_write(a->end->s);
	sock_shutdown_write(b->end->s);
	until(l, a->gone && b->gone && a->end->eof && b->end->eof);
	check(a->end->got_n == 1 && b->end->got_n == 1);
	links_free(l, k);
}

/* A reset is no end of data: the channel closes, the other end hears of it. */
static void body_reset(struct loop *l)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][0], *b = &k->sides[0][1];

	hear(b);
	sock_close(a->end->s, true);
	until(l, a->gone && b->gone && (b->end->eof || b->end->errors));
	check(k->nodes[0].lost == 0 && k->nodes[1].lost == 0);
	links_free(l, k);
}

static uint8_t *much(void)
{
	uint8_t *p = malloc(MUCH);

	must(p);
	for (size_t i = 0; i < MUCH; i++)
		p[i] = (uint8_t)(i * 13 + (i >> 10));
	return p;
}

/* Reads what comes and compares; the rig's own buffer is smaller than this. */
static void hear_much(struct loop *l, struct side *s, const uint8_t *want)
{
	size_t at = 0;
	bool right = true;

	while (at < MUCH) {
		s->end->got_n = 0;
		s->end->rearm = false;
		hear(s);
		until(l, s->end->got_n || s->end->eof || s->end->errors);
		if (!s->end->got_n)
			break;
		right = right && memcmp(s->end->got, want + at, s->end->got_n) == 0;
		at += s->end->got_n;
	}
	check(right && at == MUCH);
}

/* A reader that stops holds up its own link and no other, and no more waits
 * than window and kernel buffers hold. */
static void body_back_pressure(struct loop *l)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][0], *b = &k->sides[0][1];
	uint8_t *bytes = much();

	b->end->max = 65536;
	end_send(a->end, bytes, MUCH);
	uint64_t before;
	do {
		before = a->bytes[PIPE_TO_CHANNEL];
		for (int i = 0; i < 30; i++)
			step(l);
	} while (before != a->bytes[PIPE_TO_CHANNEL] || before < WINDOW);
	check(b->bytes[PIPE_TO_SOCKET] <= WINDOW + 16 * BUFFER);
	check(a->bytes[PIPE_TO_CHANNEL] <= b->bytes[PIPE_TO_SOCKET] + WINDOW);
	check(a->end->sent == 0);

	struct side *c = &k->sides[1][0], *d = &k->sides[1][1];
	hear(c);
	hear(d);
	end_send(c->end, "ping", 4);
	until(l, d->end->got_n == 4);
	end_send(d->end, "pong", 4);
	until(l, c->end->got_n == 4);

	hear_much(l, b, bytes);
	until(l, a->end->sent == 1);
	check(a->bytes[PIPE_TO_CHANNEL] == MUCH && b->bytes[PIPE_TO_SOCKET] == MUCH);
	links_free(l, k);
	free(bytes);
}

/* The session ends under them: programs are reset, nobody touches the engine. */
static void body_abort(struct loop *l)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][0];
	uint8_t *bytes = much();

	end_send(a->end, bytes, MUCH);
	until(l, a->bytes[PIPE_TO_CHANNEL] >= WINDOW);
	channel_pipe_abort(a->pipe);
	check(a->gone == 0);
	chisel_conn_close(k->nodes[0].carrier);
	until(l, a->gone && k->nodes[0].gone && k->nodes[1].lost);
	until(l, a->end->errors == 1);
	/* What came for the reader before is all it gets. */
	channel_pipe_abort(k->sides[0][1].pipe);
	until(l, k->sides[0][1].gone);
	links_free(l, k);
	free(bytes);
}

/* The channel is gone, but not what it sent. */
static void body_closed_with_data_waiting(struct loop *l)
{
	struct links *k = links_new(l);
	struct side *a = &k->sides[0][0], *b = &k->sides[0][1];
	uint8_t *bytes = much();

	b->end->max = 65536;
	end_send(a->end, bytes, MUCH);
	until(l, a->bytes[PIPE_TO_CHANNEL] >= WINDOW);
	for (int i = 0; i < 30; i++)
		step(l);
	const uint64_t came = b->bytes[PIPE_TO_SOCKET];
	ssh_channel_close(node_ssh(&k->nodes[0]), a->channel);
	chisel_conn_flush(k->nodes[0].carrier);
	until(l, ssh_channels_open(node_ssh(&k->nodes[1])) == 1);
	check(b->gone == 0);
	size_t heard = 0;
	b->end->rearm = false;
	while (!b->end->eof && !b->end->errors) {
		b->end->got_n = 0;
		hear(b);
		until(l, b->end->got_n || b->end->eof || b->end->errors);
		heard += b->end->got_n;
		if (!b->end->got_n)
			break;
	}
	check(b->end->eof && heard >= came);
	until(l, a->gone && b->gone);
	links_free(l, k);
	free(bytes);
}

#define ON_BOTH(name)                                                                              \
	static void test_##name(void)                                                              \
	{                                                                                          \
		on_both(body_##name);                                                              \
	}
ON_BOTH(half_close)
ON_BOTH(both_end_at_once)
ON_BOTH(reset)
ON_BOTH(back_pressure)
ON_BOTH(abort)
ON_BOTH(closed_with_data_waiting)

int main(void)
{
	static const struct test_case cases[] = {
		{ "half-close, both orders", test_half_close },
		{ "both end at once", test_both_end_at_once },
		{ "reset", test_reset },
		{ "back pressure", test_back_pressure },
		{ "abort", test_abort },
		{ "closed with data waiting", test_closed_with_data_waiting },
	};

	return run_cases("channel_pipe", cases, array_len(cases));
}
