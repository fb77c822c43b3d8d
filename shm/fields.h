/*
 * fields -- the list of fields.def, as the tables that a segment holds.
 */
#ifndef SHM_FIELDS_H
#define SHM_FIELDS_H

#include "shm/layout.h"

enum bus_labels {
	BUS_LABELS_NONE,
	BUS_LABELS_FORWARD,
	BUS_LABELS_FORWARD_DIRECTION,
	BUS_LABELS_PHASE,
	BUS_LABELS_REASON,
	BUS_LABELS_FEATURE,
	BUS_LABELS_CAUSE,
	BUS_LABELS_STATE_CAUSE,
	BUS_LABELS_GLITCH,
	BUS_LABELS_REFUSAL,
};

struct bus_field_info {
	enum bus_role role;
	enum bus_layout_kind kind;
	enum bus_labels labels;
	const char *name, *unit, *help;
};
extern const struct bus_field_info bus_field_info[BUS_FIELDS_N];

/* Upper bounds of every histogram, ns; one more bucket takes what is above. */
#define BUS_HISTOGRAM_BOUNDS 18
extern const uint64_t bus_histogram_bounds[BUS_HISTOGRAM_BOUNDS];
#define BUS_HISTOGRAM_WORDS (BUS_HISTOGRAM_BOUNDS + 2)

/* Which prefix of BUS_NAME_OWNERS decides: the role, 0 for nobody's. */
unsigned bus_name_owner(const char *name);

/* The immutable tables of one writer, on the heap. */
struct bus_fields {
	struct bus_descriptor *descriptors;
	size_t descriptors_n;
	char *strings; /* BUS_STRINGS_MAX of room */
	size_t strings_n;
	uint32_t first[BUS_FIELDS_N]; /* word of index 0 within its shard */
	uint32_t count[BUS_FIELDS_N]; /* indexes; 0 for a field of another role */
	uint32_t counter_words, histogram_words;
};

/* ERR_NOMEM.  Names of forwards are escaped; a name that stands twice gets
 * "~number" at its end, so that no two series are the same. */
MUST_USE int bus_fields_new(struct bus_fields *f, enum bus_role role, const char *const *forwards,
			    size_t forwards_n);
void bus_fields_free(struct bus_fields *f); /* accepts a zeroed f */

#endif
