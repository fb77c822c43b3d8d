/* A reader that is refused a system call or memory, and segments that a later
 * writer would make. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *victim;
static int victim_nth, victim_errno;

static int is_refused(const char *name)
{
	if (!victim || strcmp(name, victim) != 0 || --victim_nth != 0)
		return 0;
	errno = victim_errno;
	return 1;
}

/* Every try of a record's reader is overtaken by its writer. */
#include "shm/record.h"
static int overtaken;
#define bus_record_read(...) (overtaken ? (int)ERR_TIMEOUT : bus_record_read(__VA_ARGS__))

#undef strdup
#define open(...)    (is_refused("open") ? -1 : open(__VA_ARGS__))
#define openat(...)  (is_refused("openat") ? -1 : openat(__VA_ARGS__))
#define fstatat(...) (is_refused("fstatat") ? -1 : fstatat(__VA_ARGS__))
#define mmap(...)    (is_refused("mmap") ? MAP_FAILED : mmap(__VA_ARGS__))
#define fcntl(...)   (is_refused("fcntl") ? -1 : fcntl(__VA_ARGS__))
#define malloc(...)  (is_refused("malloc") ? NULL : malloc(__VA_ARGS__))
#define calloc(...)  (is_refused("calloc") ? NULL : calloc(__VA_ARGS__))
#define strdup(...)  (is_refused("strdup") ? NULL : strdup(__VA_ARGS__))
#include "shm/attach.c"
#include "shm/describe.c"
#include "shm/reader.c"
#undef open
#undef openat
#undef fstatat
#undef mmap
#undef fcntl
#undef malloc
#undef calloc
#undef strdup

#include "tests/unit/shm/bus_image.h"

static void refuse(const char *call, int nth, int sys)
{
	victim = call;
	victim_nth = nth;
	victim_errno = sys;
}

static void test_new(void)
{
	static const struct {
		const char *call;
	} rows[] = { { "calloc" }, { "strdup" } };

	for (size_t i = 0; i < array_len(rows); i++) {
		struct bus_reader *r;
		struct fault why = { 0 };
		refuse(rows[i].call, 1, ENOMEM);
		check_row(rows[i].call, bus_reader_new(&r, "/", BUS_TUNNEL, &why) == ERR_NOMEM);
		check_row(rows[i].call, r == NULL && why.code == ERR_NOMEM);
	}
	victim = NULL;
}

/* Whatever is refused, the refresh says so, and the next one heals. */
static void test_refresh(void)
{
	static const struct {
		const char *name, *call;
		int nth, sys;
		enum bus_presence want;
		enum err code;
	} rows[] = {
		{ "the bus directory", "open", 1, EMFILE, BUS_UNREADABLE, ERR_SYS },
		{ "no bus directory", "open", 1, ENOENT, BUS_ABSENT, 0 },
		{ "the role's directory", "openat", 1, EACCES, BUS_UNREADABLE, ERR_SYS },
		{ "look", "fstatat", 1, EACCES, BUS_UNREADABLE, ERR_SYS },
		{ "gone at the last moment", "openat", 2, ENOENT, BUS_ABSENT, 0 },
		{ "symlink at the last moment", "openat", 2, ELOOP, BUS_UNREADABLE, ERR_TRUST },
		{ "no permission", "openat", 2, EACCES, BUS_UNREADABLE, ERR_SYS },
		{ "map", "mmap", 1, ENOMEM, BUS_UNREADABLE, ERR_SYS },
		{ "the copy", "malloc", 1, ENOMEM, BUS_UNREADABLE, ERR_NOMEM },
		{ "series", "calloc", 1, ENOMEM, BUS_UNREADABLE, ERR_NOMEM },
		{ "bounds", "calloc", 2, ENOMEM, BUS_UNREADABLE, ERR_NOMEM },
		{ "values", "calloc", 3, ENOMEM, BUS_UNREADABLE, ERR_NOMEM },
		{ "last values", "calloc", 4, ENOMEM, BUS_UNREADABLE, ERR_NOMEM },
		{ "the lock", "fcntl", 1, EINVAL, BUS_ALIVE, 0 },
	};
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);

	for (size_t i = 0; i < array_len(rows); i++) {
		struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
		refuse(rows[i].call, rows[i].nth, rows[i].sys);
		check_row(rows[i].name, bus_reader_refresh(r, 1) == rows[i].want);
		check_row(rows[i].name, bus_reader_fault(r)->code == rows[i].code);
		check_row(rows[i].name, victim_nth <= 0);
		victim = NULL;
		check_row(rows[i].name, bus_reader_refresh(r, 2) == BUS_ALIVE);
		check_row(rows[i].name, bus_reader_fault(r)->code == 0);
		/* who is attached does not let go because it can't look */
		refuse("open", 1, EMFILE);
		check_row(rows[i].name, bus_reader_refresh(r, 3) == BUS_ALIVE);
		victim = NULL;
		bus_reader_free(r);
	}
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

