/* The poll on a clock and a control plane of the test's: each kind of answer, in each state, and
 * when it asks again.  The tunnel is a writer of the bus in this process. */
#include "control-agent/tunnel/tunnel_poll.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "shm/writer.h"
#include "tests/support/cases.h"
#include "tests/support/fakes/fake_http_client.h"
#include "tests/support/fakes/fake_loop.h"

#define S 1000000000ull
#define FORWARDS "\"forwards\":[{\"name\":\"web\",\"remote_port\":8000}]"
#define UP(server) "{\"status\":\"ready\",\"tunnel_url\":\"wss://" server "\"," FORWARDS "}"
#define UP_SECRET(server, credentials)                                                             \
	"{\"status\":\"ready\",\"tunnel_url\":\"wss://" server "\",\"credentials\":\"" credentials \
	"\"," FORWARDS "}"

struct world {
	char dir[64];
	struct config config;
	struct control_plane plane;
	struct publish *publish;
	struct tunnel_view view;
	struct bus_reader *reader;
	struct bus_writer *tunnel; /* NULL: there is none */
	struct tunnel_poll *poll;
};

static void on_replaced(void *user)
{
	(void)user;
	check(false);
}

static void open_world(struct world *w, bool enabled)
{
	struct config *c = &w->config;

	*w = (struct world){ 0 };
	fake_http_reset();
	snprintf(w->dir, sizeof(w->dir), "/tmp/tunnel-poll-XXXXXX");
	check(mkdtemp(w->dir) != NULL);
	snprintf(c->bus_dir, sizeof(c->bus_dir), "%s/bus", w->dir);
	snprintf(c->handoff_dir, sizeof(c->handoff_dir), "%s/handoff", w->dir);
	check(mkdir(c->bus_dir, 0700) == 0 && mkdir(c->handoff_dir, 0700) == 0);
	snprintf(c->api_url, sizeof(c->api_url), "https://cp.example");
	snprintf(c->token.text, sizeof(c->token.text), "token");
	c->tls_enabled = true;
	c->tunnel_enabled = enabled;
	c->forwards_n = 1;
	snprintf(c->forwards[0].name, sizeof(c->forwards[0].name), "web");
	c->forwards[0].port = 80;
	check(control_plane_init(&w->plane, fake_loop(), c, NULL) == 0);
	check(publish_new(&w->publish, fake_loop(),
			  &(struct publish_options){ .bus_dir = c->bus_dir,
						     .on_replaced = on_replaced },
			  NULL) == 0);
	check(tunnel_view_init(&w->view, c->bus_dir, NULL) == 0);
	check(bus_reader_new(&w->reader, c->bus_dir, BUS_CONTROL, NULL) == 0);
	check(tunnel_poll_new(&w->poll,
			      &(struct tunnel_poll_options){ fake_loop(), c, &w->plane, w->publish,
							     &w->view, "agent 1" },
			      NULL) == 0);
}

