#include "tests/support/famine.h"

#include <stdlib.h>

static void *take(void *ctx, size_t bytes)
{
	struct famine *f = ctx;

	if (++f->requests == f->refuse_at)
		return NULL;
	void *p = malloc(bytes ? bytes : 1);
	if (p)
		f->live++;
	return p;
}

static void give(void *ctx, void *p)
{
	struct famine *f = ctx;

	if (p)
		f->live--;
	free(p);
}

void famine_init(struct famine *f, size_t refuse_at)
{
	*f = (struct famine){ .refuse_at = refuse_at };
	f->mem = (struct mem){ .alloc = take, .free = give, .ctx = f };
}
