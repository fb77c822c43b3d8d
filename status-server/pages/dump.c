/*
 * `status-server dump`: any file, first as it stands, then as a reader of the
 * pod judges it.  Records and lines are blackbox.c's.
 */
#include "status-server/pages/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/app/program.h"
#include "lib/base/json_write.h"
#include "shm/layout.h"
#include "status-server/pages/blackbox.h"

#define DUMP_MAX (32u << 20)
#define USAGE	 "usage: status-server dump SEGMENT [--json]"

/* The file as it is, before anybody judges it. */
struct raw {
	int fd;
	struct stat st;
	size_t n; /* bytes of the header that are there */
	struct bus_header header;
};

/* A FIFO must not block us; nothing but a regular file is read at all. */
static int open_raw(struct raw *r, const char *path, struct fault *why)
{
	r->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (r->fd < 0 || fstat(r->fd, &r->st))
		return fault_set_sys(why, errno, "open %s", path);
	if (!S_ISREG(r->st.st_mode))
		return 0; /* a reader says what it thinks of it */
	const ssize_t n = pread(r->fd, &r->header, sizeof(r->header), 0);
	if (n < 0)
		return fault_set_sys(why, errno, "read %s", path);
	r->n = (size_t)n;
	return 0;
}

static enum bus_role role_of(const struct raw *r)
{
	return r->header.role == BUS_CONTROL ? BUS_CONTROL : BUS_TUNNEL;
}

/* ---- the header and the sections, believed in nothing ---- */

static struct span text_of(const char *p, size_t size)
{
	return span_of(p, strnlen(p, size));
}

static void number_in_hex(struct json_writer *j, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, v);
	json_write_text(j, key, text);
}

static void write_header(struct json_writer *j, const struct bus_header *h)
{
	json_write_open(j, "header", '{');
	json_write_span(j, "magic", text_of(h->magic, sizeof(h->magic)));
	json_write_number(j, "major", h->major);
	json_write_number(j, "minor", h->minor);
	number_in_hex(j, "endian", h->endian);
	json_write_number(j, "file_len", h->file_len);
	json_write_number(j, "immutable_len", h->immutable_len);
	json_write_number(j, "role", h->role);
	json_write_text(j, "role_name",
			h->role == BUS_TUNNEL	 ? "tunnel"
			: h->role == BUS_CONTROL ? "control"
						 : "unknown");
	json_write_span(j, "build", text_of(h->build, sizeof(h->build)));
	json_write_hex(j, "incarnation", h->incarnation, sizeof(h->incarnation));
	json_write_time(j, "started", h->start_realtime_ns);
	number_in_hex(j, "features_compat", h->features_compat);
	number_in_hex(j, "features_incompat", h->features_incompat);
	number_in_hex(j, "layout_hash", h->layout_hash);
	number_in_hex(j, "crc", h->crc);
	json_write_bool(j, "complete", h->complete == BUS_COMPLETE);
	json_write_close(j, '}');
}

static const char *section_name(uint32_t type)
{
	static const char *const names[BUS_SECTION_TYPES] = {
		[BUS_SECTION_DESCRIPTORS] = "descriptors", [BUS_SECTION_STRINGS] = "strings",
		[BUS_SECTION_BOUNDS] = "bounds",	   [BUS_SECTION_LIVENESS] = "liveness",
		[BUS_SECTION_COUNTERS] = "counters",	   [BUS_SECTION_HISTOGRAMS] = "histograms",
#define BUS_RECORD(ID, name, role, strict) [BUS_SECTION_##ID] = #name,
#include "shm/records.def"
		[BUS_SECTION_DOORBELL] = "doorbell",	   [BUS_SECTION_LOG] = "log",
		[BUS_SECTION_EVENTS] = "events",
	};

	return type < BUS_SECTION_TYPES && names[type] ? names[type] : "unknown";
}

static void write_sections(struct json_writer *j, const struct bus_header *h)
{
	json_write_open(j, "sections", '[');
	for (size_t i = 0; i < min_size(h->sections_n, BUS_SECTIONS_MAX); i++) {
		const struct bus_toc_entry *e = &h->toc[i];

		json_write_open(j, NULL, '{');
		json_write_text(j, "name", section_name(e->type));
		json_write_number(j, "type", e->type);
		json_write_number(j, "off", e->off);
		json_write_number(j, "len", e->len);
		json_write_number(j, "entsize", e->entsize);
		json_write_number(j, "count", e->count);
		json_write_number(j, "flags", e->flags);
		json_write_close(j, '}');
	}
	json_write_close(j, ']');
}

/* ---- what a reader of the pod sees ---- */

