/*
 * loop_uring -- the ring itself and its pools of receive buffers: set up,
 * probed, restricted and tested.  Private to loop_uring.c and loop_uring_ring.c.
 *
 * The kernel takes a buffer from a pool only when data is there and the
 * buffer comes back when on_data returns, so an idle socket holds none and a
 * few serve any number of sockets.  There are two pools because one size is
 * wrong for half of the traffic: 16 KiB buffers stay in the cache and are many
 * enough for hundreds of small messages per round; 256 KiB ones halve the CPU
 * time of bulk transfer, where the size of a call is what counts.  A socket
 * moves to the large ones when a small one came back full, and back when it
 * needed less.
 */
#ifndef LIB_IO_LOOP_LOOP_URING_H
#define LIB_IO_LOOP_LOOP_URING_H

#include <liburing.h>

#include "lib/io/loop/loop_backend.h"

enum { POOL_SMALL, POOL_LARGE, POOLS };

struct uring_pool {
	struct io_uring_buf_ring *ring;
	uint8_t *memory;
	size_t memory_bytes, ring_bytes, stride;
	unsigned count, buffer_bytes;
	unsigned quota; /* starved receives that may begin this round */
};

struct uring_state {
	struct io_uring ring;
	bool ring_open;
	struct uring_pool pools[POOLS];
	struct fault unrestricted; /* code 0: the ring takes the loop's operations only */
};

MUST_USE int uring_ring_open(struct uring_state *u, struct fault *why);
void uring_ring_close(struct uring_state *u); /* accepts half open */

/* The bytes of buffer `id`, with SOCK_HEADROOM on both sides. */
uint8_t *uring_pool_buffer(const struct uring_pool *p, unsigned id);
void uring_pool_give(struct uring_pool *p, unsigned id);

#endif
