#include "status-server/metrics/metrics.h"

#include "tests/unit/status-server/page.h"

#define REALTIME UINT64_C(1700000000000000000)

static struct config config = { .tunnel_enabled = true };
static struct site site = { .config = &config, .start_realtime_ns = REALTIME };

/* The page as text, which the caller frees. */
static char *render(enum exposition_format format, const struct pod_view *v)
{
	struct buf page;
	buf_init(&page, &mem_heap, 4 << 20);
	check(metrics_write(&page, format, &site, v) == 0);
	check(buf_append(&page, "", 1) == 0);
	char *text = strdup((const char *)buf_bytes(&page).p);
	must(text);
	buf_fini(&page);
	return text;
}

struct wanted_value {
	const char *series, *value; /* "" for: must not be there */
};

static void check_values(const char *name, const struct pod_view *v,
			 const struct wanted_value *rows, size_t n)
{
	char *page = render(EXPOSITION_TEXT, v);
	char got[64];

	for (size_t i = 0; i < n; i++)
		if (!check_row(rows[i].series,
			       strcmp(series_value(page, rows[i].series, got), rows[i].value) == 0))
			printf("%s: %s is \"%s\", not \"%s\"\n", name, rows[i].series, got,
			       rows[i].value);
	free(page);
}
#define CHECK_VALUES(name, v, ...) \
	check_values(name, v, (const struct wanted_value[]){ __VA_ARGS__ }, \
		     array_len(((const struct wanted_value[]){ __VA_ARGS__ })))