static void close_world(struct world *w)
{
	static const char *const names[] = {
		"handoff/cred-1",
		"handoff/cred-2",
		"handoff/cred-3",
		"handoff",
		"bus/control/segment",
		"bus/control/owner.lock",
		"bus/control",
		"bus/tunnel/segment",
		"bus/tunnel/owner.lock",
		"bus/tunnel",
		"bus",
		"",
	};
	char path[128];

	tunnel_poll_free(w->poll);
	bus_reader_free(w->reader);
	tunnel_view_fini(&w->view);
	bus_writer_free(w->tunnel, 0);
	publish_free(w->publish, 0);
	control_plane_fini(&w->plane);
	check(fake_http_clients() == 0 && fake_timers() == 0);
	for (size_t i = 0; i < array_len(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", w->dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	check(access(w->dir, F_OK) < 0);
}

static struct bus_desired desired(struct world *w)
{
	struct bus_desired d = { 0 };

	(void)bus_reader_refresh(w->reader, loop_now(fake_loop()));
	(void)!bus_read_desired(w->reader, &d);
	return d;
}

static void answer(int status, const char *body)
{
	struct http_result r = { .status = status, .body = span_str(body), .location = "" };

	if (!status)
		fault_set(&r.why, ERR_SYS, "connect: refused");
	fake_http_answer(&r);
}

/* Lets `ns` go by in steps, so that beats and polls take their turns. */
static void pass(uint64_t ns)
{
	for (; ns > S / 2; ns -= S / 2)
		fake_pass(S / 2);
	fake_pass(ns);
}

/* The next poll asks within `seconds`, and not before the one that precedes. */
static void asks_after(unsigned seconds, const char *name)
{
	check_row(name, fake_http_waiting() == 0);
	pass((uint64_t)seconds * S - S / 4);
	check_row(name, fake_http_waiting() == 0);
	pass(S / 2);
	check_row(name, fake_http_waiting() == 1);
}

/* Each kind of answer in each state: what stands on the bus, and when it asks again. */
static void test_answers_in_each_state(void)
{
	static const struct {
		const char *name, *body;
	} states[] = {
		{ "nothing said yet", NULL },
		{ "up", UP("a.example") },
		{ "down", "{\"status\":\"idle\"}" },
	};
	static const struct {
		const char *name;
		int status;
		const char *body;
		uint64_t retry_after_s;
		int op; /* what is wished then; -1: as before */
		unsigned wait_s;
	} rows[] = {
		{ "up", 200, UP("a.example"), 0, BUS_DESIRED_UP, 5 },
		{ "up elsewhere", 200, UP("b.example"), 0, BUS_DESIRED_UP, 5 },
		{ "up, often", 200,
		  "{\"status\":\"active\",\"poll_frequency\":2,"
		  "\"tunnel_url\":\"wss://a.example\"," FORWARDS "}",
		  0, BUS_DESIRED_UP, 2 },
		{ "down", 200, "{\"status\":\"idle\"}", 0, BUS_DESIRED_DOWN, 5 },
		{ "down, seldom", 200, "{\"status\":\"idle\",\"poll_frequency\":60}", 0,
		  BUS_DESIRED_DOWN, 60 },
		{ "an unknown word", 200, "{\"status\":\"paused\"}", 0, BUS_DESIRED_DOWN, 5 },
		{ "empty", 200, "", 0, BUS_DESIRED_DOWN, 5 },
		{ "not found", 404, "", 0, BUS_DESIRED_DOWN, 5 },
		{ "unauthorized", 401, "", 0, -1, 5 },
		{ "moved", 301, "", 0, -1, 5 },
		{ "broken", 500, "", 0, -1, 5 },
		{ "busy", 429, "", 30, -1, 30 },
		{ "busy for long", 503, "", 100000, -1, 300 },
		{ "no JSON", 200, "<html>", 0, -1, 5 },
		{ "no status", 200, "{}", 0, -1, 5 },
		{ "unusable server", 200, UP("user:pass@a.example"), 0, -1, 5 },
		{ "no forward of ours", 200,
		  "{\"status\":\"ready\",\"tunnel_url\":\"wss://a.example\","
		  "\"forwards\":[{\"name\":\"other\",\"remote_port\":1}]}",
		  0, -1, 5 },
		{ "unreachable", 0, "", 0, -1, 5 },
	};

	for (size_t i = 0; i < array_len(states); i++) {
		for (size_t j = 0; j < array_len(rows); j++) {
			struct world w;
			char name[64];

			snprintf(name, sizeof(name), "%s: %s", states[i].name, rows[j].name);
			open_world(&w, true);
			fake_pass(1);
			check_row(name, fake_http_waiting() == 1);
			if (states[i].body) {
				answer(200, states[i].body);
				asks_after(5, name);
			}
			const struct bus_desired before = desired(&w);
			struct http_result r = { .status = rows[j].status,
						 .body = span_str(rows[j].body),
						 .retry_after_s = rows[j].retry_after_s };
			fake_http_answer(&r);
			const struct bus_desired after = desired(&w);
			if (rows[j].op < 0) {
				check_row(name, memcmp(&before, &after, sizeof(after)) == 0);
			} else {
				check_row(name, after.op == (uint64_t)rows[j].op);
				check_row(name, after.gen - before.gen <= 1);
				check_row(name, after.gen > 0);
			}
			asks_after(rows[j].wait_s, name);
			close_world(&w);
		}
	}
}

static void test_request(void)
{
	struct world w;

	open_world(&w, true);
	check(fake_http_asked() == 0);
	fake_pass(1);
	check(fake_http_asked() == 1 && strcmp(fake_http_request()->method, "GET") == 0);
	check(strcmp(fake_http_request()->path, "/api/v1/tunnel/status?agent_id=agent%201") == 0);
	/* No second one beside it, however long it takes. */
	pass(100 * S);
	check(fake_http_asked() == 1);
	close_world(&w); /* with a request under way */
}

static void test_request_that_cannot_be_sent(void)
{
	struct world w;

	open_world(&w, true);
	fake_http_refuse(ERR_NOMEM);
	pass(20 * S);
	check(fake_http_asked() == 0 && desired(&w).gen == 0);
	fake_http_refuse(0);
	pass(6 * S);
	check(fake_http_asked() == 1);
	answer(200, UP("a.example"));
	check(desired(&w).gen == 1);
	close_world(&w);
}

static void test_switched_off(void)
{
	struct world w;

	open_world(&w, false);
	check(desired(&w).gen == 1 && desired(&w).op == BUS_DESIRED_DOWN);
	pass(60 * S);
	check(fake_http_asked() == 0 && fake_http_clients() == 0);
	close_world(&w);
}

/* ---- what the tunnel says to it ---- */

static void start_tunnel(struct world *w)
{
	const struct bus_writer_options options = { .dir = w->config.bus_dir,
						    .role = BUS_TUNNEL,
						    .build = "test" };

	check(bus_writer_new(&w->tunnel, &options, NULL) == 0);
}

static void observe(struct world *w, uint64_t seen, uint64_t applied, const char *error)
{
	struct bus_observed o = { .gen_seen = seen, .gen_applied = applied, .error = *error != 0 };

	(void)bus_reader_refresh(w->reader, loop_now(fake_loop()));
	bus_reader_incarnation(w->reader, o.writer);
	snprintf(o.error_text, sizeof(o.error_text), "%s", error);
	bus_publish_observed(w->tunnel, &o);
	(void)!bus_beat(w->tunnel);
}

static bool has_file(const struct world *w, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/handoff/%s", w->dir, name);
	return access(path, F_OK) == 0;
}

static void test_refusal_is_logged_once(void)
{
	struct world w;

	open_world(&w, true);
	start_tunnel(&w);
	fake_pass(1);
	answer(200, UP_SECRET("a.example", "dTox"));
	const uint64_t before = log_lines(LOG_WARN);
	for (int i = 0; i < 5; i++) {
		observe(&w, 1, 0, "port 444 is not one of tunnel.server_ports");
		pass(5 * S + S / 4);
		answer(200, UP_SECRET("a.example", "dTox"));
	}
	check(log_lines(LOG_WARN) == before + 1);
	observe(&w, 1, 0, "another reason");
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dTox"));
	check(log_lines(LOG_WARN) == before + 2);
	observe(&w, 1, 1, "");
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dTox"));
	check(log_lines(LOG_WARN) == before + 2 && desired(&w).gen == 1);
	close_world(&w);
}

static void test_credentials_go_once_they_are_replaced(void)
{
	struct world w;

	open_world(&w, true);
	start_tunnel(&w);
	fake_pass(1);
	answer(200, UP_SECRET("a.example", "dTox"));
	check(has_file(&w, "cred-1") && desired(&w).cred_gen == 1);
	observe(&w, 1, 1, "");
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dToy"));
	check(has_file(&w, "cred-1") && has_file(&w, "cred-2") && desired(&w).cred_gen == 2);
	observe(&w, 2, 1, "no");
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dToy"));
	check(has_file(&w, "cred-1") && has_file(&w, "cred-2"));
	/* A third one, while the tunnel still lives by the first: it may need that again. */
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dToz"));
	check(has_file(&w, "cred-1") && has_file(&w, "cred-2") && has_file(&w, "cred-3"));
	observe(&w, 3, 3, "");
	pass(5 * S + S / 4);
	answer(200, UP_SECRET("a.example", "dToz"));
	check(!has_file(&w, "cred-1") && !has_file(&w, "cred-2") && has_file(&w, "cred-3"));
	close_world(&w);
}

static void test_changes_are_paced(void)
{
	static const char *const bodies[] = { UP("a.example"), UP("b.example") };
	struct world w;

	open_world(&w, true);
	fake_pass(1);
	const uint64_t before = log_lines(LOG_WARN);
	for (unsigned i = 0; i < 40; i++) {
		answer(200, bodies[i % 2]);
		pass(5 * S + S / 4);
	}
	/* Eight at once, and one each ten seconds of 210. */
	check(desired(&w).gen >= 20 && desired(&w).gen <= 8 + 22);
	check(log_lines(LOG_WARN) > before && log_lines(LOG_WARN) <= before + 21);
	/* What is wanted in the end is what is had in the end. */
	for (unsigned i = 0; i < 3; i++) {
		answer(200, UP("c.example"));
		pass(5 * S + S / 4);
	}
	check(strcmp(desired(&w).url, "wss://c.example") == 0);
	close_world(&w);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "answers in each state", test_answers_in_each_state },
		{ "request", test_request },
		{ "request that cannot be sent", test_request_that_cannot_be_sent },
		{ "switched off", test_switched_off },
		{ "refusal is logged once", test_refusal_is_logged_once },
		{ "credentials that are replaced", test_credentials_go_once_they_are_replaced },
		{ "changes are paced", test_changes_are_paced },
	};
	log_start(&(struct log_options){ .component = "control", .level = LOG_INFO, .json = true,
					 .fd = open("/dev/null", O_WRONLY | O_CLOEXEC) });
	return run_cases("tunnel_poll", cases, array_len(cases));
}
