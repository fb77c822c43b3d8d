/* Writer to reader: every number, record and line, through the file. */
#include "lib/base/glitch.h"
#include "shm/attach.h"
#include "shm/fields.h"
#include "lib/base/feature.h"
#include "tests/unit/shm/bus_fixture.h"

/* The labels that fields.def promises for an index. */
static const char *labels_of(enum bus_labels labels, unsigned index)
{
	static char text[BUS_STRING_MAX];
	static const char *const forwards[] = { "web", "k8s-api" };
	static const char *const refusals[] = { "forbidden", "draining", "busy", "failing",
						"memory" };

	text[0] = '\0';
	switch (labels) {
	case BUS_LABELS_NONE:
		break;
	case BUS_LABELS_FORWARD:
		snprintf(text, sizeof(text), "forward=\"%s\"", forwards[index]);
		break;
	case BUS_LABELS_FORWARD_DIRECTION:
		snprintf(text, sizeof(text), "forward=\"%s\",direction=\"%s\"", forwards[index / 2],
			 index % 2 ? "down" : "up");
		break;
	case BUS_LABELS_PHASE:
		snprintf(text, sizeof(text), "phase=\"%s\"",
			 bus_state_name(BUS_STATE_RESOLVING + index));
		break;
	case BUS_LABELS_REASON:
		snprintf(text, sizeof(text), "reason=\"%s\"",
			 index ? err_name(-(int)index) : "none");
		break;
	case BUS_LABELS_FEATURE:
		snprintf(text, sizeof(text), "feature=\"%s\"", sandbox_feature_name(index));
		break;
	case BUS_LABELS_CAUSE:
		snprintf(text, sizeof(text), "cause=\"%s\"", bus_cause_name(index));
		break;
	case BUS_LABELS_STATE_CAUSE:
		snprintf(text, sizeof(text), "state=\"%sconnected\",cause=\"%s\"",
			 index ? "dis" : "", bus_cause_name(index));
		break;
	case BUS_LABELS_GLITCH:
		snprintf(text, sizeof(text), "kind=\"%s\"", glitch_name((enum glitch_kind)index));
		break;
	case BUS_LABELS_REFUSAL:
		snprintf(text, sizeof(text), "reason=\"%s\"", refusals[index]);
		break;
	}
	return text;
}

static unsigned indexes_of(enum bus_labels labels)
{
	switch (labels) {
	case BUS_LABELS_NONE:
		return 1;
	case BUS_LABELS_FORWARD:
		return 2;
	case BUS_LABELS_FORWARD_DIRECTION:
		return 4;
	case BUS_LABELS_PHASE:
		return 6;
	case BUS_LABELS_REASON:
		return 17;
	case BUS_LABELS_FEATURE:
		return 6;
	case BUS_LABELS_CAUSE:
	case BUS_LABELS_STATE_CAUSE:
		return BUS_CAUSES_N;
	case BUS_LABELS_GLITCH:
		return 11;
	case BUS_LABELS_REFUSAL:
		return 5;
	}
	return 0;
}

static void put(struct bus_writer *w, enum bus_field field, unsigned index, uint64_t v)
{
	switch (bus_field_info[field].kind) {
	case BUS_KIND_COUNTER:
		bus_add(w, field, index, v - 1);
		bus_cell_add(bus_cell(w, field, index), 1);
		return;
	case BUS_KIND_GAUGE:
		bus_set(w, field, index, 77);
		bus_set(w, field, index, v);
		return;
	case BUS_KIND_HISTOGRAM:
		bus_observe(w, field, index, v * 1000000);
		return;
	}
}

