/* Each step of publication refused in turn: the writer works on, says which
 * step it was, and leaves what readers had before. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The victim: the nth call by this name from here on fails with this errno. */
static const char *victim;
static int victim_nth, victim_errno;

static int is_refused(const char *name)
{
	if (!victim || strcmp(name, victim) != 0 || --victim_nth != 0)
		return 0;
	errno = victim_errno;
	return 1;
}

#define open(...) (is_refused("open") ? -1 : open(__VA_ARGS__))
#define openat(...) (is_refused("openat") ? -1 : openat(__VA_ARGS__))
#define mkdirat(...) (is_refused("mkdirat") ? -1 : mkdirat(__VA_ARGS__))
#define fdopendir(...) (is_refused("fdopendir") ? NULL : fdopendir(__VA_ARGS__))
#define fcntl(...) (is_refused("fcntl") ? -1 : fcntl(__VA_ARGS__))
#define posix_fallocate(...) (is_refused("posix_fallocate") ? errno : posix_fallocate(__VA_ARGS__))
#define mmap(...) (is_refused("mmap") ? MAP_FAILED : mmap(__VA_ARGS__))
#define fchmod(...) (is_refused("fchmod") ? -1 : fchmod(__VA_ARGS__))
#define mprotect(...) (is_refused("mprotect") ? -1 : mprotect(__VA_ARGS__))
#define renameat(...) (is_refused("renameat") ? -1 : renameat(__VA_ARGS__))
#define linkat(...) (is_refused("linkat") ? -1 : linkat(__VA_ARGS__))
#define fstatat(...) (is_refused("fstatat") ? -1 : fstatat(__VA_ARGS__))
#define getrandom(...) (is_refused("getrandom") ? -1 : getrandom(__VA_ARGS__))
#define calloc(...) (is_refused("calloc") ? NULL : calloc(__VA_ARGS__))
#include "shm/fields.c"
#include "shm/publication.c"
#include "shm/writer.c"
#undef US
#undef MS
#undef S
#undef open
#undef openat
#undef mkdirat
#undef fdopendir
#undef fcntl
#undef posix_fallocate
#undef mmap
#undef fchmod
#undef mprotect
#undef renameat
#undef linkat
#undef fstatat
#undef getrandom
#undef calloc

#include "tests/unit/shm/bus_fixture.h"

static int start(struct bus_writer **w, const char *dir, struct fault *why)
{
	return bus_writer_new(w, &(struct bus_writer_options){ .dir = dir,
							       .role = BUS_CONTROL,
							       .build = "new",
							       .lock_wait_ms = 1 },
			      why);
}

/* All that a program does with a writer, published or not. */
static void use(const char *row, struct bus_writer *w)
{
	bus_add(w, BUS_HEARTBEATS, 0, 1);
	bus_set(w, BUS_AGENT_REGISTERED, 0, 1);
	bus_observe(w, BUS_HEARTBEAT_DURATION, 0, 1000000);
	bus_publish_registration(w, &(struct bus_registration){ .registered = 1 });
	bus_publish_desired(w, &(struct bus_desired){ .gen = 1 });
	bus_log(w, 1, "line", 4);
	bus_event(w, "event");
	bus_phase(w, BUS_RUNNING);
	check_row(row, bus_beat(w) == 0);
}

/* want NULL: the step may fail without harm. */
static const struct {
	const char *name, *call;
	int nth, sys;
	const char *want;
} steps[] = {
	{ "root", "open", 1, EACCES, "open the bus directory: Permission denied" },
	{ "make role", "mkdirat", 1, ENOSPC, "make the role's directory: No space" },
	{ "make role, read-only", "mkdirat", 1, EROFS, NULL }, /* it was there */
	{ "role", "openat", 1, EMFILE, "open the role's directory: Too many open files" },
	{ "owner", "openat", 2, EROFS, "open owner.lock: Read-only file system" },
	{ "owner's lock", "fcntl", 1, ENOLCK, "lock owner.lock: No locks available" },
	{ "sweep", "openat", 3, EMFILE, NULL },
	{ "sweep's list", "fdopendir", 1, ENOMEM, NULL },
	{ "create", "openat", 4, ENOSPC, "create the segment: No space" },
	{ "lock", "fcntl", 2, EINVAL, "lock the segment: Invalid argument" },
	{ "allocate", "posix_fallocate", 1, ENOSPC, "allocate the segment: No space" },
	{ "allocate, unknown", "posix_fallocate", 1, EOPNOTSUPP, "allocate the segment:" },
	{ "map", "mmap", 1, ENOMEM, "map the segment: Cannot allocate memory" },
	{ "mode", "fchmod", 1, EPERM, "set the segment's mode: Operation not" },
	{ "protect", "mprotect", 1, ENOMEM, "protect the segment: Cannot" },
	{ "look at the predecessor", "fstatat", 1, EIO, NULL },
	{ "link the predecessor", "linkat", 1, EPERM, NULL },
	{ "keep the predecessor", "renameat", 1, EIO, NULL },
	{ "rename", "renameat", 2, EXDEV, "rename the segment: Invalid cross-device" },
	{ "entropy", "getrandom", 1, EINTR, NULL },
};

