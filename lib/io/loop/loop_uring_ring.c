/*
 * loop_uring_ring -- sets an io_uring up: restricted to the operations the loop
 * uses, with a pool of buffers, tried once by a self-test. loop_uring.c submits
 * to it and reads its completions.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/io/loop/loop_uring.h"

enum {
	RING_ENTRIES = 512,
	CQ_ENTRIES = 4096,
	SELF_TEST_NS = 100000000,
};

static const struct {
	unsigned count, buffer_bytes;
} pool_sizes[POOLS] = {
	[POOL_SMALL] = { 64, 16 * 1024 },
	[POOL_LARGE] = { 8, SOCK_RECV_MAX },
};

/* All that loop_uring.c and the self-test submit.  What is not here the kernel
 * refuses, whoever writes into the ring. */
static const uint8_t operations[] = { IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SENDMSG,
				      IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL };

/* ---- pools ---- */

uint8_t *uring_pool_buffer(const struct uring_pool *p, unsigned id)
{
	return p->memory + id * p->stride + SOCK_HEADROOM;
}

void uring_pool_give(struct uring_pool *p, unsigned id)
{
	io_uring_buf_ring_add(p->ring, uring_pool_buffer(p, id), p->buffer_bytes,
			      (unsigned short)id, (int)p->count - 1, 0);
	io_uring_buf_ring_advance(p->ring, 1);
}

/* Pages cost memory once the kernel has written to them, not before. */
static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int open_pool(struct uring_state *u, int group, struct fault *why)
{
	struct uring_pool *p = &u->pools[group];

	p->count = pool_sizes[group].count;
	p->buffer_bytes = pool_sizes[group].buffer_bytes;
	p->stride = p->buffer_bytes + 2 * SOCK_HEADROOM;
	p->memory_bytes = p->stride * p->count;
	p->ring_bytes = p->count * sizeof(struct io_uring_buf);
	p->memory = map(p->memory_bytes);
	p->ring = map(p->ring_bytes);
	if (!p->memory || !p->ring)
		return fault_set_sys(why, errno, "mmap of receive buffers");

	io_uring_buf_ring_init(p->ring);
	struct io_uring_buf_reg reg = {
		.ring_addr = (uintptr_t)p->ring,
		.ring_entries = p->count,
		.bgid = (uint16_t)group,
	};
	const int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (rc < 0)
		return fault_set_sys(why, -rc, "io_uring_register of a buffer ring");
	for (unsigned id = 0; id < p->count; id++)
		uring_pool_give(p, id);
	return 0;
}

/* ---- restrictions ---- */

/* liburing 2.3 declares calls of their own for these two and does not export them. */
static int ring_register(struct uring_state *u, unsigned opcode, const void *arg, unsigned n)
{
	return io_uring_register((unsigned)u->ring.ring_fd, opcode, arg, n);
}

/* A filter of system calls does not see what a ring does: so the ring itself
 * must not open files, make sockets or bind them.  No register operation is on
 * the list either: the pools are there by now, and the list can't be changed. */
static int restrict_ring(struct uring_state *u)
{
	struct io_uring_restriction list[array_len(operations) + 1] = {
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		  .sqe_flags = IOSQE_BUFFER_SELECT },
	};

	for (size_t i = 0; i < array_len(operations); i++)
		list[i + 1] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP,
							     .sqe_op = operations[i] };
	return ring_register(u, IORING_REGISTER_RESTRICTIONS, list, array_len(list));
}

