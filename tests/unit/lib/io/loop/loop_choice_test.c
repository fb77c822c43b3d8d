#include "lib/io/loop/loop_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cases.h"

static int install(const struct sock_filter *code, size_t n)
{
	const struct sock_fprog program = { .len = (unsigned short)n,
					    .filter = (struct sock_filter *)(uintptr_t)code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* This process answers `sys` to system call `nr` from now on. */
static int refuse(int nr, int sys)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)sys),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	return install(code, array_len(code));
}

/* To one operation of io_uring_register() only. */
static int refuse_register(unsigned operation, int sys)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_register, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, operation, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)sys),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	return install(code, array_len(code));
}

struct row {
	const char *name;
	int nr, sys;
	const char *reason; /* how loop_backend_reason() begins */
};

/* In a child, for a filter cannot be taken off.  0 = as it should be. */
static int judge(const struct row *r)
{
	struct fault why = { 0 };
	struct loop *l;
	const int lowest = dup(0);

	close(lowest);
	if (refuse(r->nr, r->sys) < 0)
		return 2;
	if (loop_new(&l, LOOP_AUTO, &why) < 0)
		return 3;
	if (strcmp(loop_backend(l), "epoll") != 0)
		return 4;
	if (strncmp(loop_backend_reason(l), r->reason, strlen(r->reason)) != 0)
		return 5;
	if (r->sys && !strstr(loop_backend_reason(l), strerror(r->sys)))
		return 6;
	loop_free(l);

	if (loop_new(&l, LOOP_URING, &why) != ERR_SYS || l)
		return 7;
	if (why.sys != r->sys || strncmp(why.why, r->reason, strlen(r->reason)) != 0)
		return 8;
	/* Nothing was left open: the lowest free descriptor is the same. */
	return dup(0) == lowest ? 0 : 9;
}

static void test_refused(void)
{
	static const struct row rows[] = {
		{ "EPERM", SYS_io_uring_setup, EPERM, "io_uring_setup" },
		{ "ENOSYS", SYS_io_uring_setup, ENOSYS, "io_uring_setup" },
		{ "EOPNOTSUPP", SYS_io_uring_setup, EOPNOTSUPP, "io_uring_setup" },
		{ "ENOMEM", SYS_io_uring_setup, ENOMEM, "io_uring_setup" },
		{ "register EPERM", SYS_io_uring_register, EPERM, "io_uring_register" },
		{ "enter does nothing", SYS_io_uring_enter, 0, "io_uring self-test: no echo" },
		{ "enter EPERM", SYS_io_uring_enter, EPERM, "io_uring_enter" },
	};
	struct loop *l;
	if (loop_new(&l, LOOP_URING, NULL) < 0) {
		puts(" [uring skipped: the kernel refuses it here already] ");
		check(loop_new(&l, LOOP_AUTO, NULL) == 0);
		check(loop_backend_reason(l)[0] != '\0');
		loop_free(l);
		return;
	}
	loop_free(l);

	fflush(stdout);
	for (size_t i = 0; i < array_len(rows); i++) {
		int status = -1;
		const pid_t child = fork();
		if (child == 0)
			_exit(judge(&rows[i]));
		check_row(rows[i].name, waitpid(child, &status, 0) == child);
		check_row(rows[i].name, WIFEXITED(status) && WEXITSTATUS(status) == 0);
		if (status)
			printf("%s: judged %d\n", rows[i].name, WEXITSTATUS(status));
	}
}

