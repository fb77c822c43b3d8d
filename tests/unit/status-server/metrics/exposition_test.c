#include "status-server/metrics/exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/famine.h"

static const uint64_t buckets[] = { 1, 0, 2, 4 };
static const double bounds[] = { 0.0001, 1, 2.5 };

#define COUNTER(n, l, v)                                                                           \
	{                                                                                          \
		.kind = BUS_COUNTER, .name = n, .unit = "", .help = "Help.", .labels = l,          \
		.value = v, .scale = 1                                                             \
	}
#define GAUGE(n, l, v)                                                                             \
	{                                                                                          \
		.kind = BUS_GAUGE, .name = n, .unit = "", .help = "Help.", .labels = l,            \
		.value = v, .scale = 1                                                             \
	}
#define HISTOGRAM(n, l)                                                                            \
	{                                                                                          \
		.kind = BUS_HISTOGRAM, .name = n, .unit = "seconds", .help = "Help.", .labels = l, \
		.scale = 1e-9, .buckets = buckets, .bounds = bounds, .buckets_n = 4,               \
		.sum = 1500000000                                                                  \
	}

static const struct {
	const char *name;
	struct bus_sample samples[4];
	const char *text, *openmetrics;
	size_t dropped;
} pages[] = {
	{ "counter",
	  { COUNTER("a_total", "", 7) },
	  "# HELP a_total Help.\n# TYPE a_total counter\na_total 7\n",
	  "# HELP a Help.\n# TYPE a counter\na_total 7\na_created 1700000000.250\n# EOF\n",
	  0 },
	{ "largest counter",
	  { COUNTER("a_total", "", UINT64_MAX) },
	  "# HELP a_total Help.\n# TYPE a_total counter\na_total 18446744073709551615\n",
	  "# HELP a Help.\n# TYPE a counter\na_total 18446744073709551615\na_created "
	  "1700000000.250\n# EOF\n",
	  0 },
	{ "counter without its suffix",
	  { COUNTER("a", "", 7) },
	  "# HELP a_total Help.\n# TYPE a_total counter\na_total 7\n",
	  "# HELP a Help.\n# TYPE a counter\na_total 7\na_created 1700000000.250\n# EOF\n",
	  0 },
	{ "labels",
	  { COUNTER("a_total", "x=\"1\"", 1), COUNTER("a_total", "x=\"2\"", 2) },
	  "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 2\n",
	  "# HELP a Help.\n# TYPE a counter\na_total{x=\"1\"} 1\na_created{x=\"1\"} "
	  "1700000000.250\n"
	  "a_total{x=\"2\"} 2\na_created{x=\"2\"} 1700000000.250\n# EOF\n",
	  0 },
	{ "unit",
	  { { .kind = BUS_GAUGE,
	      .name = "a_seconds",
	      .unit = "seconds",
	      .help = "H",
	      .labels = "",
	      .value = 300000000,
	      .scale = 1e-9 } },
	  "# HELP a_seconds H\n# TYPE a_seconds gauge\na_seconds 0.3\n",
	  "# HELP a_seconds H\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 0.3\n# "
	  "EOF\n",
	  0 },
	{ "unit that is not in the name",
	  { { .kind = BUS_GAUGE,
	      .name = "a",
	      .unit = "seconds",
	      .help = "H",
	      .labels = "",
	      .value = 2,
	      .scale = 10 } },
	  "# HELP a H\n# TYPE a gauge\na 20.0\n",
	  "# HELP a H\n# TYPE a gauge\na 20.0\n# EOF\n",
	  0 },
	{ "histogram",
	  { HISTOGRAM("a_seconds", "x=\"1\"") },
	  "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n"
	  "a_seconds_bucket{x=\"1\",le=\"0.0001\"} 1\na_seconds_bucket{x=\"1\",le=\"1.0\"} 1\n"
	  "a_seconds_bucket{x=\"1\",le=\"2.5\"} 3\na_seconds_bucket{x=\"1\",le=\"+Inf\"} 7\n"
	  "a_seconds_sum{x=\"1\"} 1.5\na_seconds_count{x=\"1\"} 7\n",
	  "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n"
	  "a_seconds_bucket{x=\"1\",le=\"0.0001\"} 1\na_seconds_bucket{x=\"1\",le=\"1.0\"} 1\n"
	  "a_seconds_bucket{x=\"1\",le=\"2.5\"} 3\na_seconds_bucket{x=\"1\",le=\"+Inf\"} 7\n"
	  "a_seconds_sum{x=\"1\"} 1.5\na_seconds_count{x=\"1\"} 7\na_seconds_created{x=\"1\"} "
	  "1700000000.250\n"
	  "# EOF\n",
	  0 },
	{ "help is escaped",
	  { { .kind = BUS_GAUGE,
	      .name = "a",
	      .unit = "",
	      .help = "a\\b\n\"c\"",
	      .labels = "",
	      .scale = 1 } },
	  "# HELP a a\\\\b?\"c\"\n# TYPE a gauge\na 0\n",
	  "# HELP a a\\\\b?\\\"c\\\"\n# TYPE a gauge\na 0\n# EOF\n",
	  0 },
	/* what would make the page invalid is left out */
	{ "a family again",
	  { GAUGE("a", "", 1), GAUGE("b", "", 2), GAUGE("a", "x=\"1\"", 3) },
	  "# HELP a Help.\n# TYPE a gauge\na 1\n# HELP b Help.\n# TYPE b gauge\nb 2\n",
	  "# HELP a Help.\n# TYPE a gauge\na 1\n# HELP b Help.\n# TYPE b gauge\nb 2\n# EOF\n",
	  1 },
	{ "a series again",
	  { GAUGE("a", "x=\"1\"", 1), GAUGE("a", "x=\"1\"", 2) },
	  "# HELP a Help.\n# TYPE a gauge\na{x=\"1\"} 1\n",
	  "# HELP a Help.\n# TYPE a gauge\na{x=\"1\"} 1\n# EOF\n",
	  1 },
	{ "another kind of the same name",
	  { GAUGE("a", "", 1), COUNTER("a", "", 2) },
	  "# HELP a Help.\n# TYPE a gauge\na 1\n",
	  "# HELP a Help.\n# TYPE a gauge\na 1\n# EOF\n",
	  1 },
	{ "a gauge named as a counter's sample",
	  { COUNTER("a_total", "", 1), GAUGE("a_created", "", 2) },
	  "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\n",
	  "# HELP a Help.\n# TYPE a counter\na_total 1\na_created 1700000000.250\n# EOF\n",
	  1 },
	{ "a counter named as a histogram's sample",
	  { HISTOGRAM("a", ""), COUNTER("a_sum_total", "", 2) },
	  "# HELP a Help.\n# TYPE a histogram\na_bucket{le=\"0.0001\"} 1\na_bucket{le=\"1.0\"} 1\n"
	  "a_bucket{le=\"2.5\"} 3\na_bucket{le=\"+Inf\"} 7\na_sum 1.5\na_count 7\n",
	  "# HELP a Help.\n# TYPE a histogram\na_bucket{le=\"0.0001\"} 1\na_bucket{le=\"1.0\"} 1\n"
	  "a_bucket{le=\"2.5\"} 3\na_bucket{le=\"+Inf\"} 7\na_sum 1.5\na_count 7\na_created "
	  "1700000000.250\n# EOF\n",
	  1 },
	{ "bad names",
	  { GAUGE("1a", "", 1), GAUGE("a\nb 1", "", 2), GAUGE("", "", 3) },
	  "",
	  "# EOF\n",
	  3 },
	{ "bad labels",
	  { GAUGE("a", "x", 1), GAUGE("a", "x=\"\n\"", 2), GAUGE("a", "le=\"1\"", 3) },
	  "# HELP a Help.\n# TYPE a gauge\n",
	  "# HELP a Help.\n# TYPE a gauge\n# EOF\n",
	  3 },
};

