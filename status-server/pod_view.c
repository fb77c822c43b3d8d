/*
 * The readers of the bus, the look once a second, and what is made of all of it
 * for one request.  It judges no readiness and writes no page.
 */
#include "status-server/pod_view.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/app/log.h"
#include "lib/base/units.h"

#define LOOK_EVERY_NS NS_PER_S

struct pod_watch {
	struct loop *loop;
	struct pod_readers readers;
	enum bus_presence said[COMPONENTS]; /* in the log */
	struct timer timer;
	struct pod_view view;
};

static const struct {
	const char *name;
	enum bus_role role;
} components[COMPONENTS] = {
	[COMPONENT_TUNNEL] = { "tunnel", BUS_TUNNEL },
	[COMPONENT_CONTROL] = { "control", BUS_CONTROL },
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return timespec_ns(&t);
}

static void say_presence(struct pod_watch *s, const struct component_view *c, size_t i)
{
	if (c->presence == s->said[i])
		return;
	const enum log_level level = c->presence == BUS_ALIVE ? LOG_INFO : LOG_WARN;

	log_write(level, "component_state", "another container came, went or stalled",
		  LOG_FIELDS(L_STR("of", c->name), L_STR("was", bus_presence_name(s->said[i])),
			     L_STR("is", bus_presence_name(c->presence)),
			     L_STR("why", c->fault->why)),
		  4);
	s->said[i] = c->presence;
}

/* What the records of a life say of it last. */
static void read_last_words(struct life_end *e, size_t i)
{
	struct bus_session session;
	struct bus_registration registration;

	e->state = "";
	if (i == COMPONENT_TUNNEL && bus_read_session(e->reader, &session) == 1)
		e->state = bus_state_name(session.state);
	if (i == COMPONENT_CONTROL && bus_read_registration(e->reader, &registration) == 1)
		e->state = registration.registered ? "registered" : "not registered";
	bus_reader_last_error(e->reader, e->error);
}

/* Until a successor is visible, both names lead to one file. */
static bool is_same_life(const struct bus_reader *a, const struct bus_reader *b)
{
	uint8_t x[16], y[16];

	bus_reader_incarnation(a, x);
	bus_reader_incarnation(b, y);
	return memcmp(x, y, sizeof(x)) == 0;
}

static void look_at_end(struct component_view *c, struct bus_reader *previous, size_t i,
			uint64_t now_ns)
{
	const enum bus_presence p = bus_reader_refresh(previous, now_ns);
	struct life_end *e = &c->end;

	/* its writer may live: somebody took the name away from under it */
	if (p == BUS_DEAD && !is_same_life(previous, c->reader))
		c->previous = previous;
	e->reader = c->presence == BUS_DEAD ? c->reader : c->previous;
	if (!e->reader)
		return;
	e->is_known = bus_reader_has_ended(e->reader, &e->is_exit);
	e->phase = bus_reader_phase(e->reader, &e->exit_code);
	e->start_realtime_ns = bus_reader_start_realtime_ns(e->reader);
	e->realtime_ns = bus_reader_last_beat_realtime_ns(e->reader);
	read_last_words(e, i);
}

static void look_at(struct component_view *c, const struct pod_readers *readers, size_t i,
		    uint64_t now_ns)
{
	struct bus_reader *r = readers->now[i];

	*c = (struct component_view){
		.name = components[i].name,
		.reader = r,
		.presence = bus_reader_refresh(r, now_ns),
		.start_realtime_ns = bus_reader_start_realtime_ns(r),
		.build = bus_reader_build(r),
		.fault = bus_reader_fault(r),
		.silent_ns = bus_reader_silent_ns(r, now_ns),
	};
	c->phase = bus_reader_phase(r, &c->exit_code);
	look_at_end(c, readers->previous[i], i, now_ns);
}

/* Generations count within one life of control: an answer to another's is none. */
static bool is_refused(const struct pod_view *v)
{
	uint8_t control[16];

	bus_reader_incarnation(v->of[COMPONENT_CONTROL].reader, control);
	return v->has_observed && v->has_desired && v->desired.gen &&
	       v->of[COMPONENT_TUNNEL].presence == BUS_ALIVE &&
	       memcmp(control, v->observed.writer, sizeof(control)) == 0 &&
	       v->observed.gen_seen == v->desired.gen &&
	       v->observed.gen_applied != v->desired.gen && v->observed.error;
}

void pod_view_read(struct pod_view *v, const struct pod_readers *r, uint64_t now_ns,
		   uint64_t realtime_ns)
{
	v->realtime_ns = realtime_ns;
	for (size_t i = 0; i < COMPONENTS; i++)
		look_at(&v->of[i], r, i, now_ns);
	v->has_session = bus_read_session(r->now[COMPONENT_TUNNEL], &v->session) == 1;
	v->has_observed = bus_read_observed(r->now[COMPONENT_TUNNEL], &v->observed) == 1;
	v->has_registration =
		bus_read_registration(r->now[COMPONENT_CONTROL], &v->registration) == 1;
	v->has_desired = bus_read_desired(r->now[COMPONENT_CONTROL], &v->desired) == 1;
	v->is_refused = is_refused(v);
}

int pod_readers_new(struct pod_readers *r, const char *dir, struct fault *why)
{
	int rc = 0;

	*r = (struct pod_readers){ .now = { NULL } };
	for (size_t i = 0; i < COMPONENTS && rc >= 0; i++) {
		rc = bus_reader_new(&r->now[i], dir, components[i].role, why);
		if (rc >= 0)
			rc = bus_reader_new_previous(&r->previous[i], dir, components[i].role, why);
	}
	return rc;
}

void pod_readers_free(struct pod_readers *r)
{
	for (size_t i = 0; i < COMPONENTS; i++) {
		bus_reader_free(r->now[i]);
		bus_reader_free(r->previous[i]);
	}
}

const struct pod_view *pod_watch_look(struct pod_watch *s)
{
	/* not the loop's clock: a round may have begun before the writer's beat */
	pod_view_read(&s->view, &s->readers, clock_ns(CLOCK_BOOTTIME), clock_ns(CLOCK_REALTIME));
	for (size_t i = 0; i < COMPONENTS; i++)
		say_presence(s, &s->view.of[i], i);
	return &s->view;
}

static void on_timer(struct timer *t)
{
	struct pod_watch *s = owner_of(t, struct pod_watch, timer);

	(void)pod_watch_look(s);
	timer_set(s->loop, t, loop_now(s->loop) + LOOK_EVERY_NS);
}

int pod_watch_new(struct pod_watch **out, struct loop *l, const char *dir, struct fault *why)
{
	*out = NULL;
	struct pod_watch *s = calloc(1, sizeof(*s));
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for readers of the bus");
	s->loop = l;
	s->timer.fire = on_timer;
	for (size_t i = 0; i < COMPONENTS; i++)
		s->said[i] = BUS_ABSENT;
	const int rc = pod_readers_new(&s->readers, dir, why);
	if (rc < 0) {
		pod_watch_free(s);
		return rc;
	}
	on_timer(&s->timer);
	*out = s;
	return 0;
}

void pod_watch_free(struct pod_watch *s)
{
	if (!s)
		return;
	timer_clear(s->loop, &s->timer);
	pod_readers_free(&s->readers);
	free(s);
}

bool component_is_readable(const struct component_view *c)
{
	return c->presence == BUS_ALIVE || c->presence == BUS_STALLED || c->presence == BUS_DEAD;
}
