/* Lines in order, loss counted exactly: got + lost == cursor. */
#define BUS_CRASH_POINTS
#include "shm/ring.c"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cases.h"

#define SLOTS	   8
#define SLOT_WORDS 12 /* 56 bytes of text */

struct memory {
	_Atomic uint64_t head;
	_Atomic uint64_t slots[SLOTS * SLOT_WORDS];
};

static struct bus_ring ring_in(struct memory *m)
{
	return (struct bus_ring){
		.head = &m->head, .slots = m->slots, .slots_n = SLOTS, .slot_words = SLOT_WORDS
	};
}

/* Line n says its number several times, so that a torn one shows. */
static size_t line_text(char text[56], uint64_t n)
{
	return (size_t)snprintf(text, 56, "%08llu %08llu %08llu", (unsigned long long)n,
				(unsigned long long)n, (unsigned long long)n);
}

static void write_line(const struct bus_ring *r, uint64_t n)
{
	char text[56];
	const size_t len = line_text(text, n);

	bus_ring_write(r, 1, n, n, text, len);
}

static int is_line(const struct bus_ring_line *line)
{
	char text[56];
	const size_t n = line_text(text, line->seq);

	return line->n == n && memcmp(line->text, text, n) == 0 && line->boottime_ns == line->seq &&
	       line->realtime_ns == line->seq && line->level == 1;
}

struct round {
	uint64_t cursor, lost, got;
	unsigned torn;
};

/* Everything up to the head of now. */
static int read_round(const struct bus_ring *r, struct round *to)
{
	struct bus_ring_line line;
	uint64_t head;

	if (bus_ring_head(r, to->cursor, &head))
		return -1;
	while (bus_ring_next(r, head, &to->cursor, &to->lost, &line)) {
		to->got++;
		to->torn += !is_line(&line) || line.seq != to->cursor;
	}
	return 0;
}

static void test_order_and_loss(void)
{
	static struct memory m;
	const struct bus_ring r = ring_in(&m);
	struct round a = { 0 };
	uint64_t n = 0;

	check(read_round(&r, &a) == 0 && a.got == 0 && a.lost == 0);
	for (unsigned burst = 0; burst < 3 * SLOTS; burst++) {
		for (unsigned i = 0; i < burst; i++)
			write_line(&r, ++n);
		const uint64_t got = a.got, lost = a.lost;
		check(read_round(&r, &a) == 0);
		check(a.got - got == (burst < SLOTS ? burst : SLOTS));
		check(a.lost - lost == (burst < SLOTS ? 0 : burst - SLOTS));
		check(a.cursor == n && a.got + a.lost == n && a.torn == 0);
	}
}

/* The writer laps the reader between its look at the head and its copies. */
static void test_overtaken_within_a_round(void)
{
	static struct memory m;
	const struct bus_ring r = ring_in(&m);
	struct bus_ring_line line;
	uint64_t head, cursor = 0, lost = 0;

	for (uint64_t n = 1; n <= 5; n++)
		write_line(&r, n);
	check(bus_ring_head(&r, cursor, &head) == 0 && head == 5);
	check(bus_ring_next(&r, head, &cursor, &lost, &line) == 1 && line.seq == 1);
	for (uint64_t n = 6; n <= 5 + SLOTS; n++)
		write_line(&r, n);
	check(bus_ring_next(&r, head, &cursor, &lost, &line) == 0);
	check(cursor == 5 && lost == 4);
}

/* A writer that steps in while the reader copies the nth word of a text. */
static struct {
	const struct bus_ring *r;
	unsigned nth, lines;
	uint64_t next;
} intruder;

void bus_crash_point(unsigned n)
{
	if (n != BUS_CRASH_RING_READ || intruder.nth == 0 || --intruder.nth != 0)
		return;
	for (unsigned i = 0; i < intruder.lines; i++)
		write_line(intruder.r, intruder.next++);
}

