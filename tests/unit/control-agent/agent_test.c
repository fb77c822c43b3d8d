/* The agent's order of life, on a clock of the test's and with a control plane
 * that is a table: loop and http_client are replaced here, all else is real. */
#include "control-agent/agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control-agent/identity/identity.h"
#include "lib/http/client_whole.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "shm/reader.h"
#include "tests/support/cases.h"

#define SECOND 1000000000ull
#define FORWARDS "\"forwards\":[{\"name\":\"k8s-api\",\"remote_port\":8000}]"
#define READY "{\"status\":\"ready\",\"tunnel_url\":\"wss://t.example\"," FORWARDS "}"
#define READY_CREDENTIALS                                                                          \
	"{\"status\":\"ready\",\"tunnel_url\":\"wss://"                                            \
	"t.example\",\"credentials\":\"dTpw\"," FORWARDS "}"

/* ---- the loop: timers only, time stands still between them ---- */

struct loop {
	uint64_t now;
	struct timer *timers[16];
	size_t n;
	bool stopped;
};

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}

void timer_clear(struct loop *l, struct timer *t)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->timers[i] == t)
			l->timers[i--] = l->timers[--l->n];
}

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns)
{
	timer_clear(l, t);
	must(l->n < array_len(l->timers));
	t->at_ns = at_ns;
	l->timers[l->n++] = t;
}

void loop_trim(struct loop *l)
{
	(void)l;
}

struct loop_counts loop_counts(const struct loop *l)
{
	return (struct loop_counts){ .timers = l->n };
}

static void run_for(struct loop *l, uint64_t ns)
{
	const uint64_t end = l->now + ns;

	while (!l->stopped) {
		struct timer *next = NULL;

		for (size_t i = 0; i < l->n; i++)
			if (l->timers[i]->at_ns <= end &&
			    (!next || l->timers[i]->at_ns < next->at_ns))
				next = l->timers[i];
		if (!next)
			break;
		l->now = next->at_ns > l->now ? next->at_ns : l->now;
		timer_clear(l, next);
		next->fire(next);
	}
	if (!l->stopped)
		l->now = end;
}

/* ---- the control plane: what it answers, what it was asked ---- */

enum what { REGISTER, HEARTBEAT, POLL, WHATS };

static struct {
	int status; /* 0: cannot be reached */
	const char *body;
	uint64_t retry_after_s;
	const char *location;
	unsigned asked;
	unsigned at_once, at_once_max; /* requests under way */
	char last_path[600], last_body[4096];
} plane[WHATS];

struct http_client {
	struct loop *loop;
	struct timer timer;
	http_done_fn *done;
	void *user;
	enum what what;
	bool busy;
};

static void on_done(struct timer *t)
{
	struct http_client *c =
		(struct http_client *)((char *)t - offsetof(struct http_client, timer));
	struct http_result r = { .status = plane[c->what].status,
				 .body = span_str(plane[c->what].body),
				 .retry_after_s = plane[c->what].retry_after_s,
				 .location = plane[c->what].location,
				 .elapsed_ns = SECOND / 100 };

	if (!r.status)
		fault_set(&r.why, ERR_SYS, "connect: refused");
	c->busy = false;
	plane[c->what].at_once--;
	c->done(c->user, &r);
}

int http_client_new(struct http_client **out, struct loop *l, const struct http_client_options *o,
		    struct fault *why)
{
	struct http_client *c = calloc(1, sizeof(*c));

	(void)why;
	must(c && o->tls && strcmp(o->host, "cp.example") == 0 && o->port == 443);
	c->loop = l;
	c->timer.fire = on_done;
	*out = c;
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (c && c->busy) {
		timer_clear(c->loop, &c->timer);
		plane[c->what].at_once--;
	}
	free(c);
}

bool http_client_is_busy(const struct http_client *c)
{
	return c->busy;
}

int http_client_send(struct http_client *c, const struct http_request_out *q, http_done_fn *done,
		     void *user, struct fault *why)
{
	const enum what what = strstr(q->path, "/register") ? REGISTER
			       : strstr(q->path, "/heartbeat") ? HEARTBEAT
							       : POLL;

	(void)why;
	must(!c->busy && strcmp(q->bearer, "token") == 0);
	must(strcmp(q->method, what == POLL ? "GET" : "POST") == 0);
	c->what = what;
	plane[what].asked++;
	if (++plane[what].at_once > plane[what].at_once_max)
		plane[what].at_once_max = plane[what].at_once;
	snprintf(plane[what].last_path, sizeof(plane[what].last_path), "%s", q->path);
	snprintf(plane[what].last_body, sizeof(plane[what].last_body), "%.*s", (int)q->body.n,
		 q->body.n ? (const char *)q->body.p : "");
	c->busy = true;
	c->done = done;
	c->user = user;
	timer_set(c->loop, &c->timer, c->loop->now + SECOND / 100);
	return 0;
}

