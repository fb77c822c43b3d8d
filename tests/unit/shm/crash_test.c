/*
 * Writers killed at every numbered point and at random ones, before the eyes
 * of one reader: what it sees is always whole.
 *
 * Usage: crash_test [kills at random points, 500 unless given]
 */
#define BUS_CRASH_POINTS
#include "shm/publication.c"
#include "shm/ring.c"
#include "shm/writer.c"

#include <sys/prctl.h>

#include "tests/unit/shm/bus_fixture.h"

static unsigned random_kills = 500;
static unsigned crash_at, crash_nth; /* in the child: the nth time at this point */

void bus_crash_point(unsigned n)
{
	if (n == crash_at && --crash_nth == 0)
		raise(SIGKILL);
}

/* Session k: every field says k. */
static void make_session(struct bus_session *s, uint64_t k)
{
	*s = (struct bus_session){ .state = k % BUS_STATES_N,
				   .since_realtime_ns = k,
				   .forwards_active = k,
				   .attempts = k,
				   .next_retry_realtime_ns = k };
	snprintf(s->server, sizeof(s->server), "%0250llu", (unsigned long long)k);
	snprintf(s->last_error, sizeof(s->last_error), "%0250llu", (unsigned long long)k);
	snprintf(s->last_error_reason, sizeof(s->last_error_reason), "%llu", (unsigned long long)k);
}

static int make_line(char text[200], uint64_t k)
{
	return snprintf(text, 200, "%0150llu %llu", (unsigned long long)k, (unsigned long long)k);
}

_Noreturn static void live(const struct bus_fixture *f)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct bus_writer *w = fixture_writer(f, BUS_TUNNEL);

	for (uint64_t k = 1;; k++) {
		struct bus_session s;
		char text[200];

		make_session(&s, k);
		bus_publish_session(w, &s);
		bus_add(w, BUS_TUNNEL_BYTES, (unsigned)(k % 4), k);
		bus_observe(w, BUS_TUNNEL_PING_RTT, 0, k);
		bus_log(w, 1, text, (size_t)make_line(text, k));
		if (k % 16 == 0)
			bus_event(w, text);
		if (bus_beat(w))
			_exit(9);
	}
}

struct seen {
	uint64_t next;
	unsigned bad, n;
};

static void look_at_line(void *user, const struct bus_log_line *line)
{
	struct seen *s = user;
	char want[200];
	const int n = make_line(want, line->seq);

	s->bad += line->seq <= s->next || !span_eq(line->text, span_of(want, (size_t)n));
	s->next = line->seq;
	s->n++;
}

static void count_sample(void *user, const struct bus_sample *s)
{
	(void)s;
	++*(unsigned *)user;
}

/* The rules after any death: dead or never born, all readable, nothing torn. */
static void check_remains(struct bus_reader *r, const char *row)
{
	struct bus_session got, want;
	struct seen seen = { 0 };
	uint64_t cursor = 0, lost = 0;
	unsigned samples = 0;

	const enum bus_presence p = bus_reader_refresh(r, 1);
	if (p == BUS_ABSENT)
		return;
	if (!check_row(row, p == BUS_DEAD))
		printf("  %s: %s: %s\n", row, bus_presence_name(p), bus_reader_fault(r)->why);
	const int rc = bus_read_session(r, &got);
	check_row(row, rc >= 0);
	if (rc == 1) {
		make_session(&want, got.attempts);
		check_row(row, memcmp(&got, &want, sizeof(got)) == 0);
	}
	check_row(row, bus_reader_samples(r, count_sample, &samples) == 0 && samples > 0);
	check_row(row, bus_reader_log(r, &cursor, &lost, look_at_line, &seen) == 0);
	check_row(row, seen.bad == 0);
	check_row(row, seen.n + lost == (cursor & (BUS_RING_HEAD_MAX - 1)));
	/* a slot torn at the head's end takes at most the one line it overwrote */
	check_row(row, lost == 0 || seen.n >= BUS_LOG_SLOTS - 1);
	check_row(row, bus_reader_regressions(r) == 0);
}

static void life_of(struct bus_reader *r, uint8_t to[16])
{
	(void)bus_reader_refresh(r, 1);
	bus_reader_incarnation(r, to);
}