static void test_overwritten_while_copied(void)
{
	for (unsigned nth = 1; nth <= 3; nth++)
		for (unsigned lines = SLOTS - 3; lines <= 2 * SLOTS; lines++) {
			struct memory m = { 0 };
			const struct bus_ring r = ring_in(&m);
			struct round a = { 0 };

			for (uint64_t n = 1; n <= 3; n++)
				write_line(&r, n);
			intruder.r = &r;
			intruder.nth = nth;
			intruder.lines = lines;
			intruder.next = 4;
			check(read_round(&r, &a) == 0);
			check(a.torn == 0 && a.got + a.lost == a.cursor && a.cursor == 3);
			check(read_round(&r, &a) == 0);
			check(a.torn == 0 && a.got + a.lost == 3 + lines);
		}
}

static void test_long_lines_are_cut_between_characters(void)
{
	static const struct {
		const char *name;
		size_t before; /* letters, then a character of two bytes and more letters */
		size_t kept;
	} rows[] = {
		{ "fits", 20, 56 },
		{ "ends before", 54, 56 },
		{ "would be cut in two", 55, 55 },
		{ "after", 56, 56 },
	};
	static struct memory m;
	const struct bus_ring r = ring_in(&m);
	struct round at = { 0 };

	for (size_t i = 0; i < array_len(rows); i++) {
		char text[100];
		struct bus_ring_line line;
		uint64_t head;

		memset(text, 'a', sizeof(text));
		memcpy(text + rows[i].before, "\xc3\xa9", 2);
		bus_ring_write(&r, 2, 0, 0, text, sizeof(text));
		check_row(rows[i].name, bus_ring_head(&r, at.cursor, &head) == 0);
		check_row(rows[i].name, bus_ring_next(&r, head, &at.cursor, &at.lost, &line) == 1);
		check_row(rows[i].name, line.n == rows[i].kept && line.flags == BUS_RING_CUT);
		check_row(rows[i].name, memcmp(line.text, text, line.n) == 0);
	}
	check(at.lost == 0);
}

static void test_hostile_words(void)
{
	static struct memory m;
	const struct bus_ring r = ring_in(&m);
	struct bus_ring_line line;
	uint64_t head, cursor = 3, lost = 0;

	m.head = 2;
	check(bus_ring_head(&r, cursor, &head) == ERR_PROTO); /* went back */
	m.head = UINT64_MAX;
	check(bus_ring_head(&r, cursor, &head) == ERR_PROTO); /* absurd */
	m.head = BUS_RING_HEAD_MAX - 1;
	cursor = 0;
	check(bus_ring_head(&r, cursor, &head) == 0);
	check(bus_ring_next(&r, head, &cursor, &lost, &line) == 0); /* eight steps, no lines */
	check(lost == head && cursor == head);

	/* a length that the slot cannot hold */
	m.head = 1;
	m.slots[0] = 1;
	m.slots[3] = UINT64_MAX;
	cursor = lost = 0;
	check(bus_ring_head(&r, cursor, &head) == 0);
	check(bus_ring_next(&r, head, &cursor, &lost, &line) == 1 && line.n == 56);
}

static struct memory shared;
static _Atomic int stop;

static void *write_flat_out(void *unused)
{
	const struct bus_ring r = ring_in(&shared);

	(void)unused;
	for (uint64_t n = 1; !stop; n++)
		write_line(&r, n);
	return NULL;
}

static void test_reader_beside_writer(void)
{
	const struct bus_ring r = ring_in(&shared);
	struct round a = { 0 };
	pthread_t writer;

	must(pthread_create(&writer, NULL, write_flat_out, NULL) == 0);
	while (shared.head == 0)
		sched_yield();
	for (unsigned rounds = 0; rounds < 1000000 && a.got < 50000; rounds++)
		check(read_round(&r, &a) == 0);
	stop = 1;
	pthread_join(writer, NULL);
	check(read_round(&r, &a) == 0);
	check(a.torn == 0);
	check(a.got + a.lost == a.cursor && a.cursor == shared.head && a.got > 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "order and loss", test_order_and_loss },
		{ "overtaken within a round", test_overtaken_within_a_round },
		{ "overwritten while copied", test_overwritten_while_copied },
		{ "long lines", test_long_lines_are_cut_between_characters },
		{ "hostile words", test_hostile_words },
		{ "reader beside writer", test_reader_beside_writer },
	};
	return run_cases("ring", cases, array_len(cases));
}
