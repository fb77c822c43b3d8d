/* Corrupt headers, sections and descriptors: each the exact refusal. */
#include "shm/attach.h"

#include <sys/mman.h>

#include "shm/guard.h"
#include "tests/unit/shm/bus_image.h"

static int attach_to(const struct image *i, struct bus_segment *s, struct fault *why)
{
	const int fd = memfd_create("segment", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, i->p, i->n) == (ssize_t)i->n);
	return bus_segment_take(s, fd, BUS_TUNNEL, why);
}

/* Where a row writes: an offset within one of these. */
enum where { HEADER, TOC, DESCRIPTOR, NAME, HELP, UNIT, LABELS, BOUNDS };

struct row {
	const char *name;
	enum where where;
	const char *of; /* the descriptor's metric */
	unsigned type;  /* the section */
	size_t at, width;
	uint64_t value;
	enum err code; /* 0: attaches all the same */
	const char *why;
};

static uint8_t *place_of(const struct image *i, const struct row *r)
{
	char *strings = (char *)section_of(i, BUS_SECTION_STRINGS);

	switch (r->where) {
	case HEADER:
		return i->p;
	case TOC:
		return (uint8_t *)toc_of(i, r->type);
	case DESCRIPTOR:
		return (uint8_t *)descriptor_of(i, r->of);
	case NAME:
		return (uint8_t *)strings + descriptor_of(i, r->of)->name;
	case HELP:
		return (uint8_t *)strings + descriptor_of(i, r->of)->help;
	case UNIT:
		return (uint8_t *)strings + descriptor_of(i, r->of)->unit;
	case LABELS:
		return (uint8_t *)strings + descriptor_of(i, r->of)->labels;
	case BOUNDS:
		return section_of(i, BUS_SECTION_BOUNDS);
	}
	return NULL;
}

#define H(field) HEADER, NULL, 0, offsetof(struct bus_header, field), \
		 sizeof(((struct bus_header *)0)->field)
#define T(type, field) TOC, NULL, BUS_SECTION_##type, offsetof(struct bus_toc_entry, field), \
		       sizeof(((struct bus_toc_entry *)0)->field)
#define D(metric, field) DESCRIPTOR, metric, 0, offsetof(struct bus_descriptor, field), \
			 sizeof(((struct bus_descriptor *)0)->field)
#define STRING(what, metric, at) what, metric, 0, at, 1
#define UP "pipeops_tunnel_up"
#define ATTEMPTS "pipeops_tunnel_connect_attempts_total"
#define BYTES "pipeops_tunnel_bytes_total"
#define RTT "pipeops_tunnel_ping_rtt_seconds"

