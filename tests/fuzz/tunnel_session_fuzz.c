/* The whole tunnel session against a hostile server and hostile services: the
 * real state machine, carrier, stack, engine, forwards and pipes, on a loop
 * without a kernel.  The server's SSH is not encrypted, so that an input is what
 * it says.  Input: {start} and steps of {what, …}, see step(). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "lib/io/chisel_conn.h"
#include "lib/proto/ssh/ssh_engine.h"
#include "tests/support/fakes/fake_loop.h"
#include "tests/sim/plain_server.h"

enum { SERVICE_PORT = 8001, SERVICES = 2, STEPS_MAX = 400 };

static const char *const services[SERVICES] = { "svc-a", "svc-b" };

struct input {
	const uint8_t *p;
	size_t n;
};

static uint8_t take(struct input *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

static struct span take_some(struct input *in, size_t n)
{
	const struct span s = span_of(in->p, min_size(n, in->n));

	in->p += s.n;
	in->n -= s.n;
	return s;
}

/* ---- shapes of messages, so that not every one is to be guessed ---- */

static void open_channel(struct session *s, uint8_t arg, struct input *in)
{
	uint8_t bytes[128];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	char target[32];

	snprintf(target, sizeof(target), "%s:%d", arg & 4 ? "svc-c" : services[arg % SERVICES],
		 SERVICE_PORT + (arg & 8 ? 9 : arg % SERVICES));
	ssh_put_u8(&w, SSH_MSG_CHANNEL_OPEN);
	ssh_put_str(&w, CHISEL_CHANNEL);
	ssh_put_u32(&w, take(in));
	ssh_put_u32(&w, (uint32_t)take(in) << (arg & 2 ? 12 : 0));
	ssh_put_u32(&w, (uint32_t)take(in) << 8 | 0xff);
	ssh_put_bytes(&w, span_str(target));
	plain_say(s, ssh_written(&w));
}

static void channel_message(struct session *s, uint8_t arg, struct input *in)
{
	static const uint8_t types[] = { SSH_MSG_CHANNEL_DATA, SSH_MSG_CHANNEL_WINDOW_ADJUST,
					 SSH_MSG_CHANNEL_EOF, SSH_MSG_CHANNEL_CLOSE };
	static const uint8_t zeros[32768];
	static uint8_t bytes[33000];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	const uint8_t type = types[arg % array_len(types)];

	ssh_put_u8(&w, type);
	ssh_put_u32(&w, take(in));
	if (type == SSH_MSG_CHANNEL_DATA)
		ssh_put_string(&w, span_of(zeros, (size_t)take(in) << (arg & 8 ? 7 : 0)));
	if (type == SSH_MSG_CHANNEL_WINDOW_ADJUST)
		ssh_put_u32(&w, (uint32_t)take(in) << (arg & 8 ? 24 : 8));
	plain_say(s, ssh_written(&w));
}

/* ---- the world around ---- */

static void end_dial(uint8_t arg)
{
	static const int sys[] = { 0, 0, 0, ECONNREFUSED };

	if (fake_dials())
		fake_dial_end((arg >> 2) % fake_dials(), sys[arg & 3]);
}

static void service(uint8_t arg, struct input *in)
{
	static const uint8_t bytes[65536];
	static const int sys[] = { ECONNRESET, ETIMEDOUT, EPIPE, EIO };
	struct sock *x = fake_socks() ? fake_sock((arg >> 2) % fake_socks()) : NULL;

	if (!x)
		return;
	if ((arg & 3) == 0)
		(void)fake_give(x, bytes, (size_t)take(in) << 8 | 1);
	else if ((arg & 3) == 1)
		fake_take(x);
	else if ((arg & 3) == 2)
		(void)fake_give(x, bytes, 0);
	else
		fake_fail(x, sys[take(in) & 3]);
}

static bool drained;

static void on_drained(void *user)
{
	(void)user;
	drained = true;
}

static struct session_target target_of(bool other)
{
	static struct chisel_remote remotes[SERVICES];
	static uint16_t forward[SERVICES];
	struct session_target t = { .url = PLAIN_SERVER, .remotes = remotes, .forward = forward,
				    .user = "u", .password = "p", .n = SERVICES,
				    .inactivity_ns = other ? S(30) : 0 };

	for (uint8_t i = 0; i < SERVICES; i++) {
		snprintf(t.remotes[i].host, sizeof(t.remotes[i].host), "%s", services[i]);
		t.remotes[i].port = (uint16_t)(SERVICE_PORT + i);
		t.remotes[i].bind_port = (uint16_t)(80 + i);
		t.forward[i] = i;
	}
	return t;
}

static void wish(struct session *s, uint8_t arg)
{
	const struct session_target t = target_of(arg & 4);

	if ((arg & 3) == 0)
		session_down(s);
	else if ((arg & 3) == 1)
		session_drain(s, S(30), on_drained, NULL);
	else
		session_up(s, &t);
}

