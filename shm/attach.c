/*
 * The one place that maps a segment file: size and kind of the file, header,
 * checksum, sections.  Descriptors are describe.c's.
 */
#include "shm/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "shm/crc32c.h"
#include "shm/guard.h"
#include "shm/publication.h"
#include "shm/records.h"
#include "shm/text.h"

void bus_segment_init(struct bus_segment *s)
{
	*s = (struct bus_segment){ .fd = -1 };
}

void bus_segment_close(struct bus_segment *s)
{
	if (s->map)
		munmap((void *)s->map, s->len);
	if (s->fd >= 0)
		close(s->fd);
	free(s->copy);
	free(s->bounds);
	free(s->series);
	bus_segment_init(s);
}

/* A hole would be filled by reading it, at our cost or by a SIGBUS; a writer
 * has allocated every block. */
static int check_file(const struct stat *st, struct fault *why)
{
	if (!S_ISREG(st->st_mode))
		return fault_set(why, ERR_TRUST, "the segment is not a regular file");
	if (st->st_size > (off_t)BUS_FILE_MAX)
		return fault_set(why, ERR_LIMIT, "the segment is larger than %u bytes",
				 BUS_FILE_MAX);
	if (st->st_size < (off_t)(2 * BUS_PAGE))
		return fault_set(why, ERR_PROTO, "the segment is shorter than a header");
	if (st->st_size % BUS_PAGE != 0)
		return fault_set(why, ERR_PROTO, "the segment is not made of whole pages");
	if (st->st_blocks * 512 < st->st_size)
		return fault_set(why, ERR_TRUST, "the segment has holes");
	return 0;
}

/* Words [from, to) of the map, each loaded once. */
static int copy_words(struct bus_segment *s, size_t from, size_t to, struct fault *why)
{
	const _Atomic uint64_t *map = (const void *)s->map;

	bus_guard_enter(s->map, s->len);
	for (size_t i = from; i < to; i++)
		s->copy[i] = atomic_load_explicit(&map[i], memory_order_acquire);
	if (!bus_guard_leave())
		return 0;
	s->cut = true;
	return fault_set(why, ERR_PROTO, "the segment was cut while it was read");
}

static int check_header(const struct bus_segment *s, enum bus_role role, struct fault *why)
{
	const struct bus_header *h = s->header;

	if (memcmp(h->magic, BUS_MAGIC, sizeof(h->magic)) != 0)
		return fault_set(why, ERR_PROTO, "the segment has no magic");
	if (h->endian != BUS_ENDIAN)
		return fault_set(why, ERR_ALGO, "the segment has another byte order");
	if (h->major != BUS_MAJOR)
		return fault_set(why, ERR_ALGO, "the segment has major version %u, we read %u",
				 h->major, BUS_MAJOR);
	if (h->features_incompat != 0)
		return fault_set(why, ERR_ALGO,
				 "the segment needs features %#" PRIx32 " that we lack",
				 h->features_incompat);
	if (h->complete != BUS_COMPLETE)
		return fault_set(why, ERR_PROTO, "the segment is not complete");
	if (h->header_len != BUS_PAGE || h->line != BUS_LINE)
		return fault_set(why, ERR_PROTO, "the header has an odd size");
	if (h->file_len != s->len)
		return fault_set(why, ERR_PROTO, "the file is not as long as it says");
	if (h->role != role)
		return fault_set(why, ERR_TRUST, "the segment is of role %u, not %s's", h->role,
				 bus_role_name(role));
	if (h->sections_n > BUS_SECTIONS_MAX)
		return fault_set(why, ERR_LIMIT, "the segment has %u sections", h->sections_n);
	if (h->immutable_len > BUS_IMMUTABLE_MAX)
		return fault_set(why, ERR_LIMIT, "the immutable part is too large");
	if (h->immutable_len <= BUS_PAGE || h->immutable_len % BUS_PAGE != 0 ||
	    h->immutable_len >= s->len)
		return fault_set(why, ERR_PROTO, "the immutable part has an odd size");
	const size_t n = strnlen(h->build, sizeof(h->build));
	if (n == sizeof(h->build) || !bus_text_is_clean(h->build, n))
		return fault_set(why, ERR_PROTO, "the build text is not clean");
	return 0;
}

