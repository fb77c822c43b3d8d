#include "shm/probe.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/writer.h"
#include "tests/support/cases.h"

static char dir[64];

static pid_t start_writer(bool beats)
{
	const pid_t pid = fork();

	if (pid)
		return pid;
	struct bus_writer *w;
	const struct bus_writer_options o = { .dir = dir, .role = BUS_TUNNEL, .build = "test" };
	if (bus_writer_new(&w, &o, NULL) < 0 || bus_writer_degraded(w))
		_exit(1);
	bus_phase(w, BUS_RUNNING);
	for (;;) {
		usleep(50000);
		if (beats && bus_beat(w) < 0)
			_exit(2);
	}
}

static void wait_for_segment(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/tunnel/segment", dir);
	for (int i = 0; i < 500 && access(path, F_OK) < 0; i++)
		usleep(10000);
}

static void test_no_writer(void)
{
	char text[256];

	check(!bus_probe(NULL, dir, BUS_TUNNEL, text));
	check(strncmp(text, "no: ", 4) == 0);
}

static void test_lives_then_dies(void)
{
	char text[256];
	struct bus_reader *r = NULL;
	const pid_t pid = start_writer(true);

	wait_for_segment();
	check(bus_probe(&r, dir, BUS_TUNNEL, text));
	check(r != NULL && text[0] == 'y');
	bus_reader_free(r);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	check(!bus_probe(NULL, dir, BUS_TUNNEL, text));
	check(strstr(text, "dead") != NULL);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "no writer", test_no_writer },
		{ "lives, then dies", test_lives_then_dies },
	};
	snprintf(dir, sizeof(dir), "/tmp/probe-test-XXXXXX");
	must(mkdtemp(dir));
	const int rc = run_cases("probe", cases, array_len(cases));
	char command[160];
	snprintf(command, sizeof(command), "%s/tunnel/segment", dir);
	unlink(command);
	snprintf(command, sizeof(command), "%s/tunnel/owner.lock", dir);
	unlink(command);
	snprintf(command, sizeof(command), "%s/tunnel", dir);
	rmdir(command);
	return rc | rmdir(dir);
}