static struct exposition *start(struct buf *to, enum exposition_format format)
{
	struct exposition *e;

	buf_init(to, &mem_heap, 8 << 20);
	must(exposition_start(&e, to, format) == 0);
	exposition_created(e, UINT64_C(1700000000250000000));
	return e;
}

static void check_page(const char *name, struct buf *page, const char *want)
{
	const struct span got = span_of(buf_bytes(page).p, buf_len(page));

	if (!check_row(name, span_is(got, want)))
		printf("got:\n%.*s", (int)got.n, got.p);
	buf_fini(page);
}

static void test_pages(void)
{
	for (size_t i = 0; i < array_len(pages); i++)
		for (int format = EXPOSITION_TEXT; format <= EXPOSITION_OPENMETRICS; format++) {
			struct buf page;
			struct exposition *e = start(&page, (enum exposition_format)format);

			for (size_t k = 0; k < 4 && pages[i].samples[k].name; k++)
				exposition_sample(e, &pages[i].samples[k]);
			check_row(pages[i].name, exposition_dropped(e) == pages[i].dropped);
			check_row(pages[i].name, exposition_end(e) == 0);
			check_page(pages[i].name, &page,
				   format == EXPOSITION_TEXT ? pages[i].text
							     : pages[i].openmetrics);
		}
}

static void test_info(void)
{
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_TEXT);

	exposition_info(e, "a_info", "H", "x=\"1\"");
	check(exposition_has(e, "a") && exposition_has(e, "a_info") && !exposition_has(e, "a_inf"));
	check(exposition_end(e) == 0);
	check_page("text", &page, "# HELP a_info H\n# TYPE a_info gauge\na_info{x=\"1\"} 1\n");
	e = start(&page, EXPOSITION_OPENMETRICS);
	exposition_info(e, "a_info", "H", "x=\"1\"");
	check(exposition_end(e) == 0);
	check_page("openmetrics", &page, "# HELP a H\n# TYPE a info\na_info{x=\"1\"} 1\n# EOF\n");
}

static void test_unknown_start_has_no_created(void)
{
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_OPENMETRICS);
	const struct bus_sample s = COUNTER("a_total", "", 0);

	exposition_created(e, 0);
	exposition_sample(e, &s);
	check(exposition_end(e) == 0);
	check_page("created", &page, "# HELP a Help.\n# TYPE a counter\na_total 0\n# EOF\n");
}