static const struct row rows[] = {
	{ "good", H(reserved), 5, 0, "" },
	{ "later minor", H(minor), 9, 0, "" },
	{ "unknown compat feature", H(features_compat), 1, 0, "" },
	{ "magic", HEADER, NULL, 0, 0, 1, 'p', ERR_PROTO, "no magic" },
	{ "next major", H(major), 2, ERR_ALGO, "major version 2" },
	{ "big-endian", H(endian), 0x04030201, ERR_ALGO, "byte order" },
	{ "unknown incompat feature", H(features_incompat), 0x80, ERR_ALGO, "features 0x80" },
	{ "incomplete", HEADER, NULL, 0, 4092, 4, 0, ERR_PROTO, "not complete" },
	{ "header length", H(header_len), 512, ERR_PROTO, "odd size" },
	{ "line", H(line), 64, ERR_PROTO, "odd size" },
	{ "file length", H(file_len), 8192, ERR_PROTO, "not as long" },
	{ "role of another", H(role), BUS_CONTROL, ERR_TRUST, "role 2" },
	{ "seventeen sections", H(sections_n), 17, ERR_LIMIT, "17 sections" },
	{ "no sections", H(sections_n), 0, ERR_PROTO, "liveness" },
	{ "immutable part of a page", H(immutable_len), BUS_PAGE, ERR_PROTO, "immutable" },
	{ "immutable part of no page", H(immutable_len), 0, ERR_PROTO, "immutable" },
	{ "immutable part uneven", H(immutable_len), BUS_PAGE + 8, ERR_PROTO, "immutable" },
	{ "immutable part huge", H(immutable_len), UINT32_MAX, ERR_LIMIT, "immutable" },
	{ "immutable part to the end", H(immutable_len), 512 << 10, ERR_PROTO, "immutable" },
	{ "build text without end", HEADER, NULL, 0, 96, 64, 'x', ERR_PROTO, "build" },
	{ "build text with an escape", HEADER, NULL, 0, 97, 1, 27, ERR_PROTO, "build" },

	{ "section of no type", T(EVENTS, type), 0, ERR_PROTO, "no type" },
	{ "section of a later type", T(SESSION, type), 900, 0, "" },
	{ "section twice", T(SESSION, type), BUS_SECTION_LOG, ERR_PROTO, "of one type" },
	{ "unaligned", T(LOG, off), BUS_PAGE * 5 + 4, ERR_PROTO, "not aligned" },
	{ "section behind the end", T(LOG, off), 1 << 30, ERR_PROTO, "outside" },
	{ "offset that wraps", T(LOG, off), UINT64_MAX - 7, ERR_PROTO, "outside" },
	{ "length that wraps", T(LOG, len), UINT64_MAX, ERR_PROTO, "outside" },
	{ "mutable section in the immutable part", T(LIVENESS, off), BUS_PAGE, ERR_PROTO,
	  "outside" },
	{ "immutable section outside", T(STRINGS, len), 200 << 10, ERR_PROTO, "outside" },
	{ "section over the header", T(STRINGS, off), 0, ERR_PROTO, "outside" },
	{ "entries of no size", T(LOG, entsize), 0, ERR_PROTO, "more entries" },
	{ "more entries than room", T(LOG, count), 1 << 20, ERR_PROTO, "more entries" },
	{ "count times size that wraps", T(LOG, count), 0x80000000, ERR_PROTO, "more entries" },
	{ "overlap", T(COUNTERS, len), 4096, ERR_PROTO, "overlap" },
	{ "liveness short", T(LIVENESS, len), 64, ERR_PROTO, "more entries" },
	{ "shards uneven", T(COUNTERS, entsize), 100, ERR_PROTO, "odd shards" },
	{ "no shards", T(HISTOGRAMS, count), 0, ERR_PROTO, "odd shards" },
	{ "no counters", T(COUNTERS, type), 900, ERR_PROTO, "odd shards" },
	{ "record slots too many", T(SESSION, count), 3, ERR_PROTO, "odd slots" },
	{ "record slot too large", T(SESSION, entsize), 2048, ERR_PROTO, "more entries" },
	{ "record slot uneven", T(SESSION, entsize), 836, ERR_PROTO, "odd slots" },
	{ "record slot and no line", T(OBSERVED, len), 4 * 320, ERR_PROTO, "odd slots" },
	{ "record larger than its slot", T(SESSION, flags), 1024, ERR_PROTO, "odd slots" },
	{ "record of no size", T(SESSION, flags), 0, ERR_PROTO, "odd slots" },
	{ "record of odd size", T(SESSION, flags), 12, ERR_PROTO, "odd slots" },
	{ "shorter record", T(SESSION, flags), 64, 0, "" },
	{ "ring not a power of two", T(LOG, count), 1000, ERR_PROTO, "odd slots" },
	{ "ring of no slots", T(LOG, count), 0, ERR_PROTO, "odd slots" },
	{ "ring slot without text", T(EVENTS, entsize), 40, ERR_PROTO, "odd slots" },
	{ "ring slot uneven", T(EVENTS, entsize), 127, ERR_PROTO, "odd slots" },
	{ "ring without its line", T(EVENTS, len), 256 * 128, ERR_PROTO, "odd slots" },
	{ "no log", T(LOG, type), 900, ERR_PROTO, "section 12 is missing" },
	{ "no events", T(EVENTS, type), 900, ERR_PROTO, "section 13 is missing" },

	{ "no descriptors", T(DESCRIPTORS, type), 901, ERR_PROTO, "outside" },
	{ "descriptors of another size", T(DESCRIPTORS, entsize), 32, ERR_PROTO, "odd size" },
	{ "strings of no length", T(STRINGS, len), 0, ERR_PROTO, "more entries" },
	{ "bounds of another size", T(BOUNDS, entsize), 4, ERR_PROTO, "odd size" },
	{ "name outside", D(UP, name), 1 << 20, ERR_PROTO, "bad string" },
	{ "help outside", D(UP, help), UINT32_MAX, ERR_PROTO, "bad string" },
	{ "unit outside", D(UP, unit), 1 << 20, ERR_PROTO, "bad string" },
	{ "labels outside", D(UP, labels), 1 << 20, ERR_PROTO, "bad string" },
	{ "no name", D(UP, name), 0, ERR_PROTO, "no metric name" },
	{ "name with a brace", STRING(NAME, UP, 16), '{', ERR_PROTO, "no metric name" },
	{ "name of another's", STRING(NAME, UP, 8), 'T', ERR_TRUST, "not this writer's" },
	{ "help with a newline", STRING(HELP, UP, 3), '\n', ERR_PROTO, "bad string" },
	{ "help with a lone byte", STRING(HELP, UP, 3), 0xc3, ERR_PROTO, "bad string" },
	{ "unit with a space", STRING(UNIT, RTT, 3), ' ', ERR_PROTO, "bad unit" },
	{ "labels without a quote", STRING(LABELS, BYTES, 8), 'x', ERR_PROTO, "bad labels" },
	{ "counter without _total", STRING(NAME, ATTEMPTS, 32), 'T', ERR_PROTO, "_total" },
	{ "gauge that becomes a counter", D(UP, kind), BUS_KIND_COUNTER, ERR_PROTO, "_total" },
	{ "later kind is passed over", D(UP, kind), 9, 0, "" },
	{ "later aggregation is passed over", D(UP, agg), 9, 0, "" },
	{ "counter of two words", D(ATTEMPTS, words), 2, ERR_PROTO, "2 words" },
	{ "counter of no word", D(ATTEMPTS, words), 0, ERR_PROTO, "0 words" },
	{ "value outside", D(ATTEMPTS, value_index), 100000, ERR_PROTO, "outside its shard" },
	{ "value index that wraps", D(UP, value_index), UINT32_MAX, ERR_PROTO, "outside its" },
	{ "scale", D(UP, scale), 19, ERR_PROTO, "scale" },
	{ "negative scale", D(UP, scale), (uint64_t)-19, ERR_PROTO, "scale" },
	{ "most negative scale", D(UP, scale), (uint64_t)INT64_MIN, ERR_PROTO, "scale" },
	{ "histogram of two words", D(RTT, words), 2, ERR_PROTO, "odd buckets" },
	{ "histogram of one word", D(RTT, words), 1, ERR_PROTO, "odd buckets" },
	{ "histogram of no words", D(RTT, words), 0, ERR_PROTO, "odd buckets" },
	{ "histogram outside", D(RTT, words), 60000, ERR_PROTO, "outside its shard" },
	{ "bounds outside", D(RTT, bounds), 1, ERR_PROTO, "odd buckets" },
	{ "bounds index that wraps", D(RTT, bounds), UINT32_MAX, ERR_PROTO, "odd buckets" },
	{ "bounds of two scales", D(RTT, scale), (uint64_t)-6, ERR_PROTO, "two scales" },
	{ "bounds that fall", BOUNDS, NULL, 0, 8, 8, 1, ERR_PROTO, "do not rise" },
};

