/* What somebody with write access to a volume can do to a reader: nothing but
 * make it say "unreadable". */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shm/attach.h"
#include "shm/guard.h"
#include "tests/unit/shm/bus_fixture.h"

struct scene {
	struct bus_fixture f;
	struct bus_writer *w;
	struct bus_reader *r;
	char segment[128];
	int fd; /* the attacker's */
	uint64_t now_ns;
};

static void scene_init(struct scene *s)
{
	fixture_init(&s->f);
	s->w = fixture_writer(&s->f, BUS_TUNNEL);
	s->r = fixture_reader(&s->f, BUS_TUNNEL);
	s->now_ns = 1;
	bus_publish_session(s->w, &(struct bus_session){ .state = BUS_STATE_UP });
	bus_add(s->w, BUS_TUNNEL_REKEYS, 0, 5);
	bus_log(s->w, 1, "line", 4);
	check(bus_reader_refresh(s->r, s->now_ns) == BUS_ALIVE);
	fixture_path(&s->f, s->segment, "tunnel/segment");
	s->fd = open(s->segment, O_RDWR | O_CLOEXEC);
	must(s->fd >= 0);
}

static void scene_fini(struct scene *s)
{
	close(s->fd);
	bus_reader_free(s->r);
	if (s->w)
		bus_writer_free(s->w, 0);
	fixture_fini(&s->f);
}

/* The writer's own map of a file that was cut would be a SIGBUS in it: here it
 * has left before. */
static void writer_leaves(struct scene *s)
{
	bus_writer_free(s->w, 0);
	s->w = NULL;
}

static void no_sample(void *user, const struct bus_sample *s)
{
	(void)s;
	++*(int *)user;
}

static void no_line(void *user, const struct bus_log_line *line)
{
	(void)line;
	++*(int *)user;
}

enum call { SAMPLES, SESSION, LOG, REFRESH };
static int make_call(struct scene *s, enum call call, int *came)
{
	struct bus_session session;
	uint64_t cursor = 0, lost = 0;

	switch (call) {
	case SAMPLES:
		return bus_reader_samples(s->r, no_sample, came);
	case SESSION:
		return bus_read_session(s->r, &session);
	case LOG:
		return bus_reader_log(s->r, &cursor, &lost, no_line, came);
	case REFRESH:
		return bus_reader_refresh(s->r, s->now_ns) == BUS_UNREADABLE ? ERR_PROTO : 0;
	}
	return 0;
}

/* Cut at several lengths, and each call is the one that finds out. */
static void test_truncation(void)
{
	static const off_t lengths[] = { 0, 4096, 8192 };
	static const struct {
		const char *name;
		enum call call;
	} calls[] = { { "samples", SAMPLES },
		      { "session", SESSION },
		      { "log", LOG },
		      { "refresh", REFRESH } };
	for (size_t i = 0; i < array_len(lengths); i++)
		for (size_t k = 0; k < array_len(calls); k++) {
			struct scene s;
			int came = 0;

			scene_init(&s);
			writer_leaves(&s);
			check_row(calls[k].name, ftruncate(s.fd, lengths[i]) == 0);
			check_row(calls[k].name, make_call(&s, calls[k].call, &came) == ERR_PROTO);
			check_row(calls[k].name, came == 0);
			check_row(calls[k].name, bus_reader_refresh(s.r, 2) == BUS_UNREADABLE);
			check_row(calls[k].name, bus_reader_fault(s.r)->code != 0);
			/* a new life heals it */
			s.w = fixture_writer(&s.f, BUS_TUNNEL);
			check_row(calls[k].name, bus_reader_refresh(s.r, 3) == BUS_ALIVE);
			check_row(calls[k].name,
				  value_of(s.r, "pipeops_tunnel_rekeys_total", "") == 0);
			scene_fini(&s);
		}
}

static void test_hole(void)
{
	struct scene s;
	scene_init(&s);
	writer_leaves(&s);
	if (fallocate(s.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16384, 65536) == 0) {
		check(bus_reader_refresh(s.r, 2) == BUS_UNREADABLE);
		check(bus_reader_fault(s.r)->code == ERR_TRUST);
		check(bus_reader_refresh(s.r, 3) == BUS_UNREADABLE); /* nor at attach */
		check(bus_reader_fault(s.r)->code == ERR_TRUST);
	} else {
		printf("skipped: this filesystem punches no holes\n");
	}
	scene_fini(&s);
}