static void check_number(struct bus_reader *r, enum bus_field field, unsigned index, uint64_t v)
{
	const struct bus_field_info *info = &bus_field_info[field];
	const struct wanted got = sample_of(r, info->name, labels_of(info->labels, index));

	if (!check_row(info->name, got.found == 1))
		return;
	check_row(info->name, got.sample.kind == (enum bus_kind)info->kind);
	check_row(info->name, strcmp(got.sample.unit, info->unit) == 0);
	check_row(info->name, strcmp(got.sample.help, info->help) == 0);
	if (info->kind != BUS_KIND_HISTOGRAM) {
		const double scale = strcmp(info->unit, "seconds") == 0 ? 1e-9 : 1;

		check_row(info->name, got.sample.value == v && got.sample.scale == scale);
		return;
	}
	uint64_t sum = 0;
	for (unsigned i = 0; i < got.sample.buckets_n; i++)
		sum += got.sample.buckets[i];
	check_row(info->name, got.sample.buckets_n == 19 && sum == 1);
	check_row(info->name, got.sample.sum == v * 1000000 && got.sample.scale == 1e-9);
}

static void each_number(void *user, const struct bus_sample *s)
{
	(void)s;
	++*(unsigned *)user;
}

static void test_every_number_comes_back(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	for (enum bus_role role = BUS_TUNNEL; role <= BUS_CONTROL; role++) {
		struct bus_writer *w = fixture_writer(&f, role);
		struct bus_reader *r = fixture_reader(&f, role);
		unsigned n = 0, seen = 0;

		check(bus_writer_degraded(w) == NULL);
		check(bus_reader_refresh(r, 1) == BUS_ALIVE);
		for (unsigned i = 0; i < BUS_FIELDS_N; i++)
			for (unsigned k = 0; bus_field_info[i].role == role &&
					     k < indexes_of(bus_field_info[i].labels);
			     k++)
				put(w, i, k, 1000 + 20 * i + k);
		for (unsigned i = 0; i < BUS_FIELDS_N; i++)
			for (unsigned k = 0; bus_field_info[i].role == role &&
					     k < indexes_of(bus_field_info[i].labels);
			     k++, n++)
				check_number(r, i, k, 1000 + 20 * i + k);
		check(bus_reader_samples(r, each_number, &seen) == 0);
		check(seen == n); /* and nothing else */
		bus_reader_free(r);
		bus_writer_free(w, 0);
	}
	fixture_fini(&f);
}

static void test_histogram_buckets(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);

	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 0);
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 100000);	     /* on the bound: le */
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 100001);	     /* the next */
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 60 * SECOND); /* the last finite */
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 61 * SECOND); /* +Inf */
	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	const struct wanted got = sample_of(r, "pipeops_tunnel_ping_rtt_seconds", "");
	if (check(got.found == 1 && got.sample.buckets_n == 19)) {
		check(got.sample.buckets[0] == 2 && got.sample.buckets[1] == 1);
		check(got.sample.buckets[17] == 1 && got.sample.buckets[18] == 1);
		check(got.sample.bounds[0] == 0.0001 && got.sample.bounds[4] == 0.0025 &&
		      got.sample.bounds[17] == 60);
		check(got.sample.sum == 121 * SECOND + 200001);
	}
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

