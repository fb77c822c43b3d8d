/*
 * The one file of this program that writes to the status bus: numbers, records,
 * log lines, events, and the beat once a second.
 */
#include "tunnel-sidecar/publish.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/app/libraries.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "lib/base/units.h"
#include "shm/writer.h"
#include "tunnel-sidecar/state_time.h"

#define BEAT_NS NS_PER_S
#define SOON_NS 1000000ull

#define X(id, name, help)                                                                          \
	static_assert(BUS_TUNNEL_##id == (int)BUS_TUNNEL_OPEN_FDS + (int)SELF_##id,                \
		      "order of fields.def");
SELF_NUMBERS(X)
#undef X

struct publish {
	struct loop *loop;
	void (*trim)(void *user);
	void *user;
	struct bus_writer *writer;
	struct bus_session session;
	uint64_t state_said; /* the last one in the event ring */
	struct timer beat;
	struct state_time time;
	struct publish_beat *beats;
	uint64_t channels[BUS_FORWARDS_MAX];
	struct bus_cell
		*bytes[BUS_FORWARDS_MAX][2]; /* by enum publish_direction: counted per packet */
};

uint64_t publish_realtime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return timespec_ns(&t);
}

/* What an operator asks for after a crash: few lines that stay for long.  What
 * the server can repeat at will (channels, refusals) goes to the log alone. */
static void say(struct publish *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct publish *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	bus_event(p->writer, text);
}

static void on_log_line(void *user, enum log_level level, struct span line)
{
	struct publish *p = user;

	bus_log(p->writer, level, (const char *)line.p, line.n);
}

static void book(void *user, enum bus_cause cause, uint64_t ns)
{
	struct publish *p = user;

	bus_add(p->writer, BUS_TUNNEL_STATE_TIME, cause, ns);
}

static void publish_self(struct publish *p)
{
	uint64_t numbers[SELF_NUMBERS_N];

	if (p->trim)
		p->trim(p->user);
	loop_trim(p->loop);
	self_measure(numbers, loop_counts(p->loop));
	for (unsigned i = 0; i < SELF_NUMBERS_N; i++)
		bus_set(p->writer, BUS_TUNNEL_OPEN_FDS + i, 0, numbers[i]);
}

/* From the main loop and nowhere else, so that a hung loop is seen. */
static void on_beat(struct timer *t)
{
	struct publish *p = owner_of(t, struct publish, beat);

	publish_self(p);
	for (struct publish_beat *b = p->beats; b; b = b->next)
		b->look(b->user);
	if (bus_beat(p->writer) < 0) {
		log_error("bus_replaced",
			  "another tunnel-sidecar replaced the bus segment: the program ends");
		bus_phase(p->writer, BUS_FAILED);
		loop_stop(p->loop);
		return;
	}
	state_time_advance(&p->time, loop_now(p->loop));
	timer_set(p->loop, &p->beat, loop_now(p->loop) + BEAT_NS);
}

static void publish_versions(struct publish *p)
{
	struct bus_versions v = { .version = "" };

	snprintf(v.version, sizeof(v.version), "%s", program_version);
	snprintf(v.revision, sizeof(v.revision), "%s", program_revision);
	LIBRARIES_FILL(&v);
	bus_publish_versions(p->writer, &v);
}

/* The counters of a forward: the last ones are those of all that have none of their own. */
static unsigned counters_of(unsigned forward)
{
	return forward < BUS_FORWARDS_MAX ? forward : BUS_FORWARDS_MAX - 1;
}

/* Fills names[] for the bus; how many there are. */
static size_t name_forwards(const char *names[BUS_FORWARDS_MAX], const struct publish_options *o)
{
	const bool are_more = o->forwards_n > BUS_FORWARDS_MAX;
	const size_t own = are_more ? BUS_FORWARDS_MAX - 1 : o->forwards_n;

	for (size_t i = 0; i < own; i++)
		names[i] = o->forwards[i];
	if (!are_more)
		return own;
	names[own] = "others";
	if (o->bus_dir)
		log_info("bus_forwards",
			 "the status bus has no counters for so many forwards: the last ones are "
			 "counted together",
			 L_INT("forwards", o->forwards_n), L_INT("counted_each", own));
	return own + 1;
}

