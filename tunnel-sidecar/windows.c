#include "tunnel-sidecar/windows.h"

#define LOOK_NS 1000000000ull /* a resize in place counts after so long */

static void say(struct windows *w)
{
	const struct budget *b = &w->budget;

	publish_windows(w->publish, b->limit, b->held, b->growths - w->growths_said);
	w->growths_said = b->growths;
}

static void look(struct windows *w)
{
	const uint64_t now = loop_now(w->loop);

	if (w->looked_ns && now - w->looked_ns < LOOK_NS)
		return;
	w->looked_ns = now;
	budget_set_memory(&w->budget, cgroup_memory_limit(&w->cgroup));
}

static void on_timer(struct timer *t)
{
	struct windows *w = (struct windows *)((char *)t - offsetof(struct windows, timer));

	look(w);
	if (w->budget.starved_n)
		w->retry(w->user);
	if (w->budget.reserved)
		timer_set(w->loop, &w->timer, loop_now(w->loop) + LOOK_NS);
	say(w);
}

void windows_init(struct windows *w)
{
	w->timer.fire = on_timer;
	cgroup_open(&w->cgroup, "");
	look(w);
	say(w);
}

void windows_fini(struct windows *w)
{
	cgroup_close(&w->cgroup);
}

void windows_rest(struct windows *w)
{
	timer_clear(w->loop, &w->timer);
}

bool windows_share(struct windows *w, struct share *s, bool foreign)
{
	look(w);
	const bool good = foreign ? budget_open_foreign(&w->budget, s)
				  : budget_open(&w->budget, s, loop_now(w->loop)) > 0;
	if (!w->timer.at_ns)
		timer_set(w->loop, &w->timer, loop_now(w->loop) + LOOK_NS);
	say(w);
	return good;
}

void windows_received(struct windows *w, struct share *s, size_t n)
{
	budget_received(&w->budget, s, n);
}

uint32_t windows_passed(struct windows *w, struct share *s, size_t n)
{
	look(w);
	const uint32_t more = budget_passed(&w->budget, s, n, loop_now(w->loop));
	say(w);
	return more;
}

uint32_t windows_retry(struct windows *w, struct share *s)
{
	const uint32_t more = budget_retry(&w->budget, s, loop_now(w->loop));
	say(w);
	return more;
}

void windows_end(struct windows *w, struct share *s)
{
	budget_end(&w->budget, s);
	say(w);
}

void windows_give_back(struct windows *w, struct share *s)
{
	budget_close(&w->budget, s);
	say(w);
}
