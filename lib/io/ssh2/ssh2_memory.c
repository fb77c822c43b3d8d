/*
 * ssh2_memory -- the heap of one libssh2 connection: bounded, wiped, and given
 * back as a whole, since libssh2 leaks where a connection ends amid a key
 * exchange.
 */
#include "lib/io/ssh2/ssh2_memory.h"

#include <assert.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

enum { TAIL = 64 };

struct ssh2_block {
	struct ssh2_block *prev, *next;
	size_t n;
	uint8_t bytes[];
};

/* malloc's own blocks begin at a multiple of 16, those behind these words 8 further. */
enum { MALLOC_ALIGN = 16 };
static_assert(sizeof(struct ssh2_block) % MALLOC_ALIGN == 8, "told apart by where they begin");
static_assert(alignof(max_align_t) == MALLOC_ALIGN, "told apart by where they begin");

static bool is_plain(const void *p)
{
	return (uintptr_t)p % MALLOC_ALIGN == 0;
}

static struct ssh2_block *block_of(void *p)
{
	return (struct ssh2_block *)((uint8_t *)p - offsetof(struct ssh2_block, bytes));
}

/* What a block costs, its own words included. */
static size_t cost(size_t n)
{
	return sizeof(struct ssh2_block) + n + TAIL;
}

static void *take_plain(struct ssh2_memory *m, size_t n)
{
	uint8_t *p = malloc(n + TAIL);

	if (p) {
		memset(p + n, 0, TAIL);
		m->used += malloc_usable_size(p);
	}
	return p;
}

static void give_plain(struct ssh2_memory *m, void *p)
{
	const size_t n = malloc_usable_size(p);

	m->used -= n;
	if (m->wipe)
		OPENSSL_cleanse(p, n);
	free(p);
}

void *ssh2_memory_take(struct ssh2_memory *m, size_t n)
{
	if (n > m->max || m->used > m->max || cost(n) > m->max - m->used) {
		m->refused = true;
		return NULL;
	}
	if (m->plain)
		return take_plain(m, n);
	struct ssh2_block *b = mem_alloc(&mem_heap, cost(n));
	if (!b)
		return NULL;
	memset(b->bytes + n, 0, TAIL);
	b->n = n;
	b->prev = NULL;
	b->next = m->first;
	if (b->next)
		b->next->prev = b;
	m->first = b;
	m->used += cost(n);
	return b->bytes;
}

static void give_block(struct ssh2_memory *m, struct ssh2_block *b)
{
	if (b->prev)
		b->prev->next = b->next;
	else
		m->first = b->next;
	if (b->next)
		b->next->prev = b->prev;
	m->used -= cost(b->n);
	if (m->wipe)
		OPENSSL_cleanse(b->bytes, b->n);
	mem_free(&mem_heap, b);
}

void ssh2_memory_give(struct ssh2_memory *m, void *p)
{
	if (p && is_plain(p))
		give_plain(m, p);
	else if (p)
		give_block(m, block_of(p));
}

void *ssh2_memory_resize(struct ssh2_memory *m, void *p, size_t n)
{
	void *to = ssh2_memory_take(m, n);

	if (to && p) {
		const size_t old = is_plain(p) ? malloc_usable_size(p) : block_of(p)->n;
		memcpy(to, p, old < n ? old : n);
		ssh2_memory_give(m, p);
	}
	return to;
}

void ssh2_memory_give_all(struct ssh2_memory *m)
{
	m->wipe = true;
	for (struct ssh2_block *b = m->first, *next; b; b = next) {
		next = b->next;
		give_block(m, b);
	}
}