static void test_numbers(void)
{
	static const struct {
		double v;
		const char *text;
	} rows[] = {
		{ 0, "0.0" },
		{ 1, "1.0" },
		{ 10, "10.0" },
		{ 0.00025, "0.00025" },
		{ 0.00001, "1e-05" },
		{ 2.5, "2.5" },
		{ 1e22, "1e+22" },
		{ 0.1, "0.1" },
		{ 123456789.125, "123456789.125" },
		{ 1.0 / 3, "0.3333333333333333" },
		{ INFINITY, "+Inf" },
		{ -INFINITY, "-Inf" },
		{ NAN, "NaN" },
	};
	char got[32];

	for (size_t i = 0; i < array_len(rows); i++) {
		exposition_number(got, rows[i].v);
		check_row(rows[i].text, strcmp(got, rows[i].text) == 0);
	}
}

static void test_series_are_bounded(void)
{
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_TEXT);
	char labels[64];

	for (unsigned i = 0; i < EXPOSITION_SERIES_MAX + 5; i++) {
		snprintf(labels, sizeof(labels), "x=\"%u\"", i);
		exposition_sample(e, &(struct bus_sample)GAUGE("a", labels, i));
	}
	check(exposition_dropped(e) == 5);
	check(exposition_end(e) == 0);
	buf_fini(&page);
}

static void test_families_are_bounded(void)
{
	static char names[EXPOSITION_FAMILIES_MAX + 5][16];
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_OPENMETRICS);

	for (unsigned i = 0; i < array_len(names); i++) {
		snprintf(names[i], sizeof(names[i]), "a%u_seconds", i);
		exposition_sample(e, &(struct bus_sample)HISTOGRAM(names[i], ""));
	}
	check(exposition_dropped(e) == 5);
	check(exposition_end(e) == 0);
	buf_fini(&page);
}

static void test_bytes_are_bounded(void)
{
	static char labels[2000];
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_TEXT);

	for (unsigned i = 0; i < 5000; i++) {
		snprintf(labels, sizeof(labels), "x=\"%04u%01900u\"", i, 0);
		exposition_sample(e, &(struct bus_sample)GAUGE("a", labels, i));
	}
	check(exposition_dropped(e) > 3000);
	check(exposition_end(e) == 0);
	check(buf_len(&page) <= EXPOSITION_BYTES_MAX);
	check(buf_bytes(&page).p[buf_len(&page) - 1] == '\n');
	buf_fini(&page);
}

/* One source's flood leaves the room of the next one, and of what comes last. */
static void test_shares(void)
{
	static char labels[200];
	struct buf page;
	struct exposition *e = start(&page, EXPOSITION_OPENMETRICS);

	exposition_share(e, 100000);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(labels, sizeof(labels), "x=\"%04u%0150u\"", i, 0);
		exposition_sample(e, &(struct bus_sample)HISTOGRAM("b_seconds", labels));
	}
	check(buf_len(&page) <= 100000 && buf_len(&page) > 90000);
	const size_t dropped = exposition_dropped(e), len = buf_len(&page);
	exposition_share(e, 100000);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(labels, sizeof(labels), "x=\"%04u\"", i);
		exposition_sample(e, &(struct bus_sample)GAUGE("c", labels, i));
	}
	check(exposition_dropped(e) == dropped && buf_len(&page) <= len + 100000);
	exposition_share(e, 0);
	exposition_sample(e, &(struct bus_sample)GAUGE("d", "", 1));
	check(exposition_dropped(e) == dropped);
	check(exposition_end(e) == 0);
	check(buf_append(&page, "", 1) == 0);
	check(strstr((const char *)buf_bytes(&page).p, "\nd 1\n") != NULL);
	buf_fini(&page);
}

static void test_famine(void)
{
	const struct bus_sample s = HISTOGRAM("a_seconds", "");
	size_t refused = 0;

	for (size_t at = 1;; at++) {
		struct famine f;
		struct buf page;
		struct exposition *e;

		famine_init(&f, at);
		buf_init(&page, &f.mem, 1 << 20);
		int rc = exposition_start(&e, &page, EXPOSITION_OPENMETRICS);
		if (rc == 0) {
			for (int i = 0; i < 40; i++) {
				exposition_sample(e, &s);
				exposition_sample(e, &(struct bus_sample)GAUGE("b", "", 1));
			}
			rc = exposition_end(e);
		}
		buf_fini(&page);
		check(f.live == 0);
		if (rc == 0)
			break;
		refused++;
		check(rc == ERR_NOMEM);
	}
	check(refused >= 2);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "pages", test_pages },
		{ "info", test_info },
		{ "unknown start", test_unknown_start_has_no_created },
		{ "numbers", test_numbers },
		{ "bounded series", test_series_are_bounded },
		{ "bounded families", test_families_are_bounded },
		{ "bounded bytes", test_bytes_are_bounded },
		{ "shares", test_shares },
		{ "famine", test_famine },
	};
	return run_cases("exposition", cases, array_len(cases));
}
