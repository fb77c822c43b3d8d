/*
 * buf -- a queue of bytes that grows up to a hard bound.
 *
 * Bytes are appended at the end and consumed at the front.  Memory is taken
 * when the first byte comes and given back when the last one goes, so an
 * idle owner holds none (`keep` turns that off for hot paths).
 */
#ifndef LIB_BASE_BUF_H
#define LIB_BASE_BUF_H

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/mem.h"

struct buf {
	const struct mem *mem;
	uint8_t *p;
	size_t start, end, cap; /* bytes wait in p[start..end) */
	size_t max;		/* end - start never passes this */
	bool keep;		/* hold the memory while empty */
};

void buf_init(struct buf *b, const struct mem *mem, size_t max);
void buf_fini(struct buf *b); /* accepts a zeroed b */

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline size_t buf_room(const struct buf *b)
{
	return b->max - buf_len(b);
}

/* What waits, in order; good until the next call that changes b. */
static inline struct mspan buf_bytes(const struct buf *b)
{
	/* NULL plus nothing is undefined in C17. */
	return (struct mspan){ .p = b->p ? b->p + b->start : NULL, .n = buf_len(b) };
}

/* Makes room for n more bytes at the end and returns it in *room; add them
 * with buf_commit().  ERR_LIMIT above the bound, ERR_NOMEM when refused; then
 * nothing has changed. */
MUST_USE int buf_reserve(struct buf *b, size_t n, uint8_t **room);
void buf_commit(struct buf *b, size_t n);

/* All of p[0..n) or nothing.  Errors of buf_reserve. */
MUST_USE int buf_append(struct buf *b, const void *p, size_t n);

/* Drops n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/* Gives back what an empty buffer has kept. */
void buf_trim(struct buf *b);

#endif
