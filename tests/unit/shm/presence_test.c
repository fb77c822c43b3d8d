/* Who is alive: lock, beat, inode.  The clock is an argument; nothing sleeps. */
#include <sys/prctl.h>

#include "shm/layout.h"
#include "tests/unit/shm/bus_fixture.h"

/* A child that holds a writer of the role and waits to be killed.  Returns
 * when its segment is visible. */
static pid_t living_writer(const struct bus_fixture *f, enum bus_role role)
{
	int ready[2];
	char c;

	must(pipe(ready) == 0);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct bus_writer *w = fixture_writer(f, role);

		bus_phase(w, BUS_RUNNING);
		bus_publish_session(w, &(struct bus_session){ .state = BUS_STATE_UP });
		bus_add(w, BUS_TUNNEL_SESSIONS, 0, 41);
		bus_log(w, 1, "last words", 10);
		must(bus_beat(w) == 0);
		must(write(ready[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	must(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	return child;
}

static void last_line(void *user, const struct bus_log_line *line)
{
	*(int *)user = span_is(line->text, "last words");
}

static void test_black_box_after_a_kill(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	struct bus_session s = { 0 };
	uint64_t cursor = 0, lost = 0;
	uint32_t code;
	int found = 0;

	check(bus_reader_refresh(r, 1) == BUS_ABSENT);
	const pid_t child = living_writer(&f, BUS_TUNNEL);
	check(bus_reader_refresh(r, 2) == BUS_ALIVE);
	kill(child, SIGKILL);
	fixture_reap(child);
	check(bus_reader_refresh(r, 3) == BUS_DEAD);
	check(bus_reader_presence(r) == BUS_DEAD && bus_reader_fault(r)->code == 0);
	check(bus_reader_phase(r, &code) == BUS_RUNNING); /* so it was no orderly end */
	check(bus_read_session(r, &s) == 1 && s.state == BUS_STATE_UP);
	check(value_of(r, "pipeops_tunnel_sessions_total", "") == 41);
	check(bus_reader_log(r, &cursor, &lost, last_line, &found) == 0 && found);

	/* and for a reader that comes later */
	struct bus_reader *late = fixture_reader(&f, BUS_TUNNEL);
	check(bus_reader_refresh(late, 9) == BUS_DEAD);
	check(bus_read_session(late, &s) == 1);
	bus_reader_free(late);
	bus_reader_free(r);
	fixture_fini(&f);
}

static void test_stopped_process_stalls(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	const pid_t child = living_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	uint64_t now = 100 * SECOND;
	int status;

	kill(child, SIGSTOP);
	while (waitpid(child, &status, WUNTRACED) < 0 || !WIFSTOPPED(status))
		;
	check(bus_reader_refresh(r, now) == BUS_ALIVE);
	check(bus_reader_refresh(r, now + 3 * SECOND) == BUS_ALIVE);
	check(bus_reader_refresh(r, now + 3 * SECOND + SECOND / 2 + 1) == BUS_STALLED);
	check(value_of(r, "pipeops_tunnel_sessions_total", "") == 41);
	check(bus_reader_refresh(r, now) == BUS_ALIVE); /* a clock that went back */
	kill(child, SIGKILL);
	fixture_reap(child);
	check(bus_reader_refresh(r, now + 9 * SECOND) == BUS_DEAD); /* not stalled: gone */
	bus_reader_free(r);
	fixture_fini(&f);
}

static void test_beat(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_CONTROL);
	struct bus_reader *r = fixture_reader(&f, BUS_CONTROL);

	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	for (uint64_t t = 3 * SECOND; t < 30 * SECOND; t += 3 * SECOND) {
		check(bus_beat(w) == 0);
		check(bus_reader_refresh(r, t) == BUS_ALIVE);
	}
	check(bus_reader_refresh(r, 40 * SECOND) == BUS_STALLED);
	check(bus_beat(w) == 0);
	check(bus_reader_refresh(r, 41 * SECOND) == BUS_ALIVE); /* recovers */
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

static void test_second_writer_is_refused(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_CONTROL), *second = NULL;
	struct bus_reader *r = fixture_reader(&f, BUS_CONTROL);
	const struct bus_writer_options o = {
		.dir = f.dir, .role = BUS_CONTROL, .build = "second", .lock_wait_ms = 1
	};
	struct fault why = { 0 };

	check(bus_writer_new(&second, &o, &why) == ERR_FULL && second == NULL);
	check(why.code == ERR_FULL && strstr(why.why, "owner.lock"));
	check(bus_beat(w) == 0); /* the first is not disturbed */
	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	check(strcmp(bus_reader_build(r), "1.2.3 test") == 0);
	check(fixture_names(&f, "control", BUS_TEMP_PREFIX, 0) == 0);

	bus_writer_free(w, 0);
	check(bus_writer_new(&second, &o, NULL) == 0);
	check(bus_reader_refresh(r, 2) == BUS_ALIVE);
	check(strcmp(bus_reader_build(r), "second") == 0);
	bus_writer_free(second, 0);
	bus_reader_free(r);
	fixture_fini(&f);
}

/* Roles have locks of their own. */
static void test_roles_are_apart(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *t = fixture_writer(&f, BUS_TUNNEL), *c = fixture_writer(&f, BUS_CONTROL);

	check(bus_writer_degraded(t) == NULL && bus_writer_degraded(c) == NULL);
	bus_writer_free(t, 0);
	bus_writer_free(c, 0);
	fixture_fini(&f);
}

/* Somebody with write access to the volume puts another file in our place. */
static void test_split_brain(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	char segment[128];
	uint32_t code;

	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	fixture_path(&f, segment, "tunnel/segment");
	check(unlink(segment) == 0);
	check(bus_beat(w) == ERR_CLOSED);
	check(bus_beat(w) == ERR_CLOSED);
	/* who holds the file still sees what became of its writer */
	check(bus_reader_refresh(r, 2) == BUS_ALIVE);
	check(bus_reader_phase(r, &code) == BUS_FAILED);
	bus_writer_free(w, 1);
	check(bus_reader_refresh(r, 3) == BUS_DEAD);
	check(bus_reader_phase(r, &code) == BUS_FAILED && code == 1);
	bus_reader_free(r);
	fixture_fini(&f);
}

/* Another reader's lock neither keeps a writer out nor makes a dead one alive. */
static void test_locks_of_readers(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1 };
	char segment[128];

	fixture_path(&f, segment, "tunnel/segment");
	const int fd = open(segment, O_RDONLY | O_CLOEXEC);
	check(fcntl(fd, F_OFD_SETLK, &lock) == -1); /* held by the writer */
	bus_writer_free(w, 0);
	check(fcntl(fd, F_OFD_SETLK, &lock) == 0);
	check(bus_reader_refresh(r, 1) == BUS_DEAD);
	w = fixture_writer(&f, BUS_TUNNEL); /* a new inode: the lock is on the old */
	check(bus_writer_degraded(w) == NULL);
	check(bus_reader_refresh(r, 2) == BUS_ALIVE);
	close(fd);
	bus_writer_free(w, 0);
	bus_reader_free(r);
	fixture_fini(&f);
}

static void test_names(void)
{
	check(strcmp(bus_presence_name(BUS_ABSENT), "absent") == 0);
	check(strcmp(bus_presence_name(BUS_ALIVE), "alive") == 0);
	check(strcmp(bus_presence_name(BUS_STALLED), "stalled") == 0);
	check(strcmp(bus_presence_name(BUS_DEAD), "dead") == 0);
	check(strcmp(bus_presence_name(BUS_UNREADABLE), "unreadable") == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "black box after a kill", test_black_box_after_a_kill },
		{ "a stopped process stalls", test_stopped_process_stalls },
		{ "beat", test_beat },
		{ "a second writer is refused", test_second_writer_is_refused },
		{ "roles are apart", test_roles_are_apart },
		{ "split brain", test_split_brain },
		{ "locks of readers", test_locks_of_readers },
		{ "names", test_names },
	};
	return run_cases("presence", cases, array_len(cases));
}
