/* Attaching to any header, sections and descriptors. */
#include <sys/mman.h>

#include "shm/attach.h"
#include "shm/guard.h"
#include "shm/text.h"
#include "tests/fuzz/bus_template.h"

static struct bus_template template;
static int fd = -1;

static void setup(void)
{
	must(bus_guard_install(NULL) == 0);
	template_init(&template);
	template_remove(&template);
	fd = memfd_create("segment", MFD_CLOEXEC);
	must(fd >= 0 && pwrite(fd, template.good, template.n, 0) == (ssize_t) template.n);
}

/* What attach promises of a segment that it took. */
static void check_segment(const struct bus_segment *s)
{
	must(s->series_n <= BUS_DESCRIPTORS_MAX && s->values_n <= BUS_VALUES_MAX);
	for (size_t i = 0; i < s->series_n; i++) {
		const struct bus_series *one = &s->series[i];
		const struct bus_toc_entry *e =
			&s->at[one->kind == BUS_KIND_HISTOGRAM ? BUS_SECTION_HISTOGRAMS
							       : BUS_SECTION_COUNTERS];
		must(bus_text_is_metric_name(one->name) && bus_text_is_labels(one->labels));
		must(bus_text_is_clean(one->help, strlen(one->help)));
		must(one->value_at + one->words <= s->values_n);
		must(e->off + ((uint64_t)e->count - 1) * e->entsize +
			     8u * (one->value_index + one->words) <=
		     s->len);
	}
	const _Atomic uint64_t *end = (const void *)(s->map + s->len);
	must(s->log.slots + s->log.slots_n * s->log.slot_words <= end);
	must(s->events.slots + s->events.slots_n * s->events.slot_words <= end);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct bus_segment s;

	if (fd < 0)
		setup();
	if (n == 0)
		return 0;
	/* the first byte: patches, or the immutable part raw; sealed or not */
	if (p[0] & 1) {
		memcpy(template.now, template.good, template.fixed_n);
		memcpy(template.now, p + 1, min_size(n - 1, template.fixed_n));
	} else {
		template_patch(&template, template.fixed_n, p + 1, n - 1);
	}
	if (!(p[0] & 2))
		template_seal(&template);
	must(pwrite(fd, template.now, template.fixed_n, 0) == (ssize_t) template.fixed_n);
	const int rc = bus_segment_take(&s, dup(fd), BUS_TUNNEL, NULL);
	must(rc == 1 || rc < 0);
	if (rc == 1)
		check_segment(&s);
	bus_segment_close(&s);
	return 0;
}
