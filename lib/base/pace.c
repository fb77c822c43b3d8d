#include "lib/base/pace.h"

bool pace_take_of(struct pace *p, uint64_t now_ns, unsigned burst, uint64_t every_ns, uint64_t *missed)
{
	const uint64_t from = p->next_ns > now_ns ? p->next_ns : now_ns;

	if (from - now_ns > (burst - 1) * every_ns) {
		p->missed++;
		return false;
	}
	p->next_ns = from + every_ns;
	*missed = p->missed;
	p->missed = 0;
	return true;
}

bool pace_take(struct pace *p, uint64_t now_ns, uint64_t *missed)
{
	return pace_take_of(p, now_ns, PACE_BURST, PACE_EVERY_NS, missed);
}
