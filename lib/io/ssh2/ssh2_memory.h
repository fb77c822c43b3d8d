/*
 * ssh2_memory -- the heap of one libssh2 connection: bounded, given back as a
 * whole, wiped.
 *
 * libssh2 leaks where a connection ends amid a key exchange, and its older
 * releases read a few bytes past short packets: what is left is freed with the
 * connection, and each block has zeroes behind it.
 *
 * libssh2 1.11.1 gives a block that it took here to free() when it reads an ECDSA key.  So what
 * is taken while `plain` is set is a block of malloc's own, which either may free.  Nothing gives
 * it back with the rest.
 */
#ifndef LIB_IO_SSH2_SSH2_MEMORY_H
#define LIB_IO_SSH2_SSH2_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

struct ssh2_block;

struct ssh2_memory {
	size_t used, max;
	bool wipe;    /* blocks that go may hold secrets */
	bool plain;   /* while libssh2 reads a key: blocks of malloc's own */
	bool refused; /* a block was refused for the bound */
	struct ssh2_block *first;
};

void *ssh2_memory_take(struct ssh2_memory *m, size_t n);
void *ssh2_memory_resize(struct ssh2_memory *m, void *p, size_t n);
void ssh2_memory_give(struct ssh2_memory *m, void *p); /* accepts NULL */
void ssh2_memory_give_all(struct ssh2_memory *m);

#endif