static void step(struct session *s, struct input *in)
{
	const uint8_t what = take(in), arg = what >> 4;

	switch (what & 15) {
	case 0:
		plain_say(s, take_some(in, (size_t)take(in) | (size_t)(arg & 7) << 8));
		break;
	case 1:
		plain_say_frame(s, take_some(in, take(in)));
		break;
	case 2:
		plain_give(s, take_some(in, take(in)));
		break;
	case 3:
		open_channel(s, arg, in);
		break;
	case 4:
	case 5:
		channel_message(s, arg, in);
		break;
	case 6:
		end_dial(arg);
		break;
	case 7:
	case 8:
	case 9:
		service(arg, in);
		break;
	case 10:
		fake_pass(1000000ull << arg);
		break;
	case 11:
		wish(s, arg);
		break;
	case 12:
		plain_bring_up(s);
		break;
	case 13:
		plain_skip_key_exchange(s);
		break;
	case 14:
		for (size_t i = 0; i < fake_socks(); i++)
			fake_take(fake_sock(i));
		break;
	}
	fake_reap();
}

/* ---- what must hold whatever they do ---- */

static void check_dials(const struct session *s)
{
	size_t to_server = 0;

	for (size_t i = 0; i < fake_dials(); i++) {
		const char *host = fake_dial_host(i);
		const uint16_t port = fake_dial_port(i);

		if (plain_is_server(i))
			to_server++;
		else /* default deny: nothing but a forward is ever dialled */
			must((strcmp(host, services[0]) == 0 && port == SERVICE_PORT) ||
			     (strcmp(host, services[1]) == 0 && port == SERVICE_PORT + 1));
	}
	size_t dials = 0;
	for (size_t i = 0; i < array_len(s->forwards.dials); i++) {
		must(s->forwards.dials[i] <= LIMIT_PENDING_DIALS);
		must(s->forwards.waiting[i] <= LIMIT_WAITING_DIALS);
		dials += s->forwards.dials[i];
	}
	must(to_server == (s->dial != NULL) && dials == fake_dials() - to_server);
}

static void check_session(const struct session *s)
{
	const bool serving = s->state == BUS_STATE_UP || s->state == BUS_STATE_DRAINING;

	check_dials(s);
	must(!serving || s->link.self);
	must(!s->dial || !s->link.self);
	must(s->forwards.n <= FORWARDS_MAX);
	/* Whoever wants a tunnel and has none is on the way to one. */
	if (s->wanted && !s->idle_closed && !s->draining)
		must(s->dial || s->link.self || s->timer.at_ns || s->state == BUS_STATE_FAILED);
	if (s->state == BUS_STATE_BACKOFF)
		must(s->timer.at_ns && s->fault.code && s->fault.why[0]);
	if (s->link.self)
		must(ssh_pending_bytes(chisel_stack_ssh(chisel_conn_stack(link_chisel_conn(
			     s->link.self)))) <= 256 * 1024 + LIMIT_SSH_CONTROL_ROOM);
}

static struct publish *nobody_reads(void)
{
	static struct publish *p;
	static const char *const names[SERVICES] = { "a", "b" };

	if (!p) {
		log_start(&(struct log_options){ .component = "fuzz",
						 .level = LOG_DEBUG,
						 .json = true,
						 .fd = open("/dev/null", O_WRONLY) });
		must(publish_new(
			     &p, fake_loop(),
			     &(struct publish_options){ .forwards = names, .forwards_n = SERVICES },
			     NULL) == 0);
	}
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct input in = { p, n };
	const uint8_t start = take(&in);
	struct publish *publish = nobody_reads();
	const size_t timers = fake_timers();
	struct windows windows;
	const struct session_options o = { .loop = fake_loop(),
					   .publish = publish,
					   .windows = &windows,
					   .keepalive_ns = S(25),
					   .retry_max_ns = S(15),
					   .retry_count = start & 4 ? 2 : -1,
					   .give_up_on_refusal = start & 8 };
	const struct session_target target = target_of(start & 16);
	struct session *s;

	drained = false;
	windows_init(&windows, fake_loop(), publish);
	must(session_new(&s, &o, NULL) == 0);
	session_up(s, &target);
	if ((start & 3) > 0)
		plain_bring_up(s);
	for (int i = 0; in.n && i < STEPS_MAX; i++) {
		step(s, &in);
		check_session(s);
	}
	/* What began to drain is done when the grace is over, and a goodbye. */
	const bool draining = s->draining;
	if (draining)
		for (int i = 0; i < 4; i++) {
			fake_pass(S(31));
			fake_reap();
		}
	must(drained == draining);
	session_abort(s);
	fake_pass(S(2)); /* connections that only say goodbye */
	fake_reap();
	must(s->forwards.n == 0 && s->links == 0 && fake_socks() == 0 && fake_dials() == 0);
	must(fake_timers() == timers);
	session_free(s);
	windows_fini(&windows);
	return 0;
}
