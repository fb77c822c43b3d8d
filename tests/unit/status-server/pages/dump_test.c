/* Any file at all: printed if it can be, judged always, never believed. */
#include "status-server/pages/dump.h"

#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/app/log.h"
#include "lib/app/program.h"
#include "tests/unit/shm/bus_image.h"

#define DUMP_MAX (32u << 20)

struct dumped {
	int rc;
	struct fault why;
	struct buf out;
	const char *text;
};

static void dump(struct dumped *d, const char *path, bool json)
{
	*d = (struct dumped){ .rc = 0 };
	buf_init(&d->out, &mem_heap, DUMP_MAX);
	d->rc = dump_write(&d->out, path, json, &d->why);
	must(buf_append(&d->out, "", 1) == 0);
	d->text = (const char *)buf_bytes(&d->out).p;
}

static void check_has(const struct dumped *d, const char *want)
{
	if (!check_row(want, strstr(d->text, want) != NULL))
		printf("no \"%s\" in:\n%.1500s\n", want, d->text);
}

static void check_member(struct json_object *doc, const char *path, const char *want)
{
	struct json_object *found = NULL;
	const char *got =
		json_pointer_get(doc, path, &found) == 0 ? json_object_get_string(found) : NULL;

	if (!check_row(path, got ? want && strcmp(got, want) == 0 : !want))
		printf("%s is %s\n", path, got ? got : "not there");
}

static void test_living_writer(void)
{
	struct bus_fixture f;
	struct dumped d;
	char path[128];
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);

	bus_phase(w, BUS_RUNNING);
	bus_add(w, BUS_TUNNEL_BYTES, 3, 4711);
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 20000000);
	bus_publish_session(w, &(struct bus_session){ .state = BUS_STATE_UP, .server = "host:1" });
	bus_log(w, LOG_WARN, "a \"line\"", 8);
	bus_event(w, "state up");
	fixture_path(&f, path, "tunnel/segment");

	dump(&d, path, false);
	check(d.rc == 0);
	check_has(&d, "valid: true\n");
	check_has(&d, "header:\n  magic: PIPEBUS1\n  major: 1\n");
	check_has(&d, "  role_name: tunnel\n  build: 1.2.3 test\n");
	check_has(&d, "writer:\n  presence: alive\n");
	check_has(&d, "  session:\n    state: up\n");
	check_has(&d, "    server: host:1\n");
	check_has(&d, "  pipeops_tunnel_bytes_total  forward=\"k8s-api\",direction=\"down\"  "
		      "counter  4711\n");
	check_has(&d, "  pipeops_tunnel_up  -  gauge  0\n");
	check_has(&d, "  histogram  1  20000000  0  0  0  0  0  0  0  1  0");
	check_has(&d, "  warn  a \"line\"\n");
	check_has(&d, "  state up\n");
	buf_fini(&d.out);

	dump(&d, path, true);
	check(d.rc == 0);
	struct json_object *doc = json_tokener_parse(d.text);
	check(doc != NULL);
	check_member(doc, "/valid", "true");
	check_member(doc, "/why", NULL);
	check_member(doc, "/header/magic", "PIPEBUS1");
	check_member(doc, "/sections/0/name", "descriptors");
	check_member(doc, "/writer/presence", "alive");
	check_member(doc, "/writer/log/lines/0/text", "a \"line\"");
	check_member(doc, "/numbers/0/kind", "counter");
	json_object_put(doc);
	buf_fini(&d.out);

	bus_writer_free(w, 7);
	dump(&d, path, false);
	check(d.rc == 0);
	check_has(&d, "  presence: dead\n");
	check_has(&d, "  phase: stopped\n  ended: exit\n  exit_code: 7\n");
	buf_fini(&d.out);

	w = fixture_writer(&f, BUS_CONTROL);
	fixture_path(&f, path, "control/segment");
	dump(&d, path, false);
	check(d.rc == 0);
	check_has(&d, "  role_name: control\n");
	buf_fini(&d.out);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