static void write_value(uint8_t *to, const struct row *r)
{
	if (r->width > 8)
		memset(to, (int)r->value, r->width);
	else
		memcpy(to, &r->value, r->width);
}

static void check_refusal(const char *name, const struct image *i, enum err code, const char *text)
{
	struct fault why = { 0 };
	struct bus_segment s;
	const int rc = attach_to(i, &s, &why);

	if (!check_row(name, rc == (code ? (int)code : 1)) ||
	    !check_row(name, strstr(why.why, text) != NULL))
		printf("  %s: %d \"%s\"\n", name, rc, why.why);
	bus_segment_close(&s);
}

static void test_one_word_wrong(void)
{
	struct image good, bad;

	image_read(&good);
	bad = (struct image){ malloc(good.n), good.n };
	must(bad.p);
	for (size_t i = 0; i < array_len(rows); i++) {
		memcpy(bad.p, good.p, good.n);
		write_value(place_of(&bad, &rows[i]) + rows[i].at, &rows[i]);
		seal(&bad);
		check_refusal(rows[i].name, &bad, rows[i].code, rows[i].why);
	}
	free(good.p);
	free(bad.p);
}

static void test_more_than_a_word(void)
{
	struct image good;

	image_read(&good);
	struct image bad = { malloc(good.n), good.n };
	must(bad.p);
#define AGAIN() memcpy(bad.p, good.p, good.n)

	AGAIN();
	toc_of(&bad, BUS_SECTION_COUNTERS)->entsize = 8;
	toc_of(&bad, BUS_SECTION_COUNTERS)->count = 17;
	seal(&bad);
	check_refusal("seventeen shards", &bad, ERR_LIMIT, "too many shards");

	/* a ring at the end of a longer file, with twice the slots we read */
	struct image longer = { calloc(1, good.n + 128 * BUS_PAGE), good.n + 128 * BUS_PAGE };
	must(longer.p);
	memcpy(longer.p, good.p, good.n);
	header_of(&longer)->file_len = longer.n;
	struct bus_toc_entry *e = toc_of(&longer, BUS_SECTION_EVENTS);
	e->off = good.n;
	e->len = longer.n - good.n;
	e->entsize = 48;
	e->count = 4096;
	seal(&longer);
	check_refusal("most slots", &longer, 0, "");
	e->count = 8192;
	seal(&longer);
	check_refusal("too many slots", &longer, ERR_LIMIT, "too many slots");
	free(longer.p);

	AGAIN();
	struct bus_descriptor *d = descriptor_of(&bad, BYTES);
	d[1].labels = d[0].labels;
	seal(&bad);
	check_refusal("one series twice", &bad, ERR_PROTO, "stands twice");

	AGAIN();
	d = descriptor_of(&bad, BYTES);
	d[1].help = descriptor_of(&bad, UP)->help;
	seal(&bad);
	check_refusal("family of two meanings", &bad, ERR_PROTO, "two meanings");

	AGAIN();
	descriptor_of(&bad, UP)->scale = -9;
	descriptor_of(&bad, RTT)->labels = descriptor_of(&bad, BYTES)->labels;
	seal(&bad);
	check_refusal("other labels and scale", &bad, 0, "");

	AGAIN();
	bad.p[section_of(&bad, BUS_SECTION_STRINGS) - bad.p + 1] ^= 1;
	check_refusal("a bit of the strings", &bad, ERR_PROTO, "checksum");

	AGAIN(); /* strings that end without a NUL */
	e = toc_of(&bad, BUS_SECTION_STRINGS);
	const uint32_t last = (uint32_t)e->len - 4;
	descriptor_of(&bad, UP)->help = last;
	e->len--;
	e->count--;
	seal(&bad);
	check_refusal("string without an end", &bad, ERR_PROTO, "bad string");

	AGAIN(); /* in bounds, but longer than a string may be */
	memset(section_of(&bad, BUS_SECTION_STRINGS) + 1, 'a', 600);
	seal(&bad);
	check_refusal("string too long", &bad, ERR_PROTO, "bad string");
	free(good.p);
	free(bad.p);
}

