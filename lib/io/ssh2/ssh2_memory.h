/*
 * ssh2_memory -- the heap of one libssh2 connection: bounded, given back as a
 * whole, wiped.
 *
 * libssh2 leaks where a connection ends amid a key exchange, and its older
 * releases read a few bytes past short packets: what is left is freed with the
 * connection, and each block has zeroes behind it.
 */
#ifndef LIB_IO_SSH2_SSH2_MEMORY_H
#define LIB_IO_SSH2_SSH2_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

struct ssh2_block;

struct ssh2_memory {
	size_t used, max;
	bool wipe;    /* blocks that go may hold secrets */
	bool refused; /* a block was refused for the bound */
	struct ssh2_block *first;
};

void *ssh2_memory_take(struct ssh2_memory *m, size_t n);
void *ssh2_memory_resize(struct ssh2_memory *m, void *p, size_t n);
void ssh2_memory_give(struct ssh2_memory *m, void *p); /* accepts NULL */
void ssh2_memory_give_all(struct ssh2_memory *m);

#endif
