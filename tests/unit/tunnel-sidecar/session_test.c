/*
 * The session's states: each of states.def with each thing that may happen in it, and its
 * timeout; pings, idling, giving up, draining, and two sessions of one program.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>

#include "lib/proto/ssh/ssh_fingerprint.h"
#include "tests/sim/plain_server.h"
#include "tests/support/cases.h"
#include "tests/support/fakes/fake_loop.h"

#define MS 1000000ull

static struct publish *publish;
static struct windows windows;
static SSL_CTX *tls;
static int drained, gave_up, changes;

static void on_drained(void *user)
{
	(void)user;
	drained++;
}

static void on_gave_up(void *user, const struct fault *why)
{
	(void)user;
	gave_up += why->code != 0;
}

static void on_changed(void *user, enum bus_state state)
{
	(void)user;
	(void)state;
	changes++;
}

static struct session_target target_of(bool is_tls, bool has_proxy)
{
	static const struct chisel_remote two[] = {
		{ .bind_port = 80, .host = "svc", .port = 80 },
		{ .bind_port = 81, .host = "svc", .port = 81 },
	};
	static struct chisel_remote remotes[2]; /* some cases change theirs */
	static uint16_t forward[] = { 0, 1 };
	struct session_target t = { .url = PLAIN_SERVER, .n = 2, .forward = forward,
				    .remotes = memcpy(remotes, two, sizeof(two)) };

	t.url.tls = is_tls;
	if (has_proxy) {
		t.proxy.kind = PROXY_HTTP;
		snprintf(t.proxy.host, sizeof(t.proxy.host), "%s", PLAIN_SERVER.host);
		t.proxy.port = PLAIN_SERVER.port;
	}
	return t;
}

static struct session *begin(int64_t retries)
{
	const struct session_options o = {
		.loop = fake_loop(), .publish = publish, .windows = &windows, .tls_ctx = tls,
		.keepalive_ns = S(25), .retry_max_ns = S(15), .retry_count = retries,
		.give_up_on_refusal = retries >= 0, .gave_up = on_gave_up, .changed = on_changed,
		.tls_settings = "the test",
	};
	struct session *s;

	must(session_new(&s, &o, NULL) == 0);
	return s;
}

static void end_one(struct session *s)
{
	session_abort(s);
	check(session_state(s) == BUS_STATE_IDLE);
	fake_pass(S(2)); /* connections that only say goodbye */
	fake_reap();
	check(s->links == 0 && s->forwards.n == 0);
	session_free(s);
}

/* Everything it had is back. */
static void end(struct session *s)
{
	end_one(s);
	check(fake_socks() == 0 && fake_dials() == 0);
	check(fake_timers() == 1); /* the beat of the bus */
}

/* The server opens a channel, with any number of its own. */
static void open_channel(struct session *s, unsigned remote, const char *target)
{
	static const char head[] = "\x5a\0\0\0\x06" "chisel\0\0\0\x07\0\0\x10\0\0\0\x10";
	char message[64];

	memcpy(message, head, sizeof(head)); /* its NUL is the last byte of a number */
	message[14] = (char)remote;
	memcpy(message + sizeof(head), target, strlen(target));
	plain_say(s, span_of(message, sizeof(head) + strlen(target)));
}

static void reach(struct session *s, enum bus_state state)
{
	const struct session_target t =
		target_of(state == BUS_STATE_TLS, state == BUS_STATE_CONNECTING);

	if (state == BUS_STATE_IDLE)
		return;
	session_up(s, &t);
	if (state == BUS_STATE_DRAINING) {
		plain_bring_up(s);
		open_channel(s, 7, "svc:80");
		session_drain(s, S(20), on_drained, NULL);
	} else if (state == BUS_STATE_BACKOFF || state == BUS_STATE_FAILED) {
		fake_dial_end(0, ECONNREFUSED);
	} else {
		plain_bring_to(s, state);
	}
}

/* ---- each state, each event ---- */

enum event { TIMEOUT, SERVER_ENDS, RESET, DOWN, SAME, OTHER, DRAIN, RETRY, AGAIN, EVENTS };

