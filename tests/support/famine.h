/*
 * famine -- an allocator that refuses the n-th request, and counts what is
 * still held: `struct mem` for the famine drill and leak gates.
 */
#ifndef TESTS_SUPPORT_FAMINE_H
#define TESTS_SUPPORT_FAMINE_H

#include <stddef.h>

#include "lib/base/mem.h"

struct famine {
	struct mem mem;     /* hand out &famine.mem */
	size_t refuse_at;   /* the request to refuse, from 1; 0 = none */
	size_t requests, live;
};

void famine_init(struct famine *f, size_t refuse_at);

#endif