static void test_growth(void)
{
	struct scene s;
	scene_init(&s);
	check(ftruncate(s.fd, (off_t)1 << 40) == 0);
	check(bus_reader_refresh(s.r, 2) == BUS_UNREADABLE);
	check(bus_reader_refresh(s.r, 3) == BUS_UNREADABLE);
	check(bus_reader_fault(s.r)->code == ERR_LIMIT);
	scene_fini(&s);
}

/* Another kind of file under the segment's name, found by a fresh reader and by
 * one that was attached. */
static void put_symlink(const char *path)
{
	must(symlink("/proc/self/mem", path) == 0);
}

static void put_fifo(const char *path)
{
	must(mkfifo(path, 0666) == 0);
}

static void put_dir(const char *path)
{
	must(mkdir(path, 0777) == 0);
}

static void put_socket(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	must(fd >= 0 && strlen(path) < sizeof(at.sun_path));
	memcpy(at.sun_path, path, strlen(path));
	must(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	close(fd);
}

static void put_empty(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	must(fd >= 0);
	close(fd);
}

static void put_zeros(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	must(fd >= 0 && posix_fallocate(fd, 0, 65536) == 0);
	close(fd);
}

static void put_sparse(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	must(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	close(fd);
}

static void test_other_file_in_its_place(void)
{
	static const struct {
		const char *name;
		void (*put)(const char *path);
		enum err code;
	} rows[] = {
		{ "symlink", put_symlink, ERR_TRUST }, { "fifo", put_fifo, ERR_TRUST },
		{ "directory", put_dir, ERR_TRUST },   { "socket", put_socket, ERR_TRUST },
		{ "empty", put_empty, ERR_PROTO },     { "zeros", put_zeros, ERR_PROTO },
		{ "sparse", put_sparse, ERR_TRUST },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		struct scene s;
		scene_init(&s);
		struct bus_reader *fresh = fixture_reader(&s.f, BUS_TUNNEL);

		check_row(rows[i].name, unlink(s.segment) == 0);
		rows[i].put(s.segment);
		check_row(rows[i].name, bus_reader_refresh(s.r, 2) == BUS_UNREADABLE);
		check_row(rows[i].name, bus_reader_fault(s.r)->code == rows[i].code);
		check_row(rows[i].name, bus_reader_refresh(fresh, 2) == BUS_UNREADABLE);
		check_row(rows[i].name, bus_reader_fault(fresh)->code == rows[i].code);
		check_row(rows[i].name, bus_reader_samples(fresh, no_sample, NULL) == 0);
		check_row(rows[i].name, bus_beat(s.w) == ERR_CLOSED); /* and the writer knows */
		bus_reader_free(fresh);
		scene_fini(&s);
	}
}

/* The role's directory is a symlink, or no directory at all. */
static void test_role_directory(void)
{
	struct bus_fixture f;
	char path[128];

	fixture_init(&f);
	fixture_path(&f, path, "tunnel");
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	must(symlink("/", path) == 0);
	check(bus_reader_refresh(r, 1) == BUS_UNREADABLE && bus_reader_fault(r)->code == ERR_SYS);
	must(unlink(path) == 0);
	put_empty(path);
	check(bus_reader_refresh(r, 2) == BUS_UNREADABLE && bus_reader_fault(r)->code == ERR_SYS);
	must(unlink(path) == 0);
	check(bus_reader_refresh(r, 3) == BUS_ABSENT && bus_reader_fault(r)->code == 0);
	bus_reader_free(r);
	fixture_fini(&f);
}

static off_t section_off(const struct scene *s, enum bus_section type)
{
	struct bus_header h;

	must(pread(s->fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h));
	for (unsigned i = 0; i < h.sections_n; i++)
		if (h.toc[i].type == type)
			return (off_t)h.toc[i].off;
	must_failed(__FILE__, __LINE__, "a section of the segment");
}

static void write_word(const struct scene *s, off_t at, uint64_t v)
{
	must(pwrite(s->fd, &v, 8, at) == 8);
}

/* A number or a version that goes back in one life is not passed on: a scrape
 * would take it for a restart. */
static void test_regressions(void)
{
	struct scene s;
	struct bus_session session;
	scene_init(&s);
	const off_t counters = section_off(&s, BUS_SECTION_COUNTERS);
	int all = 0, some = 0;

	check(bus_reader_samples(s.r, no_sample, &all) == 0);
	check(bus_reader_regressions(s.r) == 0);
	for (off_t word = 0; word < 60; word++)
		write_word(&s, counters + 8 * word, 0);
	check(value_of(s.r, "pipeops_tunnel_up", "") == 0); /* gauges may */
	check(bus_reader_regressions(s.r) == 1);
	check(bus_reader_samples(s.r, no_sample, &some) == 0 && some == all - 1);
	bus_add(s.w, BUS_TUNNEL_REKEYS, 0, 6); /* over what was seen last: fine again */
	check(value_of(s.r, "pipeops_tunnel_rekeys_total", "") == 6);

	const off_t record = section_off(&s, BUS_SECTION_SESSION);
	bus_publish_session(s.w, &(struct bus_session){ .state = BUS_STATE_UP });
	check(bus_read_session(s.r, &session) == 1);
	const uint64_t before = bus_reader_regressions(s.r);
	write_word(&s, record, 1);
	check(bus_read_session(s.r, &session) == ERR_PROTO);
	write_word(&s, record, 0);
	check(bus_read_session(s.r, &session) == ERR_PROTO);
	check(bus_reader_regressions(s.r) == before + 2);

	uint64_t cursor = 0, lost = 0;
	int lines = 0;
	check(bus_reader_log(s.r, &cursor, &lost, no_line, &lines) == 0 && lines == 1);
	write_word(&s, section_off(&s, BUS_SECTION_LOG), 0);
	check(bus_reader_log(s.r, &cursor, &lost, no_line, &lines) == ERR_PROTO);
	check(bus_reader_regressions(s.r) == before + 3 && lines == 1);
	scene_fini(&s);
}

/* Any bytes at all in the live part: nothing crashes, nothing loops. */
static void test_noise(void)
{
	struct scene s;
	struct bus_session session;
	struct bus_observed observed;
	scene_init(&s);
	const off_t from = section_off(&s, BUS_SECTION_LIVENESS);
	struct stat st;
	uint64_t x = 88172645463325252u, cursor = 0, lost = 0;
	uint32_t code;
	int came = 0;

	must(fstat(s.fd, &st) == 0);
	const size_t n = (size_t)(st.st_size - from) / 8;
	uint64_t *noise = malloc(n * 8);
	must(noise);
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < n; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			noise[i] = round % 2 ? x : x & 0xff;
		}
		must(pwrite(s.fd, noise, n * 8, from) == (ssize_t)n * 8);
		check(bus_reader_refresh(s.r, s.now_ns++) == BUS_ALIVE);
		check(bus_reader_phase(s.r, &code) <= BUS_FAILED);
		check(bus_reader_samples(s.r, no_sample, &came) == 0);
		const int rc = bus_read_session(s.r, &session);
		check(rc == 0 || rc == 1 || rc == ERR_PROTO); /* 0: the noise is a version of 0 */
		check(rc != 1 || memchr(session.server, 0, sizeof(session.server)));
		const int orc = bus_read_observed(s.r, &observed);
		check(orc == 0 || orc == 1 || orc == ERR_PROTO);
		const int log = bus_reader_log(s.r, &cursor, &lost, no_line, &came);
		check(log == 0 || log == ERR_PROTO);
		cursor = 0;
	}
	free(noise);
	scene_fini(&s);
}