static const char *const event_names[EVENTS] = { "timeout", "end of file", "reset", "down", "same",
						 "other", "drain", "retry now", "two events" };

static void happen(struct session *s, enum event e)
{
	struct session_target t = s->target;
	struct sock *x = plain_connection(s);

	switch (e) {
	case TIMEOUT:
		fake_pass(S(16)); /* more than any phase has; a wait ends, too */
		fake_pass(1);	  /* what is done in the round after it */
		return;
	case SERVER_ENDS:
		if (x)
			check(fake_give(x, NULL, 0) == 0);
		return;
	case RESET:
		if (x)
			fake_fail(x, ECONNRESET);
		return;
	case DOWN:
		session_down(s);
		return;
	case SAME:
		session_up(s, &t);
		return;
	case OTHER:
		t = target_of(false, false);
		t.remotes[0].bind_port = 99;
		session_up(s, &t);
		return;
	case DRAIN:
		session_drain(s, S(20), on_drained, NULL);
		return;
	case RETRY:
		session_retry_now(s);
		fake_pass(1);
		return;
	case AGAIN:
		happen(s, RESET);
		session_down(s);
		return;
	case EVENTS:
		return;
	}
}

#define NO BUS_STATE_IDLE
#define LOOK BUS_STATE_RESOLVING
#define BACK BUS_STATE_BACKOFF

static const struct {
	enum bus_state state, then[EVENTS];
} rows[] = {
	/*                       timeout  end   reset  down same  other drain retry two */
	{ BUS_STATE_IDLE, { NO, NO, NO, NO, LOOK, LOOK, NO, NO, NO } },
	/* The dial's own deadline ends it, and that is the fake's to call. */
	{ BUS_STATE_RESOLVING, { LOOK, LOOK, LOOK, NO, LOOK, LOOK, NO, LOOK, NO } },
	{ BUS_STATE_CONNECTING,
	  { LOOK, BACK, BACK, NO, BUS_STATE_CONNECTING, LOOK, NO, BUS_STATE_CONNECTING, NO } },
	{ BUS_STATE_TLS, { LOOK, BACK, BACK, NO, BUS_STATE_TLS, LOOK, NO, BUS_STATE_TLS, NO } },
	{ BUS_STATE_UPGRADING,
	  { LOOK, BACK, BACK, NO, BUS_STATE_UPGRADING, LOOK, NO, BUS_STATE_UPGRADING, NO } },
	{ BUS_STATE_SSH, { LOOK, BACK, BACK, NO, BUS_STATE_SSH, LOOK, NO, BUS_STATE_SSH, NO } },
	{ BUS_STATE_CONFIGURING,
	  { LOOK, BACK, BACK, NO, BUS_STATE_CONFIGURING, LOOK, NO, BUS_STATE_CONFIGURING, NO } },
	{ BUS_STATE_UP,
	  { BUS_STATE_UP, BACK, BACK, NO, BUS_STATE_UP, LOOK, BUS_STATE_DRAINING, BUS_STATE_UP,
	    NO } },
	/* With a channel that is only dialling: silent for two seconds, it is ended. */
	{ BUS_STATE_DRAINING,
	  { NO, NO, NO, BUS_STATE_DRAINING, BUS_STATE_DRAINING, BUS_STATE_DRAINING,
	    BUS_STATE_DRAINING, BUS_STATE_DRAINING, NO } },
	{ BUS_STATE_BACKOFF, { LOOK, BACK, BACK, NO, BACK, LOOK, NO, LOOK, NO } },
	{ BUS_STATE_FAILED,
	  { BUS_STATE_FAILED, BUS_STATE_FAILED, BUS_STATE_FAILED, BUS_STATE_FAILED, LOOK, LOOK, NO,
	    BUS_STATE_FAILED, BUS_STATE_FAILED } },
};

