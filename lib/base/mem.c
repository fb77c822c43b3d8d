#include "lib/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void *heap_take(void *ctx, size_t bytes)
{
	(void)ctx;
	return malloc(bytes);
}

static void heap_give(void *ctx, void *p)
{
	(void)ctx;
	free(p);
}

const struct mem mem_heap = { .take = heap_take, .give = heap_give };

void *mem_take_zeroed(const struct mem *m, size_t bytes)
{
	void *p = mem_take(m, bytes);

	if (p)
		memset(p, 0, bytes);
	return p;
}
