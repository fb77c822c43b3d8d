/*
 * glitch -- a leaky bucket of points that useless messages of a peer cost. It
 * counts them by kind; the owner ends the connection.
 */
#include "lib/base/glitch.h"

#include "lib/base/must.h"

void glitch_init(struct glitches *g, unsigned budget, uint64_t refill_ns, uint64_t now_ns)
{
	*g = (struct glitches){
		.budget = budget, .left = budget, .refill_ns = refill_ns, .seen_ns = now_ns
	};
}

void glitch_refill(struct glitches *g, uint64_t now_ns)
{
	if (now_ns <= g->seen_ns)
		return;
	const uint64_t points = (now_ns - g->seen_ns) / g->refill_ns;
	const uint64_t missing = g->budget - g->left;

	g->left += (unsigned)(points < missing ? points : missing);
	g->seen_ns += points * g->refill_ns; /* the rest of a point is not lost */
}

bool glitch_charge(struct glitches *g, enum glitch_kind kind, unsigned cost)
{
	must(kind < GLITCH_KINDS);
	g->counts[kind]++;
	if (g->left < cost) {
		g->left = 0;
		return false;
	}
	g->left -= cost;
	return true;
}

const char *glitch_name(enum glitch_kind kind)
{
	static const char *const names[GLITCH_KINDS] = {
#define GLITCH_TEXT(name, text) text,
		GLITCH_LIST(GLITCH_TEXT)
#undef GLITCH_TEXT
	};

	return kind < GLITCH_KINDS ? names[kind] : "unknown";
}