static void test_each_state_and_event(void)
{
	bool seen[BUS_STATES_N] = { false };

	for (size_t i = 0; i < array_len(rows); i++)
		for (enum event e = 0; e < EVENTS; e++) {
			const enum bus_state state = rows[i].state;
			struct session *s = begin(state == BUS_STATE_FAILED ? 0 : -1);
			char name[80];

			drained = 0;
			reach(s, state);
			snprintf(name, sizeof(name), "%s, %s: %s", bus_state_name(state),
				 event_names[e], bus_state_name(rows[i].then[e]));
			if (check_row(name, session_state(s) == state))
				seen[state] = true;
			happen(s, e);
			if (!check_row(name, session_state(s) == rows[i].then[e]))
				puts(bus_state_name(session_state(s)));
			const bool is_failure = rows[i].then[e] == BACK;
			check_row(name, !is_failure || session_fault(s)->code);
			check_row(name, (session_target(s) != NULL) == s->wanted);
			if (s->draining) { /* it comes to its end, and says so once */
				for (int j = 0; j < 2; j++) {
					fake_pass(S(21));
					fake_reap();
				}
				check_row(name, drained == 1 && session_state(s) == NO);
			}
			end(s);
		}
	for (enum bus_state i = 0; i < BUS_STATES_N; i++)
		check_row(bus_state_name(i), seen[i]);
}

/* ---- up ---- */

static void up(struct session *s)
{
	const struct session_target t = target_of(false, false);

	session_up(s, &t);
	plain_bring_up(s);
	check(session_state(s) == BUS_STATE_UP);
}

static void test_pings(void)
{
	struct session *s = begin(-1);

	up(s);
	fake_pass(S(25));
	check(s->ping_ns != 0 && session_state(s) == BUS_STATE_UP);
	plain_say(s, span_of("\x51", 1)); /* the pong */
	check(s->ping_ns == 0 && s->next_ping_ns == loop_now(fake_loop()) + S(25));
	plain_say(s, span_of("\x02\0\0\0\0", 5)); /* nothing waits: a word is just a word */
	fake_pass(S(25));
	check(s->ping_ns != 0);
	fake_pass(LIMIT_NS(PING) - 1);
	check(session_state(s) == BUS_STATE_UP);
	fake_pass(2);
	check(s->cause == BUS_CAUSE_DEAD_LINK && s->fault.code == ERR_TIMEOUT);
	end(s);
}

static void test_idle(void)
{
	struct session_target t = target_of(false, false);
	struct session *s = begin(-1);

	t.inactivity_ns = S(10);
	session_up(s, &t);
	plain_bring_up(s);
	fake_pass(S(9));
	check(session_state(s) == BUS_STATE_UP);
	fake_pass(S(1));
	check(session_state(s) == BUS_STATE_IDLE && s->idle_closed);
	session_up(s, &t); /* the same wish is no new one */
	check(session_state(s) == BUS_STATE_IDLE);
	t.remotes[0].bind_port++;
	session_up(s, &t);
	check(session_state(s) == BUS_STATE_RESOLVING && !s->idle_closed);
	end(s);
}

static void test_refusals(void)
{
	static const char words[] = "\x52the port is in use", others[] = "\x52no";
	struct session *s = begin(-1);
	const struct session_target t = target_of(false, false);

	session_up(s, &t);
	plain_bring_to(s, BUS_STATE_CONFIGURING);
	plain_say(s, span_of(words, sizeof(words) - 1));
	check(session_state(s) == BUS_STATE_BACKOFF && s->fault.code == ERR_LISTEN);
	end(s);

	gave_up = 0;
	s = begin(0);
	session_up(s, &t);
	plain_bring_to(s, BUS_STATE_CONFIGURING);
	plain_say(s, span_of(others, sizeof(others) - 1));
	check(session_state(s) == BUS_STATE_FAILED && s->fault.code == ERR_REFUSED && gave_up == 1);
	end(s);
}

static void test_retries_run_out(void)
{
	struct session *s = begin(2);
	const struct session_target t = target_of(false, false);

	gave_up = 0;
	session_up(s, &t);
	for (int i = 0; i < 2; i++) {
		fake_dial_end(0, ECONNREFUSED);
		check(session_state(s) == BUS_STATE_BACKOFF && gave_up == 0);
		fake_pass(S(61));
	}
	fake_dial_end(0, ECONNREFUSED);
	check(session_state(s) == BUS_STATE_FAILED && gave_up == 1);
	end(s);
}

