/*
 * Lines in a ring, one writer, any number of readers, without a lock: README.md says
 * why it is right, memory_test explores it.
 */
#include "shm/ring.h"

#include <string.h>

#include "lib/base/bytes.h"
#include "shm/crash_point.h"
#include "shm/text.h"

static _Atomic uint64_t *slot_at(const struct bus_ring *r, uint64_t line)
{
	return r->slots + (line & (r->slots_n - 1)) * r->slot_words;
}

static void store(_Atomic uint64_t *word, uint64_t v)
{
	atomic_store_explicit(word, v, memory_order_release);
}

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* The sequence needs no order of its own.  A line is looked for below the head
 * only, whose release and acquire bring its sequence and text along; and who
 * sees a word of the next line in the slot sees the 0 that was stored before
 * that word's release. */
static void store_sequence(_Atomic uint64_t *slot, uint64_t v)
{
	atomic_store_explicit(slot, v, memory_order_relaxed);
}

static bool has_sequence(const _Atomic uint64_t *slot, uint64_t v)
{
	return atomic_load_explicit(slot, memory_order_relaxed) == v;
}

void bus_ring_write(const struct bus_ring *r, unsigned level, uint64_t boottime_ns,
		    uint64_t realtime_ns, const char *text, size_t n)
{
	const uint64_t line = atomic_load_explicit(r->head, memory_order_relaxed);
	const size_t room = (r->slot_words - BUS_RING_SLOT_HEAD) * 8;
	const size_t kept = bus_text_cut(text, n, room);
	_Atomic uint64_t *slot = slot_at(r, line);

	store_sequence(slot, 0);
	BUS_CRASH_POINT(BUS_CRASH_RING_OPEN);
	store(&slot[1], boottime_ns);
	store(&slot[2], realtime_ns);
	store(&slot[3], (level & 0xffffu) | (uint64_t)kept << 32);
	store(&slot[4], kept < n ? BUS_RING_CUT : 0);
	for (size_t at = 0; at < kept; at += 8) {
		uint64_t word = 0;
		memcpy(&word, text + at, min_size(8, kept - at));
		store(&slot[BUS_RING_SLOT_HEAD + at / 8], word);
		BUS_CRASH_POINT(BUS_CRASH_RING_TEXT);
	}
	BUS_CRASH_POINT(BUS_CRASH_RING_SEQ);
	store_sequence(slot, line + 1);
	BUS_CRASH_POINT(BUS_CRASH_RING_HEAD);
	store(r->head, line + 1);
}

int bus_ring_head(const struct bus_ring *r, uint64_t cursor, uint64_t *head)
{
	*head = load(r->head);
	return *head < cursor || *head >= BUS_RING_HEAD_MAX ? ERR_PROTO : 0;
}

static bool copy_slot(const struct bus_ring *r, uint64_t line, struct bus_ring_line *to)
{
	const _Atomic uint64_t *slot = slot_at(r, line);

	if (!has_sequence(slot, line + 1))
		return false;
	to->boottime_ns = load(&slot[1]);
	to->realtime_ns = load(&slot[2]);
	const uint64_t mixed = load(&slot[3]);
	to->flags = (unsigned)load(&slot[4]);
	to->seq = line + 1;
	to->level = (unsigned)(mixed & 0xffffu);
	/* the length is the file's word: never more than the slot has */
	to->n = min_size((size_t)(mixed >> 32), (r->slot_words - BUS_RING_SLOT_HEAD) * 8);
	for (size_t at = 0; at < to->n; at += 8) {
		const uint64_t word = load(&slot[BUS_RING_SLOT_HEAD + at / 8]);
		memcpy(to->text + at, &word, min_size(8, to->n - at));
		BUS_CRASH_POINT(BUS_CRASH_RING_READ);
	}
	return has_sequence(slot, line + 1);
}

int bus_ring_next(const struct bus_ring *r, uint64_t head, uint64_t *cursor, uint64_t *lost,
		  struct bus_ring_line *to)
{
	if (head - *cursor > r->slots_n) {
		*lost += head - r->slots_n - *cursor;
		*cursor = head - r->slots_n;
	}
	while (*cursor < head) {
		if (copy_slot(r, (*cursor)++, to))
			return 1;
		++*lost;
	}
	return 0;
}