/* ---- one agent in a world of its own ---- */

struct world {
	char dir[64];
	struct config config;
	struct loop loop;
	struct publish *publish;
	struct agent *agent;
	struct bus_reader *reader;
};

static void answer(enum what what, int status, const char *body)
{
	plane[what].status = status;
	plane[what].body = body;
}

static void on_replaced(void *user)
{
	(void)user;
	check(false);
}

static void write_file(const struct world *w, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	FILE *f = fopen(path, "w");
	check(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool holds(const struct world *w, const char *name, const char *text)
{
	char path[128], got[1024];
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	FILE *f = fopen(path, "r");
	if (f) {
		n = fread(got, 1, sizeof(got) - 1, f);
		fclose(f);
	}
	got[n] = '\0';
	return f && strstr(got, text);
}

static void prepare(struct world *w)
{
	char path[128];
	static const char *const dirs[] = { "bus", "handoff", "sa" };

	*w = (struct world){ .loop.now = SECOND };
	memset(plane, 0, sizeof(plane));
	snprintf(w->dir, sizeof(w->dir), "/tmp/agent-test-XXXXXX");
	check(mkdtemp(w->dir) != NULL);
	for (size_t i = 0; i < array_len(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", w->dir, dirs[i]);
		check(mkdir(path, 0700) == 0);
	}
	struct config *c = &w->config;
	snprintf(c->bus_dir, sizeof(c->bus_dir), "%s/bus", w->dir);
	snprintf(c->handoff_dir, sizeof(c->handoff_dir), "%s/handoff", w->dir);
	snprintf(c->service_account_dir, sizeof(c->service_account_dir), "%s/sa", w->dir);
	snprintf(c->state_file, sizeof(c->state_file), "%s/state.yaml", w->dir);
	snprintf(c->api_url, sizeof(c->api_url), "https://cp.example");
	snprintf(c->token.text, sizeof(c->token.text), "token");
	snprintf(c->cluster_name, sizeof(c->cluster_name), "prod");
	snprintf(c->node_name, sizeof(c->node_name), "node-1");
	c->tls_enabled = c->tunnel_enabled = c->in_cluster = true;
	c->reconnect_interval_ns = 5 * SECOND;
	c->inactivity_timeout_ns = 300 * SECOND;
	c->forwards_n = 1;
	snprintf(c->forwards[0].name, sizeof(c->forwards[0].name), "kubernetes-api");
	c->forwards[0].port = 6443;
	write_file(w, "sa/token", "sa-1\n");
	answer(REGISTER, 200, "{\"cluster_id\":\"u-1\",\"name\":\"prod\",\"status\":\"active\"}");
	answer(HEARTBEAT, 204, "");
	answer(POLL, 200, READY);
}

static void start(struct world *w)
{
	const struct publish_options options = { .bus_dir = w->config.bus_dir,
						 .on_replaced = on_replaced };

	w->loop.stopped = false;
	check(publish_new(&w->publish, &w->loop, &options, NULL) == 0);
	check(agent_new(&w->agent, &(struct agent_options){ &w->loop, &w->config, w->publish },
			NULL) == 0);
	check(bus_reader_new(&w->reader, w->config.bus_dir, BUS_CONTROL, NULL) == 0);
}

static void stop(struct world *w)
{
	bus_reader_free(w->reader);
	agent_free(w->agent);
	publish_free(w->publish, 0);
	check(w->loop.n == 0); /* no timer outlives its owner */
	for (int i = 0; i < WHATS; i++)
		check(plane[i].at_once == 0 && plane[i].at_once_max <= 1);
}

static void clean(const struct world *w)
{
	static const char *const names[] = { "bus/control/segment",
					     "bus/control/previous",
					     "bus/control/owner.lock",
					     "bus/control",
					     "bus",
					     "handoff/cred-1",
					     "handoff/cred-2",
					     "handoff",
					     "sa/token",
					     "sa",
					     "state.yaml",
					     "" };
	char path[128];

	for (size_t i = 0; i < array_len(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", w->dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	check(access(w->dir, F_OK) < 0);
}

static void finish(struct world *w)
{
	stop(w);
	clean(w);
}

static struct bus_registration registration(struct world *w)
{
	struct bus_registration r = { 0 };

	check(bus_reader_refresh(w->reader, w->loop.now) == BUS_ALIVE);
	check(bus_read_registration(w->reader, &r) == 1);
	return r;
}

static struct bus_desired desired(struct world *w)
{
	struct bus_desired d = { 0 };

	check(bus_reader_refresh(w->reader, w->loop.now) == BUS_ALIVE);
	check(bus_read_desired(w->reader, &d) >= 0);
	return d;
}

/* ---- registration ---- */

static void test_registers_then_beats(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	check(registration(&w).registered == 0);
	check(plane[REGISTER].asked == 0); /* nothing before the loop runs */
	run_for(&w.loop, 12 * SECOND);
	check(plane[REGISTER].asked == 1 && plane[HEARTBEAT].asked == 3 && plane[POLL].asked == 3);
	check(strcmp(plane[HEARTBEAT].last_path, "/api/v1/clusters/agent/u-1/heartbeat") == 0);
	check(strstr(plane[HEARTBEAT].last_body, "\"tunnel_status\":\"disconnected\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"k8s_service_token\":\"sa-1\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"registration_mode\":\"fresh\"") != NULL);
	const struct bus_registration r = registration(&w);
	check(r.registered == 1 && strcmp(r.cluster_id, "u-1") == 0 &&
	      r.last_heartbeat_realtime_ns);
	check(r.nodes == UINT64_MAX && strcmp(r.cluster_name, "prod") == 0 && !r.last_error[0]);
	check(holds(&w, "state.yaml", "cluster_id: \"u-1\""));
	check(holds(&w, "state.yaml", "agent_id: \"agent-node-1-"));
	check(!holds(&w, "state.yaml", "sa-1"));
	check(agent_exit_code(w.agent) == EXIT_DONE);
	finish(&w);
}

static void test_failures_end_it(void)
{
	static const struct {
		const char *name;
		int status;
		const char *body;
		int exit_code;
	} rows[] = {
		{ "unauthorized", 401, "no", EXIT_REGISTRATION_REFUSED },
		{ "no id", 200, "{}", EXIT_REGISTRATION_REFUSED },
		{ "no JSON", 200, "<html>", EXIT_REGISTRATION_REFUSED },
		{ "broken", 500, "", EXIT_REGISTRATION_REFUSED },
		{ "conflict", 409, "{}", EXIT_REGISTRATION_REFUSED },
		{ "unreachable", 0, "", EXIT_REGISTRATION_UNREACHABLE },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct world w;

		prepare(&w);
		answer(REGISTER, rows[i].status, rows[i].body);
		start(&w);
		run_for(&w.loop, SECOND);
		check_row(rows[i].name,
			  w.loop.stopped && agent_exit_code(w.agent) == rows[i].exit_code);
		check_row(rows[i].name, agent_fault(w.agent)->why[0] != '\0');
		const struct bus_registration r = registration(&w);
		uint32_t code;
		check_row(rows[i].name, r.registered == 0 && r.last_error[0]);
		check_row(rows[i].name, bus_reader_phase(w.reader, &code) == BUS_FAILED);
		check_row(rows[i].name, plane[HEARTBEAT].asked == 0 && plane[POLL].asked == 0);
		check_row(rows[i].name,
			  desired(&w).gen == 0); /* a tunnel that runs is left alone */
		finish(&w);
	}
}

/* The last sentence is what the bus shows when the program has ended. */
static void test_last_sentence(void)
{
	static const struct {
		const char *name;
		int status;
		const char *body, *location, *api_url, *says[3];
	} rows[] = {
		{ "token", 401, "no", NULL, NULL, { "refused the token", "401", "PIPEOPS_TOKEN" } },
		{ "moved", 301, "", "https://new.example/x", NULL,
		  { "301", "points to https://new.example/x", "PIPEOPS_API_URL" } },
		{ "doubled path", 404, "", NULL, "https://cp.example/api/v1",
		  { "404", "Remove /api/v1", "" } },
		{ "proxy", 407, "", NULL, NULL, { "407", "HTTPS_PROXY", "" } },
		{ "busy", 429, "", NULL, NULL, { "429", "too often", "" } },
		{ "page", 200, "<html>", NULL, NULL, { "HTML", "PIPEOPS_API_URL", "" } },
		{ "gzip", 200, "\x1f\x8b\x08", NULL, NULL, { "compressed", "", "" } },
		{ "unreachable", 0, "", NULL, NULL, { "can't reach", "refused", "DNS" } },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct world w;

		prepare(&w);
		answer(REGISTER, rows[i].status, rows[i].body);
		plane[REGISTER].location = rows[i].location;
		if (rows[i].api_url)
			snprintf(w.config.api_url, sizeof(w.config.api_url), "%s", rows[i].api_url);
		start(&w);
		run_for(&w.loop, SECOND);
		const struct bus_registration r = registration(&w);
		for (size_t j = 0; j < 3; j++)
			check_row(rows[i].name, strstr(r.last_error, rows[i].says[j]) != NULL);
		check_row(rows[i].name, strcmp(r.last_error, agent_fault(w.agent)->why) == 0);
		finish(&w);
	}
}

/* A byte order mark and umlauts in what a control plane says. */
static void test_registers_in_zurich(void)
{
	struct world w;

	prepare(&w);
	answer(REGISTER, 200, "\xef\xbb\xbf{\"cluster_id\":\"u-1\",\"name\":\"z\xc3\xbcrich\"}");
	start(&w);
	run_for(&w.loop, SECOND);
	check(!w.loop.stopped && registration(&w).registered == 1);
	finish(&w);
}

static void test_conflict_with_an_id_is_success(void)
{
	struct world w;

	prepare(&w);
	answer(REGISTER, 409, "{\"cluster\":{\"uuid\":\"u-9\"}}");
	start(&w);
	run_for(&w.loop, SECOND);
	check(!w.loop.stopped && strcmp(registration(&w).cluster_id, "u-9") == 0);
	finish(&w);
}

static void test_resumes(void)
{
	struct world w;

	prepare(&w);
	write_file(&w, "state.yaml", "agent_id: agent-7\ncluster_id: u-7\ncluster_token: kept\n");
	start(&w);
	run_for(&w.loop, SECOND);
	check(strstr(plane[REGISTER].last_body, "\"agent_id\":\"agent-7\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"cluster_id\":\"u-7\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"registration_mode\":\"resume\"") != NULL);
	check(holds(&w, "state.yaml", "cluster_id: \"u-1\"") &&
	      holds(&w, "state.yaml", "\"kept\""));
	finish(&w);
}

static void test_without_a_cluster(void)
{
	struct world w;

	prepare(&w);
	w.config.in_cluster = false;
	write_file(&w, "state.yaml", "cluster_token: from-state\n");
	start(&w);
	run_for(&w.loop, SECOND);
	check(strstr(plane[REGISTER].last_body, "\"k8s_service_token\":\"from-state\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"agent_mode\":\"standalone\"") != NULL);
	finish(&w);
}

/* ---- after it ---- */

static void test_lost_registration_is_renewed_once_at_a_time(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, 4 * SECOND);
	answer(HEARTBEAT, 404, "");
	answer(REGISTER, 200, "{\"cluster_id\":\"u-2\"}");
	run_for(&w.loop, 3 * SECOND);
	check(plane[REGISTER].asked == 2);
	check(!strstr(plane[REGISTER].last_body, "\"cluster_id\"")); /* the old id is gone */
	check(strcmp(registration(&w).cluster_id, "u-2") == 0);
	check(holds(&w, "state.yaml", "u-2"));
	/* A control plane that forgets each time is asked at the heartbeat's rate. */
	run_for(&w.loop, 60 * SECOND);
	check(plane[REGISTER].asked > 10 && plane[REGISTER].asked <= 15);
	answer(HEARTBEAT, 200, "{}");
	run_for(&w.loop, 6 * SECOND);
	const unsigned asked = plane[REGISTER].asked;
	run_for(&w.loop, 60 * SECOND);
	check(plane[REGISTER].asked == asked);
	finish(&w);
}

static void test_renewal_survives_an_outage_but_no_refusal(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, 4 * SECOND);
	answer(HEARTBEAT, 500, "{\"error\":\"agent not registered\"}");
	answer(REGISTER, 0, "");
	run_for(&w.loop, 30 * SECOND);
	check(!w.loop.stopped && plane[REGISTER].asked >= 5);
	check(registration(&w).registered == 0 && strstr(registration(&w).last_error, "refused"));
	answer(REGISTER, 503, "");
	run_for(&w.loop, 30 * SECOND);
	check(!w.loop.stopped);
	check(plane[POLL].asked > 10); /* the tunnel's wish is followed all the while */
	answer(REGISTER, 401, "");
	run_for(&w.loop, 10 * SECOND);
	check(w.loop.stopped && agent_exit_code(w.agent) == EXIT_REGISTRATION_REFUSED);
	finish(&w);
}

static void test_what_ends_a_renewal(void)
{
	static const struct {
		int status;
		const char *body;
		bool ends;
	} rows[] = {
		{ 301, "", false },	{ 400, "", true },     { 401, "", true },
		{ 403, "", true },	{ 404, "", false },    { 407, "", false },
		{ 408, "", false },	{ 409, "{}", true },   { 410, "", true },
		{ 413, "", true },	{ 425, "", false },    { 429, "", false },
		{ 500, "", false },	{ 502, "", false },    { 503, "", false },
		{ 200, "", false },	{ 200, "<p>", false }, { 200, "{}", true },
		{ 0, "", false },
	};
	char name[32];

	for (size_t i = 0; i < array_len(rows); i++) {
		struct world w;

		snprintf(name, sizeof(name), "%d %s", rows[i].status, rows[i].body);
		prepare(&w);
		start(&w);
		run_for(&w.loop, 4 * SECOND);
		answer(HEARTBEAT, 404, "");
		answer(REGISTER, rows[i].status, rows[i].body);
		run_for(&w.loop, 60 * SECOND);
		check_row(name, w.loop.stopped == rows[i].ends);
		if (!rows[i].ends) {
			check_row(name, plane[REGISTER].asked >= 10 && plane[REGISTER].asked <= 14);
			check_row(name, registration(&w).last_error[0] != '\0');
			answer(HEARTBEAT, 204, "");
			answer(REGISTER, 200, "{\"cluster_id\":\"u-2\"}");
			run_for(&w.loop, 10 * SECOND);
			check_row(name, registration(&w).registered == 1);
			check_row(name, registration(&w).last_error[0] == '\0');
		} else {
			check_row(name, agent_exit_code(w.agent) == EXIT_REGISTRATION_REFUSED);
		}
		finish(&w);
	}
}

static void test_trouble_is_said_once(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, 4 * SECOND);
	const uint64_t before = log_lines(LOG_WARN), info = log_lines(LOG_INFO);
	answer(HEARTBEAT, 500, "a");
	run_for(&w.loop, 60 * SECOND);
	check(log_lines(LOG_WARN) == before + 1);
	answer(HEARTBEAT, 0, "");
	run_for(&w.loop, 60 * SECOND);
	check(log_lines(LOG_WARN) == before + 2);
	check(registration(&w).registered == 1 && strstr(registration(&w).last_error, "connect"));
	check(log_lines(LOG_INFO) == info);
	answer(HEARTBEAT, 204, "");
	run_for(&w.loop, 60 * SECOND);
	check(log_lines(LOG_WARN) == before + 2 && log_lines(LOG_INFO) == info + 1);
	check(!registration(&w).last_error[0]);
	finish(&w);
}

static void test_retry_after(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, 4 * SECOND);
	answer(HEARTBEAT, 429, "");
	answer(POLL, 429, "");
	plane[HEARTBEAT].retry_after_s = 60;
	plane[POLL].retry_after_s = 100000;
	run_for(&w.loop, 2 * SECOND);
	const unsigned beats = plane[HEARTBEAT].asked, polls = plane[POLL].asked;
	run_for(&w.loop, 55 * SECOND);
	check(plane[HEARTBEAT].asked == beats);
	run_for(&w.loop, 10 * SECOND);
	check(plane[HEARTBEAT].asked == beats + 1);
	run_for(&w.loop, 200 * SECOND);
	check(plane[POLL].asked == polls);
	run_for(&w.loop, 100 * SECOND);
	check(plane[POLL].asked == polls + 1);
	finish(&w);
}

static void test_rotated_token_is_sent(void)
{
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, 100 * SECOND);
	check(plane[REGISTER].asked == 1);
	write_file(&w, "sa/token", "sa-2\n");
	run_for(&w.loop, 100 * SECOND);
	check(plane[REGISTER].asked == 2);
	check(strstr(plane[REGISTER].last_body, "\"k8s_service_token\":\"sa-2\"") != NULL);
	check(strstr(plane[REGISTER].last_body, "\"registration_mode\":\"resume\"") != NULL);
	finish(&w);
}

