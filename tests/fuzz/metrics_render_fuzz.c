/* Samples of any bytes as a page: whatever they hold, each line of the page is
 * well formed and no series stands on it twice.  Fields of the input end in
 * 0xff: kind and name, labels, help, unit, value. */
#include <ctype.h>
#include <stdlib.h>

#include "status-server/negotiate.h"
#include "status-server/metrics/exposition.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { LINES_MAX = 4096, FIELD_END = 0xff };

struct lines {
	const char *series[LINES_MAX]; /* up to the value, NUL-terminated */
	size_t n;
};

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_comment(char *line, bool openmetrics)
{
	const bool is_type = strncmp(line, "# TYPE ", 7) == 0;

	must(is_type || strncmp(line, "# HELP ", 7) == 0 ||
	     (openmetrics && (strncmp(line, "# UNIT ", 7) == 0 || strcmp(line, "# EOF") == 0)));
}

static void check_series(struct lines *l, char *line, bool check_value)
{
	char *space = strrchr(line, ' '), *end;

	must(space && space[1]);
	(void)strtod(space + 1, &end);
	must(!check_value || *end == '\0');
	*space = '\0';
	const size_t name_n = strcspn(line, "{");
	must(name_n > 0 && !isdigit((unsigned char)line[0]));
	for (size_t i = 0; i < name_n; i++)
		must(isalnum((unsigned char)line[i]) || line[i] == '_' || line[i] == ':');
	must(!line[name_n] || line[strlen(line) - 1] == '}');
	if (l->n < LINES_MAX)
		l->series[l->n++] = line;
}

static void check_page(char *page, size_t n, bool openmetrics)
{
	static struct lines l;

	l.n = 0;
	must(strlen(page) == n && (n == 0 || page[n - 1] == '\n'));
	must(!openmetrics || strcmp(page + n - 6, "# EOF\n") == 0);
	for (char *line = page, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = '\0';
		if (line[0] == '#')
			check_comment(line, openmetrics);
		else
			check_series(&l, line, true);
	}
	qsort(l.series, l.n, sizeof(l.series[0]), compare);
	for (size_t i = 1; i < l.n; i++)
		must(strcmp(l.series[i - 1], l.series[i]) != 0);
}

static char *take_field(char **rest)
{
	char *field = *rest, *end = strchr(field, FIELD_END);

	if (!end) {
		*rest += strlen(field);
		return field;
	}
	*end = '\0';
	*rest = end + 1;
	return field;
}

static void feed(struct exposition *e, char *rest)
{
	static const double scales[] = { 1, 1e-9, 1e-3, 1e3, 1e18 };
	static const double bounds[] = { 0.25, 1, 10 };

	while (*rest) {
		char *name = take_field(&rest);
		const unsigned kind = (unsigned char)*name;
		const uint64_t buckets[] = { kind, 0, 1, UINT64_MAX };
		struct bus_sample s = {
			.kind = (enum bus_kind)(kind % 3),
			.name = *name ? name + 1 : name,
			.labels = take_field(&rest),
			.help = take_field(&rest),
			.unit = take_field(&rest),
			.scale = scales[kind / 3 % array_len(scales)],
			.buckets = buckets,
			.bounds = bounds,
			.buckets_n = array_len(buckets),
		};

		s.value = s.sum = strtoull(take_field(&rest), NULL, 10);
		if (kind == 'i')
			exposition_info(e, s.name, s.help, s.labels);
		else
			exposition_sample(e, &s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	(void)negotiate_format(span_of(p, n));
	(void)negotiate_gzip(span_of(p, n));
	for (int format = EXPOSITION_TEXT; format <= EXPOSITION_OPENMETRICS; format++) {
		struct exposition *e;
		struct buf page;
		char *text = calloc(1, n + 1);

		if (n)
			memcpy(text, p, n);
		buf_init(&page, &mem_heap, 8 << 20);
		must(exposition_start(&e, &page, (enum exposition_format)format) == 0);
		exposition_created(e, 1);
		feed(e, text);
		must(exposition_end(e) == 0 && buf_append(&page, "", 1) == 0);
		check_page((char *)buf_bytes(&page).p, buf_len(&page) - 1,
			   format == EXPOSITION_OPENMETRICS);
		buf_fini(&page);
		free(text);
	}
	return 0;
}
