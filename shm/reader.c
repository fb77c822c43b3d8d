/*
 * A reader's life: attach, judge presence, copy numbers, records and lines out.
 * What a file may look like is attach.c's; what a record may hold, records.c's.
 */
#include "shm/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/attach.h"
#include "shm/guard.h"
#include "shm/publication.h"
#include "shm/records.h"
#include "shm/text.h"

#define STALL_NS UINT64_C(3500000000)

static_assert(BUS_COUNTER == (int)BUS_KIND_COUNTER && BUS_GAUGE == (int)BUS_KIND_GAUGE &&
		      BUS_HISTOGRAM == (int)BUS_KIND_HISTOGRAM,
	      "kinds are the same in files and to callers");

/* The last good copy, for when a writer overtakes every try. */
struct kept_record {
	uint64_t version; /* 0: none */
	uint64_t words[BUS_SLOT_MAX / 8];
};

struct bus_reader {
	enum bus_role role;
	char *dir; /* NULL: one file that is never looked for */
	const char *name;
	struct bus_segment segment;
	enum bus_presence presence;
	struct fault fault;
	uint64_t beat, beat_at_ns; /* when it changed, on the caller's clock */
	uint64_t phase;		   /* as in struct bus_liveness */
	uint64_t beat_boottime_ns; /* the writer's clock: shown, never judged by */
	uint64_t life;		   /* counts attachments, to know old cursors */
	uint64_t regressions;
	uint64_t *values, *last; /* values_n of the segment each */
	struct kept_record kept[BUS_RECORDS_N];
};

static int new_reader(struct bus_reader **out, const char *dir, const char *name,
		      enum bus_role role, struct fault *why)
{
	*out = NULL;
	const int rc = bus_guard_install(why);
	if (rc)
		return rc;
	struct bus_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return fault_set(why, ERR_NOMEM, "no memory for a reader of the bus");
	r->role = role;
	r->name = name;
	bus_segment_init(&r->segment);
	r->dir = strdup(dir);
	if (!r->dir) {
		bus_reader_free(r);
		return fault_set(why, ERR_NOMEM, "no memory for a reader of the bus");
	}
	*out = r;
	return 0;
}

int bus_reader_new(struct bus_reader **out, const char *dir, enum bus_role role, struct fault *why)
{
	return new_reader(out, dir, BUS_SEGMENT_NAME, role, why);
}

int bus_reader_new_previous(struct bus_reader **out, const char *dir, enum bus_role role,
			    struct fault *why)
{
	return new_reader(out, dir, BUS_PREVIOUS_NAME, role, why);
}

static void detach(struct bus_reader *r)
{
	bus_segment_close(&r->segment);
	free(r->values);
	free(r->last);
	r->values = r->last = NULL;
	r->phase = r->beat_boottime_ns = 0;
	memset(r->kept, 0, sizeof(r->kept));
}

void bus_reader_free(struct bus_reader *r)
{
	if (!r)
		return;
	detach(r);
	free(r->dir);
	free(r);
}

static bool is_attached(const struct bus_reader *r)
{
	return r->segment.fd >= 0;
}

/* ---- attaching and judging ---- */

