#include "lib/io/signals.h"

#include <signal.h>

#include "tests/unit/lib/io/rig.h"

static struct {
	struct signals *s;
	int calls, last;
	bool free_in_callback;
} got;

static void on_signal(void *user, int signo)
{
	(void)user;
	got.calls++;
	got.last = signo;
	if (got.free_in_callback) {
		signals_free(got.s);
		got.s = NULL;
	}
}

static void signals(struct loop *l)
{
	static const int signos[] = { SIGTERM, SIGINT, SIGHUP };

	memset(&got, 0, sizeof(got));
	check(signals_new(&got.s, l, on_signal, NULL, NULL) == 0);
	for (size_t i = 0; i < array_len(signos); i++) {
		check(kill(getpid(), signos[i]) == 0);
		until(l, got.calls == (int)i + 1);
		check(got.last == signos[i]);
	}
	check(kill(getpid(), SIGTERM) == 0 && kill(getpid(), SIGHUP) == 0);
	until(l, got.calls == 5);

	int fd[2]; /* SIGPIPE would end this program */
	must(pipe(fd) == 0);
	close(fd[0]);
	check(write(fd[1], "x", 1) == -1 && errno == EPIPE);
	close(fd[1]);

	got.free_in_callback = true;
	check(kill(getpid(), SIGTERM) == 0);
	until(l, got.calls == 6);
	check(kill(getpid(), SIGTERM) == 0); /* blocked still: harmless */
	step(l);
	check(got.calls == 6 && got.s == NULL);
	signals_free(got.s);

	/* Whoever comes next gets what waits. */
	check(signals_new(&got.s, l, on_signal, NULL, NULL) == 0);
	until(l, got.calls == 7);
}

static void test_signals(void)
{
	on_both(signals);
}

int main(void)
{
	static const struct test_case cases[] = { { "signals", test_signals } };
	return run_cases("signals", cases, array_len(cases));
}