static uint32_t crc_of(const struct bus_segment *s)
{
	const uint8_t *p = (const uint8_t *)s->copy;

	return bus_crc32c(bus_crc32c(0, p, offsetof(struct bus_header, crc)), p + BUS_PAGE,
			  s->header->immutable_len - BUS_PAGE);
}

static bool is_immutable(uint32_t type)
{
	return type <= BUS_SECTION_BOUNDS;
}

/* By subtraction: no sum of the file's numbers can wrap.  len may exceed what
 * count entries need. */
static int check_section(const struct bus_segment *s, unsigned i, struct fault *why)
{
	const struct bus_toc_entry *e = &s->header->toc[i];
	const uint64_t fixed = s->header->immutable_len;
	const uint64_t from = is_immutable(e->type) ? BUS_PAGE : fixed;
	const uint64_t to = is_immutable(e->type) ? fixed : s->len;

	if (e->type == 0)
		return fault_set(why, ERR_PROTO, "section %u has no type", i);
	if (e->off % 8 != 0)
		return fault_set(why, ERR_PROTO, "section %u is not aligned", i);
	if (e->off < from || e->off > to || e->len > to - e->off)
		return fault_set(why, ERR_PROTO, "section %u lies outside its part", i);
	if (e->entsize == 0 || e->count > e->len / e->entsize)
		return fault_set(why, ERR_PROTO, "section %u has more entries than room", i);
	for (unsigned j = 0; j < i; j++) {
		const struct bus_toc_entry *o = &s->header->toc[j];
		if (o->type == e->type)
			return fault_set(why, ERR_PROTO, "sections %u and %u are of one type", j,
					 i);
		if (o->len && e->len &&
		    (o->off < e->off ? e->off - o->off < o->len : o->off - e->off < e->len))
			return fault_set(why, ERR_PROTO, "sections %u and %u overlap", j, i);
	}
	return 0;
}

/* Both have a line in front of their slots, which check_section knows not. */
static bool slots_fit(const struct bus_toc_entry *e)
{
	return e->entsize % 8 == 0 && e->entsize <= BUS_SLOT_MAX && e->len >= BUS_LINE &&
	       e->count <= (e->len - BUS_LINE) / e->entsize;
}

static int check_record(const struct bus_segment *s, enum bus_section type, struct fault *why)
{
	const struct bus_toc_entry *e = &s->at[type];

	if (e->len == 0)
		return 0;
	if (!slots_fit(e) || e->count != BUS_RECORD_SLOTS || e->flags % 8 != 0 || e->flags == 0 ||
	    e->flags > e->entsize)
		return fault_set(why, ERR_PROTO, "record section %u has odd slots", (unsigned)type);
	return 0;
}

static int check_ring(const struct bus_segment *s, enum bus_section type, struct bus_ring *r,
		      struct fault *why)
{
	const struct bus_toc_entry *e = &s->at[type];

	if (e->len == 0)
		return fault_set(why, ERR_PROTO, "section %u is missing", (unsigned)type);
	if (!slots_fit(e) || e->count == 0 || (e->count & (e->count - 1)) != 0 ||
	    e->entsize <= 8 * BUS_RING_SLOT_HEAD)
		return fault_set(why, ERR_PROTO, "ring section %u has odd slots", (unsigned)type);
	if (e->count > BUS_RING_SLOTS_MAX)
		return fault_set(why, ERR_LIMIT, "ring section %u has too many slots",
				 (unsigned)type);
	*r = (struct bus_ring){ .head = (void *)(s->map + e->off),
				.slots = (void *)(s->map + e->off + BUS_LINE),
				.slots_n = e->count,
				.slot_words = e->entsize / 8 };
	return 0;
}

static int check_shards(const struct bus_segment *s, enum bus_section type, struct fault *why)
{
	const struct bus_toc_entry *e = &s->at[type];

	if (e->len == 0 || e->count == 0 || e->entsize % 8 != 0)
		return fault_set(why, ERR_PROTO, "section %u has odd shards", (unsigned)type);
	if (e->count > BUS_SHARDS_MAX)
		return fault_set(why, ERR_LIMIT, "section %u has too many shards", (unsigned)type);
	return 0;
}

