#include "tests/support/wire.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/must.h"

const struct wire_habits wire_perfect = {
	.room = 1 << 20,
	.piece_max = 1 << 20,
	.dies_at = WIRE_NEVER,
	.mute_at = WIRE_NEVER,
	.flip_bit = WIRE_NEVER,
};

/* splitmix64: any seed will do, also 0 and its neighbours. */
uint64_t dice_next(struct dice *d)
{
	uint64_t z = d->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t dice_below(struct dice *d, uint64_t n)
{
	must(n > 0);
	return dice_next(d) % n;
}

bool dice_one_in(struct dice *d, uint64_t n)
{
	return dice_below(d, n) == 0;
}

void dice_fill(void *dice, void *p, size_t n)
{
	uint8_t *to = p;

	while (n) {
		const uint64_t some = dice_next(dice);
		const size_t piece = min_size(n, sizeof(some));

		memcpy(to, &some, piece);
		to += piece;
		n -= piece;
	}
}

void wire_init(struct wire *w, const struct wire_habits *habits, struct dice *dice)
{
	*w = (struct wire){ .habits = *habits, .dice = dice };
	w->cap = habits->room;
	w->bytes = malloc(w->cap);
	must(w->bytes);
}

void wire_fini(struct wire *w)
{
	free(w->bytes);
	*w = (struct wire){ 0 };
}

static void mark(struct wire *w, uint64_t now_ns)
{
	const struct wire_habits *h = &w->habits;
	uint64_t at = now_ns + (h->delay_ns ? dice_below(w->dice, h->delay_ns + 1) : 0);

	if (h->stall_one_in && dice_one_in(w->dice, h->stall_one_in))
		at += h->stall_ns;
	if (w->marks_n)
		at = at > w->marks[w->marks_n - 1].at_ns ? at : w->marks[w->marks_n - 1].at_ns;
	w->marks[w->marks_n].upto = w->in;
	w->marks[w->marks_n++].at_ns = at;
}

size_t wire_put(struct wire *w, const uint8_t *p, size_t n, uint64_t now_ns)
{
	const struct wire_habits *h = &w->habits;

	n = min_size(n, w->cap - w->n);
	if (w->closed || !n || w->marks_n == WIRE_MARKS)
		return 0;
	if (w->in >= h->mute_at || w->in >= h->dies_at) {
		w->in += n;
		return n;
	}
	const size_t kept = (size_t)min_u64(n, min_u64(h->mute_at, h->dies_at) - w->in);
	memcpy(w->bytes + w->n, p, kept);
	if (h->flip_bit / 8 >= w->in && h->flip_bit / 8 < w->in + kept)
		w->bytes[w->n + (h->flip_bit / 8 - w->in)] ^= (uint8_t)(1u << h->flip_bit % 8);
	w->n += kept;
	w->in += kept;
	mark(w, now_ns);
	w->in += n - kept;
	return n;
}

void wire_close(struct wire *w)
{
	w->closed = true;
}

void wire_die(struct wire *w)
{
	w->closed = true;
	w->n = w->marks_n = 0;
}

uint8_t *wire_take(struct wire *w, uint64_t now_ns, size_t *n)
{
	uint64_t arrived = w->out;

	for (size_t i = 0; i < w->marks_n && w->marks[i].at_ns <= now_ns; i++)
		arrived = w->marks[i].upto;
	if (arrived == w->out)
		return NULL;
	const size_t most = (size_t)min_u64(arrived - w->out, w->habits.piece_max);
	const size_t piece = w->habits.piece_max >= w->cap
				     ? most
				     : 1 + (size_t)dice_below(w->dice, most);
	uint8_t *to = malloc(piece);
	must(to);
	memcpy(to, w->bytes, piece);
	memmove(w->bytes, w->bytes + piece, w->n - piece);
	w->n -= piece;
	w->out += piece;
	size_t gone = 0;
	while (gone < w->marks_n && w->marks[gone].upto <= w->out)
		gone++;
	memmove(w->marks, w->marks + gone, (w->marks_n - gone) * sizeof(w->marks[0]));
	w->marks_n -= gone;
	*n = piece;
	return to;
}

bool wire_has_ended(const struct wire *w)
{
	return w->n == 0 &&
	       (w->in >= w->habits.dies_at || (w->closed && w->in < w->habits.mute_at));
}

uint64_t wire_next_ns(const struct wire *w)
{
	return w->marks_n ? w->marks[0].at_ns : WIRE_NEVER;
}
