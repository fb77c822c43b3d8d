/*
 * The real record and ring code under C11's memory model, all executions.
 *
 * x86 keeps stores in order whatever the source says, so no stress test there
 * can miss a release.  Here every atomic access of record.h and ring.c goes to
 * a small machine instead: the writer's stores are kept with their time; each
 * load of the reader may return any store that C11 allows it to, and all
 * choices are tried, one run each.
 *
 * What a load may return, one writer thread: not older than what this reader
 * read there before, and not older than the last store to it at or before the
 * newest store it synchronised with.  An acquire load of a release store
 * synchronises with it: all the writer did before is then in the past.
 */
#include <stdatomic.h>
#include <stdint.h>

static uint64_t model_load(const void *at, memory_order order);
static void model_store(void *at, uint64_t v, memory_order order);

#undef atomic_load_explicit
#undef atomic_store_explicit
#define atomic_load_explicit(p, order) model_load(p, order)
#define atomic_store_explicit(p, v, order) model_store(p, v, order)
#include "shm/record.h"
#include "shm/ring.c"

#include <setjmp.h>

#include "tests/support/cases.h"

#define STORES_MAX 256
#define LOADS_MAX 40
#define PLACES_MAX 64

/* ---- the machine ---- */

struct store {
	const void *at;
	uint64_t v;
	int is_release;
};

static struct store stores[STORES_MAX]; /* number 0 stands for all initial zeros */
static unsigned stores_n;
static int is_writing;

/* A mutant: accesses to [weak, weak_end) that lose their order. */
static const char *weak, *weak_end;
static int weak_stores, weak_loads;

static struct {
	unsigned chosen, of;
} choices[LOADS_MAX];
static unsigned choices_n, depth;
static unsigned loads, loads_max; /* a run is given up after so many */
static unsigned synchronised; /* all stores up to here happened before */
static struct {
	const void *at;
	unsigned last; /* the store that was read there */
} places[PLACES_MAX];
static unsigned places_n;
static jmp_buf too_deep;

static int is_weak(const void *at)
{
	return (const char *)at >= weak && (const char *)at < weak_end;
}

static void model_store(void *at, uint64_t v, memory_order order)
{
	must(is_writing && ++stores_n < STORES_MAX);
	stores[stores_n] = (struct store){
		at, v, order == memory_order_release && !(weak_stores && is_weak(at))
	};
}

static unsigned *last_read(const void *at)
{
	for (unsigned i = 0; i < places_n; i++)
		if (places[i].at == at)
			return &places[i].last;
	must(places_n < PLACES_MAX);
	places[places_n].at = at;
	places[places_n].last = 0;
	return &places[places_n++].last;
}

static unsigned choose(unsigned of)
{
	if (depth == choices_n) {
		choices[choices_n].chosen = 0;
		choices[choices_n++].of = of;
	}
	must(choices[depth].of == of); /* runs are repeatable */
	return choices[depth++].chosen;
}

static uint64_t model_load(const void *at, memory_order order)
{
	unsigned allowed[STORES_MAX], n = 0;

	if (is_writing) {
		unsigned i = stores_n;
		while (i > 0 && stores[i].at != at)
			i--;
		return i ? stores[i].v : 0;
	}
	if (++loads > loads_max)
		longjmp(too_deep, 1);
	unsigned *last = last_read(at);
	unsigned from = *last;
	for (unsigned i = from + 1; i <= synchronised; i++)
		if (stores[i].at == at)
			from = i;
	allowed[n++] = from;
	for (unsigned i = from + 1; i <= stores_n; i++)
		if (stores[i].at == at)
			allowed[n++] = i;
	const unsigned got = allowed[n > 1 ? choose(n) : 0];
	*last = got;
	if (order == memory_order_acquire && !(weak_loads && is_weak(at)) &&
	    stores[got].is_release && got > synchronised)
		synchronised = got;
	return got ? stores[got].v : 0;
}

static void run_once(void (*reader)(void))
{
	depth = synchronised = places_n = loads = 0;
	if (!setjmp(too_deep))
		reader();
}

/* Runs `reader` once for each way its loads can go; how many runs. */
static unsigned long explore(void (*reader)(void))
{
	unsigned long runs = 0;

	choices_n = 0;
	for (;;) {
		run_once(reader);
		runs++;
		while (choices_n > 0 &&
		       choices[choices_n - 1].chosen + 1 == choices[choices_n - 1].of)
			choices_n--;
		if (choices_n == 0)
			return runs;
		choices[choices_n - 1].chosen++;
	}
}

