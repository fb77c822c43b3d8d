/* The last words of each container: true after any end of it, and bounded. */
#include "status-server/pages/blackbox.h"

#include <json-c/json.h>

#include "lib/app/log.h"
#include "shm/layout.h"
#include "shm/record.h"
#include "shm/records.h"
#include "status-server/pages/dump.h"
#include "tests/unit/status-server/page.h"

static struct json_object *page_of(struct view_fixture *p, uint64_t now_ns)
{
	struct buf page;

	buf_init(&page, &mem_heap, 4 << 20);
	check(blackbox_write(&page, view_fixture_at(p, now_ns, UINT64_C(1700000000000000000))) ==
	      0);
	check(buf_append(&page, "", 1) == 0);
	struct json_object *doc = json_tokener_parse((const char *)buf_bytes(&page).p);
	if (!check(doc != NULL))
		printf("%s\n", (const char *)buf_bytes(&page).p);
	buf_fini(&page);
	return doc;
}

/* want NULL: there is no such member. */
static void check_member(struct json_object *doc, const char *path, const char *want)
{
	struct json_object *found = NULL;
	const char *got =
		json_pointer_get(doc, path, &found) == 0 ? json_object_get_string(found) : NULL;

	if (!check_row(path, got ? want && strcmp(got, want) == 0 : !want))
		printf("%s is %s\n", path, got ? got : "not there");
}

static size_t length_of(struct json_object *doc, const char *path)
{
	struct json_object *found = NULL;

	return json_pointer_get(doc, path, &found) == 0 ? json_object_array_length(found) : 0;
}

static struct bus_writer *busy_tunnel(const struct bus_fixture *f)
{
	struct bus_writer *w = fixture_writer(f, BUS_TUNNEL);

	bus_phase(w, BUS_RUNNING);
	bus_publish_session(w, &(struct bus_session){ .state = BUS_STATE_BACKOFF,
						      .attempts = 3,
						      .last_error = "a \"quoted\" \x1b reason",
						      .last_error_reason = "timeout" });
	bus_publish_observed(w, &(struct bus_observed){ .gen_seen = 5, .gen_applied = 4, .error = 6,
							.error_text = "why not" });
	bus_log(w, LOG_WARN, "first\tline", 10);
	bus_event(w, "state backoff");
	return w;
}

static void check_last_words(struct json_object *doc)
{
	check_member(doc, "/components/0/name", "tunnel");
	check_member(doc, "/components/0/build", "1.2.3 test");
	check_member(doc, "/components/0/session/state", "backoff");
	check_member(doc, "/components/0/session/attempts", "3");
	check_member(doc, "/components/0/session/last_error", "a \"quoted\" ? reason");
	check_member(doc, "/components/0/session/last_error_reason", "timeout");
	check_member(doc, "/components/0/session/next_retry", NULL);
	check_member(doc, "/components/0/observed/gen_applied", "4");
	check_member(doc, "/components/0/observed/error", "why not");
	check_member(doc, "/components/0/log/lines/0/level", "warn");
	check_member(doc, "/components/0/log/lines/0/text", "first?line");
	check_member(doc, "/components/0/log/overwritten", "0");
	check_member(doc, "/components/0/events/lines/0/text", "state backoff");
	check_member(doc, "/components/0/events/lines/0/level", NULL);
	check_member(doc, "/components/1/name", "control");
	check_member(doc, "/components/1/presence", "absent");
	check_member(doc, "/components/1/phase", NULL);
	check_member(doc, "/components/1/registration", NULL);
}

