/*
 * A writer's life: the plan of its segment, filling it, and the calls that
 * count, publish and log.  How a file becomes visible is publication.c's.
 */
#include "shm/writer.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/units.h"
#include "shm/crc32c.h"
#include "shm/fields.h"
#include "shm/publication.h"
#include "shm/record.h"
#include "shm/records.h"
#include "shm/ring.h"
#include "shm/text.h"

#define OWNER_WAIT_MS 5000

struct bus_writer {
	enum bus_role role;
	struct bus_publication file;
	void *private_map; /* in its place while degraded */
	struct fault degraded;

	uint8_t *map;
	size_t len, immutable_len;
	uint32_t first[BUS_FIELDS_N], count[BUS_FIELDS_N]; /* as in struct bus_fields */
	struct bus_liveness *liveness;
	_Atomic uint64_t *counters, *histograms;
	struct bus_record records[BUS_RECORDS_N];
	struct bus_ring log, events;
	_Atomic uint32_t *doorbell;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return timespec_ns(&t);
}

/* ---- the plan: what stands where in this writer's file ---- */

struct plan {
	struct bus_toc_entry toc[BUS_SECTIONS_MAX];
	unsigned n;
	size_t end; /* of what is placed so far */
};

static void place(struct plan *p, enum bus_section type, size_t len, size_t entsize, size_t count,
		  size_t flags)
{
	must(p->n < BUS_SECTIONS_MAX);
	p->toc[p->n++] = (struct bus_toc_entry){ .type = type,
						 .entsize = (uint32_t)entsize,
						 .off = p->end,
						 .len = len,
						 .count = (uint32_t)count,
						 .flags = (uint32_t)flags };
	p->end += bus_round_up(len, BUS_LINE);
}

static void place_record(struct plan *p, enum bus_section type, size_t bytes)
{
	const size_t stride = bus_round_up(bytes, 64);

	place(p, type, BUS_LINE + BUS_RECORD_SLOTS * stride, stride, BUS_RECORD_SLOTS, bytes);
}

static void place_ring(struct plan *p, enum bus_section type, size_t slot, size_t slots)
{
	place(p, type, BUS_LINE + slot * slots, slot, slots, 0);
}

/* One shard: this process has one thread that counts. */
static void place_words(struct plan *p, enum bus_section type, size_t words)
{
	const size_t shard = bus_round_up(words * 8 + 1, BUS_LINE);

	place(p, type, shard, shard, 1, 0);
}

static void plan_segment(struct bus_writer *w, struct plan *p, const struct bus_fields *f)
{
	p->end = BUS_PAGE;
	place(p, BUS_SECTION_DESCRIPTORS, f->descriptors_n * sizeof(*f->descriptors),
	      sizeof(*f->descriptors), f->descriptors_n, 0);
	place(p, BUS_SECTION_STRINGS, f->strings_n, 1, f->strings_n, 0);
	place(p, BUS_SECTION_BOUNDS, sizeof(bus_histogram_bounds), 8, BUS_HISTOGRAM_BOUNDS, 0);
	w->immutable_len = p->end = bus_round_up(p->end, BUS_PAGE);
	place(p, BUS_SECTION_LIVENESS, sizeof(struct bus_liveness), sizeof(struct bus_liveness), 1,
	      0);
	place_words(p, BUS_SECTION_COUNTERS, f->counter_words);
	place_words(p, BUS_SECTION_HISTOGRAMS, f->histogram_words);
	for (size_t i = 0; i < BUS_RECORDS_N; i++)
		if (bus_record_is_of(&bus_record_info[i], w->role))
			place_record(p, bus_record_info[i].section, bus_record_info[i].size);
	if (w->role == BUS_CONTROL)
		place(p, BUS_SECTION_DOORBELL, BUS_LINE, 4, 1, 0);
	place_ring(p, BUS_SECTION_LOG, BUS_LOG_SLOT, BUS_LOG_SLOTS);
	place_ring(p, BUS_SECTION_EVENTS, BUS_EVENT_SLOT, BUS_EVENT_SLOTS);
	w->len = bus_round_up(p->end, BUS_PAGE);
}

