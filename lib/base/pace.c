#include "lib/base/pace.h"

bool pace_take(struct pace *p, uint64_t now_ns, uint64_t *missed)
{
	const uint64_t from = p->next_ns > now_ns ? p->next_ns : now_ns;

	if (from - now_ns > (PACE_BURST - 1) * PACE_EVERY_NS) {
		p->missed++;
		return false;
	}
	p->next_ns = from + PACE_EVERY_NS;
	*missed = p->missed;
	p->missed = 0;
	return true;
}
