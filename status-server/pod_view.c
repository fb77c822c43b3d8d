#include "status-server/pod_view.h"

#include <stdlib.h>
#include <time.h>

#include "lib/app/log.h"

#define LOOK_EVERY_NS UINT64_C(1000000000)

struct pod_watch {
	struct loop *loop;
	struct bus_reader *readers[COMPONENTS];
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
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
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

static void look_at(struct pod_watch *s, size_t i, uint64_t now_ns)
{
	struct bus_reader *r = s->readers[i];
	struct component_view *c = &s->view.of[i];

	*c = (struct component_view){
		.name = components[i].name,
		.reader = r,
		.presence = bus_reader_refresh(r, now_ns),
		.start_realtime_ns = bus_reader_start_realtime_ns(r),
		.build = bus_reader_build(r),
		.fault = bus_reader_fault(r),
	};
	c->phase = bus_reader_phase(r, &c->exit_code);
	say_presence(s, c, i);
}

const struct pod_view *pod_watch_look(struct pod_watch *s)
{
	struct pod_view *v = &s->view;
	/* not the loop's clock: a round may have begun before the writer's beat */
	const uint64_t now_ns = clock_ns(CLOCK_BOOTTIME);

	v->realtime_ns = clock_ns(CLOCK_REALTIME);
	for (size_t i = 0; i < COMPONENTS; i++)
		look_at(s, i, now_ns);
	v->has_session = bus_read_session(s->readers[COMPONENT_TUNNEL], &v->session) == 1;
	v->has_registration =
		bus_read_registration(s->readers[COMPONENT_CONTROL], &v->registration) == 1;
	v->has_desired = bus_read_desired(s->readers[COMPONENT_CONTROL], &v->desired) == 1;
	return v;
}

static void on_timer(struct timer *t)
{
	struct pod_watch *s = (struct pod_watch *)((char *)t - offsetof(struct pod_watch, timer));

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
	for (size_t i = 0; i < COMPONENTS; i++) {
		const int rc = bus_reader_new(&s->readers[i], dir, components[i].role, why);
		if (rc < 0) {
			pod_watch_free(s);
			return rc;
		}
		s->said[i] = BUS_ABSENT;
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
	for (size_t i = 0; i < COMPONENTS; i++)
		bus_reader_free(s->readers[i]);
	free(s);
}

bool component_is_readable(const struct component_view *c)
{
	return c->presence == BUS_ALIVE || c->presence == BUS_STALLED || c->presence == BUS_DEAD;
}
