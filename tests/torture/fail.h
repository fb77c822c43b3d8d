/*
 * fail -- the n-th call of a kind fails: allocations, system calls, and what
 * io_uring completes.
 *
 * The linker brings the calls of our own objects here (--wrap, see the
 * Makefile); those inside of libraries go their way, but for OpenSSL's
 * allocations.  A plan is one thread's: what its peer in the same process does
 * never fails.
 */
#ifndef TESTS_TORTURE_FAIL_H
#define TESTS_TORTURE_FAIL_H

#include <stdbool.h>
#include <stdint.h>

enum fail_kind {
	FAIL_NOTHING,
	FAIL_ALLOC,         /* malloc, calloc, realloc of ours */
	FAIL_LIBRARY_ALLOC, /* OpenSSL's */
#define FAIL(name, ...) FAIL_##name,
#include "tests/torture/fail.def"
#undef FAIL
	FAIL_connect,
	FAIL_epoll_ctl, /* but for taking a descriptor out: that needs nothing */
	FAIL_recv,
	FAIL_sendmsg,
	FAIL_getaddrinfo,
	FAIL_ioctl,
	FAIL_mmap,
	FAIL_openat,
	FAIL_posix_fallocate,
	FAIL_pthread_create,
	FAIL_ring_setup,
	FAIL_ring_register,
	FAIL_ring_enter,
	/* Operations that the ring completes. */
	FAIL_cqe_recv,
	FAIL_cqe_send,
	FAIL_cqe_poll,
	FAIL_cqe_order, /* completions in the opposite order */
};

enum { FAIL_SHORT = -1 /* for `sys`: done, but only one byte of it */ };

struct fail_plan {
	enum fail_kind kind;
	int sys;       /* errno, or FAIL_SHORT */
	uint64_t nth;  /* from 1 */
	bool lasting;  /* all from the n-th on, until fail_disarm() */
};

void fail_arm(const struct fail_plan *plan); /* this thread's from now on */
void fail_disarm(void);
bool fail_has_fired(void); /* since fail_arm(), also after fail_disarm() */
/* For the wraps: is this call of the kind the one that fails? */
bool fail_now(enum fail_kind kind);
int fail_sys(void);
/* Before anything asks OpenSSL for memory. */
void fail_start(void);

#endif