/* ---- the tunnel's wish ---- */

static void test_generation_grows_with_the_meaning_only(void)
{
	static const struct {
		const char *name;
		int status;
		const char *body;
		uint64_t gen, op;
	} rows[] = {
		{ "ready", 200, READY, 1, BUS_DESIRED_UP },
		{ "the same", 200, READY, 1, BUS_DESIRED_UP },
		{ "another word for it", 200,
		  "{\"status\":\"ACTIVE\",\"tunnel_url\":\"wss://"
		  "t.example\",\"forwards\":[{\"name\":"
		  "\"kubernetes-api\",\"remote_port\":8000}]}",
		  1, BUS_DESIRED_UP },
		{ "unreachable", 0, "", 1, BUS_DESIRED_UP },
		{ "broken", 500, "", 1, BUS_DESIRED_UP },
		{ "mistyped", 200, "{\"status\":\"ready\",\"tunnel_url\":1}", 1, BUS_DESIRED_UP },
		{ "still the same", 200, READY, 1, BUS_DESIRED_UP },
		{ "idle", 200, "{\"status\":\"idle\"}", 2, BUS_DESIRED_DOWN },
		{ "none", 404, "", 2, BUS_DESIRED_DOWN },
		{ "up again", 200, READY, 3, BUS_DESIRED_UP },
		{ "credentials", 200, READY_CREDENTIALS, 4, BUS_DESIRED_UP },
		{ "same credentials", 200, READY_CREDENTIALS, 4, BUS_DESIRED_UP },
		{ "none left", 200, READY, 5, BUS_DESIRED_UP },
	};
	struct world w;

	prepare(&w);
	start(&w);
	run_for(&w.loop, SECOND / 100);
	for (size_t i = 0; i < array_len(rows); i++) {
		answer(POLL, rows[i].status, rows[i].body);
		run_for(&w.loop, 6 * SECOND);
		const struct bus_desired d = desired(&w);
		check_row(rows[i].name, d.gen == rows[i].gen && d.op == rows[i].op);
		check_row(rows[i].name, (d.cred_gen != 0) == (d.gen == 4));
	}
	check(holds(&w, "handoff/cred-1", "u:p"));
	finish(&w);
}