/* What the server may open: a forward, by its name; nothing else, and nothing in a drain. */
static void test_opens(void)
{
	struct session *s = begin(-1);

	up(s);
	open_channel(s, 7, "svc:81"); /* svc:81 is one, too */
	check(s->forwards.n == 1 && fake_dial_port(0) == 81);
	open_channel(s, 9, "svc:82");
	check(s->forwards.n == 1);
	session_trim(s);
	session_drain(s, S(20), on_drained, NULL);
	open_channel(s, 8, "svc:80");
	check(s->forwards.n == 1 && session_state(s) == BUS_STATE_DRAINING);
	end(s);
}

/* What a link tells that the plain server can't bring about. */
static void test_link(void)
{
	static const uint8_t key[SSH_FINGERPRINT_LEN] = { 1, 2, 3 };
	const struct link_handler *link = &session_link_handler;
	struct session *s = begin(-1);
	char text[45];

	up(s);
	check(link->on_host_key(s, key)); /* none is expected */
	ssh_fingerprint_write(key, text);
	snprintf(s->target.fingerprint, sizeof(s->target.fingerprint), "%s", text);
	check(link->on_host_key(s, key));
	s->target.fingerprint[0] ^= 1;
	check(!link->on_host_key(s, key));
	link->on_pong(s); /* nothing waits for it */
	check(s->ping_ns == 0);
	link->on_rekeyed(s);
	open_channel(s, 1, "svc:80");
	fake_dial_end(0, 0);
	link->on_cut(s, 0, 1000);
	fake_reap();
	check(s->forwards.n == 0 && session_state(s) == BUS_STATE_UP);
	end(s);
}

static void test_dials(void)
{
	const struct session_target t = target_of(false, false);
	struct session *s = begin(-1);

	fake_dials_are(true, false);
	session_up(s, &t);
	check(session_state(s) == BUS_STATE_BACKOFF && s->fault.code == ERR_NOMEM);
	fake_dials_are(false, true);
	fake_pass(S(15));
	check(session_state(s) == BUS_STATE_RESOLVING);
	fake_dial_resolved(0);
	check(session_state(s) == BUS_STATE_CONNECTING);
	plain_bring_up(s);
	check(session_state(s) == BUS_STATE_UP);
	fake_dials_are(false, false);
	session_trim(s);
	end(s);
	session_abort(NULL);
	session_free(NULL);
}

/* A dead link's socket is kept, and reset once the next connection stands. */
static void test_dead_link_is_reset(void)
{
	struct session *s = begin(-1);

	up(s);
	s->link_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int fd = s->link_fd;
	fake_pass(S(25));
	fake_pass(LIMIT_NS(PING) + 1);
	check(s->cause == BUS_CAUSE_DEAD_LINK && s->dead_fd == fd && s->link_fd == -1);
	plain_bring_up(s);
	check(s->dead_fd == -1 && fcntl(fd, F_GETFD) < 0);
	s->link_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	session_down(s);
	check(s->link_fd == -1);
	end(s);
}

static void test_trust(void)
{
	struct fault why = { 0 };
	struct session *s = begin(0);

	reach(s, BUS_STATE_TLS);
	fault_set(&why, ERR_TRUST, "not trusted");
	session_fail(s, &why);
	check(session_state(s) == BUS_STATE_FAILED);
	check(strcmp(session_fault(s)->why, "not trusted (see the test)") == 0);
	end(s);
}

/* ---- draining ---- */