static void test_nobody_is_up(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	view_fixture_init(&p, &f);

	const struct pod_view *v = view_fixture_at(&p, SECOND, REALTIME);
	CHECK_VALUES("absent", v, { "pipeops_agent_status", "0" }, { "pipeops_tunnel_status", "0" },
		     { "pipeops_heartbeat_total", "0" }, { "pipeops_heartbeat_errors_total", "0" },
		     { "pipeops_registration_attempts_total", "0" },
		     { "pipeops_http_requests_total{endpoint=\"/metrics\"}", "0" },
		     { "pipeops_tunnel_forwards_active", "0" },
		     { "pipeops_component_up{component=\"tunnel\"}", "0" },
		     { "pipeops_component_up{component=\"control\"}", "0" },
		     { "pipeops_component_state{component=\"control\",state=\"absent\"}", "1" },
		     { "pipeops_component_start_time_seconds{component=\"tunnel\"}", "" },
		     { "pipeops_tunnel_state{state=\"unknown\"}", "1" },
		     { "pipeops_tunnel_state{state=\"idle\"}", "0" },
		     { "pipeops_status_bus_readable{component=\"tunnel\",reason=\"absent\"}", "0" },
		     { "pipeops_tunnel_sessions_total", "" });
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* Both containers as they are when all is well. */
static void publish(struct bus_writer *tunnel, struct bus_writer *control)
{
	struct bus_session s = { .state = BUS_STATE_UP,
				 .io_backend = "epoll",
				 .io_reason = "io_uring: no" };
	struct bus_registration r = { .registered = 1,
				      .last_heartbeat_realtime_ns = REALTIME - 2 * SECOND,
				      .agent_id = "agent \"one\"",
				      .cluster_id = "id",
				      .cluster_name = "name\\" };

	bus_phase(tunnel, BUS_RUNNING);
	bus_phase(control, BUS_RUNNING);
	bus_publish_session(tunnel, &s);
	bus_publish_registration(control, &r);
	bus_publish_versions(tunnel, &(struct bus_versions){ .version = "0.1.0",
							     .revision = "abc\"def",
							     .libssh2 = "1.11.1" });
	bus_set(tunnel, BUS_TUNNEL_UP, 0, 1);
	bus_set(tunnel, BUS_TUNNEL_FORWARDS_ACTIVE, 0, 2);
	bus_add(tunnel, BUS_TUNNEL_BYTES, 3, 1000); /* k8s-api, down */
	bus_observe(tunnel, BUS_TUNNEL_PING_RTT, 0, 300000);
	bus_add(control, BUS_HEARTBEATS, 0, 12);
	bus_add(control, BUS_HEARTBEAT_ERRORS, 0, 3);
	bus_set(control, BUS_AGENT_REGISTERED, 0, 1);
	check(bus_beat(tunnel) == 0);
	check(bus_beat(control) == 0);
}

/* What holds as long as the numbers can be read. */
#define COUNTERS                                                                                   \
	{ "pipeops_heartbeat_total", "12" }, { "pipeops_heartbeat_errors_total", "3" },            \
		{ "pipeops_registration_attempts_total", "0" },                                    \
		{ "pipeops_tunnel_bytes_total{forward=\"k8s-api\",direction=\"down\"}", "1000" },  \
		{ "pipeops_tunnel_bytes_total{forward=\"web\",direction=\"up\"}", "0" },           \
		{ "pipeops_tunnel_ping_rtt_seconds_bucket{le=\"0.00025\"}", "0" },                 \
		{ "pipeops_tunnel_ping_rtt_seconds_bucket{le=\"0.0005\"}", "1" },                  \
		{ "pipeops_tunnel_ping_rtt_seconds_bucket{le=\"10.0\"}", "1" },                    \
		{ "pipeops_tunnel_ping_rtt_seconds_bucket{le=\"+Inf\"}", "1" },                    \
		{ "pipeops_tunnel_ping_rtt_seconds_count", "1" },                                  \
		{ "pipeops_tunnel_ping_rtt_seconds_sum", "0.0003" },                               \
		{ "pipeops_status_bus_readable{component=\"tunnel\",reason=\"\"}", "1" },          \
		{ "pipeops_status_bus_series_dropped", "0" },                                      \
		{ "pipeops_build_info{component=\"tunnel\",version=\"0.1.0\","                     \
		  "revision=\"abc\\\"def\",libssh2=\"1.11.1\"}",                                   \
		  "1" },                                                                           \
	{ /* a writer of before: what its header says */                                           \
		"pipeops_build_info{component=\"control\",version=\"1.2.3 test\"}", "1"            \
	}

/* What no longer holds when they don't live. */
#define NOT_ALIVE                                                                                  \
	{ "pipeops_agent_status", "0" }, { "pipeops_tunnel_status", "0" },                         \
		{ "pipeops_tunnel_up", "" }, { "pipeops_agent_registered", "" },                   \
		{ "pipeops_tunnel_forwards_active", "0" },                                         \
		{ "pipeops_component_up{component=\"tunnel\"}", "0" },                             \
		{ "pipeops_tunnel_state{state=\"up\"}", "0" },                                     \
	{                                                                                          \
		"pipeops_tunnel_state{state=\"unknown\"}", "1"                                     \
	}

static void test_alive_stalled_dead(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);
	struct bus_writer *tunnel = fixture_writer(&f, BUS_TUNNEL),
			  *control = fixture_writer(&f, BUS_CONTROL);
	view_fixture_init(&p, &f);
	publish(tunnel, control);

	CHECK_VALUES("alive", view_fixture_at(&p, 100 * SECOND, REALTIME), COUNTERS,
		     { "pipeops_agent_status", "1" }, { "pipeops_tunnel_status", "1" },
		     { "pipeops_tunnel_up", "1" }, { "pipeops_agent_registered", "1" },
		     { "pipeops_tunnel_forwards_active", "2" },
		     { "pipeops_component_up{component=\"tunnel\"}", "1" },
		     { "pipeops_component_state{component=\"tunnel\",state=\"alive\"}", "1" },
		     { "pipeops_tunnel_state{state=\"up\"}", "1" },
		     { "pipeops_tunnel_state{state=\"unknown\"}", "0" },
		     { "pipeops_tunnel_io_info{backend=\"epoll\",reason=\"io_uring: no\"}", "1" },
		     { "pipeops_agent_last_heartbeat_timestamp_seconds", "1699999998.0" },
		     { "pipeops_agent_info{agent_id=\"agent "
		       "\\\"one\\\"\",cluster_id=\"id\",cluster_name=\"name\\\\\"}",
		       "1" });
	CHECK_VALUES("heartbeats stopped",
		     view_fixture_at(&p, 100 * SECOND, REALTIME + 40 * SECOND), COUNTERS,
		     { "pipeops_agent_status", "0" }, { "pipeops_tunnel_status", "1" });
	CHECK_VALUES("stalled", view_fixture_at(&p, 104 * SECOND, REALTIME), COUNTERS, NOT_ALIVE,
		     { "pipeops_component_state{component=\"tunnel\",state=\"stalled\"}", "1" });
	bus_writer_free(tunnel, 3);
	bus_writer_free(control, 0);
	CHECK_VALUES("dead", view_fixture_at(&p, 105 * SECOND, REALTIME), COUNTERS, NOT_ALIVE,
		     { "pipeops_component_state{component=\"tunnel\",state=\"dead\"}", "1" });
	view_fixture_fini(&p);
	fixture_fini(&f);
}