/* In a child: writes noise all over the file for ever, the tables too. */
_Noreturn static void scribble(const char *path, off_t size)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	uint64_t x = 0x2545f4914f6cdd1du;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		const off_t at = (off_t)(x >> 20) % (size - 8);
		if (pwrite(fd, &x, x % 9, x % 3 ? at : at % 32768) < 0)
			_exit(1);
	}
}

/* The bytes change between any two loads: what was checked is private. */
static void test_changed_while_read(void)
{
	struct scene s;
	struct bus_session session;
	struct stat st;
	int came = 0;
	uint32_t code;

	scene_init(&s);
	must(fstat(s.fd, &st) == 0);
	writer_leaves(&s);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0)
		scribble(s.segment, st.st_size);
	for (int round = 0; round < 300; round++) {
		uint64_t cursor = 0, lost = 0;
		struct bus_reader *fresh = fixture_reader(&s.f, BUS_TUNNEL);
		const enum bus_presence p = bus_reader_refresh(fresh, 1);
		check(p == BUS_DEAD || p == BUS_UNREADABLE);
		bus_reader_free(fresh);

		check(bus_reader_refresh(s.r, s.now_ns++) == BUS_DEAD); /* has its copy */
		check(bus_reader_samples(s.r, no_sample, &came) == 0);
		check(bus_reader_phase(s.r, &code) <= BUS_FAILED);
		if (bus_read_session(s.r, &session) == 1)
			check(memchr(session.server, 0, sizeof(session.server)) != NULL);
		(void)!bus_reader_log(s.r, &cursor, &lost, no_line, &came);
	}
	kill(child, SIGKILL);
	fixture_reap(child);
	scene_fini(&s);
}