static void test_living_and_ended(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	struct bus_writer *w = busy_tunnel(&f);

	struct json_object *doc = page_of(&p, SECOND);
	check_member(doc, "/time", "2023-11-14T22:13:20.000Z");
	check_member(doc, "/components/0/presence", "alive");
	check_member(doc, "/components/0/phase", "running");
	check_member(doc, "/components/0/exit_code", NULL);
	check_last_words(doc);
	json_object_put(doc);

	doc = page_of(&p, 9 * SECOND);
	check_member(doc, "/components/0/presence", "stalled");
	check_last_words(doc);
	json_object_put(doc);

	bus_phase(w, BUS_FAILED);
	bus_writer_free(w, 66);
	doc = page_of(&p, 10 * SECOND);
	check_member(doc, "/components/0/presence", "dead");
	check_member(doc, "/components/0/phase", "failed");
	check_member(doc, "/components/0/exit_code", "66");
	check_last_words(doc);
	json_object_put(doc);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* Killed: the phase it was in, and no exit code that nobody stored. */
static void test_killed(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		must(busy_tunnel(&f));
		raise(SIGKILL);
	}
	fixture_reap(child);
	struct json_object *doc = page_of(&p, SECOND);
	check_member(doc, "/components/0/presence", "dead");
	check_member(doc, "/components/0/phase", "running");
	check_member(doc, "/components/0/exit_code", NULL);
	check_last_words(doc);
	json_object_put(doc);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* Killed and started again at once: the new life is shown, and how the one before
 * ended, with its words. */
static void test_life_before(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	const pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		must(busy_tunnel(&f));
		raise(SIGKILL);
	}
	fixture_reap(child);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct json_object *doc = page_of(&p, SECOND);
	check_member(doc, "/components/0/presence", "alive");
	check_member(doc, "/components/0/ended", NULL);
	check_member(doc, "/components/0/session", NULL);
	check_member(doc, "/components/0/previous/ended", "killed");
	check_member(doc, "/components/0/previous/exit_code", NULL);
	check_member(doc, "/components/0/previous/phase", "running");
	check_member(doc, "/components/0/previous/session/state", "backoff");
	check_member(doc, "/components/0/previous/log/lines/0/text", "first?line");
	check_member(doc, "/components/0/previous/events/lines/0/text", "state backoff");
	json_object_put(doc);
	check(p.v.of[COMPONENT_TUNNEL].end.is_known && !p.v.of[COMPONENT_TUNNEL].end.is_exit);
	check(strcmp(p.v.of[COMPONENT_TUNNEL].end.state, "backoff") == 0);

	/* the next one ends by itself, and is its own last life until it has a successor */
	bus_phase(w, BUS_FAILED);
	bus_writer_free(w, 66);
	doc = page_of(&p, 2 * SECOND);
	check_member(doc, "/components/0/presence", "dead");
	check_member(doc, "/components/0/ended", "exit");
	check_member(doc, "/components/0/exit_code", "66");
	check_member(doc, "/components/0/previous/ended", "killed");
	json_object_put(doc);
	check(p.v.of[COMPONENT_TUNNEL].end.is_exit && p.v.of[COMPONENT_TUNNEL].end.exit_code == 66);
	w = fixture_writer(&f, BUS_TUNNEL);
	doc = page_of(&p, 3 * SECOND);
	check_member(doc, "/components/0/previous/ended", "exit");
	check_member(doc, "/components/0/previous/exit_code", "66");
	json_object_put(doc);
	bus_writer_free(w, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* Whatever stands under the second name, the page has the living one. */
static void test_hostile_life_before(void)
{
	static const char *const kinds[] = { "symlink", "fifo", "huge", "garbage", "directory" };

	for (size_t i = 0; i < array_len(kinds); i++) {
		struct bus_fixture f;
		struct view_fixture p;
		char path[128];
		fixture_init(&f);
		view_fixture_init(&p, &f);
		struct bus_writer *w = busy_tunnel(&f);

		fixture_path(&f, path, "tunnel/previous");
		if (strcmp(kinds[i], "symlink") == 0)
			must(symlink("segment", path) == 0);
		else if (strcmp(kinds[i], "fifo") == 0)
			must(mkfifo(path, 0600) == 0);
		else if (strcmp(kinds[i], "directory") == 0)
			must(mkdir(path, 0700) == 0);
		else
			must(close(creat(path, 0600)) == 0 &&
			     truncate(path,
				      strcmp(kinds[i], "huge") == 0 ? (off_t)1 << 40 : 65536) == 0);
		struct json_object *doc = page_of(&p, SECOND);
		check_member(doc, "/components/0/presence", "alive");
		check_member(doc, "/components/0/previous", NULL);
		check_row(kinds[i], !p.v.of[COMPONENT_TUNNEL].end.is_known);
		check_last_words(doc);
		json_object_put(doc);
		bus_writer_free(w, 0);
		view_fixture_fini(&p);
		fixture_fini(&f);
	}
}

static void test_control(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	struct bus_writer *w = fixture_writer(&f, BUS_CONTROL);

	bus_publish_registration(
		w, &(struct bus_registration){ .registered = 1, .nodes = 3, .pods = UINT64_MAX });
	bus_publish_desired(w,
			    &(struct bus_desired){
				    .gen = 7, .op = BUS_DESIRED_UP, .n = 2, .url = "https://t" });
	struct json_object *doc = page_of(&p, SECOND);
	check_member(doc, "/components/1/registration/registered", "true");
	check_member(doc, "/components/1/registration/nodes", "3");
	check_member(doc, "/components/1/registration/pods", NULL);
	check_member(doc, "/components/1/desired/gen", "7");
	check_member(doc, "/components/1/desired/op", "up");
	check_member(doc, "/components/1/desired/forwards", "2");
	check_member(doc, "/components/1/events/written", "0");
	json_object_put(doc);
	bus_writer_free(w, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* However much was written, the page has the last lines only. */
static void test_bounded(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);

	for (unsigned i = 1; i <= 3000; i++) {
		char text[32];
		const int n = snprintf(text, sizeof(text), "line %u", i);
		bus_log(w, LOG_INFO, text, (size_t)n);
	}
	struct json_object *doc = page_of(&p, SECOND);
	check_member(doc, "/components/0/log/written", "3000");
	check_member(doc, "/components/0/log/overwritten", "1976");
	check(length_of(doc, "/components/0/log/lines") == BLACKBOX_LINES);
	check_member(doc, "/components/0/log/lines/0/text", "line 2901");
	check_member(doc, "/components/0/log/lines/99/text", "line 3000");
	check(length_of(doc, "/components/0/events/lines") == 0);
	json_object_put(doc);
	bus_writer_free(w, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* Whatever two lives of both containers wrote, the page keeps its bound, with the
 * newest lines. */
static void test_bytes_are_bounded(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	struct buf page;
	char quotes[257];
	fixture_init(&f);
	view_fixture_init(&p, &f);
	memset(quotes, '"', sizeof(quotes) - 1);
	quotes[sizeof(quotes) - 1] = '\0';
	for (int life = 0; life < 2; life++)
		for (enum bus_role role = BUS_TUNNEL; role <= BUS_CONTROL; role++) {
			struct bus_writer *w = fixture_writer(&f, role);

			for (int i = 0; i < 300; i++) {
				bus_log(w, LOG_ERROR, quotes, sizeof(quotes) - 1);
				bus_event(w, quotes);
			}
			bus_log(w, LOG_INFO, "the newest", 10);
			bus_event(w, "the newest");
			bus_writer_free(w, 0);
		}
	buf_init(&page, &mem_heap, 4 << 20);
	check(blackbox_write(&page, view_fixture_at(&p, SECOND, 1)) == 0);
	check(buf_len(&page) <= BLACKBOX_BYTES_MAX && buf_len(&page) > BLACKBOX_BYTES_MAX / 2);
	check(buf_append(&page, "", 1) == 0);
	unsigned newest = 0;
	for (const char *at = (const char *)buf_bytes(&page).p; (at = strstr(at, "the newest"));
	     at++)
		newest++;
	check(newest == 8); /* two rings of two lives of two containers */
	buf_fini(&page);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* No memory for the page: said, not half a document. */
static void test_no_room(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	struct buf page;
	fixture_init(&f);
	view_fixture_init(&p, &f);
	struct bus_writer *w = busy_tunnel(&f);

	buf_init(&page, &mem_heap, 700);
	check(blackbox_write(&page, view_fixture_at(&p, SECOND, 1)) == ERR_LIMIT);
	buf_fini(&page);
	bus_writer_free(w, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* The records of a segment as its owner may write them: one field of each copy
 * filled to its last byte, the rest zeros, and a version. */
static void forge_field(const char *path, const struct bus_record_info *info,
			const struct bus_record_field *field, int byte)
{
	struct bus_header h;
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	const uint64_t version = 4711;

	must(fd >= 0 && pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h));
	for (unsigned i = 0; i < h.sections_n; i++) {
		const struct bus_toc_entry *e = &h.toc[i];
		static uint8_t copies[BUS_RECORD_SLOTS * BUS_SLOT_MAX];
		const size_t n = (size_t)e->entsize * BUS_RECORD_SLOTS;

		if (e->type != (uint32_t)info->section)
			continue;
		memset(copies, 0, sizeof(copies));
		for (unsigned k = 0; k < BUS_RECORD_SLOTS; k++)
			memset(copies + (size_t)k * e->entsize + field->at, byte, field->size);
		must(pwrite(fd, copies, n, (off_t)e->off + BUS_LINE) == (ssize_t)n);
		must(pwrite(fd, &version, 8, (off_t)e->off) == 8);
	}
	close(fd);
}

/* What a page says of a forged text: as much of it as the field holds. */
static void check_forged(const char *row, const char *page, const struct bus_record_info *info,
			 const struct bus_record_field *field)
{
	char want[64 + BUS_SLOT_MAX];
	const int n = snprintf(want, sizeof(want), "\"%s\":\"", field->key);

	memset(want + n, 'A', field->size - 1);
	snprintf(want + n + field->size - 1, 3, "\",");
	want[(size_t)n + field->size] = '\0';
	/* a strict record is not shown at all */
	if (!check_row(row, info->strict == !strstr(page, want)))
		printf("%s: %s\n", row, page);
	check_row(row, strspn(strchr(page, 'A') ? strchr(page, 'A') : "", "A") < field->size);
}

/* Both pages of a segment in which `forge` was at work. */
struct forgery {
	struct bus_fixture f;
	struct view_fixture p;
	struct bus_writer *w;
	char path[128];
};

static void forgery_init(struct forgery *t, enum bus_role role)
{
	fixture_init(&t->f);
	view_fixture_init(&t->p, &t->f);
	t->w = fixture_writer(&t->f, role);
	fixture_path(&t->f, t->path, role == BUS_TUNNEL ? "tunnel/segment" : "control/segment");
}

static void forgery_fini(struct forgery *t)
{
	bus_writer_free(t->w, 0);
	view_fixture_fini(&t->p);
	fixture_fini(&t->f);
}

static void forged_text(enum bus_role role, const struct bus_record_info *info,
			const struct bus_record_field *field)
{
	struct forgery t;
	struct buf page;
	char row[96];

	snprintf(row, sizeof(row), "%s.%s", info->name, field->key);
	forgery_init(&t, role);
	forge_field(t.path, info, field, 'A');
	buf_init(&page, &mem_heap, 4 << 20);
	check_row(row, blackbox_write(&page, view_fixture_at(&t.p, SECOND, 1)) == 0 &&
			       buf_append(&page, "", 1) == 0);
	check_forged(row, (const char *)buf_bytes(&page).p, info, field);
	buf_fini(&page);

	struct fault why = { 0 };
	buf_init(&page, &mem_heap, 32 << 20);
	check_row(row, dump_write(&page, t.path, true, &why) == 0 && buf_append(&page, "", 1) == 0);
	check_forged(row, (const char *)buf_bytes(&page).p, info, field);
	buf_fini(&page);
	forgery_fini(&t);
}

static void forged_whole(enum bus_role role, int byte)
{
	struct forgery t;

	forgery_init(&t, role);
	for (size_t i = 0; i < BUS_RECORDS_N; i++) {
		const struct bus_record_info *info = &bus_record_info[i];
		const struct bus_record_field all = { .size = info->size };

		if (bus_record_is_of(info, role))
			forge_field(t.path, info, &all, byte);
	}
	struct json_object *doc = page_of(&t.p, SECOND);
	check(doc != NULL);
	json_object_put(doc);
	forgery_fini(&t);
}

/* Every text field of every record without a NUL, in all four copies: neither
 * page has a byte from beyond it. */
static void test_texts_without_an_end(void)
{
	static const enum bus_role roles[] = { BUS_TUNNEL, BUS_CONTROL };
	unsigned texts = 0;

	for (size_t k = 0; k < array_len(roles); k++)
		for (size_t i = 0; i < BUS_RECORDS_N; i++) {
			const struct bus_record_info *info = &bus_record_info[i];

			if (!bus_record_is_of(info, roles[k]))
				continue;
			for (size_t f = 0; f < info->fields_n; f++)
				if (info->fields[f].kind == BUS_VALUE_TEXT) {
					forged_text(roles[k], info, &info->fields[f]);
					texts++;
				}
		}
	check(texts >= 15);
}

/* Every byte of every record 'A', or 0xff: numbers over their bounds, too. */
static void test_records_of_noise(void)
{
	static const int bytes[] = { 'A', 0xff };

	for (size_t k = 0; k < 2 * array_len(bytes); k++) {
		const enum bus_role role = k % 2 ? BUS_CONTROL : BUS_TUNNEL;

		forged_whole(role, bytes[k / 2]);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "living and ended", test_living_and_ended },
		{ "killed", test_killed },
		{ "life before", test_life_before },
		{ "hostile life before", test_hostile_life_before },
		{ "control", test_control },
		{ "bounded", test_bounded },
		{ "bytes are bounded", test_bytes_are_bounded },
		{ "no room", test_no_room },
		{ "texts without an end", test_texts_without_an_end },
		{ "records of noise", test_records_of_noise },
	};
	return run_cases("blackbox", cases, array_len(cases));
}
