/*
 * The tables of fields.def as a segment holds them: descriptors, strings, labels of each
 * index.  Counting is writer.c's.
 */
#include "shm/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/feature.h"
#include "lib/base/glitch.h"
#include "lib/base/units.h"
#include "shm/text.h"

#define KIND_COUNTER	       BUS_KIND_COUNTER
#define KIND_GAUGE	       BUS_KIND_GAUGE
#define KIND_HISTOGRAM_SECONDS BUS_KIND_HISTOGRAM

const struct bus_field_info bus_field_info[BUS_FIELDS_N] = {
#define BUS_FIELD(id, role, kind, labels, name, unit, help)                                        \
	[BUS_##id] = { BUS_##role, KIND_##kind, BUS_LABELS_##labels, name, unit, help },
#include "shm/fields.def"
#undef BUS_FIELD
};

#define US UINT64_C(1000)
const uint64_t bus_histogram_bounds[BUS_HISTOGRAM_BOUNDS] = {
	100 * US,	 250 * US,	  500 * US,	  1 * NS_PER_MS,    5 * NS_PER_MS / 2,
	5 * NS_PER_MS,	 10 * NS_PER_MS,  25 * NS_PER_MS, 50 * NS_PER_MS,   100 * NS_PER_MS,
	250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_S,	  5 * NS_PER_S / 2, 5 * NS_PER_S,
	10 * NS_PER_S,	 30 * NS_PER_S,	  60 * NS_PER_S,
};

#define COUNT_ERR(name, number, text) +1
enum { REASONS = 1 ERR_LIST(COUNT_ERR) };
enum { PHASES = BUS_STATE_CONFIGURING - BUS_STATE_RESOLVING + 1 };

static const char *const refusals[] = {
#define X(id, name) name,
	BUS_REFUSALS(X)
#undef X
};

unsigned bus_name_owner(const char *name)
{
	static const struct bus_name_owner owners[] = BUS_NAME_OWNERS;

	for (size_t i = 0; i < array_len(owners); i++)
		if (strncmp(name, owners[i].prefix, strlen(owners[i].prefix)) == 0)
			return owners[i].role;
	return 0;
}

/* The offset of s in the strings, one copy each. */
static uint32_t intern(struct bus_fields *f, const char *s)
{
	const size_t n = strlen(s) + 1;

	for (size_t at = 0; at < f->strings_n; at += strlen(f->strings + at) + 1)
		if (strcmp(f->strings + at, s) == 0)
			return (uint32_t)at;
	/* the list and BUS_FORWARDS_MAX bound it: some 20 KiB */
	must(n <= BUS_STRING_MAX && n <= BUS_STRINGS_MAX - f->strings_n);
	memcpy(f->strings + f->strings_n, s, n);
	f->strings_n += n;
	return (uint32_t)(f->strings_n - n);
}

static uint32_t count_indexes(enum bus_labels labels, size_t forwards_n)
{
	switch (labels) {
	case BUS_LABELS_NONE:
		return 1;
	case BUS_LABELS_FORWARD:
		return (uint32_t)forwards_n;
	case BUS_LABELS_FORWARD_DIRECTION:
		return (uint32_t)forwards_n * 2;
	case BUS_LABELS_PHASE:
		return PHASES;
	case BUS_LABELS_REASON:
		return REASONS;
	case BUS_LABELS_FEATURE:
		return SANDBOX_FEATURES_N;
	case BUS_LABELS_CAUSE:
	case BUS_LABELS_STATE_CAUSE:
		return BUS_CAUSES_N;
	case BUS_LABELS_GLITCH:
		return GLITCH_KINDS;
	case BUS_LABELS_REFUSAL:
		return BUS_REFUSALS_N;
	}
	must_failed(__FILE__, __LINE__, "a label set of fields.def");
}

static bool stands_before(const char *const *forwards, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (strcmp(forwards[i], forwards[j]) == 0)
			return true;
	return false;
}

/* forward="name" -- the name escaped and cut to BUS_NAME_MAX - 1 bytes. */
static size_t put_forward(char to[BUS_STRING_MAX], const char *const *forwards, size_t i)
{
	const char *name = forwards[i];
	size_t n = (size_t)snprintf(to, BUS_STRING_MAX, "forward=\"");

	n = bus_text_escape(to, n, BUS_STRING_MAX, name,
			    bus_text_cut(name, strlen(name), BUS_NAME_MAX - 1));
	if (stands_before(forwards, i) || strlen(name) >= BUS_NAME_MAX)
		n += (size_t)snprintf(to + n, BUS_STRING_MAX - n, "~%zu", i);
	return n + (size_t)snprintf(to + n, BUS_STRING_MAX - n, "\"");
}

static void put_labels(char to[BUS_STRING_MAX], enum bus_labels labels, uint32_t index,
		       const char *const *forwards)
{
	size_t n;

	switch (labels) {
	case BUS_LABELS_NONE:
		to[0] = '\0';
		break;
	case BUS_LABELS_FORWARD:
		put_forward(to, forwards, index);
		break;
	case BUS_LABELS_FORWARD_DIRECTION:
		n = put_forward(to, forwards, index / 2);
		snprintf(to + n, BUS_STRING_MAX - n, ",direction=\"%s\"",
			 index % 2 ? "down" : "up");
		break;
	case BUS_LABELS_PHASE:
		snprintf(to, BUS_STRING_MAX, "phase=\"%s\"",
			 bus_state_name(BUS_STATE_RESOLVING + index));
		break;
	case BUS_LABELS_REASON:
		snprintf(to, BUS_STRING_MAX, "reason=\"%s\"",
			 index ? err_name(-(int)index) : "none");
		break;
	case BUS_LABELS_FEATURE:
		snprintf(to, BUS_STRING_MAX, "feature=\"%s\"", sandbox_feature_name(index));
		break;
	case BUS_LABELS_CAUSE:
		snprintf(to, BUS_STRING_MAX, "cause=\"%s\"", bus_cause_name(index));
		break;
	case BUS_LABELS_STATE_CAUSE:
		snprintf(to, BUS_STRING_MAX, "state=\"%s\",cause=\"%s\"",
			 index == BUS_CAUSE_CONNECTED ? "connected" : "disconnected",
			 bus_cause_name(index));
		break;
	case BUS_LABELS_GLITCH:
		snprintf(to, BUS_STRING_MAX, "kind=\"%s\"", glitch_name((enum glitch_kind)index));
		break;
	case BUS_LABELS_REFUSAL:
		snprintf(to, BUS_STRING_MAX, "reason=\"%s\"", refusals[index]);
		break;
	}
}

static void add_field(struct bus_fields *f, enum bus_field field, const char *const *forwards)
{
	const struct bus_field_info *info = &bus_field_info[field];
	const bool histogram = info->kind == BUS_KIND_HISTOGRAM;
	const uint16_t words = histogram ? BUS_HISTOGRAM_WORDS : 1;
	uint32_t *next = histogram ? &f->histogram_words : &f->counter_words;

	f->first[field] = *next;
	for (uint32_t i = 0; i < f->count[field]; i++) {
		char labels[BUS_STRING_MAX];
		put_labels(labels, info->labels, i, forwards);

		uint64_t hash = bus_fnv1a(BUS_FNV_START, info->name, strlen(info->name) + 1);
		hash = bus_fnv1a(hash, labels, strlen(labels));
		f->descriptors[f->descriptors_n++] = (struct bus_descriptor){
			.name = intern(f, info->name),
			.help = intern(f, info->help),
			.unit = intern(f, info->unit),
			.labels = intern(f, labels),
			.kind = (uint8_t)info->kind,
			.agg = BUS_AGG_SUM,
			.words = words,
			.value_index = *next,
			.scale = strcmp(info->unit, "seconds") == 0 ? -9 : 0,
			.hash = hash,
		};
		*next += words;
	}
}

int bus_fields_new(struct bus_fields *f, enum bus_role role, const char *const *forwards,
		   size_t forwards_n)
{
	size_t n = 0;

	must(forwards_n <= BUS_FORWARDS_MAX);
	*f = (struct bus_fields){ 0 };
	for (unsigned i = 0; i < BUS_FIELDS_N; i++) {
		const struct bus_field_info *info = &bus_field_info[i];
		if (info->role == role)
			n += f->count[i] = count_indexes(info->labels, forwards_n);
	}
	must(n <= BUS_DESCRIPTORS_MAX);
	f->descriptors = calloc(n, sizeof(*f->descriptors));
	f->strings = calloc(1, BUS_STRINGS_MAX);
	if (!f->descriptors || !f->strings) {
		bus_fields_free(f);
		return ERR_NOMEM;
	}
	f->strings_n = 1; /* offset 0 is "" */
	for (unsigned i = 0; i < BUS_FIELDS_N; i++)
		add_field(f, i, forwards);
	return 0;
}

void bus_fields_free(struct bus_fields *f)
{
	free(f->descriptors);
	free(f->strings);
	*f = (struct bus_fields){ 0 };
}