static void test_unreadable(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	char path[128];
	fixture_init(&f);
	bus_writer_free(fixture_writer(&f, BUS_CONTROL), 0);
	fixture_path(&f, path, "control/segment");
	check(truncate(path, 100) == 0);
	view_fixture_init(&p, &f);

	const struct pod_view *v = view_fixture_at(&p, SECOND, REALTIME);
	check(v->of[COMPONENT_CONTROL].presence == BUS_UNREADABLE);
	/* nothing is known of it, not even that it did nothing */
	CHECK_VALUES("unreadable", v, { "pipeops_component_up{component=\"control\"}", "0" },
		     { "pipeops_component_state{component=\"control\",state=\"unreadable\"}", "1" },
		     { "pipeops_heartbeat_total", "" }, { "pipeops_agent_status", "0" },
		     { "pipeops_tunnel_forwards_active", "0" });
	view_fixture_fini(&p);
	fixture_fini(&f);
}

static void test_openmetrics(void)
{
	struct bus_fixture f;
	struct view_fixture p;
	char got[64], want[64];
	fixture_init(&f);
	struct bus_writer *tunnel = fixture_writer(&f, BUS_TUNNEL),
			  *control = fixture_writer(&f, BUS_CONTROL);
	view_fixture_init(&p, &f);
	publish(tunnel, control);

	const struct pod_view *v = view_fixture_at(&p, SECOND, REALTIME);
	char *page = render(EXPOSITION_OPENMETRICS, v);
	const uint64_t start_ms = v->of[COMPONENT_CONTROL].start_realtime_ns / 1000000;
	snprintf(want, sizeof(want), "%" PRIu64 ".%03" PRIu64, start_ms / 1000, start_ms % 1000);
	check(strcmp(series_value(page, "pipeops_heartbeat_created", got), want) == 0);
	series_value(page, "pipeops_http_requests_created{endpoint=\"/\"}", got);
	check(strcmp(got, "1700000000.000") == 0);
	check(strstr(page, "\n# TYPE pipeops_build info\n") != NULL);
	check(strstr(page, "\n# TYPE pipeops_heartbeat counter\npipeops_heartbeat_total 12\n") !=
	      NULL);
	check(strstr(page, "\n# UNIT pipeops_tunnel_bytes bytes\n") != NULL);
	check(strcmp(page + strlen(page) - 7, "\n# EOF\n") == 0);
	free(page);
	bus_writer_free(tunnel, 0);
	bus_writer_free(control, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

/* The largest pod that the configuration allows: nothing is left out, in the
 * longer of the two formats, and a page is what the server can hold 64 times. */
static void test_largest_pod(void)
{
	static char names[BUS_FORWARDS_MAX][BUS_NAME_MAX];
	static const char *forwards[BUS_FORWARDS_MAX];
	struct bus_fixture f;
	struct view_fixture p;
	fixture_init(&f);

	for (unsigned i = 0; i < BUS_FORWARDS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "%02u-%060u", i, i);
		forwards[i] = names[i];
	}
	const struct bus_writer_options options = { .dir = f.dir,
						    .role = BUS_TUNNEL,
						    .build = "1.2.3 test",
						    .forwards = forwards,
						    .forwards_n = BUS_FORWARDS_MAX };
	struct bus_writer *tunnel = NULL, *control = fixture_writer(&f, BUS_CONTROL);
	must(bus_writer_new(&tunnel, &options, NULL) == 0);
	view_fixture_init(&p, &f);
	publish(tunnel, control);
	for (unsigned i = 0; i < 2 * BUS_FORWARDS_MAX; i++)
		bus_add(tunnel, BUS_TUNNEL_BYTES, i, UINT64_MAX);
	char *page = render(EXPOSITION_OPENMETRICS, view_fixture_at(&p, SECOND, REALTIME));
	check(strstr(page, "\npipeops_status_bus_series_dropped 0\n") != NULL);
	if (!check(strlen(page) <= EXPOSITION_BYTES_MAX))
		printf("%zu bytes\n", strlen(page));
	free(page);
	bus_writer_free(tunnel, 0);
	bus_writer_free(control, 0);
	view_fixture_fini(&p);
	fixture_fini(&f);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "nobody is up", test_nobody_is_up },
		{ "alive, stalled, dead", test_alive_stalled_dead },
		{ "unreadable", test_unreadable },
		{ "OpenMetrics", test_openmetrics },
		{ "largest pod", test_largest_pod },
	};
	return run_cases("metrics", cases, array_len(cases));
}