/* Without F_OFD_GETLK the beat alone decides: a dead writer is a stalled one. */
static void test_no_lock_queries(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	bus_writer_free(fixture_writer(&f, BUS_TUNNEL), 0);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);

	refuse("fcntl", 1, EINVAL);
	check(bus_reader_refresh(r, SECOND) == BUS_ALIVE);
	refuse("fcntl", 1, EINVAL);
	check(bus_reader_refresh(r, 5 * SECOND) == BUS_STALLED);
	victim = NULL;
	bus_reader_free(r);
	fixture_fini(&f);
}

static void put_image(const struct bus_fixture *f, const struct image *i)
{
	char path[128];

	fixture_path(f, path, "tunnel");
	mkdir(path, 0755);
	fixture_path(f, path, "tunnel/segment");
	unlink(path);
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, i->p, i->n) == (ssize_t)i->n);
	close(fd);
}

/* A writer with three threads: what each owns is one number to readers. */
static void test_shards(void)
{
	struct bus_fixture f;
	struct image one, i;

	image_read(&one);
	i.n = one.n + 16 * BUS_PAGE;
	i.p = calloc(1, i.n);
	must(i.p);
	memcpy(i.p, one.p, one.n);
	header_of(&i)->file_len = i.n;
	static const enum bus_section sections[] = { BUS_SECTION_COUNTERS, BUS_SECTION_HISTOGRAMS };
	for (size_t k = 0; k < array_len(sections); k++) {
		struct bus_toc_entry *e = toc_of(&i, sections[k]);
		e->off = one.n + k * 8 * BUS_PAGE;
		e->count = 3;
		e->len = 3 * e->entsize;
		for (uint64_t shard = 0; shard < 3; shard++) {
			uint64_t *words = (void *)(i.p + e->off + shard * e->entsize);
			for (uint32_t word = 0; word < e->entsize / 8; word++)
				words[word] = 100 * (shard + 1) + word;
		}
	}
	struct bus_descriptor *d = descriptor_of(&i, "pipeops_tunnel_forwards_active");
	const uint32_t at_sum = descriptor_of(&i, "pipeops_tunnel_up")->value_index;
	const uint32_t at_max = d->value_index;
	d->agg = BUS_AGG_MAX;
	seal(&i);

	fixture_init(&f);
	put_image(&f, &i);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	check(bus_reader_refresh(r, 1) == BUS_DEAD);
	check(value_of(r, "pipeops_tunnel_up", "") == 600 + 3 * at_sum);
	check(value_of(r, "pipeops_tunnel_forwards_active", "") == 300 + at_max);
	const struct wanted h = sample_of(r, "pipeops_tunnel_ping_rtt_seconds", "");
	check(h.found == 1 && h.sample.buckets[1] - h.sample.buckets[0] == 3);
	bus_reader_free(r);
	fixture_fini(&f);
	free(one.p);
	free(i.p);
}

/* A session of an older writer: what it had, then zeros. */
static void test_shorter_record(void)
{
	struct bus_fixture f;
	struct bus_session s;
	struct image i;

	image_read(&i);
	struct bus_toc_entry *e = toc_of(&i, BUS_SECTION_SESSION);
	uint64_t *version = (void *)(i.p + e->off);
	memset(i.p + e->off + BUS_LINE, 'x', e->len - BUS_LINE);
	*version = 1;
	e->flags = offsetof(struct bus_session, server) + 16;
	seal(&i);
	fixture_init(&f);
	put_image(&f, &i);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	check(bus_reader_refresh(r, 1) == BUS_DEAD);
	check(bus_read_session(r, &s) == 1);
	check(strcmp(s.server, "xxxxxxxxxxxxxxxx") == 0 && strcmp(s.cipher, "") == 0);
	bus_reader_free(r);
	fixture_fini(&f);
	free(i.p);
}

/* A record that can't be had whole: the last good copy stands in, if any. */
static void test_last_good_copy(void)
{
	struct bus_fixture f;
	struct bus_session s;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);

	bus_publish_session(w, &(struct bus_session){ .attempts = 8 });
	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	overtaken = 1;
	check(bus_read_session(r, &s) == ERR_PROTO);
	overtaken = 0;
	check(bus_read_session(r, &s) == 1);
	overtaken = 1;
	s.attempts = 0;
	check(bus_read_session(r, &s) == 1 && s.attempts == 8);
	overtaken = 0;
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "new", test_new },
		{ "refresh", test_refresh },
		{ "no lock queries", test_no_lock_queries },
		{ "shards", test_shards },
		{ "shorter record", test_shorter_record },
		{ "last good copy", test_last_good_copy },
	};
	return run_cases("reader", cases, array_len(cases));
}
