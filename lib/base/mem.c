/*
 * mem -- the heap behind struct mem, with counts of what it has handed out.
 * Tests pass another struct mem that refuses.
 */
#include "lib/base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* Exact, so that a leak of one block shows; no thread waits for another. */
static size_t blocks, bytes_used;

static void *heap_alloc(void *ctx, size_t bytes)
{
	void *p = malloc(bytes);

	(void)ctx;
	if (p) {
		__atomic_fetch_add(&blocks, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&bytes_used, malloc_usable_size(p), __ATOMIC_RELAXED);
	}
	return p;
}

static void heap_free(void *ctx, void *p)
{
	(void)ctx;
	if (!p)
		return;
	__atomic_fetch_sub(&blocks, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&bytes_used, malloc_usable_size(p), __ATOMIC_RELAXED);
	free(p);
}

const struct mem mem_heap = { .alloc = heap_alloc, .free = heap_free };

struct mem_use mem_heap_use(void)
{
	return (struct mem_use){
		.blocks = __atomic_load_n(&blocks, __ATOMIC_RELAXED),
		.bytes = __atomic_load_n(&bytes_used, __ATOMIC_RELAXED),
	};
}

void *mem_alloc_zeroed(const struct mem *m, size_t bytes)
{
	void *p = mem_alloc(m, bytes);

	if (p)
		memset(p, 0, bytes);
	return p;
}
