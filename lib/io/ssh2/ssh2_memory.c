#include "lib/io/ssh2/ssh2_memory.h"

#include <openssl/crypto.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/mem.h"

enum { TAIL = 64 };

struct ssh2_block {
	struct ssh2_block *prev, *next;
	size_t n;
	alignas(max_align_t) uint8_t bytes[];
};

static struct ssh2_block *block_of(void *p)
{
	return (struct ssh2_block *)((uint8_t *)p - offsetof(struct ssh2_block, bytes));
}

/* What a block costs, its own words included. */
static size_t cost(size_t n)
{
	return sizeof(struct ssh2_block) + n + TAIL;
}

void *ssh2_memory_take(struct ssh2_memory *m, size_t n)
{
	if (n > m->max || cost(n) > m->max - m->used) {
		m->refused = true;
		return NULL;
	}
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

void ssh2_memory_give(struct ssh2_memory *m, void *p)
{
	if (!p)
		return;
	struct ssh2_block *b = block_of(p);

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

void *ssh2_memory_resize(struct ssh2_memory *m, void *p, size_t n)
{
	void *to = ssh2_memory_take(m, n);

	if (to && p) {
		const size_t old = block_of(p)->n;
		memcpy(to, p, old < n ? old : n);
		ssh2_memory_give(m, p);
	}
	return to;
}

void ssh2_memory_give_all(struct ssh2_memory *m)
{
	m->wipe = true;
	while (m->first)
		ssh2_memory_give(m, m->first->bytes);
}
