/* Everything a reader does with an attached segment, over any live bytes. */
#include "shm/reader.h"
#include "shm/text.h"
#include "tests/fuzz/bus_template.h"

static struct bus_template template;
static struct bus_reader *reader;
static int fd = -1;

static void remove_all(void)
{
	bus_reader_free(reader);
	template_remove(&template);
	free(template.good);
	free(template.now);
}

static void setup(void)
{
	template_init(&template);
	fd = open(template.segment, O_RDWR | O_CLOEXEC);
	must(fd >= 0 && bus_reader_new(&reader, template.dir, BUS_TUNNEL, NULL) == 0);
	atexit(remove_all);
}

static void check_sample(void *user, const struct bus_sample *s)
{
	must(bus_text_is_metric_name(s->name) && bus_text_is_labels(s->labels));
	must(bus_text_is_clean(s->help, strlen(s->help)) && s->scale > 0 && s->scale <= 1e18);
	must(s->kind != BUS_HISTOGRAM || (s->buckets && s->bounds && s->buckets_n >= 2));
	for (unsigned i = 2; s->kind == BUS_HISTOGRAM && i < s->buckets_n; i++)
		must(s->bounds[i - 1] > s->bounds[i - 2]);
	++*(unsigned *)user;
}

static void check_line(void *user, const struct bus_log_line *line)
{
	must(bus_text_is_clean((const char *)line->text.p, line->text.n));
	++*(unsigned *)user;
}

static void check_text(const char *p, size_t size)
{
	const size_t n = strnlen(p, size);

	must(n < size && bus_text_is_clean(p, n));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct bus_session session;
	struct bus_observed observed;
	unsigned samples = 0, lines = 0, events = 0;
	uint64_t cursor = 0, lost = 0;
	uint32_t code;

	if (fd < 0)
		setup();
	template_patch(&template, template.n, p, n);
	template_seal(&template);
	must(pwrite(fd, template.now, template.n, 0) == (ssize_t) template.n);
	if (n > 0 && p[0] & 0x80) { /* a reader that attaches to this; else one that was attached */
		bus_reader_free(reader);
		must(bus_reader_new(&reader, template.dir, BUS_TUNNEL, NULL) == 0);
	}
	const enum bus_presence presence = bus_reader_refresh(reader, n);
	must(presence == BUS_DEAD || presence == BUS_UNREADABLE);
	must(bus_reader_phase(reader, &code) <= BUS_FAILED);
	check_text(bus_reader_build(reader), 64);
	must(bus_reader_samples(reader, check_sample, &samples) == 0);
	must(samples <= BUS_DESCRIPTORS_MAX);
	if (bus_read_session(reader, &session) == 1) {
		check_text(session.server, sizeof(session.server));
		check_text(session.last_error, sizeof(session.last_error));
	}
	if (bus_read_observed(reader, &observed) == 1)
		check_text(observed.error_text, sizeof(observed.error_text));
	(void)!bus_reader_log(reader, &cursor, &lost, check_line, &lines);
	cursor = 0;
	(void)!bus_reader_events(reader, &cursor, &lost, check_line, &events);
	must(lines <= BUS_RING_SLOTS_MAX && events <= BUS_RING_SLOTS_MAX);
	return 0;
}
