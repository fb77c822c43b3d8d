/*
 * fence -- a copy of bytes that ends at an unreadable page: one byte read or
 * written past the end is a crash.
 */
#ifndef TESTS_SUPPORT_FENCE_H
#define TESTS_SUPPORT_FENCE_H

#include <stddef.h>
#include <stdint.h>

struct fence {
	uint8_t *p; /* n bytes, the page after them is PROT_NONE */
	size_t n;
	void *map;
	size_t map_n;
};

void fence_init(struct fence *f, const void *bytes, size_t n);
void fence_fini(struct fence *f);

#endif
