/*
 * attach -- a segment file, checked once into private memory.
 *
 * Nothing in the file is believed: sizes and offsets are compared with bounds
 * of ours by subtraction, strings are checked for what they may hold, and the
 * checked copy is private, so the file cannot change under it.  What stays
 * live in the map are words at offsets that were checked here.
 */
#ifndef SHM_ATTACH_H
#define SHM_ATTACH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "shm/layout.h"
#include "shm/record.h"
#include "shm/ring.h"

/* A descriptor, checked; strings point into the private copy. */
struct bus_series {
	const char *name, *unit, *help, *labels;
	enum bus_layout_kind kind;
	enum bus_layout_agg agg;
	uint32_t words, value_index;
	uint32_t value_at;    /* first of its words in a private array of values */
	const double *bounds; /* histogram: words - 2, in `unit` */
	double scale;
};

struct bus_segment {
	int fd; /* -1: nothing is attached */
	dev_t dev;
	ino_t ino;
	const uint8_t *map;
	size_t len;
	bool cut; /* the guard was hit: the map holds zeros now */

	/* private from here */
	uint64_t *copy; /* the immutable part */
	const struct bus_header *header;
	const char *strings;
	size_t strings_n;
	struct bus_toc_entry at[BUS_SECTION_TYPES]; /* len 0: not in this file */
	double *bounds;
	struct bus_series *series; /* sorted by name, then labels */
	size_t series_n, values_n;
	struct bus_ring log, events;
};

void bus_segment_init(struct bus_segment *s);

/* <dir>/<name>: 1 attached, 0 no such file.  ERR_TRUST: not a plain file, or
 * one with holes.  ERR_ALGO: a format we don't speak.  ERR_PROTO: corrupt.
 * ERR_LIMIT: larger than a bound of ours.  ERR_SYS, ERR_NOMEM. */
MUST_USE int bus_segment_open(struct bus_segment *s, int dir, const char *name, enum bus_role role,
			      struct fault *why);
/* The same for an open file, taken also on failure. */
MUST_USE int bus_segment_take(struct bus_segment *s, int fd, enum bus_role role, struct fault *why);
void bus_segment_close(struct bus_segment *s);

/* ERR_PROTO when the file was cut or punched since. */
MUST_USE int bus_segment_check(struct bus_segment *s, struct fault *why);

/* Where a record of `bytes` stands: 1, or 0 when this file has none.  A record
 * of another version may be shorter; r->words says what there is. */
MUST_USE int bus_segment_record(const struct bus_segment *s, enum bus_section type, size_t bytes,
				struct bus_record *r);

/* describe.c: the descriptors of a copied segment.  0 or an error as above. */
MUST_USE int bus_segment_describe(struct bus_segment *s, enum bus_role role, struct fault *why);

#endif
