/* The doorbell: heard across lives and cuts, and never needed. */
#include "shm/doorbell.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "shm/layout.h"
#include "tests/unit/shm/bus_fixture.h"

static void on_rung(void *user)
{
	sem_post(user);
}

/* Far longer than it can take: a test that fails waits, no other does. */
static int hears(sem_t *rung)
{
	struct timespec until;
	int rc;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	while ((rc = sem_timedwait(rung, &until)) && errno == EINTR)
		;
	return rc == 0;
}

struct rig {
	struct bus_fixture f;
	struct bus_writer *w;
	struct bus_reader *r;
	struct doorbell *d;
	sem_t rung;
};

/* Listening, and its first call taken. */
static void rig_init(struct rig *x)
{
	fixture_init(&x->f);
	x->w = fixture_writer(&x->f, BUS_CONTROL);
	x->r = fixture_reader(&x->f, BUS_CONTROL);
	sem_init(&x->rung, 0, 0);
	must(doorbell_new(&x->d, on_rung, &x->rung, NULL) == 0);
	check(bus_reader_refresh(x->r, 1) == BUS_ALIVE);
	doorbell_follow(x->d, x->r);
	check(hears(&x->rung));
}

static void rig_fini(struct rig *x)
{
	doorbell_free(x->d);
	bus_writer_free(x->w, 0);
	bus_reader_free(x->r);
	sem_destroy(&x->rung);
	fixture_fini(&x->f);
}

static void test_each_publish(void)
{
	struct rig x;
	struct bus_desired d;
	rig_init(&x);

	for (uint64_t gen = 1; gen <= 5; gen++) {
		bus_publish_desired(x.w, &(struct bus_desired){ .gen = gen });
		check(hears(&x.rung));
		check(bus_read_desired(x.r, &d) == 1 &&
		      d.gen == gen); /* what rang is there to read */
		doorbell_follow(x.d, x.r);
	}
	rig_fini(&x);
}

static void test_next_life(void)
{
	struct rig x;
	rig_init(&x);

	bus_writer_free(x.w, 0);
	x.w = fixture_writer(&x.f, BUS_CONTROL);
	check(bus_reader_refresh(x.r, 2) == BUS_ALIVE);
	doorbell_follow(x.d, x.r);
	check(hears(&x.rung));
	bus_publish_desired(x.w, &(struct bus_desired){ .gen = 1 });
	check(hears(&x.rung));
	rig_fini(&x);
}

/* Cut under the sleeper: no SIGBUS, no end that never comes; the next segment is heard. */
static void test_cut(void)
{
	struct rig x;
	char path[128];
	rig_init(&x);

	fixture_path(&x.f, path, "control/segment");
	bus_writer_free(x.w, 0); /* it would die of the cut itself */
	check(truncate(path, 4096) == 0);
	check(bus_reader_refresh(x.r, 2) == BUS_UNREADABLE);
	doorbell_follow(x.d, x.r); /* to nothing */
	x.w = fixture_writer(&x.f, BUS_CONTROL);
	check(bus_reader_refresh(x.r, 3) == BUS_ALIVE);
	doorbell_follow(x.d, x.r);
	check(hears(&x.rung));
	bus_publish_desired(x.w, &(struct bus_desired){ .gen = 1 });
	check(hears(&x.rung));
	bus_writer_free(x.w, 0);
	x.w = NULL;
	check(truncate(path, 4096) == 0); /* and at the very end */
	rig_fini(&x);
	check(doorbell_new(&x.d, on_rung, &x.rung, NULL) == 0);
	doorbell_free(x.d); /* that never listened */
}

/* A tunnel's segment has none. */
static void test_no_doorbell(void)
{
	struct bus_fixture f;
	struct bus_reader_place place;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);

	check(!bus_reader_doorbell(r, &place));
	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	check(!bus_reader_doorbell(r, &place));
	doorbell_follow(NULL, r);
	doorbell_free(NULL);
	bus_writer_free(w, 0);
	bus_reader_free(r);
	fixture_fini(&f);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "each publish", test_each_publish },
		{ "next life", test_next_life },
		{ "cut", test_cut },
		{ "no doorbell", test_no_doorbell },
	};
	return run_cases("doorbell", cases, array_len(cases));
}
