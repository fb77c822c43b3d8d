/*
 * The two text formats, names given out once, and the room a page has.  It knows
 * no metric by name and no segment.
 */
#include "status-server/metrics/exposition.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/units.h"
#include "shm/text.h"

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM, KIND_INFO, KINDS };

/* What samples of a family are called: its name and one of these. */
enum suffix { PLAIN, TOTAL, CREATED, BUCKET, SUM, COUNT, INFO, SUFFIXES };

static const char *const suffixes[SUFFIXES] = {
	"", "_total", "_created", "_bucket", "_sum", "_count", "_info",
};

static const struct {
	const char *text, *openmetrics; /* type */
	enum suffix value;		/* of the sample that carries the value */
	unsigned takes;			/* bits of enum suffix: names that are then gone */
} kinds[KINDS] = {
	[KIND_COUNTER] = { "counter", "counter", TOTAL, 1 << PLAIN | 1 << TOTAL | 1 << CREATED },
	[KIND_GAUGE] = { "gauge", "gauge", PLAIN, 1 << PLAIN },
	[KIND_HISTOGRAM] = { "histogram", "histogram", BUCKET,
			     1 << PLAIN | 1 << BUCKET | 1 << SUM | 1 << COUNT | 1 << CREATED },
	[KIND_INFO] = { "gauge", "info", INFO, 1 << PLAIN | 1 << INFO },
};

/* A name that was given out, in two parts. */
struct taken {
	const char *p; /* NULL: free slot */
	unsigned n;
	enum suffix suffix;
};
enum { LABELS_MAX = 2048 };
enum { TAKEN_SLOTS = 8192 }; /* a power of two, some two thirds never used */
static_assert(TAKEN_SLOTS > 2 * 5 * EXPOSITION_FAMILIES_MAX, "the table of names never fills");

struct exposition {
	struct buf *to;
	enum exposition_format format;
	int rc;
	uint64_t created_ns;
	size_t families, series, dropped, start;
	size_t share_end; /* bytes from the start at which the source's share ends */
	/* the family being written */
	struct span base;
	enum kind kind;
	bool open, refused;
	bool has_sample;
	char last_labels[LABELS_MAX]; /* of its last sample */
	struct taken taken[TAKEN_SLOTS];
};

/* ---- bytes ---- */

static void put(struct exposition *e, const void *p, size_t n)
{
	if (e->rc == 0)
		e->rc = buf_append(e->to, p, n);
}

static void put_str(struct exposition *e, const char *s)
{
	put(e, s, strlen(s));
}

/* Help text: one line, escaped as both formats read it. */
static void put_help(struct exposition *e, const char *s)
{
	for (; *s; s++) {
		const bool quoted = e->format == EXPOSITION_OPENMETRICS && *s == '"';

		if (*s == '\\' || quoted)
			put(e, "\\", 1);
		put(e, (unsigned char)*s < 0x20 ? "?" : s, 1);
	}
}

/* Whole, and small enough to be written out. */
static bool is_whole(double v)
{
	return v > -1e15 && v < 1e15 && v == (double)(int64_t)v;
}

void exposition_number(char to[32], double v)
{
	if (isnan(v) || isinf(v)) {
		snprintf(to, 32, "%s", isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
		return;
	}
	if (is_whole(v)) { /* %g would write 10 as 1e+01 */
		snprintf(to, 32, "%.1f", v);
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(to, 32, "%.*g", digits, v);
		if (strtod(to, NULL) == v)
			break;
	}
}

/* v * scale; by division where the scale is a negative power of ten, since
 * 1e-9 has no exact double but 1e9 has. */
static void put_value(struct exposition *e, uint64_t v, double scale)
{
	char text[32];

	if (scale == 1)
		snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	else if (scale < 1 && scale >= 1e-18)
		exposition_number(text, (double)v / (double)(uint64_t)(1 / scale + 0.5));
	else
		exposition_number(text, (double)v * scale);
	put_str(e, text);
}

/* ---- names ---- */

static struct taken *find_name(const struct exposition *e, struct span base, enum suffix suffix)
{
	const size_t sn = strlen(suffixes[suffix]);
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < base.n + sn; i++)
		h = (h ^ (i < base.n ? base.p[i] : (uint8_t)suffixes[suffix][i - base.n])) *
		    0x100000001b3u;
	for (size_t at = h;; at++) {
		const struct taken *t = &e->taken[at % TAKEN_SLOTS];
		const char *own = suffixes[t->suffix];
		const size_t own_n = strlen(own), n = base.n + sn;

		if (!t->p)
			return (struct taken *)(uintptr_t)t;
		if (t->n + own_n != n)
			continue;
		size_t i = 0;
		while (i < n &&
		       (i < t->n ? (uint8_t)t->p[i] : (uint8_t)own[i - t->n]) ==
			       (i < base.n ? base.p[i] : (uint8_t)suffixes[suffix][i - base.n]))
			i++;
		if (i == n)
			return (struct taken *)(uintptr_t)t;
	}
}