/* Streams in which bytes move have the whole time; a silent one two seconds. */
static void test_drain(void)
{
	uint8_t byte = 0;
	struct session *s = begin(-1);

	drained = 0;
	up(s);
	open_channel(s, 1, "svc:80");
	open_channel(s, 2, "svc:80");
	fake_dial_end(0, 0);
	fake_dial_end(0, 0);
	check(s->forwards.n == 2 && fake_socks() == 3);
	session_drain(s, S(20), on_drained, NULL);
	session_drain(s, S(1), on_drained, NULL); /* once is enough */
	for (int i = 0; i < 18; i++) {
		fake_pass(S(1));
		check(fake_give(fake_sock(1), &byte, 1) == 1);
		fake_take(fake_sock(0));
		if (i == 4)
			plain_say(s, span_of("\x61\0\0\0\x01", 5)); /* the silent one is closed */
		fake_reap();
	}
	check(session_state(s) == BUS_STATE_DRAINING && s->forwards.n == 1 && !drained);
	fake_pass(S(1));
	check(session_state(s) == BUS_STATE_DRAINING); /* silent since a second */
	fake_pass(S(1) + 1);
	fake_reap();
	check(session_state(s) == BUS_STATE_IDLE && s->cause == BUS_CAUSE_DRAINED);
	fake_pass(S(2));
	fake_reap();
	check(drained == 1);
	end(s);
}

/* As soon as the last silent stream has left, the session ends: the ports are free. */
static void test_drain_of_silent_streams(void)
{
	struct session *s = begin(-1);

	drained = 0;
	up(s);
	open_channel(s, 1, "svc:80");
	fake_dial_end(0, 0);
	session_drain(s, S(20), on_drained, NULL);
	fake_pass(S(2) - 1);
	check(session_state(s) == BUS_STATE_DRAINING && s->forwards.n == 1);
	fake_pass(1);
	plain_say(s, span_of("\x61\0\0\0\0", 5));
	fake_reap();
	fake_pass(1);
	check(session_state(s) == BUS_STATE_IDLE);
	fake_pass(S(2));
	fake_reap();
	check(drained == 1);
	end(s);
}

/* ---- two sessions ---- */

/* They share the memory for windows: what one has open counts for the other, one that ends
 * leaves the other's streams and timer alone. */
static void test_two_sessions(void)
{
	struct session *a = begin(-1), *b = begin(-1);

	up(a);
	up(b);
	open_channel(a, 1, "svc:80");
	fake_dial_end(0, 0);
	const uint64_t one = windows.budget.held;
	check(one > 0 && windows.open_n == 1);
	open_channel(b, 1, "svc:80");
	fake_dial_end(0, 0);
	check(windows.budget.held == 2 * one && windows.open_n == 2);
	session_down(a);
	fake_pass(MS);
	fake_reap();
	check(a->forwards.n == 0 && windows.budget.held == one && windows.open_n == 1);
	check(session_state(b) == BUS_STATE_UP && b->forwards.n == 1 && windows.timer.at_ns);
	end_one(a);
	check(session_state(b) == BUS_STATE_UP && b->forwards.n == 1);
	fake_pass(S(1)); /* the beat looks at the one that is left */
	end(b);
	check(windows.budget.held == 0 && windows.open_n == 0 && !windows.timer.at_ns);
}

int main(void)
{
	static const char *const names[] = { "a", "b" };
	static const struct test_case cases[] = {
		{ "each state and event", test_each_state_and_event },
		{ "pings", test_pings },
		{ "idle", test_idle },
		{ "refusals", test_refusals },
		{ "retries run out", test_retries_run_out },
		{ "opens", test_opens },
		{ "link", test_link },
		{ "dials", test_dials },
		{ "a dead link is reset", test_dead_link_is_reset },
		{ "trust", test_trust },
		{ "drain", test_drain },
		{ "drain of silent streams", test_drain_of_silent_streams },
		{ "two sessions", test_two_sessions },
	};
	log_start(&(struct log_options){ .component = "unit", .level = LOG_ERROR + 1, .fd = 2 });
	must(publish_new(&publish, fake_loop(),
			 &(struct publish_options){ .forwards = names, .forwards_n = 2 },
			 NULL) == 0);
	windows_init(&windows, fake_loop(), publish);
	tls = SSL_CTX_new(TLS_client_method());
	const int rc = run_cases("session", cases, array_len(cases));
	SSL_CTX_free(tls);
	windows_fini(&windows);
	return rc;
}