/* An image in a file; where a row makes it wrong. */
struct row {
	const char *name;
	size_t at, width;
	uint64_t value;
	size_t length; /* the file is cut here; 0: whole */
	int is_sealed; /* the checksum is made right again */
	enum err code;
	const char *why, *shown;
};

#define H(field) offsetof(struct bus_header, field), sizeof(((struct bus_header *)0)->field)
#define TOC(field) offsetof(struct bus_header, toc) + offsetof(struct bus_toc_entry, field), \
		   sizeof(((struct bus_toc_entry *)0)->field)

static const struct row rows[] = {
	{ "good", H(reserved), 5, 0, 1, 0, "", "valid: true" },
	{ "empty", 0, 0, 0, 1, 0, ERR_PROTO, "shorter than a header", "bytes: 0\n" },
	{ "half a header", 0, 0, 0, 2000, 0, ERR_PROTO, "shorter than a header", "bytes: 2000\n" },
	{ "header alone", 0, 0, 0, 4096, 0, ERR_PROTO, "shorter than a header",
	  "magic: PIPEBUS1\n" },
	{ "cut", 0, 0, 0, 8192, 0, ERR_PROTO, "not as long", "  log  12  " },
	{ "uneven", 0, 0, 0, 9000, 0, ERR_PROTO, "whole pages", "magic: PIPEBUS1\n" },
	{ "magic with an escape", 0, 1, 27, 0, 1, ERR_PROTO, "no magic", "magic: ?IPEBUS1\n" },
	{ "next major", H(major), 2, 0, 1, ERR_ALGO, "major version 2", "  major: 2\n" },
	{ "byte order", H(endian), 0x04030201, 0, 1, ERR_ALGO, "byte order",
	  "  endian: 0x4030201\n" },
	{ "features", H(features_incompat), 0x80, 0, 1, ERR_ALGO, "features 0x80",
	  "incompat: 0x80\n" },
	{ "checksum", H(reserved), 5, 0, 0, ERR_PROTO, "checksum", "  complete: true\n" },
	{ "incomplete", 4092, 4, 0, 0, 1, ERR_PROTO, "not complete", "  complete: false\n" },
	{ "role of nobody", H(role), 99, 0, 1, ERR_TRUST, "role 99", "  role_name: unknown\n" },
	{ "build of escapes", 96, 1, 27, 0, 1, ERR_PROTO, "build", "  build: ?.2.3 test\n" },
	{ "all sections there are", H(sections_n), 65535, 0, 1, ERR_LIMIT, "65535 sections",
	  "  unknown  0  0" },
	{ "section outside", TOC(off), UINT64_MAX - 7, 0, 1, ERR_PROTO, "outside",
	  "  descriptors  1  18446744073709551608" },
	{ "section of another version", TOC(type), 4000000000, 0, 1, ERR_PROTO, "outside",
	  "  unknown  4000000000" },
};

static void write_image(const struct row *r, const char *path)
{
	struct image i;

	image_read(&i);
	memcpy(i.p + r->at, &r->value, r->width);
	if (r->is_sealed)
		seal(&i);
	const size_t n = strcmp(r->name, "empty") == 0 ? 0 : r->length ? r->length : i.n;
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, i.p, n) == (ssize_t)n);
	close(fd);
	free(i.p);
}

static void test_hostile_files(void)
{
	struct bus_fixture f;
	char path[128];
	fixture_init(&f);
	fixture_path(&f, path, "file");

	for (size_t i = 0; i < array_len(rows); i++) {
		const struct row *r = &rows[i];
		struct dumped d;

		write_image(r, path);
		dump(&d, path, false);
		if (!check_row(r->name, d.rc == (int)r->code))
			printf("%s: %d: %s\n", r->name, d.rc, d.why.why);
		check_row(r->name, strstr(d.why.why, r->why) != NULL);
		check_row(r->name, !r->code || strstr(d.text, "valid: false\nrefused: ") != NULL);
		check_has(&d, r->shown);
		check_row(r->name, strpbrk(d.text, "\x1b\r\t") == NULL);
		buf_fini(&d.out);

		dump(&d, path, true);
		struct json_object *doc = json_tokener_parse(d.text);
		check_row(r->name, doc != NULL && d.rc == (int)r->code);
		check_member(doc, "/valid", r->code ? "false" : "true");
		json_object_put(doc);
		buf_fini(&d.out);
	}
	unlink(path);
	fixture_fini(&f);
}