static void test_size_of_the_file(void)
{
	struct image good;

	image_read(&good);
	for (size_t n = 0; n < 2 * BUS_PAGE; n += 1021) {
		const struct image cut = { good.p, n };
		check_refusal("short", &cut, ERR_PROTO, "shorter than a header");
	}
	check_refusal("cut", &(struct image){ good.p, good.n - BUS_PAGE }, ERR_PROTO,
		      "not as long");
	check_refusal("uneven", &(struct image){ good.p, good.n - 1 }, ERR_PROTO, "whole pages");
	free(good.p);
}

/* Any single bit of the header and the tables: refused or harmless, never a
 * crash; without a new checksum always refused. */
static void test_every_bit(void)
{
	struct image i;

	image_read(&i);
	const size_t end = header_of(&i)->immutable_len;
	const int fd = memfd_create("segment", MFD_CLOEXEC);
	must(fd >= 0 && write(fd, i.p, i.n) == (ssize_t)i.n);
	for (size_t at = 0; at < end; at += at < 768 ? 1 : 97) {
		const uint8_t flipped = i.p[at] ^ (uint8_t)(1u << at % 8);
		struct bus_segment s;

		must(pwrite(fd, &flipped, 1, (off_t)at) == 1);
		check(bus_segment_take(&s, dup(fd), BUS_TUNNEL, NULL) < 0);
		must(pwrite(fd, &i.p[at], 1, (off_t)at) == 1);
	}
	close(fd);
	free(i.p);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "one word wrong", test_one_word_wrong },
		{ "more than a word", test_more_than_a_word },
		{ "size of the file", test_size_of_the_file },
		{ "every bit", test_every_bit },
	};
	must(bus_guard_install(NULL) == 0);
	return run_cases("attach", cases, array_len(cases));
}
