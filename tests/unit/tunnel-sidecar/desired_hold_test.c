/* A control agent that changes its mind without end, on a clock of the test's. */
#include "lib/app/log.h"
#include "lib/base/limits.h"
#include "tests/unit/shm/bus_fixture.h"
#include "tunnel-sidecar/tunnel_sandbox.h"
#include "tunnel-sidecar/desired.h"

#define S UINT64_C(1000000000)
#define POLL (S / 4)

/* ---- a loop that is a clock and one timer; a session that is its target ---- */

struct loop {
	uint64_t now;
	struct timer *timer;
};

struct session {
	struct session_target target;
	bool wanted;
	unsigned turns;
};

static struct loop loop;
static struct session session;
static struct bus_observed observed;

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns)
{
	l->timer = t;
	t->at_ns = at_ns;
}

void loop_wake(struct loop *l, struct loop_wake *w)
{
	(void)l;
	(void)w;
}

void loop_wake_cancel(struct loop *l, struct loop_wake *w)
{
	(void)l;
	(void)w;
}

bool session_target_eq(const struct session_target *a, const struct session_target *b)
{
	return a->remotes[0].bind_port == b->remotes[0].bind_port;
}

void session_up(struct session *s, const struct session_target *t)
{
	s->turns += !s->wanted || !session_target_eq(&s->target, t);
	static struct chisel_remote first;

	first = t->remotes[0];
	s->target = *t;
	s->target.remotes = &first;
	s->wanted = true;
}

void session_down(struct session *s)
{
	s->turns += s->wanted;
	s->wanted = false;
}

const struct session_target *session_target(const struct session *s)
{
	return s->wanted ? &s->target : NULL;
}

enum bus_state session_state(const struct session *s)
{
	return s->wanted ? BUS_STATE_UP : BUS_STATE_IDLE;
}

const struct fault *session_fault(const struct session *s)
{
	static const struct fault none;

	(void)s;
	return &none;
}

bool tunnel_sandbox_allows(const char *list, uint16_t port)
{
	(void)list;
	(void)port;
	return true;
}

void publish_observed(struct publish *p, const struct bus_observed *o)
{
	(void)p;
	observed = *o;
}

/* ---- the rig ---- */

struct rig {
	struct bus_fixture f;
	struct config config;
	struct bus_writer *control;
	struct desired *desired;
	uint64_t gen;
};

static void init(struct rig *x)
{
	*x = (struct rig){ .config = { .tunnel_enabled = true, .forwards_n = 1 } };
	x->config.forwards[0] =
		(struct config_forward){ .name = "a", .host = "127.0.0.1", .port = 1 };
	fixture_init(&x->f);
	snprintf(x->config.bus_dir, sizeof(x->config.bus_dir), "%s", x->f.dir);
	x->control = fixture_writer(&x->f, BUS_CONTROL);
	loop = (struct loop){ .now = 1000 * S };
	session = (struct session){ 0 };
	observed = (struct bus_observed){ 0 };
	must(desired_new(&x->desired,
			 &(struct desired_options){ .loop = &loop,
						    .session = &session,
						    .config = &x->config,
						    .is_peer_gone = true },
			 NULL) == 0);
}

static void fini(struct rig *x)
{
	desired_free(x->desired);
	bus_writer_free(x->control, 0);
	fixture_fini(&x->f);
}

/* port 0: down. */
static void wish(struct rig *x, uint16_t port)
{
	struct bus_desired r = { .gen = ++x->gen,
				 .op = port ? BUS_DESIRED_UP : BUS_DESIRED_DOWN,
				 .n = 1 };

	snprintf(r.url, sizeof(r.url), "wss://tunnel.example.com");
	r.forward[0].remote_port = port;
	bus_publish_desired(x->control, &r);
}

static void poll_once(void)
{
	loop.now += POLL;
	loop.timer->fire(loop.timer);
}

static void poll_for(uint64_t ns)
{
	for (uint64_t end = loop.now + ns; loop.now < end;)
		poll_once();
}