/* Every byte of the immutable part flipped in turn, unsealed and sealed: an
 * answer each time. */
static void test_flipped_bytes(void)
{
	struct bus_fixture f;
	struct image i;
	char path[128];
	fixture_init(&f);
	fixture_path(&f, path, "file");
	image_read(&i);
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, i.p, i.n) == (ssize_t)i.n);

	for (size_t at = 0; at < header_of(&i)->immutable_len; at += at < 768 ? 1 : 251) {
		struct dumped d;
		i.p[at] ^= 0x81;
		seal(&i);
		must(pwrite(fd, i.p, BUS_PAGE * 6, 0) == BUS_PAGE * 6);
		dump(&d, path, true);
		struct json_object *doc = json_tokener_parse(d.text);
		check(doc != NULL && (d.rc == 0 || d.why.why[0]));
		json_object_put(doc);
		buf_fini(&d.out);
		i.p[at] ^= 0x81;
	}
	close(fd);
	unlink(path);
	free(i.p);
	fixture_fini(&f);
}

static void check_refused(const char *path, enum err code, const char *why)
{
	struct dumped d;

	dump(&d, path, false);
	if (!check_row(path, d.rc == (int)code && strstr(d.why.why, why)))
		printf("%s: %d: %s\n", path, d.rc, d.why.why);
	check_has(&d, "valid: false\n");
	buf_fini(&d.out);
}

static void test_no_plain_files(void)
{
	struct bus_fixture f;
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char path[128];
	fixture_init(&f);

	check_refused(f.dir, ERR_TRUST, "regular file");
	check_refused("/dev/zero", ERR_TRUST, "regular file");
	fixture_path(&f, path, "none");
	check_refused(path, ERR_SYS, "No such file");
	fixture_path(&f, path, "fifo");
	must(mkfifo(path, 0600) == 0);
	check_refused(path, ERR_TRUST, "regular file");
	unlink(path);
	fixture_path(&f, path, "socket");
	snprintf(to.sun_path, sizeof(to.sun_path), "%.100s", path);
	const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s >= 0 && bind(s, (struct sockaddr *)&to, sizeof(to)) == 0);
	check_refused(path, ERR_SYS, "No such device");
	close(s);
	unlink(path);
	fixture_path(&f, path, "huge");
	const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0 && ftruncate(fd, (off_t)1 << 40) == 0);
	check_refused(path, ERR_LIMIT, "larger than");
	must(ftruncate(fd, 8192) == 0);
	check_refused(path, ERR_TRUST, "holes");
	close(fd);
	unlink(path);
	fixture_fini(&f);
}

static void test_command_line(void)
{
	char dump_word[] = "dump", json[] = "--json", a[] = "/nowhere", b[] = "/elsewhere",
	     odd[] = "-x";

	check(dump_main(1, (char *[]){ dump_word, NULL }) == EXIT_USAGE);
	check(dump_main(2, (char *[]){ dump_word, json, NULL }) == EXIT_USAGE);
	check(dump_main(3, (char *[]){ dump_word, a, b, NULL }) == EXIT_USAGE);
	check(dump_main(3, (char *[]){ dump_word, a, odd, NULL }) == EXIT_USAGE);
	check(dump_main(3, (char *[]){ dump_word, a, json, NULL }) == EXIT_RUNTIME);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "living writer", test_living_writer },
		{ "hostile files", test_hostile_files },
		{ "flipped bytes", test_flipped_bytes },
		{ "no plain files", test_no_plain_files },
		{ "command line", test_command_line },
	};
	return run_cases("dump", cases, array_len(cases));
}