/* In a child: cuts the file and restores it, for ever. */
_Noreturn static void cut_and_restore(const char *path, size_t size)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	char *image = malloc(size);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!image || read(fd, image, size) != (ssize_t)size)
		_exit(1);
	for (unsigned i = 0;; i++) {
		if (ftruncate(fd, i % 3 * 40960) || pwrite(fd, image, size, 0) != (ssize_t)size)
			_exit(1);
		usleep(i % 7 * 30);
	}
}

/* The length changes at any moment. */
static void test_cut_while_read(void)
{
	struct scene s;
	struct stat st;
	int came = 0;
	unsigned caught = 0, whole = 0;

	scene_init(&s);
	must(fstat(s.fd, &st) == 0);
	writer_leaves(&s);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0)
		cut_and_restore(s.segment, (size_t)st.st_size);
	for (int round = 0; round < 20000 && caught + whole < 400; round++) {
		const enum bus_presence p = bus_reader_refresh(s.r, s.now_ns++);
		check(p == BUS_DEAD || p == BUS_UNREADABLE);
		const int rc = bus_reader_samples(s.r, no_sample, &came);
		check(rc == 0 || rc == ERR_PROTO);
		caught += p == BUS_UNREADABLE || rc == ERR_PROTO;
		whole += p == BUS_DEAD && rc == 0 && caught > 0;
		if (caught == 0)
			usleep(100); /* let it begin */
	}
	kill(child, SIGKILL);
	fixture_reap(child);
	check(caught > 0);
	scene_fini(&s);
}

/* A SIGBUS that is none of the guard's ends the process as ever. */
static void test_foreign_sigbus(void)
{
	int status = 0;
	const pid_t child = fork();

	must(child >= 0);
	if (child == 0) {
		signal(SIGBUS, SIG_DFL); /* a sanitizer's would print and exit */
		must(bus_guard_install(NULL) == 0);
		const int fd = memfd_create("short", 0);
		must(fd >= 0 && ftruncate(fd, 4096) == 0);
		volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		must(p != MAP_FAILED && ftruncate(fd, 0) == 0);
		_exit(*p + 1);
	}
	while (waitpid(child, &status, 0) < 0)
		;
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "foreign SIGBUS", test_foreign_sigbus }, /* first: installs the guard itself */
		{ "truncation", test_truncation },
		{ "hole", test_hole },
		{ "growth", test_growth },
		{ "another file in its place", test_other_file_in_its_place },
		{ "the role's directory", test_role_directory },
		{ "regressions", test_regressions },
		{ "noise", test_noise },
		{ "changed while read", test_changed_while_read },
		{ "cut while read", test_cut_while_read },
	};
	return run_cases("hostile", cases, array_len(cases));
}
