/*
 * self -- what this process holds: descriptors, memory, timers, operations.
 *
 * For the status bus and for leak gates.  An idle program shows the same
 * numbers after work as before it; what is only kept for a next time is given
 * back before they are taken (loop_trim, session_trim).
 */
#ifndef LIB_APP_SELF_H
#define LIB_APP_SELF_H

#include "lib/io/loop/loop.h"

/* X(ID, name, help), in the order of the rows in fields.def; names without their prefix. */
#define SELF_NUMBERS(X)                                                                            \
	X(OPEN_FDS, "open_fds", "Open file descriptors")                                           \
	X(HEAP_BLOCKS, "heap_blocks", "Live blocks of the own allocator")                          \
	X(HEAP_BYTES, "heap_bytes", "Bytes of the own live blocks")                                \
	X(LIBRARY_BLOCKS, "library_blocks", "Live blocks that OpenSSL holds")                      \
	X(LIBRARY_BYTES, "library_bytes", "Bytes that OpenSSL holds")                              \
	X(SOCKETS, "sockets", "Sockets in the event loop")                                         \
	X(TIMERS, "timers", "Armed timers")                                                        \
	X(OPERATIONS, "operations", "Connects, receives and sends waited for")                     \
	X(KERNEL_OPERATIONS, "kernel_operations",                                                  \
	  "What the kernel holds: unanswered entries of io_uring, or descriptors "                 \
	  "that epoll watches")

enum self_number {
#define X(id, name, help) SELF_##id,
	SELF_NUMBERS(X)
#undef X
		SELF_NUMBERS_N
};

/* Once, before anything else asks OpenSSL for memory: its blocks are counted from then on. */
void self_start(void);
/* Nothing is allocated for it. */
void self_measure(uint64_t numbers[SELF_NUMBERS_N], struct loop_counts c);
/* The same numbers as a log line: what SIGUSR2 asks for. */
void self_log(struct loop_counts c);
/* Also without a loop; 0 where /proc is not to be had. */
uint64_t self_count_fds(void);

#endif