int publish_new(struct publish **out, struct loop *l, const struct publish_options *o,
		struct fault *why)
{
	struct publish *p = calloc(1, sizeof(*p));
	if (!p)
		return fault_set(why, ERR_NOMEM, "no memory for the bus publisher");

	const char *names[BUS_FORWARDS_MAX];
	const size_t names_n = name_forwards(names, o);
	const struct bus_writer_options options = {
		.dir = o->bus_dir,
		.role = BUS_TUNNEL,
		.build = program_version,
		.forwards = names,
		.forwards_n = names_n,
	};
	p->loop = l;
	p->trim = o->trim;
	p->user = o->user;
	const int rc = bus_writer_new(&p->writer, &options, why);
	if (rc < 0) {
		free(p);
		return rc;
	}
	for (unsigned i = 0; i < names_n * 2; i++)
		p->bytes[i / 2][i % 2] = bus_cell(p->writer, BUS_TUNNEL_BYTES, i);
	const char *degraded = bus_writer_degraded(p->writer);
	if (degraded && o->bus_dir)
		log_warn("bus_degraded",
			 "the status bus can't be written; the tunnel continues to work",
			 L_STR("reason", degraded));
	snprintf(p->session.io_backend, sizeof(p->session.io_backend), "%s", loop_backend(l));
	snprintf(p->session.io_reason, sizeof(p->session.io_reason), "%s", loop_backend_reason(l));
	p->session.since_realtime_ns = publish_realtime_ns();
	p->state_said = BUS_STATES_N;
	p->time = (struct state_time){ loop_now(l), BUS_CAUSE_NOT_WANTED, book, p };
	publish_cause(p, BUS_CAUSE_NOT_WANTED);
	publish_session(p);
	publish_versions(p);
	log_set_tap(on_log_line, p);
	bus_phase(p->writer, BUS_RUNNING);
	p->beat.fire = on_beat;
	timer_set(l, &p->beat, loop_now(l) + BEAT_NS);
	*out = p;
	return 0;
}

void publish_free(struct publish *p, int exit_code)
{
	struct timespec t;

	if (!p)
		return;
	clock_gettime(CLOCK_BOOTTIME, &t); /* the loop's clock; the loop is gone */
	state_time_advance(&p->time, timespec_ns(&t));
	log_set_tap(NULL, NULL);
	bus_writer_free(p->writer, exit_code);
	free(p);
}

/* Not from inside a callback of the loop: what it works on is between two states. */
void publish_soon(struct publish *p)
{
	timer_set(p->loop, &p->beat, loop_now(p->loop) + SOON_NS);
}

void publish_on_beat(struct publish *p, struct publish_beat *b)
{
	b->next = p->beats;
	p->beats = b;
}

void publish_off_beat(struct publish *p, struct publish_beat *b)
{
	struct publish_beat **at = &p->beats;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
}

struct bus_session *publish_record(struct publish *p)
{
	return &p->session;
}

void publish_session(struct publish *p)
{
	bus_set(p->writer, BUS_TUNNEL_NEXT_RETRY, 0, p->session.next_retry_realtime_ns);
	bus_publish_session(p->writer, &p->session);
	if (p->session.state == p->state_said)
		return;
	p->state_said = p->session.state;
	say(p, "state %s", bus_state_name(p->state_said));
}

void publish_observed(struct publish *p, const struct bus_observed *o)
{
	bus_publish_observed(p->writer, o);
}

void publish_attempt(struct publish *p)
{
	bus_add(p->writer, BUS_TUNNEL_CONNECT_ATTEMPTS, 0, 1);
}

void publish_cause(struct publish *p, enum bus_cause cause)
{
	state_time_enter(&p->time, cause, loop_now(p->loop));
	snprintf(p->session.cause, sizeof(p->session.cause), "%s", bus_cause_name(cause));
}

