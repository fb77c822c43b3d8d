/*
 * The tunnel session on a loop without a kernel (fake_loop).  What fuzzing found
 * in it stands here in words; see tests/fuzz/tunnel_session_fuzz.c.
 */
#include <errno.h>

#include "tests/support/fakes/fake_loop.h"
#include "tests/sim/plain_server.h"
#include "tests/support/cases.h"

static struct publish *nobody_reads(void)
{
	static struct publish *p;
	static const char *const names[] = { "a" };

	if (!p) {
		log_start(&(struct log_options){ .component = "sim", .level = LOG_ERROR, .fd = 2 });
		must(publish_new(&p, fake_loop(),
				 &(struct publish_options){ .forwards = names, .forwards_n = 1 },
				 NULL) == 0);
	}
	return p;
}

static struct windows windows;

static struct session *start(void)
{
	windows_init(&windows, fake_loop(), nobody_reads());
	const struct session_options o = { .loop = fake_loop(), .publish = nobody_reads(),
					   .windows = &windows,
					   .keepalive_ns = S(25), .retry_max_ns = S(15),
					   .retry_count = -1 };
	static struct chisel_remote remote = { .bind_port = 80, .host = "svc", .port = 80 };
	static uint16_t forward;
	const struct session_target target = {
		.url = PLAIN_SERVER, .n = 1, .remotes = &remote, .forward = &forward
	};
	struct session *s;

	check(session_new(&s, &o, NULL) == 0);
	session_up(s, &target);
	check(s->state == BUS_STATE_RESOLVING && fake_dials() == 1);
	check(plain_is_server(0));
	return s;
}

static void end(struct session *s, size_t timers)
{
	session_abort(s);
	fake_reap();
	if (!check(fake_timers() == timers)) /* one would fire into freed memory */
		timer_clear(fake_loop(), &s->timer);
	check(fake_socks() == 0 && fake_dials() == 0);
	session_free(s);
	windows_fini(&windows);
}

static void test_abort_while_connecting(void)
{
	(void)nobody_reads();
	const size_t timers = fake_timers();
	struct session *s = start();

	end(s, timers);
	s = start();
	fake_dial_end(0, 0);
	check(s->state == BUS_STATE_UPGRADING && s->link.self && fake_socks() == 1);
	end(s, timers);
}

static void say(struct session *s, const void *message, size_t n)
{
	plain_say(s, span_of(message, n));
}

/* A forward that leaves while the session is aborted must not arm it again. */
static void test_abort_with_a_forward(void)
{
	static const char open[] = "\x5a\0\0\0\x06" "chisel\0\0\0\x07\0\0\x10\0\0\0\x10\0svc:80";
	static const char eof[] = "\x60\0\0\0\0";
	(void)nobody_reads();
	const size_t timers = fake_timers();
	struct session *s = start();

	plain_bring_up(s);
	check(s->state == BUS_STATE_UP);
	say(s, open, sizeof(open) - 1);
	check(fake_dials() == 1 && fake_dial_port(0) == 80 && s->forwards.dials[0] == 1);
	fake_dial_end(0, 0);
	check(s->forwards.n == 1 && fake_socks() == 2);
	/* Both ends are done with it, but the server has not closed the channel. */
	check(fake_give(fake_sock(1), NULL, 0) == 0);
	say(s, eof, sizeof(eof) - 1);
	fake_reap();
	check(s->forwards.n == 1 && fake_socks() == 1);
	end(s, timers);
}

static void test_refused_dials_wait_longer(void)
{
	(void)nobody_reads();
	const size_t timers = fake_timers();
	struct session *s = start();

	for (int i = 1; i < 20; i++) {
		fake_dial_end(0, ECONNREFUSED);
		check(s->state == BUS_STATE_BACKOFF && s->failures == i);
		check(s->fault.code == ERR_SYS && s->fault.sys == ECONNREFUSED);
		check(s->timer.at_ns != 0 && fake_dials() == 0);
		check(s->phase_deadline_ns <= loop_now(fake_loop()) + S(15));
		fake_pass(S(15));
		check(s->state == BUS_STATE_RESOLVING && fake_dials() == 1);
	}
	end(s, timers);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "abort while connecting", test_abort_while_connecting },
		{ "abort with a forward", test_abort_with_a_forward },
		{ "refused dials", test_refused_dials_wait_longer },
	};

	return run_cases("sim session", cases, array_len(cases));
}
