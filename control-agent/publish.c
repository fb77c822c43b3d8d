/* The only writer of this program's segment, the registration record included. */
#include "control-agent/publish.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/app/libraries.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "lib/base/units.h"
#include "shm/writer.h"

#define BEAT_NS NS_PER_S
#define SOON_NS 1000000ull

#define X(id, name, help)                                                                          \
	static_assert(BUS_CONTROL_##id == (int)BUS_CONTROL_OPEN_FDS + (int)SELF_##id,              \
		      "order of fields.def");
SELF_NUMBERS(X)
#undef X

struct publish {
	struct loop *loop;
	struct publish_options o;
	struct bus_writer *writer;
	struct bus_registration record;
	char error_said[BUS_TEXT_MAX]; /* the last one in the event ring */
	struct timer beat;
};

static void on_log(void *user, enum log_level level, struct span line)
{
	const struct publish *p = user;

	bus_log(p->writer, (unsigned)level, (const char *)line.p, line.n);
}

static void publish_self(struct publish *p)
{
	uint64_t numbers[SELF_NUMBERS_N];

	loop_trim(p->loop);
	self_measure(numbers, loop_counts(p->loop));
	for (unsigned i = 0; i < SELF_NUMBERS_N; i++)
		bus_set(p->writer, BUS_CONTROL_OPEN_FDS + i, 0, numbers[i]);
}

static void on_beat(struct timer *t)
{
	struct publish *p = owner_of(t, struct publish, beat);

	timer_set(p->loop, &p->beat, loop_now(p->loop) + BEAT_NS);
	publish_self(p);
	if (bus_beat(p->writer) < 0)
		p->o.on_replaced(p->o.user);
}

static void publish_versions(struct publish *p)
{
	struct bus_versions v = { .version = "" };

	snprintf(v.version, sizeof(v.version), "%s", program_version);
	snprintf(v.revision, sizeof(v.revision), "%s", program_revision);
	LIBRARIES_FILL(&v);
	bus_publish_versions(p->writer, &v);
}

int publish_new(struct publish **out, struct loop *l, const struct publish_options *o,
		struct fault *why)
{
	struct publish *p = calloc(1, sizeof(*p));

	if (!p)
		return fault_set(why, ERR_NOMEM, "no memory for the status bus");
	p->loop = l;
	p->o = *o;
	p->record.nodes = p->record.pods = UINT64_MAX;
	p->beat.fire = on_beat;
	const struct bus_writer_options options = {
		.dir = o->bus_dir,
		.role = BUS_CONTROL,
		.build = program_version,
		.forwards = o->forwards,
		.forwards_n = o->forwards_n,
	};
	const int rc = bus_writer_new(&p->writer, &options, why);
	if (rc < 0) {
		free(p);
		return rc;
	}
	if (bus_writer_degraded(p->writer))
		log_warn("bus_degraded",
			 "the status bus can't be written: other containers can't read this "
			 "program's state",
			 L_STR("dir", o->bus_dir), L_STR("reason", bus_writer_degraded(p->writer)));
	publish_versions(p);
	log_set_tap(on_log, p);
	timer_set(l, &p->beat, loop_now(l) + BEAT_NS);
	*out = p;
	return 0;
}

void publish_free(struct publish *p, int exit_code)
{
	if (!p)
		return;
	timer_clear(p->loop, &p->beat);
	log_set_tap(NULL, NULL);
	bus_writer_free(p->writer, exit_code);
	free(p);
}

/* Not from inside a callback of the loop: what it works on is between two states. */
void publish_soon(struct publish *p)
{
	timer_set(p->loop, &p->beat, loop_now(p->loop) + SOON_NS);
}

static void publish_registration(struct publish *p)
{
	bus_set(p->writer, BUS_AGENT_REGISTERED, 0, p->record.registered);
	bus_publish_registration(p->writer, &p->record);
	if (strcmp(p->error_said, p->record.last_error) == 0)
		return;
	memcpy(p->error_said, p->record.last_error, sizeof(p->error_said));
	char text[sizeof(p->error_said) + 8];
	snprintf(text, sizeof(text), "error: %s", p->error_said);
	bus_event(p->writer, *p->error_said ? text : "recovered");
}

void publish_identity(struct publish *p, const char *agent_id, const char *cluster_name)
{
	snprintf(p->record.agent_id, sizeof(p->record.agent_id), "%s", agent_id);
	snprintf(p->record.cluster_name, sizeof(p->record.cluster_name), "%s", cluster_name);
	publish_registration(p);
}

void publish_registered(struct publish *p, const char *cluster_id)
{
	p->record.registered = 1;
	p->record.since_realtime_ns = publish_realtime_ns();
	snprintf(p->record.cluster_id, sizeof(p->record.cluster_id), "%s", cluster_id);
	publish_registration(p);
}

void publish_unregistered(struct publish *p)
{
	p->record.registered = 0;
	p->record.cluster_id[0] = '\0';
	publish_registration(p);
}

void publish_error(struct publish *p, const char *text)
{
	if (strcmp(p->record.last_error, text) == 0)
		return;
	snprintf(p->record.last_error, sizeof(p->record.last_error), "%s", text);
	publish_registration(p);
}

void publish_ended(struct publish *p, const char *text)
{
	p->record.registered = 0;
	snprintf(p->record.last_error, sizeof(p->record.last_error), "%s", text);
	publish_registration(p);
}

void publish_desired(struct publish *p, const struct bus_desired *d)
{
	char text[64];

	snprintf(text, sizeof(text), "desired %s, generation %" PRIu64,
		 d->op == BUS_DESIRED_UP ? "up" : "down", d->gen);
	bus_event(p->writer, text);
	bus_publish_desired(p->writer, d);
}

void publish_phase(struct publish *p, enum bus_phase phase, const char *event)
{
	bus_phase(p->writer, phase);
	bus_event(p->writer, event);
}

void publish_verified(struct publish *p, bool verified)
{
	bus_set(p->writer, BUS_CONTROL_PLANE_VERIFIED, 0, verified);
}

void publish_registration_attempt(struct publish *p)
{
	bus_add(p->writer, BUS_REGISTRATION_ATTEMPTS, 0, 1);
}

void publish_heartbeat(struct publish *p, bool good, uint64_t elapsed_ns)
{
	bus_add(p->writer, BUS_HEARTBEATS, 0, 1);
	if (!good) {
		bus_add(p->writer, BUS_HEARTBEAT_ERRORS, 0, 1);
		return;
	}
	bus_observe(p->writer, BUS_HEARTBEAT_DURATION, 0, elapsed_ns);
	p->record.last_heartbeat_realtime_ns = publish_realtime_ns();
	publish_registration(p);
}

void publish_poll(struct publish *p, bool good, unsigned forwards_refused)
{
	bus_add(p->writer, BUS_TUNNEL_POLLS, 0, 1);
	if (!good)
		bus_add(p->writer, BUS_TUNNEL_POLL_ERRORS, 0, 1);
	if (forwards_refused)
		bus_add(p->writer, BUS_TUNNEL_FORWARDS_REFUSED, 0, forwards_refused);
}

uint64_t publish_realtime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return timespec_ns(&t);
}