static void test_tunnel_records(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	struct bus_session session = { .state = BUS_STATE_UP,
				       .attempts = 3,
				       .io_backend = "io_uring",
				       .server = "https://tunnel.example",
				       .last_error_reason = "closed" };
	struct bus_observed observed = { .writer = "fifteen letters",
					 .gen_seen = 7,
					 .gen_applied = 6,
					 .state = BUS_STATE_TLS,
					 .error_text = "no" };
	struct bus_session s;
	struct bus_observed o;
	struct bus_desired d;

	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	check(bus_read_session(r, &s) == 0); /* never published */
	bus_publish_session(w, &session);
	bus_publish_observed(w, &observed);
	check(bus_read_session(r, &s) == 1 && memcmp(&s, &session, sizeof(s)) == 0);
	check(bus_read_observed(r, &o) == 1 && memcmp(&o, &observed, sizeof(o)) == 0);
	check(bus_read_desired(r, &d) == 0); /* not of this role */
	for (uint64_t i = 0; i < 9; i++) {
		session.attempts = i;
		bus_publish_session(w, &session);
		check(bus_read_session(r, &s) == 1 && s.attempts == i);
	}
	/* a peer's bytes do not reach a terminal, and text ends in its field */
	memset(session.server, 'x', sizeof(session.server));
	memcpy(session.cipher, "a\033[2Jb\xff\xc3\xa9", 10);
	bus_publish_session(w, &session);
	check(bus_read_session(r, &s) == 1 && strlen(s.server) == sizeof(s.server) - 1);
	check(strcmp(s.cipher, "a?[2Jb?\xc3\xa9") == 0);
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

static void test_control_records(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_CONTROL);
	struct bus_reader *r = fixture_reader(&f, BUS_CONTROL);
	struct bus_registration registration = { .registered = 1,
						 .nodes = 3,
						 .pods = UINT64_MAX,
						 .agent_id = "a1",
						 .cluster_name = "prod" };
	struct bus_desired desired = { .gen = 4,
				       .op = BUS_DESIRED_UP,
				       .cred_gen = 9,
				       .n = 1,
				       .forward = { { 8000, 1 } },
				       .url = "wss://tunnel.example:443",
				       .fingerprint = "c29tZQ==" };
	struct bus_registration g;
	struct bus_desired d;

	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	bus_publish_registration(w, &registration);
	bus_publish_desired(w, &desired);
	check(bus_read_registration(r, &g) == 1 && memcmp(&g, &registration, sizeof(g)) == 0);
	check(bus_read_desired(r, &d) == 1 && memcmp(&d, &desired, sizeof(d)) == 0);

	/* what the tunnel would act on is refused, not repaired */
	struct bus_desired bad = desired;
	bad.n = BUS_FORWARDS_MAX + 1;
	bus_publish_desired(w, &bad);
	check(bus_read_desired(r, &d) == ERR_PROTO);
	bad = desired;
	bad.op = 2;
	bus_publish_desired(w, &bad);
	check(bus_read_desired(r, &d) == ERR_PROTO);
	bad = desired;
	bad.url[3] = '\n';
	bus_publish_desired(w, &bad);
	check(bus_read_desired(r, &d) == ERR_PROTO);
	bad = desired;
	memset(bad.fingerprint, 'A', sizeof(bad.fingerprint));
	bus_publish_desired(w, &bad);
	check(bus_read_desired(r, &d) == ERR_PROTO);
	bus_publish_desired(w, &desired);
	check(bus_read_desired(r, &d) == 1);
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

struct lines {
	unsigned n;
	uint64_t next; /* sequence that must come, 0: any */
	char last[300];
	unsigned level;
};

static void take_line(void *user, const struct bus_log_line *line)
{
	struct lines *l = user;

	l->n++;
	check(line->seq > l->next);
	l->next = line->seq;
	l->level = line->level;
	check(line->text.n < sizeof(l->last) && line->realtime_ns > 0);
	memcpy(l->last, line->text.p, line->text.n);
	l->last[line->text.n] = '\0';
}

static void test_lines(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, BUS_CONTROL);
	struct bus_reader *r = fixture_reader(&f, BUS_CONTROL);
	struct lines l = { 0 }, e = { 0 };
	uint64_t cursor = 0, events = 0, lost = 0;

	check(bus_reader_log(r, &cursor, &lost, take_line, &l) == 0 && l.n == 0);
	check(bus_reader_refresh(r, 1) == BUS_ALIVE);
	bus_log(w, 2, "one", 3);
	bus_log(w, 3, "t\two", 4);
	bus_event(w, "registered");
	check(bus_reader_log(r, &cursor, &lost, take_line, &l) == 0);
	check(l.n == 2 && l.level == 3 && strcmp(l.last, "t?wo") == 0 && lost == 0);
	check(bus_reader_events(r, &events, &lost, take_line, &e) == 0);
	check(e.n == 1 && strcmp(e.last, "registered") == 0);
	for (int i = 0; i < 1500; i++)
		bus_log(w, 1, "many", 4);
	check(bus_reader_log(r, &cursor, &lost, take_line, &l) == 0);
	check(l.n == 2 + BUS_LOG_SLOTS && lost == 1500 - BUS_LOG_SLOTS);

	/* a new life: the cursor starts over by itself */
	bus_writer_free(w, 0);
	w = fixture_writer(&f, BUS_CONTROL);
	bus_log(w, 1, "reborn", 6);
	check(bus_reader_refresh(r, 2) == BUS_ALIVE);
	l = (struct lines){ 0 };
	check(bus_reader_log(r, &cursor, &lost, take_line, &l) == 0);
	check(l.n == 1 && strcmp(l.last, "reborn") == 0 && lost == 1500 - BUS_LOG_SLOTS);
	bus_reader_free(r);
	bus_writer_free(w, 0);
	fixture_fini(&f);
}