/* ---- filling a map, the file's or a private one ---- */

static void bind_record(const struct bus_writer *w, struct bus_record *r,
			const struct bus_toc_entry *e)
{
	*r = (struct bus_record){ .version = (void *)(w->map + e->off),
				  .slots = (void *)(w->map + e->off + BUS_LINE),
				  .stride = e->entsize / 8,
				  .words = e->flags / 8 };
}

static void bind_ring(const struct bus_writer *w, struct bus_ring *r, const struct bus_toc_entry *e)
{
	*r = (struct bus_ring){ .head = (void *)(w->map + e->off),
				.slots = (void *)(w->map + e->off + BUS_LINE),
				.slots_n = e->count,
				.slot_words = e->entsize / 8 };
}

static void bind_section(struct bus_writer *w, const struct bus_toc_entry *e,
			 const struct bus_fields *f)
{
	void *at = w->map + e->off;

	switch ((enum bus_section)e->type) {
	case BUS_SECTION_DESCRIPTORS:
		memcpy(at, f->descriptors, e->len);
		return;
	case BUS_SECTION_STRINGS:
		memcpy(at, f->strings, e->len);
		return;
	case BUS_SECTION_BOUNDS:
		memcpy(at, bus_histogram_bounds, e->len);
		return;
	case BUS_SECTION_LIVENESS:
		w->liveness = at;
		return;
	case BUS_SECTION_COUNTERS:
		w->counters = at;
		return;
	case BUS_SECTION_HISTOGRAMS:
		w->histograms = at;
		return;
#define BUS_RECORD(ID, name, role, strict)                                                         \
	case BUS_SECTION_##ID:                                                                     \
		return bind_record(w, &w->records[BUS_RECORD_##ID], e);
#include "shm/records.def"
	case BUS_SECTION_DOORBELL:
		w->doorbell = at;
		return;
	case BUS_SECTION_LOG:
		return bind_ring(w, &w->log, e);
	case BUS_SECTION_EVENTS:
		return bind_ring(w, &w->events, e);
	case BUS_SECTION_TYPES:
		break;
	}
	must_failed(__FILE__, __LINE__, "a section of the plan");
}

static void fill(struct bus_writer *w, void *map, const struct plan *p, const struct bus_fields *f,
		 const char *build, const uint8_t incarnation[16])
{
	struct bus_header *h = map;

	w->map = map;
	memcpy(h->magic, BUS_MAGIC, sizeof(h->magic));
	h->major = BUS_MAJOR;
	h->minor = BUS_MINOR;
	h->header_len = sizeof(*h);
	h->endian = BUS_ENDIAN;
	h->line = BUS_LINE;
	h->file_len = w->len;
	memcpy(h->incarnation, incarnation, sizeof(h->incarnation));
	h->start_boottime_ns = clock_ns(CLOCK_BOOTTIME);
	h->start_realtime_ns = clock_ns(CLOCK_REALTIME);
	h->role = (uint16_t)w->role;
	h->sections_n = (uint16_t)p->n;
	h->immutable_len = (uint32_t)w->immutable_len;
	h->layout_hash = bus_fnv1a(BUS_FNV_START, f->descriptors,
				   f->descriptors_n * sizeof(*f->descriptors));
	memcpy(h->build, build, bus_text_cut(build, strlen(build), sizeof(h->build) - 1));
	bus_text_clean(h->build, strlen(h->build));
	memcpy(h->toc, p->toc, sizeof(h->toc));
	for (unsigned i = 0; i < p->n; i++)
		bind_section(w, &p->toc[i], f);
	atomic_store_explicit(&w->liveness->beat_boottime_ns, h->start_boottime_ns,
			      memory_order_relaxed);
	BUS_CRASH_POINT(BUS_CRASH_FILLED);
	h->crc = bus_crc32c(bus_crc32c(0, h, offsetof(struct bus_header, crc)), w->map + BUS_PAGE,
			    w->immutable_len - BUS_PAGE);
	atomic_store_explicit(&h->complete, BUS_COMPLETE, memory_order_release);
	BUS_CRASH_POINT(BUS_CRASH_COMPLETE);
}

/* Not unpredictable without getrandom(), but new: enough for a name of a life. */
static void make_incarnation(uint8_t to[16])
{
	if (getrandom(to, 16, 0) == 16)
		return;
	put_be(to, 8, clock_ns(CLOCK_REALTIME));
	put_be(to + 8, 8, clock_ns(CLOCK_BOOTTIME) ^ (uint64_t)getpid() << 40);
}

/* ---- life ---- */

/* 0 also when only a private map could be had; then w->degraded says why. */
static int publish(struct bus_writer *w, const struct bus_writer_options *o, const struct plan *p,
		   const struct bus_fields *f, struct fault *why)
{
	const char *build = o->build ? o->build : "";
	uint8_t incarnation[16];
	int rc = 0;

	make_incarnation(incarnation);
	if (!o->dir)
		rc = fault_set(&w->degraded, ERR_CONFIG, "no bus directory is configured");
	if (rc == 0)
		rc = bus_publication_open(&w->file, o->dir, w->role, w->len, get_be(incarnation, 8),
					  o->lock_wait_ms ? o->lock_wait_ms : OWNER_WAIT_MS,
					  &w->degraded);
	if (rc == ERR_FULL) /* the one trouble that may not be survived: two writers */
		return fault_set(why, ERR_FULL, "%s", w->degraded.why);
	if (rc == 0) {
		fill(w, w->file.map, p, f, build, incarnation);
		rc = bus_publication_commit(&w->file, w->immutable_len, &w->degraded);
	}
	if (rc == 0)
		return 0;

	bus_publication_abandon(&w->file);
	void *map = mmap(NULL, w->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return fault_set(why, ERR_NOMEM, "no memory for the status numbers");
	w->private_map = map;
	fill(w, map, p, f, build, incarnation);
	return 0;
}

int bus_writer_new(struct bus_writer **out, const struct bus_writer_options *options,
		   struct fault *why)
{
	struct bus_fields fields;
	struct plan plan = { 0 };
	struct bus_writer *w = calloc(1, sizeof(*w));

	*out = NULL;
	if (!w)
		return fault_set(why, ERR_NOMEM, "no memory for the bus");
	w->role = options->role;
	bus_publication_init(&w->file);
	int rc = bus_fields_new(&fields, w->role, options->forwards, options->forwards_n);
	if (rc) {
		fault_set(why, ERR_NOMEM, "no memory for the bus");
		goto fail;
	}
	memcpy(w->first, fields.first, sizeof(w->first));
	memcpy(w->count, fields.count, sizeof(w->count));
	plan_segment(w, &plan, &fields);
	rc = publish(w, options, &plan, &fields, why);
	bus_fields_free(&fields);
	if (rc)
		goto fail;
	*out = w;
	BUS_CRASH_POINT(BUS_CRASH_PUBLISH_END);
	return 0;
fail:
	bus_publication_fini(&w->file);
	free(w);
	return rc;
}

static void set_phase(struct bus_writer *w, enum bus_phase phase, uint32_t exit_code)
{
	atomic_store_explicit(&w->liveness->phase, (uint64_t)exit_code << 32 | phase,
			      memory_order_release);
}

static enum bus_phase phase_of(const struct bus_writer *w)
{
	return (enum bus_phase)(uint32_t)atomic_load_explicit(&w->liveness->phase,
							      memory_order_relaxed);
}

void bus_writer_free(struct bus_writer *w, int exit_code)
{
	if (!w)
		return;
	set_phase(w, phase_of(w) == BUS_FAILED ? BUS_FAILED : BUS_STOPPED, (uint32_t)exit_code);
	if (w->private_map)
		munmap(w->private_map, w->len);
	bus_publication_fini(&w->file);
	free(w);
}

const char *bus_writer_degraded(const struct bus_writer *w)
{
	return w->degraded.code ? w->degraded.why : NULL;
}

void bus_phase(struct bus_writer *w, enum bus_phase phase)
{
	set_phase(w, phase, 0);
}

int bus_beat(struct bus_writer *w)
{
	struct bus_liveness *l = w->liveness;
	const uint64_t beat = atomic_load_explicit(&l->beat, memory_order_relaxed);

	atomic_store_explicit(&l->beat_boottime_ns, clock_ns(CLOCK_BOOTTIME), memory_order_relaxed);
	atomic_store_explicit(&l->beat, beat + 1, memory_order_release);
	const int rc = bus_publication_check(&w->file);
	if (rc) {
		atomic_store_explicit(&l->superseded, 1, memory_order_release);
		set_phase(w, BUS_FAILED, 0);
	}
	return rc;
}

/* ---- numbers ---- */

/* One thread owns the word, so a plain load and store do: 0.3 ns, not 6. */
static void add(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static uint32_t value_index(const struct bus_writer *w, enum bus_field field, unsigned index,
			    enum bus_layout_kind kind)
{
	must((unsigned)field < BUS_FIELDS_N && bus_field_info[field].kind == kind &&
	     index < w->count[field]);
	return w->first[field] + index * (kind == BUS_KIND_HISTOGRAM ? BUS_HISTOGRAM_WORDS : 1);
}

void bus_add(struct bus_writer *w, enum bus_field counter, unsigned index, uint64_t n)
{
	add(&w->counters[value_index(w, counter, index, BUS_KIND_COUNTER)], n);
}

struct bus_cell *bus_cell(struct bus_writer *w, enum bus_field counter, unsigned index)
{
	static_assert(sizeof(struct bus_cell) == sizeof(*w->counters),
		      "a cell is a word of the map");
	return (void *)&w->counters[value_index(w, counter, index, BUS_KIND_COUNTER)];
}

void bus_set(struct bus_writer *w, enum bus_field gauge, unsigned index, uint64_t value)
{
	atomic_store_explicit(&w->counters[value_index(w, gauge, index, BUS_KIND_GAUGE)], value,
			      memory_order_relaxed);
}

void bus_observe(struct bus_writer *w, enum bus_field histogram, unsigned index, uint64_t ns)
{
	_Atomic uint64_t *words =
		&w->histograms[value_index(w, histogram, index, BUS_KIND_HISTOGRAM)];
	unsigned bucket = 0;

	while (bucket < BUS_HISTOGRAM_BOUNDS && ns > bus_histogram_bounds[bucket])
		bucket++;
	add(&words[BUS_HISTOGRAM_BOUNDS + 1], ns);
	add(&words[bucket], 1);
}

/* ---- records and lines ---- */

/* A hint: who sleeps on the word looks now, who missed it looks at the next poll. */
static void ring_doorbell(struct bus_writer *w)
{
	atomic_store_explicit(w->doorbell,
			      atomic_load_explicit(w->doorbell, memory_order_relaxed) + 1,
			      memory_order_release);
	syscall(SYS_futex, w->doorbell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void bus_publish(struct bus_writer *w, enum bus_record_id id, const void *record)
{
	must(w->records[id].version); /* of this role */
	bus_record_publish(&w->records[id], record);
	if (id == BUS_RECORD_DESIRED)
		ring_doorbell(w);
}

static void write_line(const struct bus_ring *r, unsigned level, const char *line, size_t n)
{
	bus_ring_write(r, level, clock_ns(CLOCK_BOOTTIME), clock_ns(CLOCK_REALTIME), line, n);
}

void bus_log(struct bus_writer *w, unsigned level, const char *line, size_t n)
{
	write_line(&w->log, level, line, n);
}

void bus_event(struct bus_writer *w, const char *text)
{
	write_line(&w->events, 0, text, strlen(text));
}
