/* When a new wish is seen: at once by the doorbell, at the next poll without. */
#include "lib/app/log.h"
#include "tests/unit/shm/bus_fixture.h"
#include "tunnel-sidecar/desired.h"
#include "tunnel-sidecar/windows.h"

#define MS UINT64_C(1000000)
#define POLL (250 * MS)
#define WISHES 20 /* one that is seen before the poll is enough: machines stall */

struct rig {
	struct bus_fixture f;
	struct config config;
	struct loop *loop;
	struct publish *publish;
	struct session *session;
	struct windows windows;
	struct desired *desired;
	struct bus_writer *control;
	struct bus_reader *tunnel;
	struct timer look, give_up;
	uint64_t gen;		/* wished last */
	uint64_t base_ns;	/* no poll comes within POLL of it */
	unsigned early, late;
};

#define RIG_OF(t, member) ((struct rig *)((char *)(t) - offsetof(struct rig, member)))

static void wish(struct rig *x)
{
	bus_publish_desired(x->control,
			    &(struct bus_desired){ .gen = ++x->gen, .op = BUS_DESIRED_DOWN });
}

/* Every 2 ms: was the wish seen?  Then the next one. */
static void on_look(struct timer *t)
{
	struct rig *x = RIG_OF(t, look);
	struct bus_observed o = { 0 };
	const uint64_t now = loop_now(x->loop);

	timer_set(x->loop, t, now + 2 * MS);
	bus_reader_refresh(x->tunnel, now);
	if (bus_read_observed(x->tunnel, &o) != 1 || o.gen_seen != x->gen)
		return;
	check(o.gen_applied == x->gen);
	if (now < x->base_ns + POLL)
		x->early++;
	else
		x->late++;
	if (x->early || x->gen == WISHES) {
		loop_stop(x->loop);
		return;
	}
	x->base_ns = now - 5 * MS; /* a look at the wish came after that, and armed the poll */
	wish(x);
}

static void on_give_up(struct timer *t)
{
	loop_stop(RIG_OF(t, give_up)->loop);
}

static void init(struct rig *x, bool is_peer_gone)
{
	*x = (struct rig){ .config = { .tunnel_enabled = true } };
	fixture_init(&x->f);
	snprintf(x->config.bus_dir, sizeof(x->config.bus_dir), "%s", x->f.dir);
	must(loop_new(&x->loop, LOOP_EPOLL, NULL) == 0);
	must(publish_new(&x->publish, x->loop, &(struct publish_options){ .bus_dir = x->f.dir },
			 NULL) == 0);
	windows_init(&x->windows, x->loop, x->publish);
	must(session_new(&x->session,
			 &(struct session_options){ .loop = x->loop, .publish = x->publish,
						    .windows = &x->windows },
			 NULL) == 0);
	x->control = fixture_writer(&x->f, BUS_CONTROL);
	x->tunnel = fixture_reader(&x->f, BUS_TUNNEL);
	x->base_ns = loop_now(x->loop);
	must(desired_new(&x->desired,
			 &(struct desired_options){ .loop = x->loop,
						    .publish = x->publish,
						    .session = x->session,
						    .config = &x->config,
						    .is_peer_gone = is_peer_gone },
			 NULL) == 0);
	x->look.fire = on_look;
	x->give_up.fire = on_give_up;
	timer_set(x->loop, &x->give_up, loop_now(x->loop) + 30000 * MS);
}

static void fini(struct rig *x)
{
	timer_clear(x->loop, &x->look);
	timer_clear(x->loop, &x->give_up);
	session_abort(x->session);
	desired_quiet(x->desired);
	loop_free(x->loop);
	desired_free(x->desired);
	session_free(x->session);
	windows_fini(&x->windows);
	publish_free(x->publish, 0);
	bus_writer_free(x->control, 0);
	bus_reader_free(x->tunnel);
	fixture_fini(&x->f);
}

/* After the first look, which comes as soon as the loop runs. */
static void on_first(struct timer *t)
{
	struct rig *x = RIG_OF(t, look);

	wish(x);
	t->fire = on_look;
	timer_set(x->loop, t, loop_now(x->loop) + 2 * MS);
}

static void start(struct rig *x)
{
	x->look.fire = on_first;
	timer_set(x->loop, &x->look, loop_now(x->loop) + 40 * MS);
	check(loop_run(x->loop, NULL) == 0);
}

static void test_doorbell(void)
{
	struct rig x;

	init(&x, false);
	start(&x);
	check(x.early == 1);
	fini(&x);
}

static void test_poll(void)
{
	struct rig x;

	init(&x, true);
	x.gen = WISHES - 1; /* one is enough, and no machine makes it come early */
	start(&x);
	check(x.early == 0 && x.late == 1);
	fini(&x);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "the doorbell is faster than the poll", test_doorbell },
		{ "the poll does it alone", test_poll },
	};
	log_start(&(struct log_options){ .component = "test", .level = LOG_ERROR, .fd = 2 });
	return run_cases("desired doorbell", cases, array_len(cases));
}
