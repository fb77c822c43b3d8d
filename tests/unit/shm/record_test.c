/* One published version or none, under a writer that never waits.  x86 cannot
 * show a wrong memory order; the sanitizer build and the models do that. */
#define BUS_CRASH_POINTS
#include "shm/record.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "tests/support/cases.h"

#define WORDS 30

struct memory {
	_Alignas(128) _Atomic uint64_t version;
	uint64_t pad[15];
	_Atomic uint64_t slots[BUS_RECORD_SLOTS][32];
};

static struct bus_record record_in(struct memory *m)
{
	return (struct bus_record){
		.version = &m->version, .slots = m->slots[0], .stride = 32, .words = WORDS
	};
}

/* Version v of the content: every word depends on v and on its place. */
static void fill(uint64_t words[WORDS], uint64_t v)
{
	for (unsigned i = 0; i < WORDS; i++)
		words[i] = v * UINT64_C(0x9E3779B97F4A7C15) + i;
}

static int is_content(const uint64_t words[WORDS], uint64_t v)
{
	uint64_t want[WORDS];

	fill(want, v);
	return memcmp(words, want, sizeof(want)) == 0;
}

static void test_versions(void)
{
	static struct memory m;
	const struct bus_record r = record_in(&m);
	uint64_t words[WORDS], version = 0;

	check(bus_record_read(&r, words, &version) == 0);
	for (uint64_t v = 1; v <= 10; v++) {
		fill(words, v);
		bus_record_publish(&r, words);
		memset(words, 0, sizeof(words));
		check(bus_record_read(&r, words, &version) == 1);
		check(version == v && is_content(words, v));
	}
}

/* A writer killed after any number of words leaves the last version. */
static void test_unfinished_write_is_not_seen(void)
{
	static struct memory m;
	const struct bus_record r = record_in(&m);
	uint64_t words[WORDS], version = 0;

	for (uint64_t v = 1; v <= 5; v++) {
		fill(words, v);
		bus_record_publish(&r, words);
		for (unsigned i = 0; i < WORDS; i++) {
			m.slots[(v + 1) % BUS_RECORD_SLOTS][i] = 0xdead;
			check(bus_record_read(&r, words, &version) == 1);
			check(version == v && is_content(words, v));
		}
	}
}

/* A writer that steps in before the reader loads word `at`, `times` times. */
static struct {
	const struct bus_record *r;
	unsigned at, versions, times;
	uint64_t next;
} intruder;

void bus_crash_point(unsigned n)
{
	uint64_t words[WORDS];

	if (n != BUS_CRASH_RECORD_READ + intruder.at || intruder.times == 0)
		return;
	intruder.times--;
	for (unsigned k = 0; k < intruder.versions; k++) {
		fill(words, intruder.next++);
		bus_record_publish(intruder.r, words);
	}
}

/* Two versions more leave the copy alone, three may have begun a fourth, which
 * goes to the same copy. */
static void test_overtaken_reader_tries_again(void)
{
	static struct memory m;
	const struct bus_record r = record_in(&m);
	uint64_t words[WORDS], version = 0;

	fill(words, 1);
	bus_record_publish(&r, words);
	intruder.r = &r;
	intruder.next = 2;
	for (unsigned at = 0; at < WORDS; at++)
		for (unsigned versions = 1; versions < 10; versions++) {
			const uint64_t before = intruder.next - 1;
			intruder.at = at;
			intruder.versions = versions;
			intruder.times = 1;
			check(bus_record_read(&r, words, &version) == 1);
			check(version == before + (versions <= 2 ? 0 : versions));
			check(is_content(words, version));
		}
	intruder.times = BUS_RECORD_TRIES; /* overtaken for ever: bounded */
	check(bus_record_read(&r, words, &version) == ERR_TIMEOUT);
	check(intruder.times == 0);
}

static struct memory shared;
static _Atomic int stop;

static void *publish_flat_out(void *unused)
{
	const struct bus_record r = record_in(&shared);
	uint64_t words[WORDS];

	(void)unused;
	for (uint64_t v = 1; !stop; v++) {
		fill(words, v);
		bus_record_publish(&r, words);
	}
	return NULL;
}

static void test_reader_beside_writer(void)
{
	const struct bus_record r = record_in(&shared);
	pthread_t writer;
	uint64_t words[WORDS], version, last = 0;
	unsigned torn = 0, backwards = 0, good = 0;

	must(pthread_create(&writer, NULL, publish_flat_out, NULL) == 0);
	while (shared.version == 0)
		sched_yield();
	for (unsigned tries = 0; tries < 2000000 && good < 100000; tries++) {
		if (bus_record_read(&r, words, &version) != 1)
			continue;
		good++;
		torn += !is_content(words, version);
		backwards += version < last;
		last = version;
	}
	stop = 1;
	pthread_join(writer, NULL);
	check(torn == 0);
	check(backwards == 0);
	check(good > 0);
}

/* A version word that only a broken writer makes: bounded, in bounds. */
static void test_absurd_versions(void)
{
	static struct memory m;
	const struct bus_record r = record_in(&m);
	uint64_t words[WORDS], version = 0;

	m.version = UINT64_MAX;
	check(bus_record_read(&r, words, &version) == 1 && version == UINT64_MAX);
	fill(words, 1);
	bus_record_publish(&r, words); /* wraps to "never published" */
	check(bus_record_read(&r, words, &version) == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "versions", test_versions },
		{ "unfinished write", test_unfinished_write_is_not_seen },
		{ "overtaken reader", test_overtaken_reader_tries_again },
		{ "reader beside writer", test_reader_beside_writer },
		{ "absurd versions", test_absurd_versions },
	};
	return run_cases("record", cases, array_len(cases));
}