static int check_sections(struct bus_segment *s, struct fault *why)
{
	int rc = 0;

	for (unsigned i = 0; i < s->header->sections_n && rc == 0; i++) {
		const struct bus_toc_entry *e = &s->header->toc[i];
		rc = check_section(s, i, why);
		if (rc == 0 && e->type < BUS_SECTION_TYPES)
			s->at[e->type] = *e;
	}
	if (rc == 0 && s->at[BUS_SECTION_LIVENESS].len < sizeof(struct bus_liveness))
		rc = fault_set(why, ERR_PROTO, "the liveness section is missing or short");
	if (rc == 0)
		rc = check_shards(s, BUS_SECTION_COUNTERS, why);
	if (rc == 0)
		rc = check_shards(s, BUS_SECTION_HISTOGRAMS, why);
	for (unsigned i = 0; i < BUS_RECORDS_N && rc == 0; i++)
		rc = check_record(s, bus_record_info[i].section, why);
	if (rc == 0)
		rc = check_ring(s, BUS_SECTION_LOG, &s->log, why);
	if (rc == 0)
		rc = check_ring(s, BUS_SECTION_EVENTS, &s->events, why);
	return rc;
}

static int copy_and_check(struct bus_segment *s, enum bus_role role, struct fault *why)
{
	const size_t room = bus_round_up(min_size(s->len, BUS_IMMUTABLE_MAX), 8);

	s->copy = malloc(room);
	if (!s->copy)
		return fault_set(why, ERR_NOMEM, "no memory for the copy of the segment");
	s->header = (const void *)s->copy;
	int rc = copy_words(s, 0, BUS_PAGE / 8, why);
	if (rc == 0)
		rc = check_header(s, role, why);
	if (rc == 0)
		rc = copy_words(s, BUS_PAGE / 8, s->header->immutable_len / 8, why);
	if (rc == 0 && crc_of(s) != s->header->crc)
		rc = fault_set(why, ERR_PROTO, "the checksum of the segment does not match");
	if (rc == 0)
		rc = check_sections(s, why);
	if (rc == 0)
		rc = bus_segment_describe(s, role, why);
	return rc;
}

int bus_segment_take(struct bus_segment *s, int fd, enum bus_role role, struct fault *why)
{
	struct stat st;
	int rc = 0;

	bus_segment_init(s);
	s->fd = fd;
	if (fstat(fd, &st))
		rc = fault_set_sys(why, errno, "stat the segment");
	if (rc == 0)
		rc = check_file(&st, why);
	if (rc == 0) {
		s->dev = st.st_dev;
		s->ino = st.st_ino;
		s->len = (size_t)st.st_size;
		void *map = mmap(NULL, s->len, PROT_READ, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED)
			s->map = map;
		else
			rc = fault_set_sys(why, errno, "map the segment");
	}
	if (rc == 0)
		rc = copy_and_check(s, role, why);
	if (rc < 0)
		bus_segment_close(s);
	return rc < 0 ? rc : 1;
}

int bus_segment_open(struct bus_segment *s, int dir, const char *name, enum bus_role role,
		     struct fault *why)
{
	/* a FIFO must not block us, a symlink not lead us elsewhere */
	const int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		return bus_segment_take(s, fd, role, why);
	bus_segment_init(s);
	if (errno == ENOENT)
		return 0;
	if (errno == ELOOP || errno == ENXIO) /* a symlink; a socket */
		return fault_set(why, ERR_TRUST, "the segment is not a regular file");
	return fault_set_sys(why, errno, "open the segment");
}

int bus_segment_check(struct bus_segment *s, struct fault *why)
{
	struct stat st;

	if (s->cut || fstat(s->fd, &st) || st.st_size != (off_t)s->len)
		return fault_set(why, ERR_PROTO, "the segment was cut");
	return check_file(&st, why);
}

int bus_segment_record(const struct bus_segment *s, enum bus_section type, size_t bytes,
		       struct bus_record *r)
{
	const struct bus_toc_entry *e = &s->at[type];

	if (s->fd < 0 || e->len == 0)
		return 0;
	*r = (struct bus_record){ .version = (void *)(s->map + e->off),
				  .slots = (void *)(s->map + e->off + BUS_LINE),
				  .stride = e->entsize / 8,
				  .words = min_size(bytes, e->flags) / 8 };
	return 1;
}
