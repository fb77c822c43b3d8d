#include "control-agent/tunnel/tunnel_view.h"

#include "tests/support/cases.h"

static void test_words(void)
{
	static const struct {
		const char *name;
		enum bus_presence presence;
		uint64_t state;
		const char *want;
	} rows[] = {
		{ "up", BUS_ALIVE, BUS_STATE_UP, "connected" },
		{ "resolving", BUS_ALIVE, BUS_STATE_RESOLVING, "connecting" },
		{ "connecting", BUS_ALIVE, BUS_STATE_CONNECTING, "connecting" },
		{ "tls", BUS_ALIVE, BUS_STATE_TLS, "connecting" },
		{ "upgrading", BUS_ALIVE, BUS_STATE_UPGRADING, "connecting" },
		{ "ssh", BUS_ALIVE, BUS_STATE_SSH, "connecting" },
		{ "configuring", BUS_ALIVE, BUS_STATE_CONFIGURING, "connecting" },
		{ "backoff", BUS_ALIVE, BUS_STATE_BACKOFF, "connecting" },
		{ "idle", BUS_ALIVE, BUS_STATE_IDLE, "disconnected" },
		{ "draining", BUS_ALIVE, BUS_STATE_DRAINING, "disconnected" },
		{ "failed", BUS_ALIVE, BUS_STATE_FAILED, "disconnected" },
		{ "a state of a newer tunnel", BUS_ALIVE, 1000, "disconnected" },
		{ "dead", BUS_DEAD, BUS_STATE_UP, "disconnected" },
		{ "stalled", BUS_STALLED, BUS_STATE_UP, "disconnected" },
		{ "absent", BUS_ABSENT, BUS_STATE_UP, "disconnected" },
		{ "unreadable", BUS_UNREADABLE, BUS_STATE_UP, "disconnected" },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name, strcmp(tunnel_view_word(rows[i].presence, rows[i].state),
					       rows[i].want) == 0);
}

static void test_refused(void)
{
	static const struct {
		const char *name;
		struct bus_observed o;
		bool want;
	} rows[] = {
		{ "refused", { .gen_seen = 5, .gen_applied = 4, .error = 5 }, true },
		{ "refused, the first", { .gen_seen = 5, .error = 5 }, true },
		{ "applied, but not up", { .gen_seen = 5, .gen_applied = 5, .error = 5 }, false },
		{ "waits", { .gen_seen = 5, .gen_applied = 4 }, false },
		{ "not seen yet", { .gen_seen = 4, .gen_applied = 3, .error = 5 }, false },
		{ "nothing", { .gen_seen = 0 }, false },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name, tunnel_view_is_refused(&rows[i].o, 5) == rows[i].want);
}

static void test_no_bus(void)
{
	struct tunnel_view v = { 0 };

	tunnel_view_fini(&v);
	check(tunnel_view_init(&v, "/tmp/no/such/folder", NULL) == 0);
	check(strcmp(tunnel_view_status(&v, 1), "disconnected") == 0);
	check(!tunnel_view_observed(&v, 1, &(struct bus_observed){ 0 }));
	tunnel_view_fini(&v);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "words", test_words },
		{ "refused", test_refused },
		{ "no bus", test_no_bus },
	};
	return run_cases("tunnel_view", cases, array_len(cases));
}