/* All names of the family, or none when one is given out already. */
static bool take_names(struct exposition *e, struct span base, enum kind kind)
{
	for (int suffix = 0; suffix < SUFFIXES; suffix++)
		if ((kinds[kind].takes & 1u << suffix) &&
		    find_name(e, base, (enum suffix)suffix)->p)
			return false;
	for (int suffix = 0; suffix < SUFFIXES; suffix++)
		if (kinds[kind].takes & 1u << suffix)
			*find_name(e, base, (enum suffix)suffix) = (struct taken){
				.p = (const char *)base.p,
				.n = (unsigned)base.n,
				.suffix = (enum suffix)suffix,
			};
	return true;
}

static bool ends_in(struct span s, const char *end)
{
	const size_t n = strlen(end);

	return s.n > n && memcmp(s.p + s.n - n, end, n) == 0;
}

/* A family's name is its samples' without the suffix of the kind. */
static struct span base_of(const char *name, enum kind kind)
{
	struct span s = span_str(name);
	const char *end = kind == KIND_COUNTER ? "_total" : kind == KIND_INFO ? "_info" : "";

	if (*end && ends_in(s, end))
		s.n -= strlen(end);
	return s;
}

bool exposition_has(const struct exposition *e, const char *name)
{
	return find_name(e, span_str(name), PLAIN)->p != NULL;
}

/* ---- families and samples ---- */

static void put_family_name(struct exposition *e)
{
	put(e, e->base.p, e->base.n);
	/* the older format names the samples, not the family */
	if (e->format == EXPOSITION_TEXT && e->kind != KIND_HISTOGRAM)
		put_str(e, suffixes[kinds[e->kind].value]);
}

static void put_metadata(struct exposition *e, const char *unit, const char *help)
{
	const bool openmetrics = e->format == EXPOSITION_OPENMETRICS;
	char end[64];

	put_str(e, "# HELP ");
	put_family_name(e);
	put_str(e, " ");
	put_help(e, help);
	put_str(e, "\n# TYPE ");
	put_family_name(e);
	put_str(e, " ");
	put_str(e, openmetrics ? kinds[e->kind].openmetrics : kinds[e->kind].text);
	put_str(e, "\n");
	snprintf(end, sizeof(end), "_%.62s", unit);
	if (!openmetrics || !*unit || !ends_in(e->base, end))
		return; /* OpenMetrics wants the unit at the end of the name */
	put_str(e, "# UNIT ");
	put(e, e->base.p, e->base.n);
	put_str(e, " ");
	put_str(e, unit);
	put_str(e, "\n");
}

/* Whether a sample of this family may be written now. */
static bool begin(struct exposition *e, enum kind kind, const struct bus_sample *s)
{
	const struct span base = base_of(s->name, kind);

	if (!e->open || !span_eq(base, e->base) || kind != e->kind) {
		e->open = true;
		e->base = base;
		e->kind = kind;
		e->has_sample = false;
		e->refused = !bus_text_is_metric_name(s->name) ||
			     e->families == EXPOSITION_FAMILIES_MAX || !take_names(e, base, kind);
		if (!e->refused) {
			e->families++;
			put_metadata(e, s->unit, s->help);
		}
	}
	return !e->refused && strlen(s->labels) < LABELS_MAX && bus_text_is_labels(s->labels) &&
	       !(e->has_sample && strcmp(e->last_labels, s->labels) == 0);
}

static void put_name(struct exposition *e, enum suffix suffix, const char *labels, const char *le)
{
	put(e, e->base.p, e->base.n);
	put_str(e, suffixes[suffix]);
	if (*labels || le) {
		put_str(e, "{");
		put_str(e, labels);
		if (le) {
			put_str(e, *labels ? ",le=\"" : "le=\"");
			put_str(e, le);
			put_str(e, "\"");
		}
		put_str(e, "}");
	}
	put_str(e, " ");
}

static void put_count(struct exposition *e, enum suffix suffix, const char *labels, const char *le,
		      uint64_t v)
{
	put_name(e, suffix, labels, le);
	put_value(e, v, 1);
	put_str(e, "\n");
}