static void test_each_step(void)
{
	for (size_t i = 0; i < array_len(steps); i++) {
		const char *row = steps[i].name;
		struct bus_fixture f;
		struct bus_writer *w = NULL, *second = NULL;
		uint8_t old[16], now[16];

		fixture_init(&f);
		struct bus_reader *r = fixture_reader(&f, BUS_CONTROL);
		bus_writer_free(fixture_writer(&f, BUS_CONTROL), 0);
		check_row(row, bus_reader_refresh(r, 1) == BUS_DEAD);
		bus_reader_incarnation(r, old);

		victim = steps[i].call;
		victim_nth = steps[i].nth;
		victim_errno = steps[i].sys;
		check_row(row, start(&w, f.dir, NULL) == 0);
		victim = NULL;
		check_row(row, victim_nth <= 0); /* the call was made */
		const char *why = bus_writer_degraded(w);
		check_row(row, !steps[i].want == !why);
		if (why && !check_row(row, strncmp(why, steps[i].want, strlen(steps[i].want)) == 0))
			printf("  %s: \"%s\"\n", row, why);
		use(row, w);
		check_row(row, bus_reader_refresh(r, 2) == (why ? BUS_DEAD : BUS_ALIVE));
		bus_reader_incarnation(r, now);
		check_row(row, (memcmp(old, now, 16) == 0) == (why != NULL));
		check_row(row, fixture_names(&f, "control", BUS_TEMP_PREFIX, 0) == 0);
		/* a degraded writer that has the owner's lock still keeps others out */
		const bool locked = w->file.owner >= 0 && strcmp(row, "owner's lock") != 0;
		check_row(row, start(&second, f.dir, NULL) == (locked ? (int)ERR_FULL : 0));
		bus_writer_free(second, 0);
		bus_writer_free(w, 0);

		check_row(row, start(&w, f.dir, NULL) == 0 && !bus_writer_degraded(w)); /* heals */
		bus_writer_free(w, 0);
		bus_reader_free(r);
		fixture_fini(&f);
	}
}

static void test_famine(void)
{
	struct bus_writer *w;

	for (int nth = 1; nth <= 3; nth++) {
		struct fault why = { 0 };
		victim = "calloc";
		victim_nth = nth;
		check(start(&w, NULL, &why) == ERR_NOMEM && w == NULL && why.code == ERR_NOMEM);
	}
	struct fault why = { 0 };
	victim = "mmap"; /* not even a private map */
	victim_nth = 1;
	check(start(&w, NULL, &why) == ERR_NOMEM && w == NULL && why.code == ERR_NOMEM);
	victim = NULL;
}

static void test_sweep(void)
{
	struct bus_fixture f;
	char path[128];
	fixture_init(&f);
	bus_writer_free(fixture_writer(&f, BUS_TUNNEL), 0);
	static const char *const left[] = { "tunnel/.tmp.0123", "tunnel/.tmp.", "tunnel/mine" };
	for (size_t i = 0; i < array_len(left); i++) {
		fixture_path(&f, path, left[i]);
		must(mkfifo(path, 0600) == 0);
	}
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	check(bus_writer_degraded(w) == NULL);
	check(fixture_names(&f, "tunnel", ".tmp.", 0) == 0);
	check(fixture_names(&f, "tunnel", "mine", 0) == 1);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

/* Whose segment a file of the role's directory is; zeros when it is none. */
static void life_of(const struct bus_fixture *f, const char *leaf, uint8_t to[16])
{
	char path[128];
	struct bus_reader *r = NULL;

	memset(to, 0, 16);
	fixture_path(f, path, leaf);
	const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && bus_reader_take(&r, fd, BUS_TUNNEL, NULL) == 0)
		bus_reader_incarnation(r, to);
	bus_reader_free(r);
}