static void write_number(void *user, const struct bus_sample *s)
{
	static const char *const kinds[] = {
		[BUS_COUNTER] = "counter", [BUS_GAUGE] = "gauge", [BUS_HISTOGRAM] = "histogram"
	};
	struct json_writer *j = user;
	uint64_t count = 0;

	json_write_open(j, NULL, '{');
	json_write_text(j, "name", s->name);
	json_write_text(j, "labels", s->labels);
	json_write_text(j, "kind", kinds[s->kind]);
	if (s->kind == BUS_HISTOGRAM) {
		for (unsigned i = 0; i < s->buckets_n; i++)
			count += s->buckets[i];
		json_write_number(j, "count", count);
		json_write_number(j, "sum", s->sum);
		json_write_open(j, "buckets", '[');
		for (unsigned i = 0; i < s->buckets_n; i++)
			json_write_number(j, NULL, s->buckets[i]);
		json_write_close(j, ']');
	} else {
		json_write_number(j, "value", s->value);
	}
	json_write_close(j, '}');
}

/* The file beside a segment: the life before, when it can be read. */
static void write_previous(struct json_writer *j, const char *path, enum bus_role role)
{
	const char *slash = strrchr(path, '/');
	const size_t dir = slash ? (size_t)(slash - path) + 1 : 0;
	char beside[PATH_MAX];
	struct bus_reader *r = NULL;
	struct fault why = { 0 };

	if (strcmp(path + dir, BUS_SEGMENT_NAME) != 0 || dir >= sizeof(beside) - 32)
		return;
	snprintf(beside, sizeof(beside), "%.*s" BUS_PREVIOUS_NAME, (int)dir, path);
	const int fd = open(beside, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || bus_reader_take(&r, fd, role, &why) < 0)
		return;
	json_write_open(j, "previous", '{');
	json_write_text(j, "file", beside);
	json_write_text(j, "presence", bus_presence_name(bus_reader_presence(r)));
	blackbox_write_life(j, r, BUS_RING_SLOTS_MAX, false);
	json_write_close(j, '}');
	bus_reader_free(r);
}

static void write_contents(struct json_writer *j, struct bus_reader *r)
{
	json_write_open(j, "writer", '{');
	json_write_text(j, "presence", bus_presence_name(bus_reader_presence(r)));
	blackbox_write_life(j, r, BUS_RING_SLOTS_MAX, false);
	json_write_close(j, '}');
	json_write_open(j, "numbers", '[');
	if (bus_reader_samples(r, write_number, j) < 0)
		j->comma = true; /* cut while it was read: what came stands */
	json_write_close(j, ']');
}

int dump_write(struct buf *to, const char *path, bool json, struct fault *why)
{
	struct json_writer j = { .to = to, .plain = !json };
	struct raw raw = { .fd = -1 };
	struct bus_reader *r = NULL;
	int rc = open_raw(&raw, path, why);

	if (rc == 0)
		rc = bus_reader_take(&r, raw.fd, role_of(&raw), why);
	else if (raw.fd >= 0)
		close(raw.fd);
	json_write_open(&j, NULL, '{');
	json_write_text(&j, "file", path);
	json_write_number(&j, "bytes", (uint64_t)raw.st.st_size);
	json_write_bool(&j, "valid", rc == 0);
	if (rc < 0) {
		json_write_text(&j, "refused", err_name(rc));
		json_write_text(&j, "why", why->why);
	}
	if (raw.n == sizeof(raw.header)) {
		write_header(&j, &raw.header);
		write_sections(&j, &raw.header);
	}
	if (r) {
		write_contents(&j, r);
		write_previous(&j, path, role_of(&raw));
	}
	json_write_close(&j, '}');
	bus_reader_free(r);
	if (j.rc == 0 && json)
		j.rc = buf_append(to, "\n", 1);
	return j.rc < 0 ? fault_set(why, (enum err)j.rc, "no memory for the dump") : rc;
}

int dump_main(int argc, char **argv)
{
	struct fault why = { 0 };
	const char *path = NULL;
	bool json = false;
	struct buf out;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			puts(USAGE "\nPrints a segment file of the status bus and whether a reader "
				   "takes it "
				   "(exit code 0) or refuses it (1).");
			return EXIT_DONE;
		} else if (path || argv[i][0] == '-') {
			path = NULL;
			break;
		} else {
			path = argv[i];
		}
	}
	if (!path) {
		fputs(USAGE "\n", stderr);
		return EXIT_USAGE;
	}
	buf_init(&out, &mem_heap, DUMP_MAX);
	const int rc = dump_write(&out, path, json, &why);
	const struct mspan text = buf_bytes(&out);
	const bool written = fwrite(text.p, 1, text.n, stdout) == text.n && fflush(stdout) == 0;
	buf_fini(&out);
	if (rc < 0)
		fprintf(stderr, "status-server dump: %s\n", why.why);
	return rc == 0 && written ? EXIT_DONE : EXIT_RUNTIME;
}