/* What the ring answers to an operation whose arguments are all zero. */
static int submit(struct io_uring *ring, unsigned op, unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe = NULL;

	must(sqe);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->flags = (uint8_t)flags;
	sqe->fd = -1;
	must(io_uring_submit_and_wait(ring, 1) == 1 && io_uring_peek_cqe(ring, &cqe) == 0);
	const int res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/* Filters of system calls don't see what a ring is asked for: the ring itself
 * must refuse all that the loop has no use for. */
static void test_restricted(void)
{
	static const unsigned used[] = { IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SENDMSG,
					 IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL };
	struct loop *l;

	if (loop_new(&l, LOOP_URING, NULL) < 0) {
		puts(" [uring skipped: the kernel refuses it here] ");
		return;
	}
	struct io_uring *ring = &((struct uring_state *)l->state)->ring;
	check(strcmp(loop_unrestricted(l), "") == 0);
	for (unsigned op = 0; op < 64; op++) {
		char name[32];
		bool is_used = false;
		for (size_t i = 0; i < array_len(used); i++)
			is_used = is_used || used[i] == op;
		snprintf(name, sizeof(name), "operation %u", op);
		const int res = submit(ring, op, 0);
		/* One that the kernel does not know may be refused before it is looked up. */
		check_row(name, is_used ? res != -EACCES : res == -EACCES || res == -EINVAL);
		if (op == IORING_OP_OPENAT || op == IORING_OP_SOCKET || op == IORING_OP_WRITE)
			check_row(name, res == -EACCES);
	}
	check(submit(ring, IORING_OP_POLL_ADD, IOSQE_ASYNC) == -EACCES);
	check(io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_PERSONALITY, NULL, 0) ==
	      -EACCES);
	loop_free(l);
}

/* 0: the ring is used all the same, and the loop says so. */
static int judge_unrestricted(void)
{
	struct fault why = { 0 };
	struct loop *l;

	if (refuse_register(IORING_REGISTER_RESTRICTIONS, EINVAL) < 0)
		return 2;
	if (loop_new(&l, LOOP_AUTO, &why) < 0)
		return 3;
	if (strcmp(loop_backend(l), "uring") != 0)
		return 4;
	if (!strstr(loop_unrestricted(l), "restrictions: Invalid argument"))
		return 5;
	loop_free(l);
	return 0;
}

static void test_unrestricted(void)
{
	int status = -1;
	struct loop *l;

	if (loop_new(&l, LOOP_URING, NULL) < 0)
		return; /* said by the one before */
	loop_free(l);
	fflush(stdout);
	const pid_t child = fork();
	if (child == 0)
		_exit(judge_unrestricted());
	check(waitpid(child, &status, 0) == child && WIFEXITED(status));
	check(WEXITSTATUS(status) == 0);
}

static void test_asked_for(void)
{
	struct loop *l;

	check(loop_new(&l, LOOP_EPOLL, NULL) == 0);
	check(strcmp(loop_backend(l), "epoll") == 0);
	check(strcmp(loop_backend_reason(l), "") == 0);
	loop_free(l);

	check(loop_new(&l, LOOP_AUTO, NULL) == 0);
	check((strcmp(loop_backend(l), "uring") == 0) == (loop_backend_reason(l)[0] == '\0'));
	loop_free(l);
}

/* No descriptor of ours reaches a program that we start. */
static void test_close_on_exec(void)
{
	static const enum loop_choice choices[] = { LOOP_EPOLL, LOOP_URING };

	for (size_t i = 0; i < array_len(choices); i++) {
		bool before[64];
		struct loop *l;
		for (int fd = 0; fd < 64; fd++)
			before[fd] = fcntl(fd, F_GETFD) >= 0;
		if (loop_new(&l, choices[i], NULL) < 0)
			continue;
		int ours = 0;
		for (int fd = 0; fd < 64; fd++) {
			const int flags = fcntl(fd, F_GETFD);
			if (flags < 0 || before[fd])
				continue;
			ours++;
			check_row(loop_backend(l), flags & FD_CLOEXEC);
		}
		check(ours == 2); /* the eventfd, and epoll or the ring */
		loop_free(l);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "refused by the kernel", test_refused },
		{ "restricted ring", test_restricted },
		{ "restrictions refused", test_unrestricted },
		{ "asked for", test_asked_for },
		{ "close on exec", test_close_on_exec },
	};
	return run_cases("loop choice", cases, array_len(cases));
}