static unsigned count_handed(const struct world *w)
{
	char path[128];
	unsigned n = 0;

	for (unsigned i = 1; i < 400; i++) {
		snprintf(path, sizeof(path), "%s/handoff/cred-%u", w->dir, i);
		n += access(path, F_OK) == 0;
	}
	return n;
}

/* A control plane that wants something else with each answer, none of which the
 * tunnel takes: neither the handoff volume nor the bus nor the logs fill up, and
 * a good wish is taken after all of them; over a restart, too. */
static void test_thousand_wishes_that_nobody_takes(void)
{
	struct world w;
	char body[512];
	unsigned most = 0;

	prepare(&w);
	start(&w);
	for (unsigned i = 0; i < 1000; i++) {
		if (i == 500) {
			stop(&w);
			start(&w);
		}
		/* The base64 of "u:p" and three letters that change. */
		snprintf(body, sizeof(body),
			 "{\"status\":\"ready\",\"tunnel_url\":\"wss://t.example:444\","
			 "\"credentials\":\"dTpwY%c%c%c\",\"poll_frequency\":1," FORWARDS "}",
			 "GHIJKLMN"[i / 64 % 8], "FVl1"[i / 16 % 4], "hijklmnopqrstuvw"[i % 16]);
		answer(POLL, 200, body);
		run_for(&w.loop, SECOND);
		most = count_handed(&w) > most ? count_handed(&w) : most;
	}
	check(most > 1 && most <= 8);
	/* At once a few, then one each ten seconds. */
	check(desired(&w).gen > 10 && desired(&w).gen <= 8 + 51);
	answer(POLL, 200, READY_CREDENTIALS);
	run_for(&w.loop, 12 * SECOND);
	check(strcmp(desired(&w).url, "wss://t.example") == 0);
	snprintf(body, sizeof(body), "handoff/cred-%u", (unsigned)desired(&w).cred_gen);
	check(holds(&w, body, "u:p"));
	stop(&w);
	for (unsigned i = 1; i < 400; i++) {
		snprintf(body, sizeof(body), "%s/handoff/cred-%u", w.dir, i);
		(void)unlink(body);
	}
	clean(&w);
}

