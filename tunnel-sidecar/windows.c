/*
 * The tie of the budget's arithmetic (budget.c) to this process: the cgroup's limit, the
 * bus, and a timer that tries again for channels that found no room.
 */
#include "tunnel-sidecar/windows.h"
#include "lib/base/units.h"

#define LOOK_NS NS_PER_S /* a resize in place counts after so long */

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
	struct windows *w = owner_of(t, struct windows, timer);

	look(w);
	for (struct windows_user *u = w->users; u && w->budget.starved_n; u = u->next)
		u->retry(u->user);
	if (w->budget.reserved)
		timer_set(w->loop, &w->timer, loop_now(w->loop) + LOOK_NS);
	say(w);
}

void windows_init(struct windows *w, struct loop *l, struct publish *p)
{
	*w = (struct windows){ .loop = l, .publish = p, .timer.fire = on_timer };
	cgroup_open(&w->cgroup, "");
	look(w);
	say(w);
}

void windows_fini(struct windows *w)
{
	must(!w->users);
	if (w->loop)
		cgroup_close(&w->cgroup);
}

void windows_join(struct windows *w, struct windows_user *u)
{
	u->next = w->users;
	w->users = u;
}

void windows_leave(struct windows *w, struct windows_user *u)
{
	struct windows_user **at = &w->users;

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
}

void windows_rest(struct windows *w)
{
	if (!w->open_n)
		timer_clear(w->loop, &w->timer);
}

bool windows_share(struct windows *w, struct share *s, bool foreign)
{
	look(w);
	const bool good = foreign ? budget_open_foreign(&w->budget, s)
				  : budget_open(&w->budget, s, loop_now(w->loop)) > 0;
	w->open_n += s->open;
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
	w->open_n -= s->open;
	budget_end(&w->budget, s);
	say(w);
}

void windows_give_back(struct windows *w, struct share *s)
{
	w->open_n -= s->open;
	budget_close(&w->budget, s);
	say(w);
}