/* ---- what is explored ---- */

static unsigned torn, whole;

/* A record of two words, published often enough to use each copy twice. */
#define VERSIONS 9
static struct {
	_Atomic uint64_t version, slots[BUS_RECORD_SLOTS][2];
} record_memory;
static const struct bus_record record = { .version = &record_memory.version,
					  .slots = record_memory.slots[0],
					  .stride = 2,
					  .words = 2 };

#define RECORD_LOADS 8 /* two tries */
static void read_record(void)
{
	uint64_t words[2] = { 0 }, version = 0;

	if (bus_record_read(&record, words, &version) != 1)
		return;
	whole++;
	torn += words[0] != version || words[1] != version;
	must(version <= VERSIONS);
}

static void publish_all(void)
{
	stores_n = 0;
	is_writing = 1;
	for (uint64_t v = 1; v <= VERSIONS; v++)
		bus_record_publish(&record, (uint64_t[]){ v, v });
	is_writing = 0;
}

/* A ring of two slots with one word of text. */
#define LINES 6
#define SLOT_WORDS (BUS_RING_SLOT_HEAD + 1)
static struct {
	_Atomic uint64_t head, slots[2][SLOT_WORDS];
} ring_memory;
static const struct bus_ring ring = { .head = &ring_memory.head,
				      .slots = ring_memory.slots[0],
				      .slots_n = 2,
				      .slot_words = SLOT_WORDS };

#define RING_LOADS 12 /* the head, a slot and half of the other */
static void read_line(void)
{
	struct bus_ring_line line;
	uint64_t head = 0, cursor = 0, lost = 0;

	if (bus_ring_head(&ring, cursor, &head) ||
	    bus_ring_next(&ring, head, &cursor, &lost, &line) != 1)
		return;
	whole++;
	must(cursor == lost + 1 && line.seq == cursor);
	torn += line.boottime_ns != line.seq || line.realtime_ns != line.seq || line.n != 1 ||
		line.text[0] != (char)('0' + line.seq);
}

static void write_lines(void)
{
	stores_n = 0;
	is_writing = 1;
	for (uint64_t n = 1; n <= LINES; n++)
		bus_ring_write(&ring, 0, n, n, &"0123456789"[n], 1);
	is_writing = 0;
}

struct mutant {
	const char *name;
	const void *from, *to;
	int stores, loads;
	int tears; /* it must */
};

static void try_all(const struct mutant *mutants, size_t n, void (*writer)(void),
		    void (*reader)(void), unsigned most_loads)
{
	loads_max = most_loads;
	for (size_t i = 0; i < n; i++) {
		weak = mutants[i].from;
		weak_end = mutants[i].to;
		weak_stores = mutants[i].stores;
		weak_loads = mutants[i].loads;
		torn = whole = 0;
		writer();
		const unsigned long runs = explore(reader);
		check_row(mutants[i].name, whole > 0);
		check_row(mutants[i].name, (torn > 0) == mutants[i].tears);
		printf("  %-40s %8lu executions, %6u whole, %6u torn\n", mutants[i].name, runs,
		       whole - torn, torn);
	}
}

static void test_record(void)
{
	const void *v = &record_memory.version, *words = record_memory.slots,
		   *end = &record_memory + 1;
	const struct mutant mutants[] = {
		{ "record as it is", NULL, NULL, 0, 0, 0 },
		{ "words stored relaxed", words, end, 1, 0, 1 },
		{ "words loaded relaxed", words, end, 0, 1, 1 },
		{ "version stored relaxed", v, words, 1, 0, 1 },
		{ "version loaded relaxed", v, words, 0, 1, 1 },
	};
	try_all(mutants, array_len(mutants), publish_all, read_record, RECORD_LOADS);
}

static void test_ring(void)
{
	/* the head brings a line's sequence and text; the text tells an overwritten line */
	const void *head = &ring_memory.head, *slots = ring_memory.slots, *end = &ring_memory + 1;
	const struct mutant mutants[] = {
		{ "ring as it is", NULL, NULL, 0, 0, 0 },
		{ "text stored relaxed", slots, end, 1, 0, 1 },
		{ "text loaded relaxed", slots, end, 0, 1, 1 },
		{ "head stored relaxed", head, slots, 1, 0, 1 },
		{ "head loaded relaxed", head, slots, 0, 1, 1 },
	};
	try_all(mutants, array_len(mutants), write_lines, read_line, RING_LOADS);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "record", test_record },
		{ "ring", test_ring },
	};
	return run_cases("memory", cases, array_len(cases));
}
