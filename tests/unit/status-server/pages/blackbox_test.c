/* The last words of each container: true after any end of it, and bounded. */
#include "status-server/pages/blackbox.h"

#include <json-c/json.h>

#include "lib/app/log.h"
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

int main(void)
{
	static const struct test_case cases[] = {
		{ "living and ended", test_living_and_ended },
		{ "killed", test_killed },
		{ "control", test_control },
		{ "bounded", test_bounded },
		{ "no room", test_no_room },
	};
	return run_cases("blackbox", cases, array_len(cases));
}