void publish_failure(struct publish *p, enum bus_cause cause, const struct fault *why)
{
	bus_add(p->writer, BUS_TUNNEL_FAILURES, cause, 1);
	bus_add(p->writer, BUS_TUNNEL_CONNECT_FAILURES, (unsigned)-why->code, 1);
	say(p, "error %s while %s: %s", err_name(why->code), bus_state_name(p->session.state),
	    why->why);
}

void publish_up(struct publish *p, size_t forwards, uint64_t connect_ns)
{
	p->session.forwards_active = forwards;
	bus_set(p->writer, BUS_TUNNEL_UP, 0, 1);
	bus_set(p->writer, BUS_TUNNEL_FORWARDS_ACTIVE, 0, forwards);
	bus_add(p->writer, BUS_TUNNEL_SESSIONS, 0, 1);
	bus_observe(p->writer, BUS_TUNNEL_CONNECT_DURATION, 0, connect_ns);
	say(p, "connected: %zu forwards, %s", forwards, p->session.server);
}

void publish_down(struct publish *p)
{
	p->session.forwards_active = 0;
	bus_set(p->writer, BUS_TUNNEL_UP, 0, 0);
	bus_set(p->writer, BUS_TUNNEL_FORWARDS_ACTIVE, 0, 0);
}

void publish_closed(struct publish *p, const char *reason)
{
	say(p, "closed: %s", reason);
}

void publish_ping(struct publish *p, uint64_t rtt_ns)
{
	bus_observe(p->writer, BUS_TUNNEL_PING_RTT, 0, rtt_ns);
	bus_set(p->writer, BUS_TUNNEL_LAST_PONG, 0, publish_realtime_ns());
}

void publish_rekey(struct publish *p)
{
	bus_add(p->writer, BUS_TUNNEL_REKEYS, 0, 1);
}

void publish_draining(struct publish *p)
{
	bus_phase(p->writer, BUS_DRAINING);
}

void publish_sandbox(struct publish *p, enum sandbox_feature f, bool is_on)
{
	bus_set(p->writer, BUS_TUNNEL_SANDBOX, f, is_on);
}

void publish_bytes(struct publish *p, unsigned forward, enum publish_direction d, uint64_t n)
{
	bus_cell_add(p->bytes[counters_of(forward)][d], n);
}

void publish_channel_opened(struct publish *p, unsigned forward)
{
	const unsigned i = counters_of(forward);

	bus_add(p->writer, BUS_TUNNEL_CHANNELS_OPENED, i, 1);
	bus_set(p->writer, BUS_TUNNEL_CHANNELS, i, ++p->channels[i]);
}

void publish_channel_closed(struct publish *p, unsigned forward)
{
	const unsigned i = counters_of(forward);

	bus_add(p->writer, BUS_TUNNEL_CHANNELS_CLOSED, i, 1);
	bus_set(p->writer, BUS_TUNNEL_CHANNELS, i, --p->channels[i]);
}

void publish_channel_rejected(struct publish *p, enum bus_refusal reason)
{
	bus_add(p->writer, BUS_TUNNEL_OPENS_REFUSED, reason, 1);
	bus_add(p->writer, BUS_TUNNEL_CHANNELS_REJECTED, 0, 1);
}

void publish_glitches(struct publish *p, enum glitch_kind kind, uint64_t n)
{
	bus_add(p->writer, BUS_TUNNEL_PEER_GLITCHES, kind, n);
}

void publish_windows(struct publish *p, uint64_t budget, uint64_t granted, uint64_t growths)
{
	bus_set(p->writer, BUS_TUNNEL_WINDOW_BUDGET, 0, budget);
	bus_set(p->writer, BUS_TUNNEL_WINDOW_GRANTED, 0, granted);
	if (growths)
		bus_add(p->writer, BUS_TUNNEL_WINDOW_GROWTHS, 0, growths);
}

void publish_dial_failed(struct publish *p, unsigned forward)
{
	bus_add(p->writer, BUS_TUNNEL_DIAL_FAILURES, counters_of(forward), 1);
}
