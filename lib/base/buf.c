/*
 * buf -- a queue of bytes with a hard upper bound, in one piece of memory that
 * grows and moves. It is no ring: consumed bytes are skipped and moved away when
 * room is needed.
 */
#include "lib/base/buf.h"

enum { BUF_FIRST = 1024 }; /* the smallest block taken */

void buf_init(struct buf *b, const struct mem *mem, size_t max)
{
	*b = (struct buf){ .mem = mem, .max = max };
}

void buf_fini(struct buf *b)
{
	if (b->mem)
		mem_free(b->mem, b->p);
	*b = (struct buf){ 0 };
}

/* Moves what waits into a block of at least `need` bytes. */
static int grow(struct buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < need)
		cap *= 2;

	uint8_t *p = mem_alloc(b->mem, cap);
	if (!p)
		return ERR_NOMEM;
	const size_t n = buf_len(b);
	if (n)
		memcpy(p, b->p + b->start, n);
	mem_free(b->mem, b->p);
	b->p = p;
	b->cap = cap;
	b->start = 0;
	b->end = n;
	return 0;
}

int buf_reserve(struct buf *b, size_t n, uint8_t **room)
{
	const size_t have = buf_len(b);

	if (n > b->max - have)
		return ERR_LIMIT;
	if (n > b->cap - b->end) {
		if (have + n <= b->cap && b->start >= b->cap / 2) {
			memmove(b->p, b->p + b->start, have);
			b->start = 0;
			b->end = have;
		} else {
			const int rc = grow(b, have + n);
			if (rc < 0)
				return rc;
		}
	}
	*room = b->p + b->end;
	return 0;
}

void buf_commit(struct buf *b, size_t n)
{
	must(n <= b->cap - b->end);
	b->end += n;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	uint8_t *room;
	const int rc = n ? buf_reserve(b, n, &room) : 0;

	if (rc < 0 || !n)
		return rc;
	memcpy(room, p, n);
	buf_commit(b, n);
	return 0;
}

void buf_trim(struct buf *b)
{
	if (buf_len(b))
		return;
	mem_free(b->mem, b->p);
	*b = (struct buf){ .mem = b->mem, .max = b->max, .keep = b->keep };
}

void buf_consume(struct buf *b, size_t n)
{
	must(n <= buf_len(b));
	b->start += n;
	if (b->start < b->end)
		return;
	if (!b->keep)
		buf_trim(b);
	b->start = b->end = 0;
}