/* Both names after a death: the second leads to what the first led to before, or
 * to the same as the first when no successor became visible; and it is whole. */
static void check_predecessor(const struct bus_fixture *f, const char *row,
			      const uint8_t before[16], const uint8_t older[16])
{
	static const uint8_t nobody[16];
	struct bus_reader *now = fixture_reader(f, BUS_TUNNEL), *previous = NULL;
	uint8_t current[16], kept[16];

	must(bus_reader_new_previous(&previous, f->dir, BUS_TUNNEL, NULL) == 0);
	life_of(now, current);
	life_of(previous, kept);
	if (memcmp(current, before, 16) != 0) /* a new life was visible */
		check_row(row, memcmp(kept, before, 16) == 0);
	else /* none was: what stood there may stand there still */
		check_row(row, memcmp(kept, before, 16) == 0 || memcmp(kept, older, 16) == 0);
	if (memcmp(kept, nobody, 16) != 0)
		check_remains(previous, row);
	check_row(row, fixture_names(f, "tunnel", "previous", 0) <= 1);
	bus_reader_free(now);
	bus_reader_free(previous);
}

static void die_at(const struct bus_fixture *f, struct bus_reader *r, unsigned point, unsigned nth)
{
	char row[32];
	int status = 0;

	uint8_t before[16], older[16];
	struct bus_reader *previous = NULL, *now = fixture_reader(f, BUS_TUNNEL);

	must(bus_reader_new_previous(&previous, f->dir, BUS_TUNNEL, NULL) == 0);
	life_of(now, before);
	life_of(previous, older);
	bus_reader_free(now);
	bus_reader_free(previous);
	snprintf(row, sizeof(row), "point %u, %u", point, nth);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		crash_at = point;
		crash_nth = nth;
		alarm(20); /* a point that is never reached is a failure, not a hang */
		live(f);
	}
	while (waitpid(child, &status, 0) < 0)
		;
	check_row(row, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	check_row(row, fixture_names(f, "tunnel", BUS_TEMP_PREFIX, 0) <= 1);
	check_remains(r, row);
	check_predecessor(f, row, before, older);
}

static void test_every_point(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);

	for (unsigned n = BUS_CRASH_ROLE_DIR; n <= BUS_CRASH_PUBLISH_END; n++)
		if (n != BUS_CRASH_LINKED && n != BUS_CRASH_KEPT)
			die_at(&f, r, n, 1); /* nothing was there before the last ones */
	for (unsigned n = BUS_CRASH_ROLE_DIR; n <= BUS_CRASH_PUBLISH_END; n++)
		die_at(&f, r, n, 1); /* a predecessor's segment is */
	for (unsigned word = 0; word < sizeof(struct bus_session) / 8; word++)
		die_at(&f, r, BUS_CRASH_RECORD + word, 1 + word % 7);
	for (unsigned n = BUS_CRASH_RING_OPEN; n <= BUS_CRASH_RING_HEAD; n++) {
		die_at(&f, r, n, 1);
		die_at(&f, r, n, 30);
		die_at(&f, r, n, 2 * BUS_LOG_SLOTS + 5); /* over older lines */
	}
	die_at(&f, r, BUS_CRASH_RECORD_VERSION, 1);
	die_at(&f, r, BUS_CRASH_RECORD_VERSION, 6);
	bus_reader_free(r);
	fixture_fini(&f);
}

static void test_random_points(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	uint64_t x = 0x853c49e6748fea9bu;

	for (unsigned i = 0; i < random_kills; i++) {
		char row[32];
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		snprintf(row, sizeof(row), "kill %u", i);
		const pid_t child = fork();
		must(child >= 0);
		if (child == 0)
			live(&f);
		usleep((useconds_t)(x >> 32) % 2500);
		if (i % 4 == 0) /* also while it lives */
			check_row(row, bus_reader_refresh(r, 1) != BUS_UNREADABLE);
		kill(child, SIGKILL);
		fixture_reap(child);
		check_remains(r, row);
	}
	bus_reader_free(r);
	fixture_fini(&f);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "every point", test_every_point },
		{ "random points", test_random_points },
	};
	if (argc > 1)
		random_kills = (unsigned)strtoul(argv[1], NULL, 10);
	return run_cases("crash", cases, array_len(cases));
}