/* One predecessor, the last one, however many there were. */
static void test_thousand_restarts(void)
{
	struct bus_fixture f;
	uint8_t before[16] = { 0 }, previous[16], now[16];

	fixture_init(&f);
	for (int i = 0; i < 1000; i++) {
		struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);

		life_of(&f, "tunnel/segment", now);
		if (i % 100 < 3) {
			life_of(&f, "tunnel/previous", previous);
			check(memcmp(previous, before, 16) == 0);
			check(memcmp(previous, now, 16) != 0);
			check(bus_beat(w) == 0);
		}
		memcpy(before, now, 16);
		bus_writer_free(w, 0);
	}
	check(fixture_names(&f, "tunnel", "", 0) == 3); /* owner.lock, segment, previous */
	check(fixture_names(&f, "tunnel", "previous", 0) == 1);
	fixture_fini(&f);
}

/* What stands under the segment's name is no segment that a writer left: it is
 * not kept, and an older one does not pass for the last life. */
static void test_what_is_not_kept(void)
{
	static const char *const kinds[] = { "nothing", "symlink", "fifo", "empty", "huge" };

	for (size_t i = 0; i < array_len(kinds); i++) {
		struct bus_fixture f;
		char path[128];
		struct stat st;
		fixture_init(&f);
		for (int life = 0; life < 2; life++)
			bus_writer_free(fixture_writer(&f, BUS_TUNNEL), 0);
		check_row(kinds[i], fixture_names(&f, "tunnel", "previous", 0) == 1);
		fixture_path(&f, path, "tunnel/segment");
		must(unlink(path) == 0);
		if (strcmp(kinds[i], "symlink") == 0)
			must(symlink("/etc/passwd", path) == 0);
		else if (strcmp(kinds[i], "fifo") == 0)
			must(mkfifo(path, 0600) == 0);
		else if (strcmp(kinds[i], "nothing") != 0)
			close(creat(path, 0600));
		if (strcmp(kinds[i], "huge") == 0)
			must(truncate(path, (off_t)1 << 40) == 0);
		struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
		check_row(kinds[i], bus_writer_degraded(w) == NULL);
		check_row(kinds[i], fixture_names(&f, "tunnel", "previous", 0) == 0);
		check_row(kinds[i], lstat(path, &st) == 0 && S_ISREG(st.st_mode));
		bus_writer_free(w, 0);
		fixture_fini(&f);
	}
}

/* Something else under the second name: replaced where it can be; a directory
 * stays, and costs the writer nothing. */
static void test_planted_second_name(void)
{
	static const char *const kinds[] = { "symlink", "fifo", "huge", "directory" };

	for (size_t i = 0; i < array_len(kinds); i++) {
		struct bus_fixture f;
		char path[128];
		uint8_t life[16], previous[16];
		fixture_init(&f);
		bus_writer_free(fixture_writer(&f, BUS_TUNNEL), 0);
		life_of(&f, "tunnel/segment", life);
		fixture_path(&f, path, "tunnel/previous");
		if (strcmp(kinds[i], "symlink") == 0)
			must(symlink("/etc/passwd", path) == 0);
		else if (strcmp(kinds[i], "fifo") == 0)
			must(mkfifo(path, 0600) == 0);
		else if (strcmp(kinds[i], "directory") == 0)
			must(mkdir(path, 0700) == 0);
		else
			must(close(creat(path, 0600)) == 0 && truncate(path, (off_t)1 << 40) == 0);
		struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
		check_row(kinds[i], bus_writer_degraded(w) == NULL && bus_beat(w) == 0);
		life_of(&f, "tunnel/previous", previous);
		check_row(kinds[i], strcmp(kinds[i], "directory") == 0 ||
					    memcmp(life, previous, 16) == 0);
		check_row(kinds[i], fixture_names(&f, "tunnel", BUS_TEMP_PREFIX, 0) == 0);
		bus_writer_free(w, 0);
		fixture_fini(&f);
	}
}

/* The owner's lock was removed while its holder lives: the second writer takes
 * the name, the first one sees it although its file keeps the second name. */
static void test_living_predecessor(void)
{
	struct bus_fixture f;
	char path[128];
	fixture_init(&f);
	struct bus_writer *first = fixture_writer(&f, BUS_TUNNEL);

	check(bus_beat(first) == 0);
	fixture_path(&f, path, "tunnel/owner.lock");
	must(unlink(path) == 0);
	struct bus_writer *second = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = NULL;
	must(bus_reader_new_previous(&r, f.dir, BUS_TUNNEL, NULL) == 0);
	check(bus_reader_refresh(r, 1) == BUS_ALIVE); /* and is not said to have ended */
	check(bus_beat(first) == ERR_CLOSED && bus_beat(second) == 0);
	bus_writer_free(first, 0);
	check(bus_reader_refresh(r, 2) == BUS_DEAD);
	bus_reader_free(r);
	bus_writer_free(second, 0);
	fixture_fini(&f);
}