/* The ring was made disabled.  Where restrictions are refused it is used without. */
static int enable(struct uring_state *u, struct fault *why)
{
	int rc = restrict_ring(u);

	if (rc < 0)
		(void)fault_set_sys(&u->unrestricted, -rc, "io_uring_register of restrictions");
	rc = ring_register(u, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return rc < 0 ? fault_set_sys(why, -rc, "io_uring_register to enable the ring") : 0;
}

/* ---- self-test: kernels exist that grant a ring on which nothing completes ---- */

static void ask_echo(struct uring_state *u, const int fd[2], struct msghdr *msg)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	io_uring_prep_recv(sqe, fd[1], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = POOL_SMALL;
	io_uring_sqe_set_data64(sqe, 1);
	sqe = io_uring_get_sqe(&u->ring);
	io_uring_prep_sendmsg(sqe, fd[0], msg, MSG_WAITALL | MSG_NOSIGNAL);
	io_uring_sqe_set_data64(sqe, 2);
}

/* 1 for a completion that is as it should be, else 0. */
static int judge(struct uring_state *u, const struct io_uring_cqe *cqe, const char *word, size_t n)
{
	if (cqe->res != (int)n)
		return 0;
	if (cqe->user_data == 2)
		return 1;
	if (!(cqe->flags & IORING_CQE_F_BUFFER))
		return 0;
	const unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	if (id >= u->pools[POOL_SMALL].count)
		return 0;
	const int same = memcmp(uring_pool_buffer(&u->pools[POOL_SMALL], id), word, n) == 0;
	uring_pool_give(&u->pools[POOL_SMALL], id);
	return same;
}

static int echo(struct uring_state *u, const int fd[2], struct fault *why)
{
	char word[] = "round and round";
	struct iovec iov = { .iov_base = word, .iov_len = sizeof(word) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	ask_echo(u, fd, &msg);
	const uint64_t end = loop_read_clock() + SELF_TEST_NS;
	for (int done = 0; done < 2;) {
		const uint64_t now = loop_read_clock();
		if (now >= end)
			return fault_set(why, ERR_SYS, "io_uring self-test: no echo within 100 ms");
		struct __kernel_timespec left = { .tv_nsec = (long long)(end - now) };
		struct io_uring_cqe *cqe = NULL;
		const int rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &left, NULL);
		if (rc < 0 && rc != -ETIME && rc != -EINTR)
			return fault_set_sys(why, -rc, "io_uring_enter");
		while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
			const int good = judge(u, cqe, word, sizeof(word));
			const int res = cqe->res;
			io_uring_cqe_seen(&u->ring, cqe);
			if (!good && res < 0)
				return fault_set_sys(why, -res, "io_uring self-test");
			if (!good)
				return fault_set(why, ERR_SYS, "io_uring self-test: wrong echo");
			done++;
		}
	}
	return 0;
}

static int self_test(struct uring_state *u, struct fault *why)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return fault_set_sys(why, errno, "socketpair");
	const int rc = echo(u, fd, why);
	close(fd[0]);
	close(fd[1]);
	return rc;
}

/* ---- life ---- */

void uring_ring_close(struct uring_state *u)
{
	if (u->ring_open)
		io_uring_queue_exit(&u->ring);
	u->ring_open = false;
	for (int i = 0; i < POOLS; i++) {
		struct uring_pool *p = &u->pools[i];
		if (p->memory)
			munmap(p->memory, p->memory_bytes);
		if (p->ring)
			munmap(p->ring, p->ring_bytes);
		*p = (struct uring_pool){ 0 };
	}
}

int uring_ring_open(struct uring_state *u, struct fault *why)
{
	/* Linux 6.1 and later; one path, no ladder of older features. */
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_R_DISABLED,
		.cq_entries = CQ_ENTRIES,
	};
	int rc = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &params);
	if (rc < 0)
		return fault_set_sys(why, -rc, "io_uring_setup");
	u->ring_open = true;

	const unsigned need = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
			      IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG;
	if ((params.features & need) != need)
		return fault_set(why, ERR_SYS, "io_uring_setup: features missing (have 0x%x)",
				 params.features);
	for (int i = 0; i < POOLS; i++) {
		rc = open_pool(u, i, why);
		if (rc < 0)
			return rc;
	}
	rc = enable(u, why);
	return rc < 0 ? rc : self_test(u, why);
}
