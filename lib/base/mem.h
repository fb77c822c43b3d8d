/*
 * mem -- the allocator as an argument, so that tests can refuse the n-th
 * request and lib/proto needs no heap of its own.
 */
#ifndef LIB_BASE_MEM_H
#define LIB_BASE_MEM_H

#include <stddef.h>

struct mem {
	void *(*alloc)(void *ctx, size_t bytes); /* NULL when refused; not zeroed */
	void (*free)(void *ctx, void *p);	 /* accepts NULL */
	void *ctx;
};

extern const struct mem mem_heap; /* malloc and free, counted */

/* What mem_heap has handed out and not got back, by all threads; bytes as the
 * heap rounds them. */
struct mem_use {
	size_t blocks, bytes;
};
struct mem_use mem_heap_use(void);

static inline void *mem_alloc(const struct mem *m, size_t bytes)
{
	return m->alloc(m->ctx, bytes);
}

static inline void mem_free(const struct mem *m, void *p)
{
	m->free(m->ctx, p);
}

/* Zeroed; NULL when refused. */
void *mem_alloc_zeroed(const struct mem *m, size_t bytes);

#endif