static unsigned port_now(void)
{
	return session.wanted ? session.target.remotes[0].bind_port : 0;
}

/* Each poll sees another wish, for ten minutes. */
static void test_flapping_is_bounded(void)
{
	struct rig x;

	init(&x);
	for (int i = 0; i < 4 * 600; i++) {
		wish(&x, i % 2 ? 0 : 8000);
		poll_once();
	}
	check(session.turns >= 3 + 100 && session.turns <= 3 + 600 / 5);
	fini(&x);
}

static void test_newest_wish_wins(void)
{
	struct rig x;

	init(&x);
	for (uint16_t port = 8001; port <= 8003; port++) {
		wish(&x, port);
		poll_once();
		check(port_now() == port && observed.gen_applied == x.gen);
	}
	for (uint16_t port = 8004; port <= 8009; port++) {
		wish(&x, port);
		poll_once();
	}
	check(port_now() == 8003 && observed.gen_seen == x.gen && observed.gen_applied == 3);
	check(observed.error == 0);
	poll_for(5 * S);
	check(port_now() == 8009 && session.turns == 4 && observed.gen_applied == x.gen);
	/* The way back to what runs is no turn and waits for nothing. */
	wish(&x, 8010);
	poll_once();
	check(port_now() == 8009);
	wish(&x, 8009);
	poll_once();
	check(port_now() == 8009 && observed.gen_applied == x.gen);
	poll_for(30 * S);
	check(session.turns == 4);
	fini(&x);
}

static void test_calm_wishes_wait_for_nothing(void)
{
	struct rig x;

	init(&x);
	for (int i = 0; i < 20; i++) {
		wish(&x, i % 2 ? 0 : 8000);
		poll_once();
		check(observed.gen_applied == x.gen);
		poll_for(6 * S);
	}
	check(session.turns == 20);
	fini(&x);
}

/* What is refused takes nobody's turn. */
static void test_refused_wishes_cost_nothing(void)
{
	struct rig x;

	init(&x);
	for (int i = 0; i < 50; i++) {
		bus_publish_desired(x.control,
				    &(struct bus_desired){ .gen = ++x.gen, .op = BUS_DESIRED_UP });
		poll_once();
		check(observed.error != 0);
	}
	wish(&x, 8000);
	poll_once();
	check(port_now() == 8000 && observed.gen_applied == x.gen && observed.error == 0);
	fini(&x);
}

static const struct log_options quiet = { .component = "test", .level = LOG_ERROR + 1, .fd = 2 };

static void count_line(void *user, enum log_level level, struct span line)
{
	(void)level;
	(void)line;
	++*(unsigned *)user;
}

/* Whatever becomes of them: 50 new generations a second make a few lines. */
static void test_generations_say_little(void)
{
	static const uint16_t refused[] = { 0, 1 };

	for (size_t i = 0; i < array_len(refused); i++) {
		unsigned lines = 0;
		struct rig x;

		init(&x);
		log_start(
			&(struct log_options){ .component = "test", .level = LOG_INFO, .fd = -1 });
		log_set_tap(count_line, &lines);
		for (int j = 0; j < 1000; j++) {
			bus_publish_desired(
				x.control,
				&(struct bus_desired){ .gen = ++x.gen,
						       .op = refused[i] ? BUS_DESIRED_UP
									: BUS_DESIRED_DOWN });
			loop.now += S / 50 - POLL;
			poll_once();
		}
		log_set_tap(NULL, NULL);
		log_start(&quiet);
		check(lines >= 20 && lines <= LIMIT_LOG_BURST + 21);
		check(observed.gen_seen == x.gen);
		fini(&x);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "flapping is bounded", test_flapping_is_bounded },
		{ "the newest wish wins", test_newest_wish_wins },
		{ "a thousand generations in 20 s make a line a second",
		  test_generations_say_little },
		{ "calm wishes wait for nothing", test_calm_wishes_wait_for_nothing },
		{ "refused wishes cost nothing", test_refused_wishes_cost_nothing },
	};
	log_start(&quiet);
	return run_cases("desired hold", cases, array_len(cases));
}