static void test_restart_wishes_the_same(void)
{
	struct world w;

	prepare(&w);
	answer(POLL, 200, READY_CREDENTIALS);
	start(&w);
	run_for(&w.loop, 3 * SECOND);
	const struct bus_desired before = desired(&w);
	stop(&w);
	start(&w);
	check(desired(&w).gen == 0);
	run_for(&w.loop, 3 * SECOND);
	const struct bus_desired after = desired(&w);
	check(before.gen == 1 && before.cred_gen == 1 &&
	      memcmp(&before, &after, sizeof(after)) == 0);
	finish(&w);
}

static void test_poll_frequency(void)
{
	struct world w;

	prepare(&w);
	answer(POLL, 200, "{\"status\":\"idle\",\"poll_frequency\":30}");
	start(&w);
	run_for(&w.loop, 29 * SECOND);
	check(plane[POLL].asked == 1);
	answer(POLL, 200, "{\"status\":\"idle\"}");
	run_for(&w.loop, 12 * SECOND);
	check(plane[POLL].asked == 4); /* back to five seconds */
	check(strncmp(plane[POLL].last_path, "/api/v1/tunnel/status?agent_id=agent-node-1-", 44) ==
	      0);
	finish(&w);
}

static void test_tunnel_switched_off(void)
{
	struct world w;

	prepare(&w);
	w.config.tunnel_enabled = false;
	start(&w);
	run_for(&w.loop, 60 * SECOND);
	check(plane[POLL].asked == 0 && plane[HEARTBEAT].asked == 12);
	check(desired(&w).gen == 1 && desired(&w).op == BUS_DESIRED_DOWN);
	finish(&w);
}

