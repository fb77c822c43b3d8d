/*
 * sandbox_filter -- the table of system calls (sandbox_calls.def) made into a
 * BPF program and installed (seccomp(2)). Which calls are allowed, and why,
 * stands in the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/app/sandbox/sandbox_private.h"
#include "lib/base/bytes.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

/* An open that could change anything; O_TMPFILE is one bit and O_DIRECTORY. */
#define SANDBOX_OPEN_BITS (O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))
/* What glibc's pthread_create() asks for. */
#define SANDBOX_THREAD_FLAGS                                                                       \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD |        \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

enum when { WHEN_ALWAYS, WHEN_RING, WHEN_EPOLL, WHEN_CHECKED };
enum { TESTS_MAX = 3, ALLOW = 0 };

static const struct row {
	uint32_t nr;
	unsigned users;
	enum when when;
	uint16_t answer; /* ALLOW or an errno */
	struct test {
		uint8_t arg;
		bool is_high;	      /* its upper half */
		bool is_own;	      /* value = our process id */
		uint32_t mask, value; /* mask 0: no test */
	} tests[TESTS_MAX];
} rows[] = {
#define ANY	  ()
#define LIST(...) __VA_ARGS__
#define IS(arg, mask, value)                                                                       \
	{                                                                                          \
		arg, false, false, (uint32_t)(mask), (uint32_t)(value)                             \
	}
#define NIL(arg)                                                                                   \
	{ arg, false, false, UINT32_MAX, 0 },                                                      \
	{                                                                                          \
		arg, true, false, UINT32_MAX, 0                                                    \
	}
#define OWN(arg)                                                                                   \
	{                                                                                          \
		arg, false, true, UINT32_MAX, 0                                                    \
	}
#define SANDBOX_CALL(name, users, when, answer, tests, reason)                                     \
	{ __NR_##name, users, WHEN_##when, answer, { LIST tests } },
#include "lib/app/sandbox/sandbox_calls.def"
#undef SANDBOX_CALL
#undef OWN
#undef NIL
#undef IS
#undef LIST
#undef ANY
};

static void put(struct sandbox_filter *f, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	must(f->n < SANDBOX_CODE_MAX);
	f->code[f->n++] = (struct sock_filter){ code, yes, no, k };
}

static void put_load(struct sandbox_filter *f, size_t at)
{
	put(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)at, 0, 0);
}

static void put_return(struct sandbox_filter *f, uint32_t action)
{
	put(f, BPF_RET | BPF_K, action, 0, 0);
}

/* A half of an argument: both architectures are little endian. */
static size_t place_of(const struct test *t)
{
	return offsetof(struct seccomp_data, args) + t->arg * sizeof(uint64_t) +
	       (t->is_high ? sizeof(uint32_t) : 0);
}

/* With the call's number loaded before and after.  A test that fails jumps to
 * the end of the row, past its answer. */
static void put_row(struct sandbox_filter *f, const struct row *r, uint32_t own)
{
	unsigned short no[1 + TESTS_MAX];
	size_t n = 0;

	no[n++] = f->n;
	put(f, BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0, 0);
	for (const struct test *t = r->tests; t < r->tests + TESTS_MAX && t->mask; t++) {
		put_load(f, place_of(t));
		put(f, BPF_ALU | BPF_AND | BPF_K, t->mask, 0, 0);
		no[n++] = f->n;
		put(f, BPF_JMP | BPF_JEQ | BPF_K, t->is_own ? own : t->value, 0, 0);
	}
	put_return(f, r->answer ? SECCOMP_RET_ERRNO | r->answer : SECCOMP_RET_ALLOW);
	const unsigned short end = f->n;
	if (n > 1)
		put_load(f, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++)
		f->code[no[i]].jf = (uint8_t)(end - no[i] - 1);
}

bool sandbox_filter_make(struct sandbox_filter *f, enum config_user program, bool has_ring,
			 pid_t own)
{
	const bool holds[] = { [WHEN_ALWAYS] = true,
			       [WHEN_RING] = has_ring,
			       [WHEN_EPOLL] = !has_ring,
			       [WHEN_CHECKED] = SANDBOX_IS_CHECKED };

	f->n = 0;
	if (!ARCH)
		return false;
	put_load(f, offsetof(struct seccomp_data, arch));
	put(f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	put_return(f, SECCOMP_RET_KILL_PROCESS);
	put_load(f, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < array_len(rows); i++)
		if ((rows[i].users & program) && holds[rows[i].when])
			put_row(f, &rows[i], (uint32_t)own);
	put_return(f, SECCOMP_RET_ERRNO | EPERM);
	return true;
}

int sandbox_filter_install(const struct sandbox_filter *f)
{
	const struct sock_fprog program = { .len = f->n,
					    .filter = (struct sock_filter *)(uintptr_t)f->code };
	const long rc =
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);

	if (rc < 0)
		return errno;
	return rc ? ESRCH : 0; /* the id of a thread that has filters of its own */
}