static int open_role_dir(const struct bus_reader *r)
{
	const int root = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -1;
	const int dir =
		openat(root, bus_role_name(r->role), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const int saved = errno;
	close(root);
	errno = saved;
	return dir;
}

/* The end of an attachment: rc is that of bus_segment_open() or _take(). */
static int attached(struct bus_reader *r, int rc, uint64_t now_ns)
{
	struct bus_segment *s = &r->segment;

	if (rc <= 0)
		return rc;
	r->values = calloc(s->values_n + 1, sizeof(*r->values));
	r->last = calloc(s->values_n + 1, sizeof(*r->last));
	if (!r->values || !r->last) {
		detach(r);
		return fault_set(&r->fault, ERR_NOMEM, "no memory for the values of the segment");
	}
	r->life++;
	r->beat_at_ns = now_ns;
	return 1;
}

/* 1 attached, 0 nothing to attach to; < 0: see r->fault. */
static int look(struct bus_reader *r, uint64_t now_ns)
{
	struct bus_segment *s = &r->segment;
	struct stat st;
	int rc;

	if (!r->dir)
		return is_attached(r);
	const int dir = open_role_dir(r);
	if (dir < 0 || fstatat(dir, r->name, &st, AT_SYMLINK_NOFOLLOW)) {
		/* what we hold stays readable, also when its name is gone */
		rc = is_attached(r) || errno == ENOENT
			     ? is_attached(r)
			     : fault_set_sys(&r->fault, errno, "look for the segment");
	} else {
		/* the inode we hold can't be given to another file meanwhile */
		if (is_attached(r) && (s->cut || s->ino != st.st_ino || s->dev != st.st_dev))
			detach(r);
		rc = is_attached(r)
			     ? 1
			     : attached(r, bus_segment_open(s, dir, r->name, r->role, &r->fault),
					now_ns);
	}
	if (dir >= 0)
		close(dir);
	return rc;
}

enum lock_state { LOCK_FREE, LOCK_HELD, LOCK_UNKNOWN };

/* Asks whether a read lock would be refused: only a write lock does that, so
 * another reader's lock can't make a dead writer look alive. */
static enum lock_state lock_state(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return LOCK_UNKNOWN; /* some sandbox: the beat alone has to do */
	return lock.l_type == F_UNLCK ? LOCK_FREE : LOCK_HELD;
}

/* Beats are compared with our own clock only, never with the writer's times. */
static enum bus_presence judge(struct bus_reader *r, uint64_t now_ns)
{
	struct bus_segment *s = &r->segment;
	const struct bus_liveness *l = (const void *)(s->map + s->at[BUS_SECTION_LIVENESS].off);
	/* before the words: a writer that ends stores its phase, then unlocks */
	const enum lock_state lock = lock_state(s->fd);

	bus_guard_enter(s->map, s->len);
	const uint64_t beat = atomic_load_explicit(&l->beat, memory_order_acquire);
	const uint64_t phase = atomic_load_explicit(&l->phase, memory_order_acquire);
	const uint64_t boottime_ns =
		atomic_load_explicit(&l->beat_boottime_ns, memory_order_relaxed);
	if (bus_guard_leave())
		s->cut = true;
	if (bus_segment_check(s, &r->fault)) {
		detach(r);
		return BUS_UNREADABLE;
	}
	r->phase = phase;
	r->beat_boottime_ns = boottime_ns;
	if (beat != r->beat) {
		r->beat = beat;
		r->beat_at_ns = now_ns;
	}
	if (lock == LOCK_FREE)
		return BUS_DEAD;
	return now_ns > r->beat_at_ns && now_ns - r->beat_at_ns > STALL_NS ? BUS_STALLED
									   : BUS_ALIVE;
}

enum bus_presence bus_reader_refresh(struct bus_reader *r, uint64_t now_ns)
{
	r->fault = (struct fault){ 0 };
	const int rc = look(r, now_ns);
	if (rc < 0)
		r->presence = BUS_UNREADABLE;
	else
		r->presence = rc == 0 ? BUS_ABSENT : judge(r, now_ns);
	return r->presence;
}

int bus_reader_take(struct bus_reader **out, int fd, enum bus_role role, struct fault *why)
{
	struct bus_reader *r;
	int rc = bus_reader_new(&r, "", role, why);

	*out = NULL;
	if (!r) {
		close(fd);
		return rc;
	}
	free(r->dir);
	r->dir = NULL;
	rc = attached(r, bus_segment_take(&r->segment, fd, role, &r->fault), 1);
	if (rc > 0) {
		r->presence = judge(r, 1);
		rc = r->fault.code;
	}
	if (rc < 0) {
		fault_set(why, r->fault.code, "%s", r->fault.why);
		bus_reader_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

/* ---- about the segment ---- */

enum bus_presence bus_reader_presence(const struct bus_reader *r)
{
	return r->presence;
}

const struct fault *bus_reader_fault(const struct bus_reader *r)
{
	return &r->fault;
}

const char *bus_presence_name(enum bus_presence p)
{
	switch (p) {
	case BUS_ABSENT:
		return "absent";
	case BUS_ALIVE:
		return "alive";
	case BUS_STALLED:
		return "stalled";
	case BUS_DEAD:
		return "dead";
	case BUS_UNREADABLE:
		return "unreadable";
	}
	return "unknown";
}

uint64_t bus_reader_beat(const struct bus_reader *r)
{
	return r->beat;
}

uint64_t bus_reader_silent_ns(const struct bus_reader *r, uint64_t now_ns)
{
	return is_attached(r) && now_ns > r->beat_at_ns ? now_ns - r->beat_at_ns : 0;
}

uint64_t bus_reader_last_beat_realtime_ns(const struct bus_reader *r)
{
	if (!is_attached(r))
		return 0;
	const struct bus_header *h = r->segment.header;
	const uint64_t lived = r->beat_boottime_ns > h->start_boottime_ns
				       ? r->beat_boottime_ns - h->start_boottime_ns
				       : 0;
	/* a hostile writer's sum stays a time */
	return lived < UINT64_MAX - h->start_realtime_ns ? h->start_realtime_ns + lived
							 : UINT64_MAX;
}

bool bus_reader_has_ended(const struct bus_reader *r, bool *is_exit)
{
	uint32_t exit_code;
	const enum bus_phase phase = bus_reader_phase(r, &exit_code);

	*is_exit = phase == BUS_STOPPED || phase == BUS_FAILED;
	return r->presence == BUS_DEAD;
}

uint64_t bus_reader_start_realtime_ns(const struct bus_reader *r)
{
	return is_attached(r) ? r->segment.header->start_realtime_ns : 0;
}

const char *bus_reader_build(const struct bus_reader *r)
{
	return is_attached(r) ? r->segment.header->build : "";
}

void bus_reader_incarnation(const struct bus_reader *r, uint8_t to[16])
{
	memset(to, 0, 16);
	if (is_attached(r))
		memcpy(to, r->segment.header->incarnation, 16);
}

enum bus_phase bus_reader_phase(const struct bus_reader *r, uint32_t *exit_code)
{
	const uint32_t phase = (uint32_t)r->phase;

	*exit_code = (uint32_t)(r->phase >> 32);
	return phase <= BUS_FAILED ? (enum bus_phase)phase : BUS_FAILED;
}

uint64_t bus_reader_regressions(const struct bus_reader *r)
{
	return r->regressions;
}

/* ---- numbers ---- */

static int cut_under_us(struct bus_reader *r)
{
	r->segment.cut = true; /* the next refresh attaches anew */
	return ERR_PROTO;
}

static uint64_t combined(const struct bus_segment *s, const struct bus_series *one, uint32_t word)
{
	const struct bus_toc_entry *e =
		&s->at[one->kind == BUS_KIND_HISTOGRAM ? BUS_SECTION_HISTOGRAMS
						       : BUS_SECTION_COUNTERS];
	uint64_t v = 0;

	for (uint32_t shard = 0; shard < e->count; shard++) {
		const _Atomic uint64_t *words =
			(const void *)(s->map + e->off + (size_t)shard * e->entsize);
		const uint64_t w =
			atomic_load_explicit(&words[one->value_index + word], memory_order_relaxed);
		if (one->agg == BUS_AGG_SUM)
			v += w;
		else if (w > v)
			v = w;
	}
	return v;
}

static int copy_values(struct bus_reader *r)
{
	struct bus_segment *s = &r->segment;

	bus_guard_enter(s->map, s->len);
	for (size_t i = 0; i < s->series_n; i++)
		for (uint32_t word = 0; word < s->series[i].words; word++)
			r->values[s->series[i].value_at + word] = combined(s, &s->series[i], word);
	return bus_guard_leave() ? cut_under_us(r) : 0;
}

/* False, and counted, when any word of the series is less than it was. */
static bool has_grown(struct bus_reader *r, const struct bus_series *one)
{
	const uint64_t *now = r->values + one->value_at;
	uint64_t *last = r->last + one->value_at;

	if (one->kind == BUS_KIND_GAUGE)
		return true;
	for (uint32_t i = 0; i < one->words; i++)
		if (now[i] < last[i]) {
			r->regressions++;
			return false;
		}
	memcpy(last, now, one->words * sizeof(*last));
	return true;
}

int bus_reader_samples(struct bus_reader *r, void (*each)(void *user, const struct bus_sample *s),
		       void *user)
{
	if (!is_attached(r))
		return 0;
	if (r->segment.cut || copy_values(r))
		return ERR_PROTO;
	for (size_t i = 0; i < r->segment.series_n; i++) {
		const struct bus_series *one = &r->segment.series[i];
		const uint64_t *v = r->values + one->value_at;
		struct bus_sample sample = {
			.kind = (enum bus_kind)one->kind,
			.name = one->name,
			.unit = one->unit,
			.help = one->help,
			.labels = one->labels,
			.scale = one->scale,
		};
		if (one->kind == BUS_KIND_HISTOGRAM) {
			sample.buckets = v;
			sample.buckets_n = one->words - 1;
			sample.bounds = one->bounds;
			sample.sum = v[one->words - 1];
		} else {
			sample.value = v[0];
		}
		if (has_grown(r, one))
			each(user, &sample);
	}
	return 0;
}

bool bus_reader_doorbell(const struct bus_reader *r, struct bus_reader_place *to)
{
	const struct bus_toc_entry *e = &r->segment.at[BUS_SECTION_DOORBELL];

	if (!is_attached(r) || e->len < 8) /* off is a multiple of 8: within one page */
		return false;
	*to = (struct bus_reader_place){ r->segment.fd, e->off, r->life };
	return true;
}

/* ---- records ---- */

/* 1, 0 or ERR_PROTO; as the writer left it. */
static int copy_record(struct bus_reader *r, enum bus_record_id id, void *to)
{
	const struct bus_record_info *info = &bus_record_info[id];
	struct bus_segment *s = &r->segment;
	struct kept_record *kept = &r->kept[id];
	uint64_t words[BUS_SLOT_MAX / 8] = { 0 };
	uint64_t version = 0;
	struct bus_record record;

	if (!bus_segment_record(s, info->section, info->size, &record))
		return 0;
	if (s->cut)
		return ERR_PROTO;
	bus_guard_enter(s->map, s->len);
	const int rc = bus_record_read(&record, words, &version);
	if (bus_guard_leave())
		return cut_under_us(r);
	if ((rc == 0 && kept->version) || (rc == 1 && version < kept->version)) {
		r->regressions++;
		return ERR_PROTO;
	}
	if (rc == 1) {
		kept->version = version;
		memcpy(kept->words, words, sizeof(words));
	}
	if (kept->version == 0)
		return rc == 0 ? 0 : ERR_PROTO;
	memcpy(to, kept->words, info->size);
	return 1;
}

int bus_read(struct bus_reader *r, enum bus_record_id id, void *to)
{
	const int rc = copy_record(r, id, to);

	return rc > 0 && bus_record_settle(&bus_record_info[id], to) < 0 ? ERR_PROTO : rc;
}

void bus_reader_last_error(struct bus_reader *r, char to[BUS_TEXT_MAX])
{
	struct bus_session session = { .last_error = "" };
	struct bus_registration registration = { .last_error = "" };

	if (r->role == BUS_TUNNEL) {
		if (bus_read_session(r, &session) < 0)
			session.last_error[0] = '\0';
		memcpy(to, session.last_error, BUS_TEXT_MAX);
	} else {
		if (bus_read_registration(r, &registration) < 0)
			registration.last_error[0] = '\0';
		memcpy(to, registration.last_error, BUS_TEXT_MAX);
	}
}

/* ---- lines ---- */

#define CURSOR_LIFE 48 /* a cursor: the reader's life above, lines below */

static int read_ring(struct bus_reader *r, const struct bus_ring *ring, uint64_t *cursor,
		     uint64_t *lost, void (*each)(void *user, const struct bus_log_line *line),
		     void *user)
{
	struct bus_segment *s = &r->segment;
	const uint64_t life = (r->life & 0xffff) << CURSOR_LIFE;
	uint64_t at = *cursor & (BUS_RING_HEAD_MAX - 1);
	uint64_t head = 0;
	struct bus_ring_line line;

	if (!is_attached(r))
		return 0;
	if (s->cut)
		return ERR_PROTO;
	if ((*cursor ^ life) >> CURSOR_LIFE)
		at = 0;
	bus_guard_enter(s->map, s->len);
	const int bad = bus_ring_head(ring, at, &head);
	if (bus_guard_leave())
		return cut_under_us(r);
	if (bad) {
		r->regressions++;
		return ERR_PROTO;
	}
	for (;;) {
		bus_guard_enter(s->map, s->len);
		const int rc = bus_ring_next(ring, head, &at, lost, &line);
		if (bus_guard_leave())
			return cut_under_us(r);
		*cursor = life | at;
		if (rc == 0)
			return 0;
		bus_text_clean(line.text, line.n);
		each(user, &(struct bus_log_line){ .seq = line.seq,
						   .realtime_ns = line.realtime_ns,
						   .level = line.level,
						   .text = span_of(line.text, line.n) });
	}
}

int bus_reader_log(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
		   void (*each)(void *user, const struct bus_log_line *line), void *user)
{
	return read_ring(r, &r->segment.log, cursor, lost, each, user);
}

int bus_reader_events(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
		      void (*each)(void *user, const struct bus_log_line *line), void *user)
{
	return read_ring(r, &r->segment.events, cursor, lost, each, user);
}