static void put_created(struct exposition *e, const char *labels)
{
	char text[48];

	if (e->format != EXPOSITION_OPENMETRICS || !e->created_ns)
		return;
	snprintf(text, sizeof(text), "%llu.%03llu\n",
		 (unsigned long long)(e->created_ns / NS_PER_S),
		 (unsigned long long)(e->created_ns / 1000000 % 1000));
	put_name(e, CREATED, labels, NULL);
	put_str(e, text);
}

static void put_histogram(struct exposition *e, const struct bus_sample *s)
{
	uint64_t sum = 0;
	char le[32];

	for (unsigned i = 0; i < s->buckets_n; i++) {
		sum += s->buckets[i];
		if (i + 1 < s->buckets_n)
			exposition_number(le, s->bounds[i]);
		else
			snprintf(le, sizeof(le), "+Inf");
		put_count(e, BUCKET, s->labels, le, sum);
	}
	put_name(e, SUM, s->labels, NULL);
	put_value(e, s->sum, s->scale);
	put_str(e, "\n");
	put_count(e, COUNT, s->labels, NULL, sum);
}

/* Not less than what the sample takes, its family's head included. */
static size_t cost_of(const struct bus_sample *s, size_t lines)
{
	enum { LINE = 96, HEAD = 128 }; /* suffix, le, value, created; keywords, type, unit */
	const size_t name = strlen(s->name);

	return 2 * lines * (name + strlen(s->labels) + LINE) + 3 * name + 2 * strlen(s->help) +
	       HEAD;
}

/* A page that is cut has whole series: room is looked for before. */
static bool has_room(const struct exposition *e, const struct bus_sample *s, size_t lines)
{
	const size_t n = buf_len(e->to) - e->start;

	return e->series + lines <= EXPOSITION_SERIES_MAX && n < e->share_end &&
	       cost_of(s, lines) <= e->share_end - n;
}

static void write_sample(struct exposition *e, enum kind kind, const struct bus_sample *s)
{
	const size_t lines = kind == KIND_HISTOGRAM ? s->buckets_n + 2 : 1;

	if (!has_room(e, s, lines) || !begin(e, kind, s)) {
		e->dropped++;
		return;
	}
	e->series += lines;
	e->has_sample = true;
	memcpy(e->last_labels, s->labels, strlen(s->labels) + 1);
	if (kind == KIND_HISTOGRAM) {
		put_histogram(e, s);
	} else {
		put_name(e, kinds[kind].value, s->labels, NULL);
		put_value(e, s->value, s->scale);
		put_str(e, "\n");
	}
	if (kind == KIND_COUNTER || kind == KIND_HISTOGRAM)
		put_created(e, s->labels);
}

void exposition_sample(struct exposition *e, const struct bus_sample *s)
{
	static const enum kind of[] = { [BUS_COUNTER] = KIND_COUNTER,
					[BUS_GAUGE] = KIND_GAUGE,
					[BUS_HISTOGRAM] = KIND_HISTOGRAM };

	write_sample(e, of[s->kind], s);
}

void exposition_info(struct exposition *e, const char *name, const char *help, const char *labels)
{
	const struct bus_sample s = {
		.name = name, .unit = "", .help = help, .labels = labels, .value = 1, .scale = 1
	};

	write_sample(e, KIND_INFO, &s);
}

/* ---- a page ---- */

void exposition_share(struct exposition *e, size_t bytes)
{
	const size_t n = buf_len(e->to) - e->start;

	e->share_end = EXPOSITION_BYTES_MAX;
	if (bytes > 0)
		e->share_end = min_size(n + bytes, EXPOSITION_BYTES_MAX);
}

int exposition_start(struct exposition **out, struct buf *to, enum exposition_format format)
{
	struct exposition *e = mem_alloc_zeroed(to->mem, sizeof(*e));

	*out = e;
	if (!e)
		return ERR_NOMEM;
	e->to = to;
	e->format = format;
	e->start = buf_len(to);
	exposition_share(e, 0);
	return 0;
}

void exposition_created(struct exposition *e, uint64_t realtime_ns)
{
	e->created_ns = realtime_ns;
}

size_t exposition_dropped(const struct exposition *e)
{
	return e->dropped;
}

int exposition_end(struct exposition *e)
{
	if (e->format == EXPOSITION_OPENMETRICS)
		put_str(e, "# EOF\n");
	const int rc = e->rc;
	mem_free(e->to->mem, e);
	return rc;
}

const char *exposition_content_type(enum exposition_format format)
{
	return format == EXPOSITION_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}