/* ---- what is wrong from the start ---- */

static void test_configuration(void)
{
	static const struct {
		const char *name, *api_url, *agent_id, *says;
	} rows[] = {
		{ "plain", "http://cp.example", "", "allow_plain" },
		{ "websocket", "wss://cp.example", "", "https://" },
		{ "query", "https://cp.example/?x=1", "", "query" },
		{ "user", "https://a:b@cp.example", "", "PIPEOPS_TOKEN" },
		{ "nonsense", "https://", "", "PIPEOPS_API_URL" },
		{ "agent id", "https://cp.example", "a/b", "PIPEOPS_AGENT_ID" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct world w;
		struct fault why = { 0 };
		struct agent *a = NULL;

		prepare(&w);
		snprintf(w.config.api_url, sizeof(w.config.api_url), "%s", rows[i].api_url);
		snprintf(w.config.agent_id, sizeof(w.config.agent_id), "%s", rows[i].agent_id);
		check_row(rows[i].name,
			  agent_new(&a, &(struct agent_options){ &w.loop, &w.config, NULL },
				    &why) == ERR_CONFIG);
		check_row(rows[i].name, strstr(why.why, rows[i].says) != NULL);
		clean(&w);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "registers, then beats", test_registers_then_beats },
		{ "failures end it", test_failures_end_it },
		{ "last sentence", test_last_sentence },
		{ "registers in Zurich", test_registers_in_zurich },
		{ "what ends a renewal", test_what_ends_a_renewal },
		{ "conflict with an id", test_conflict_with_an_id_is_success },
		{ "resumes", test_resumes },
		{ "without a cluster", test_without_a_cluster },
		{ "lost registration", test_lost_registration_is_renewed_once_at_a_time },
		{ "renewal and outage", test_renewal_survives_an_outage_but_no_refusal },
		{ "trouble is said once", test_trouble_is_said_once },
		{ "Retry-After", test_retry_after },
		{ "rotated token", test_rotated_token_is_sent },
		{ "generation", test_generation_grows_with_the_meaning_only },
		{ "a thousand wishes that nobody takes", test_thousand_wishes_that_nobody_takes },
		{ "restart", test_restart_wishes_the_same },
		{ "poll frequency", test_poll_frequency },
		{ "tunnel switched off", test_tunnel_switched_off },
		{ "configuration", test_configuration },
	};
	log_start(&(struct log_options){ .component = "control", .level = LOG_INFO, .json = true,
					 .fd = open("/dev/null", O_WRONLY | O_CLOEXEC) });
	return run_cases("agent", cases, array_len(cases));
}