static void test_modes(void)
{
	struct bus_fixture f;
	struct stat st;
	char path[128];
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);

	fixture_path(&f, path, "tunnel/segment");
	check(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
	check(st.st_blocks * 512 >= st.st_size && st.st_size < 512 << 10);
	fixture_path(&f, path, "tunnel/owner.lock");
	check(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

static void check_degraded(const char *row, const char *dir, const char *want)
{
	struct bus_writer *w = NULL;

	check_row(row, start(&w, dir, NULL) == 0);
	const char *why = bus_writer_degraded(w);
	if (!check_row(row, why && strstr(why, want)))
		printf("  %s: \"%s\"\n", row, why ? why : "published");
	use(row, w);
	bus_writer_free(w, 0);
}

/* The same with real directories. */
static void test_bad_places(void)
{
	struct bus_fixture f;
	char path[128];
	fixture_init(&f);

	fixture_path(&f, path, "none");
	check_degraded("no directory", path, "open the bus directory: No such file");
	fixture_path(&f, path, "control");
	must(symlink("/tmp", path) == 0);
	check_degraded("symlink", f.dir, "open the role's directory: ");
	must(unlink(path) == 0 && mkfifo(path, 0600) == 0);
	check_degraded("fifo", f.dir, "open the role's directory: Not a directory");
	must(unlink(path) == 0 && mkdir(path, 0755) == 0);
	fixture_path(&f, path, "control/owner.lock");
	must(symlink("/tmp/x", path) == 0);
	check_degraded("symlinked lock", f.dir, "open owner.lock: Too many levels");
	must(unlink(path) == 0);
	fixture_path(&f, path, "control/segment");
	must(mkdir(path, 0755) == 0);
	check_degraded("directory for a segment", f.dir, "rename the segment: Is a directory");
	fixture_fini(&f);
}

/* In a child: its verdict is the exit code. */
static void in_child(const char *row, int (*run)(const struct bus_fixture *f))
{
	struct bus_fixture f;
	int status = -1;

	fixture_init(&f);
	fflush(stdout);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0)
		_exit(run(&f));
	while (waitpid(child, &status, 0) < 0)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		printf("skipped: %s needs root\n", row);
	else
		check_row(row, WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fixture_fini(&f);
}

static int is_degraded_by(const char *dir, const char *want)
{
	struct bus_writer *w = NULL;

	if (start(&w, dir, NULL))
		return 2;
	const char *why = bus_writer_degraded(w);
	const int bad = !why || !strstr(why, want);
	use(want, w);
	bus_writer_free(w, 0);
	return bad;
}

static int in_a_read_only_directory(const struct bus_fixture *f)
{
	char path[128];

	fixture_path(f, path, "control");
	if (mkdir(path, 0555) || chmod(f->dir, 0755))
		return 3;
	if (geteuid() == 0 && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		return 77;
	return is_degraded_by(f->dir, "open owner.lock: Permission denied");
}

static int on_a_full_volume(const struct bus_fixture *f)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", f->dir, "tmpfs", 0, "size=64k"))
		return 77;
	const int bad = is_degraded_by(f->dir, "allocate the segment: No space left on device");
	return bad || fixture_names(f, "control", BUS_TEMP_PREFIX, 0) != 0;
}

static int on_a_read_only_volume(const struct bus_fixture *f)
{
	char path[128];

	fixture_path(f, path, "control");
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mkdir(path, 0755) || mount(path, path, NULL, MS_BIND, NULL) ||
	    mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return 77;
	return is_degraded_by(f->dir, "open owner.lock: Read-only file system");
}

static void test_bad_volumes(void)
{
	in_child("read-only directory", in_a_read_only_directory);
	in_child("full volume", on_a_full_volume);
	in_child("read-only volume", on_a_read_only_volume);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "each step", test_each_step }, { "famine", test_famine },
		{ "sweep", test_sweep },	 { "modes", test_modes },
		{ "a thousand restarts", test_thousand_restarts },
		{ "what is not kept", test_what_is_not_kept },
		{ "planted second name", test_planted_second_name },
		{ "living predecessor", test_living_predecessor },
		{ "bad places", test_bad_places }, { "bad volumes", test_bad_volumes },
	};
	return run_cases("publish", cases, array_len(cases));
}