static void test_identity(void)
{
	struct bus_fixture f;
	fixture_init(&f);
	struct bus_reader *r = fixture_reader(&f, BUS_TUNNEL);
	uint8_t none[16] = { 0 }, first[16], second[16];
	uint32_t code = 9;

	check(bus_reader_refresh(r, 1) == BUS_ABSENT);
	bus_reader_incarnation(r, first);
	check(memcmp(first, none, 16) == 0 && bus_reader_start_realtime_ns(r) == 0);
	check(strcmp(bus_reader_build(r), "") == 0);
	struct bus_writer *w = fixture_writer(&f, BUS_TUNNEL);
	check(bus_reader_refresh(r, 2) == BUS_ALIVE && bus_reader_fault(r)->code == 0);
	check(strcmp(bus_reader_build(r), "1.2.3 test") == 0);
	check(bus_reader_start_realtime_ns(r) > UINT64_C(1600000000) * SECOND);
	check(bus_reader_phase(r, &code) == BUS_INIT && code == 0);
	bus_phase(w, BUS_RUNNING);
	bus_reader_incarnation(r, first);
	check(bus_reader_refresh(r, 3) == BUS_ALIVE && bus_reader_phase(r, &code) == BUS_RUNNING);
	bus_writer_free(w, 4);
	check(bus_reader_refresh(r, 4) == BUS_DEAD);
	check(bus_reader_phase(r, &code) == BUS_STOPPED && code == 4);

	w = fixture_writer(&f, BUS_TUNNEL);
	check(bus_reader_refresh(r, 5) == BUS_ALIVE);
	bus_reader_incarnation(r, second);
	check(memcmp(first, second, 16) != 0);
	bus_phase(w, BUS_FAILED);
	bus_writer_free(w, 3);
	check(bus_reader_refresh(r, 6) == BUS_DEAD);
	check(bus_reader_phase(r, &code) == BUS_FAILED && code == 3);
	bus_reader_free(r);
	fixture_fini(&f);
}

/* Without a directory everything works on, for nobody to see. */
static void test_private(void)
{
	struct bus_writer *w = NULL;
	struct bus_writer_options options = { .role = BUS_CONTROL };

	check(bus_writer_new(&w, &options, NULL) == 0);
	must(w);
	check(bus_writer_degraded(w) != NULL);
	bus_add(w, BUS_HEARTBEATS, 0, 1);
	bus_set(w, BUS_AGENT_REGISTERED, 0, 1);
	bus_observe(w, BUS_HEARTBEAT_DURATION, 0, 5);
	bus_publish_desired(w, &(struct bus_desired){ 0 });
	bus_log(w, 1, "x", 1);
	check(bus_beat(w) == 0);
	bus_writer_free(w, 0);
	bus_writer_free(NULL, 0);
	bus_reader_free(NULL);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "every number", test_every_number_comes_back },
		{ "histogram buckets", test_histogram_buckets },
		{ "records of the tunnel", test_tunnel_records },
		{ "records of control", test_control_records },
		{ "lines", test_lines },
		{ "identity", test_identity },
		{ "private", test_private },
	};
	return run_cases("bus", cases, array_len(cases));
}
