#include "tests/torture/life.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/app/self.h"
#include "lib/base/mem.h"
#include "tunnel-sidecar/session.h"
#include "tunnel-sidecar/windows.h"

#define TICK_NS 1000000ull
#define PATIENCE_NS (20 * 1000000000ull)
#define DRAIN_NS 1000000000ull

enum stage { COMING_UP, VISITED, DRAINING };

struct subject {
	struct life *life;
	struct world *world;
	struct loop *loop;
	struct publish *publish;
	struct session *session;
	struct windows windows;
	struct timer tick;
	uint64_t give_up_ns;
	enum stage stage;
	bool clean;  /* the visit under way began after the failures had stopped */
	bool of_world; /* fails what fails */
	bool failed; /* a connection was lost or not made after a failure */
};

static bool has_fired(const struct subject *x)
{
	return x->of_world ? world_has_failed(x->world) : fail_has_fired();
}

static void stop_failing(struct subject *x)
{
	if (!x->of_world)
		fail_disarm();
}

static void bug(struct subject *x, enum life_end end, const char *note)
{
	x->life->end = end;
	snprintf(x->life->note, sizeof(x->life->note), "%s; state %s, %s", note,
		 bus_state_name(session_state(x->session)), session_fault(x->session)->why);
	loop_stop(x->loop);
}

static void on_drained(void *user)
{
	struct subject *x = user;

	loop_stop(x->loop);
}

/* The first failure's reason counts; and what lasts, lasts until then. */
static void on_changed(void *user, enum bus_state state)
{
	struct subject *x = user;

	if (state != BUS_STATE_BACKOFF && state != BUS_STATE_FAILED)
		return;
	if (has_fired(x) && !x->failed) {
		x->failed = true;
		x->life->why = *session_fault(x->session);
	}
	if (has_fired(x))
		stop_failing(x);
}

static void on_visited(struct subject *x)
{
	const enum visit v = world_visited(x->world);

	if (v == VISIT_UNDER_WAY)
		return;
	if (v == VISIT_WRONG) {
		bug(x, LIFE_WRONG_BYTES, "the visitor got other bytes than it had sent");
		return;
	}
	if (x->clean && v == VISIT_WHOLE) {
		x->stage = DRAINING;
		session_drain(x->session, DRAIN_NS, on_drained, x);
		return;
	}
	x->stage = COMING_UP;
	x->clean = true;
	stop_failing(x);
}

static void on_tick(struct timer *t)
{
	struct subject *x = (struct subject *)((char *)t - offsetof(struct subject, tick));

	if (loop_now(x->loop) > x->give_up_ns) {
		bug(x, LIFE_STUCK, "it does not go on");
		return;
	}
	if (x->stage == COMING_UP && session_state(x->session) == BUS_STATE_UP) {
		x->stage = VISITED;
		world_visit(x->world);
	} else if (x->stage == VISITED) {
		on_visited(x);
	}
	timer_set(x->loop, t, loop_now(x->loop) + TICK_NS);
}

static void set_target(struct session_target *t, const struct world *w)
{
	static struct chisel_remote remote;
	static uint16_t forward;

	memset(t, 0, sizeof(*t));
	t->remotes = &remote;
	t->forward = &forward;
	t->url = (struct url){ .tls = true, .host = "localhost", .path = "/",
				      .port = world_gateway_port(w) };
	snprintf(t->url.host_header, sizeof(t->url.host_header), "localhost");
	snprintf(t->user, sizeof(t->user), "u");
	snprintf(t->password, sizeof(t->password), "p");
	snprintf(t->remotes[0].bind_host, sizeof(t->remotes[0].bind_host), "127.0.0.1");
	snprintf(t->remotes[0].host, sizeof(t->remotes[0].host), "127.0.0.1");
	t->remotes[0].port = world_service_port(w);
	t->remotes[0].bind_port = world_door_port(w);
	t->n = 1;
}

/* As main.c does it. */
static int live(struct subject *x, enum loop_choice io, const char *bus_dir, struct fault *why)
{
	static const char *const names[] = { "a" };
	struct session_target target;
	int rc = loop_new(&x->loop, io, why);

	if (rc >= 0)
		rc = publish_new(&x->publish, x->loop,
				 &(struct publish_options){ .bus_dir = bus_dir, .forwards = names,
							    .forwards_n = 1 }, why);
	if (rc >= 0)
		windows_init(&x->windows, x->loop, x->publish);
	if (rc >= 0)
		rc = session_new(&x->session,
				 &(struct session_options){ .loop = x->loop,
							    .publish = x->publish,
							    .windows = &x->windows,
							    .tls_ctx = world_client_ctx(x->world),
							    .keepalive_ns = 1000000000ull,
							    .retry_max_ns = TICK_NS,
							    .retry_count = -1,
							    .changed = on_changed,
							    .user = x },
				 why);
	if (rc < 0)
		return rc;
	set_target(&target, x->world);
	x->tick.fire = on_tick;
	x->give_up_ns = loop_now(x->loop) + PATIENCE_NS;
	timer_set(x->loop, &x->tick, loop_now(x->loop));
	session_up(x->session, &target);
	rc = loop_run(x->loop, why);
	timer_clear(x->loop, &x->tick);
	return rc;
}

/* Everything that this life took must be back, once the world has seen its end. */
static void look_for_leaks(struct subject *x, uint64_t fds, size_t blocks)
{
	for (int i = 0; i < 4000; i++) {
		if (world_is_quiet(x->world) && self_count_fds() == fds &&
		    mem_heap_use().blocks == blocks)
			return;
		usleep(1000);
	}
	x->life->end = LIFE_LEAKED;
	snprintf(x->life->note, sizeof(x->life->note),
		 "descriptors %d, heap blocks %d too many, world %s", (int)(self_count_fds() - fds),
		 (int)(mem_heap_use().blocks - blocks),
		 world_is_quiet(x->world) ? "quiet" : "not quiet");
}

void life_run(struct life *out, struct world *w, enum loop_choice io, const char *bus_dir,
	      const struct fail_plan *plan, bool of_world)
{
	static const struct fail_plan none;
	struct subject x = { .life = out, .world = w, .of_world = of_world };
	struct fault why = { 0 };

	*out = (struct life){ .end = LIFE_UNTOUCHED };
	while (!world_is_quiet(w))
		usleep(1000);
	const uint64_t fds = self_count_fds();
	const size_t blocks = mem_heap_use().blocks;
	if (of_world)
		world_fail(w, plan);
	else
		fail_arm(plan);
	const int rc = live(&x, io, bus_dir, &why);
	if (rc < 0) {
		out->end = LIFE_REFUSED;
		out->why = why;
	} else if (out->end == LIFE_UNTOUCHED && has_fired(&x)) {
		out->end = x.failed ? LIFE_RECOVERED : LIFE_UNMOVED;
	}
	session_abort(x.session);
	loop_free(x.loop);
	session_free(x.session);
	windows_fini(&x.windows);
	publish_free(x.publish, 0);
	fail_disarm();
	if (of_world)
		world_fail(w, &none);
	look_for_leaks(&x, fds, blocks);
}
