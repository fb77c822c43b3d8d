/*
 * The second half of attach: descriptors and their strings, from the private
 * copy into a sorted table that cannot lead outside a section.
 */
#include <stdlib.h>
#include <string.h>

#include "shm/attach.h"
#include "shm/fields.h"
#include "shm/text.h"

/* The string at `offset`, checked to end in bounds and to be clean; else NULL. */
static const char *string_at(const struct bus_segment *s, uint32_t offset)
{
	if (offset >= s->strings_n)
		return NULL;
	const char *p = s->strings + offset;
	const size_t room = s->strings_n - offset;
	const size_t n = strnlen(p, room < BUS_STRING_MAX ? room : BUS_STRING_MAX);

	if (n == room || n == BUS_STRING_MAX || !bus_text_is_clean(p, n))
		return NULL;
	return p;
}

static double ten_to(int64_t n)
{
	double v = 1;

	while (n-- > 0)
		v *= 10;
	return v;
}

/* Division, where the scale is negative: 100000 / 1e9 prints as 0.0001. */
static double scaled(uint64_t raw, int64_t scale)
{
	return scale < 0 ? (double)raw / ten_to(-scale) : (double)raw * ten_to(scale);
}

static bool ends_in(const char *s, const char *end)
{
	const size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

static int check_text(const struct bus_segment *s, const struct bus_descriptor *d, size_t i,
		      struct bus_series *to, enum bus_role role, struct fault *why)
{
	to->name = string_at(s, d->name);
	to->unit = string_at(s, d->unit);
	to->help = string_at(s, d->help);
	to->labels = string_at(s, d->labels);
	if (!to->name || !to->unit || !to->help || !to->labels)
		return fault_set(why, ERR_PROTO, "descriptor %zu has a bad string", i);
	if (!bus_text_is_metric_name(to->name))
		return fault_set(why, ERR_PROTO, "descriptor %zu has no metric name", i);
	if (*to->unit && !bus_text_is_metric_name(to->unit))
		return fault_set(why, ERR_PROTO, "descriptor %zu has a bad unit", i);
	if (!bus_text_is_labels(to->labels))
		return fault_set(why, ERR_PROTO, "descriptor %zu has bad labels", i);
	if (bus_name_owner(to->name) != role)
		return fault_set(why, ERR_TRUST, "the name %s is not this writer's", to->name);
	if (d->kind == BUS_KIND_COUNTER && !ends_in(to->name, "_total"))
		return fault_set(why, ERR_PROTO, "the counter %s does not end in _total", to->name);
	return 0;
}

static int check_bounds(struct bus_segment *s, const struct bus_descriptor *d,
			struct bus_series *to, struct fault *why)
{
	const struct bus_toc_entry *e = &s->at[BUS_SECTION_BOUNDS];
	const uint64_t *raw = (const void *)((const uint8_t *)s->copy + e->off);
	const uint32_t n = d->words - 2u;

	if (d->words < 3 || n > BUS_BUCKETS_MAX - 1 || d->bounds > e->count ||
	    n > e->count - d->bounds)
		return fault_set(why, ERR_PROTO, "the histogram %s has odd buckets", to->name);
	to->bounds = s->bounds + d->bounds;
	for (uint32_t i = 0; i < n; i++) {
		double *bound = &s->bounds[d->bounds + i];
		const double v = scaled(raw[d->bounds + i], d->scale);
		if (*bound != 0 && *bound != v)
			return fault_set(why, ERR_PROTO, "the bounds of %s have two scales",
					 to->name);
		*bound = v;
		if (i > 0 && to->bounds[i] <= to->bounds[i - 1])
			return fault_set(why, ERR_PROTO, "the bounds of %s do not rise", to->name);
	}
	return 0;
}

static int check_values(struct bus_segment *s, const struct bus_descriptor *d,
			struct bus_series *to, struct fault *why)
{
	const bool histogram = d->kind == BUS_KIND_HISTOGRAM;
	const struct bus_toc_entry *e =
		&s->at[histogram ? BUS_SECTION_HISTOGRAMS : BUS_SECTION_COUNTERS];
	const uint32_t words = e->entsize / 8;

	if (d->scale > BUS_SCALE_MAX || d->scale < -BUS_SCALE_MAX)
		return fault_set(why, ERR_PROTO, "the scale of %s is absurd", to->name);
	if (!histogram && d->words != 1)
		return fault_set(why, ERR_PROTO, "%s has %u words", to->name, d->words);
	if (d->value_index > words || d->words > words - d->value_index)
		return fault_set(why, ERR_PROTO, "%s lies outside its shard", to->name);
	if (d->words > BUS_VALUES_MAX - s->values_n)
		return fault_set(why, ERR_LIMIT, "the descriptors name too many words");
	to->kind = d->kind;
	to->agg = d->agg;
	to->words = d->words;
	to->value_index = d->value_index;
	to->scale = scaled(1, d->scale);
	to->value_at = (uint32_t)s->values_n;
	s->values_n += d->words;
	return histogram ? check_bounds(s, d, to, why) : 0;
}

static int compare_series(const void *a, const void *b)
{
	const struct bus_series *x = a, *y = b;
	const int names = strcmp(x->name, y->name);

	return names ? names : strcmp(x->labels, y->labels);
}

/* Neighbours in the sorted table: one family has one meaning, and no series
 * stands in it twice. */
static int check_families(const struct bus_segment *s, struct fault *why)
{
	for (size_t i = 1; i < s->series_n; i++) {
		const struct bus_series *a = &s->series[i - 1], *b = &s->series[i];
		if (strcmp(a->name, b->name) != 0)
			continue;
		if (strcmp(a->labels, b->labels) == 0)
			return fault_set(why, ERR_PROTO, "a series of %s stands twice", a->name);
		if (a->kind != b->kind || strcmp(a->unit, b->unit) != 0 ||
		    strcmp(a->help, b->help) != 0)
			return fault_set(why, ERR_PROTO, "%s has two meanings", a->name);
	}
	return 0;
}

static int check_sizes(struct bus_segment *s, struct fault *why)
{
	const struct bus_toc_entry *d = &s->at[BUS_SECTION_DESCRIPTORS];
	const struct bus_toc_entry *strings = &s->at[BUS_SECTION_STRINGS];
	const struct bus_toc_entry *bounds = &s->at[BUS_SECTION_BOUNDS];

	if (d->len == 0 || d->entsize != sizeof(struct bus_descriptor))
		return fault_set(why, ERR_PROTO, "the descriptors have an odd size");
	if (strings->len == 0)
		return fault_set(why, ERR_PROTO, "there are no strings");
	if (bounds->len && bounds->entsize != 8)
		return fault_set(why, ERR_PROTO, "the bounds have an odd size");
	if (d->count > BUS_DESCRIPTORS_MAX || strings->len > BUS_STRINGS_MAX ||
	    bounds->count > BUS_BOUNDS_MAX)
		return fault_set(why, ERR_LIMIT, "the tables are larger than we read");
	s->strings = (const char *)s->copy + strings->off;
	s->strings_n = strings->len;
	return 0;
}

int bus_segment_describe(struct bus_segment *s, enum bus_role role, struct fault *why)
{
	int rc = check_sizes(s, why);

	if (rc)
		return rc;
	const struct bus_toc_entry *e = &s->at[BUS_SECTION_DESCRIPTORS];
	const struct bus_descriptor *d = (const void *)((const uint8_t *)s->copy + e->off);

	s->series = calloc(e->count + 1u, sizeof(*s->series));
	s->bounds = calloc(s->at[BUS_SECTION_BOUNDS].count + 1u, sizeof(*s->bounds));
	if (!s->series || !s->bounds)
		return fault_set(why, ERR_NOMEM, "no memory for the descriptors");
	for (size_t i = 0; i < e->count && rc == 0; i++) {
		struct bus_series *to = &s->series[s->series_n];
		/* of a later minor version: we could not say what it means */
		if (d[i].kind > BUS_KIND_HISTOGRAM || d[i].agg > BUS_AGG_MAX)
			continue;
		rc = check_text(s, &d[i], i, to, role, why);
		if (rc == 0)
			rc = check_values(s, &d[i], to, why);
		if (rc == 0)
			s->series_n++;
	}
	if (rc)
		return rc;
	qsort(s->series, s->series_n, sizeof(*s->series), compare_series);
	return check_families(s, why);
}
