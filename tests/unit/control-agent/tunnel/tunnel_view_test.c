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

static void test_no_bus(void)
{
	struct tunnel_view v = { 0 };

	tunnel_view_fini(&v);
	check(tunnel_view_init(&v, "/tmp/no/such/folder", NULL) == 0);
	check(strcmp(tunnel_view_status(&v, 1), "disconnected") == 0);
	check(tunnel_view_applied(&v, 1) == 0);
	tunnel_view_fini(&v);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "words", test_words },
		{ "no bus", test_no_bus },
	};
	return run_cases("tunnel_view", cases, array_len(cases));
}
