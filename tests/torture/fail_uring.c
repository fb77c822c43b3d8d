/* What io_uring is told and what it answers.  An operation that is to fail goes
 * to the kernel as one that does nothing, so that it has not happened; its
 * answer is then changed. */
#include <liburing.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "tests/torture/fail.h"

enum { CHANGED_MAX = 64 };

static __thread struct {
	uint64_t name[CHANGED_MAX]; /* user_data */
	int res[CHANGED_MAX];
	size_t n;
	struct msghdr part[CHANGED_MAX]; /* of sends that were shortened, in turn */
	struct iovec one[CHANGED_MAX];
	size_t parts;
} changed;

static enum fail_kind kind_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_RECV:
		return FAIL_cqe_recv;
	case IORING_OP_SENDMSG:
		return FAIL_cqe_send;
	case IORING_OP_POLL_ADD:
		return FAIL_cqe_poll;
	}
	return FAIL_NOTHING;
}

static void shorten(struct io_uring_sqe *sqe)
{
	if (sqe->opcode == IORING_OP_RECV)
		sqe->len = 1;
	if (sqe->opcode != IORING_OP_SENDMSG)
		return;
	struct msghdr *part = &changed.part[changed.parts % CHANGED_MAX];
	struct iovec *one = &changed.one[changed.parts++ % CHANGED_MAX];
	*part = *(const struct msghdr *)(uintptr_t)sqe->addr;
	*one = (struct iovec){ part->msg_iov[0].iov_base, 1 };
	part->msg_iov = one;
	part->msg_iovlen = 1;
	sqe->addr = (uintptr_t)part;
}

static void change(struct io_uring_sqe *sqe)
{
	const uint64_t name = sqe->user_data;

	if (fail_sys() == FAIL_SHORT) {
		shorten(sqe);
		return;
	}
	if (changed.n == CHANGED_MAX)
		return;
	changed.name[changed.n] = name;
	changed.res[changed.n++] = -fail_sys();
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP; /* refused by a restricted ring: as good */
	sqe->user_data = name;
}

static void before(struct io_uring *ring)
{
	const struct io_uring_sq *q = &ring->sq;

	for (unsigned at = q->sqe_head; at != q->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &q->sqes[at & *q->kring_mask];
		const enum fail_kind kind = kind_of(sqe);

		if (kind != FAIL_NOTHING && fail_now(kind))
			change(sqe);
	}
}

static struct io_uring_cqe *answer(struct io_uring *ring, unsigned i)
{
	return &ring->cq.cqes[(*ring->cq.khead + i) & *ring->cq.kring_mask];
}

static void after(struct io_uring *ring)
{
	const unsigned n = io_uring_cq_ready(ring);

	for (unsigned i = 0; i < n; i++)
		for (size_t k = 0; k < changed.n; k++)
			if (answer(ring, i)->user_data == changed.name[k]) {
				answer(ring, i)->res = changed.res[k];
				answer(ring, i)->flags = 0;
				changed.n--;
				changed.name[k] = changed.name[changed.n];
				changed.res[k] = changed.res[changed.n];
				break;
			}
	if (n < 2 || !fail_now(FAIL_cqe_order))
		return;
	for (unsigned i = 0; i < n / 2; i++) {
		struct io_uring_cqe *a = answer(ring, i), *b = answer(ring, n - 1 - i);
		const struct {
			uint64_t user_data;
			int res;
			uint32_t flags;
		} kept = { a->user_data, a->res, a->flags };

		a->user_data = b->user_data;
		a->res = b->res;
		a->flags = b->flags;
		b->user_data = kept.user_data;
		b->res = kept.res;
		b->flags = kept.flags;
	}
}

/* ---- the calls ---- */

#define ENTER(name, parameters, arguments)                \
	int __real_##name parameters;                     \
	int __wrap_##name parameters;                     \
	int __wrap_##name parameters                      \
	{                                                 \
		if (fail_now(FAIL_ring_enter))            \
			return -fail_sys();               \
		before(ring);                             \
		const int rc = __real_##name arguments;   \
		after(ring);                              \
		return rc;                                \
	}

ENTER(io_uring_submit, (struct io_uring *ring), (ring))
ENTER(io_uring_submit_and_get_events, (struct io_uring *ring), (ring))
ENTER(io_uring_submit_and_wait, (struct io_uring *ring, unsigned n), (ring, n))
ENTER(io_uring_submit_and_wait_timeout,
      (struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *t,
       sigset_t *mask),
      (ring, cqe, n, t, mask))

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *p)
{
	changed.n = 0;
	return fail_now(FAIL_ring_setup) ? -fail_sys()
					 : __real_io_uring_queue_init_params(n, ring, p);
}

int __real_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
				      unsigned flags);
int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
				      unsigned flags);
int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
				      unsigned flags)
{
	return fail_now(FAIL_ring_register) ? -fail_sys()
					    : __real_io_uring_register_buf_ring(ring, reg, flags);
}
