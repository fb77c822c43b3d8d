/*
 * The list of system calls, run as the kernel runs it, by an interpreter of the
 * few instructions that it is made of; and once by the kernel itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/app/sandbox/sandbox_private.h"
#include "tests/support/cases.h"

#define OWN 4711
#define THREAD 0x3d0f00 /* as strace shows pthread_create() */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

enum { ALLOWED = 0, KILLED = -1 }; /* else an errno */

static int run(const struct sandbox_filter *f, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t at = 0; at < f->n;) {
		const struct sock_filter i = f->code[at++];

		switch (i.code) {
		case BPF_LD | BPF_W | BPF_ABS:
			must(i.k % 4 == 0 && i.k < sizeof(*data));
			memcpy(&a, (const uint8_t *)data + i.k, sizeof(a));
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i.k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			at += a == i.k ? i.jt : i.jf;
			break;
		case BPF_RET | BPF_K:
			if (i.k == SECCOMP_RET_ALLOW)
				return ALLOWED;
			return i.k == SECCOMP_RET_KILL_PROCESS ? KILLED
							       : (int)(i.k & SECCOMP_RET_DATA);
		default:
			must(!"an instruction that the list does not use");
		}
	}
	must(!"the end of the program");
	return KILLED;
}

struct row {
	const char *name;
	int nr;
	uint64_t args[6];
	int want;
};

static const struct row rows[] = {
	{ "execve", SYS_execve, { 0 }, EPERM },
	{ "execveat", SYS_execveat, { 0 }, EPERM },
	{ "ptrace", SYS_ptrace, { 0 }, SANDBOX_IS_CHECKED ? ALLOWED : EPERM },
	{ "bind", SYS_bind, { 3 }, EPERM },
	{ "listen", SYS_listen, { 3 }, EPERM },
	{ "accept", SYS_accept4, { 3 }, EPERM },
	{ "memfd_create", SYS_memfd_create, { 0 }, EPERM },
	{ "io_uring_setup", SYS_io_uring_setup, { 8 }, EPERM },
	{ "io_uring_register", SYS_io_uring_register, { 3 }, EPERM },
	{ "unlinkat", SYS_unlinkat, { 0 }, EPERM },
	{ "unshare", SYS_unshare, { 0 }, EPERM },
	{ "seccomp", SYS_seccomp, { 0 }, EPERM },
	{ "bpf", SYS_bpf, { 0 }, EPERM },
	{ "no such call", 1 << 20, { 0 }, EPERM },
	{ "x32", 0x40000000 | SYS_read, { 0 }, EPERM },
	{ "openat2", 437, { 0 }, EPERM },
	{ "clone3", 435, { 0 }, ENOSYS },
	{ "a thread", SYS_clone, { THREAD }, ALLOWED },
	{ "a process", SYS_clone, { SIGCHLD }, SANDBOX_IS_CHECKED ? ALLOWED : EPERM },
	{ "a thread in a namespace",
	  SYS_clone,
	  { THREAD | CLONE_NEWNS },
	  SANDBOX_IS_CHECKED ? ALLOWED : EPERM },

	{ "open to read", SYS_openat, { 0, 0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW }, ALLOWED },
	{ "open a folder", SYS_openat, { 0, 0, O_PATH | O_DIRECTORY | O_CLOEXEC }, ALLOWED },
	{ "open to write", SYS_openat, { 0, 0, O_WRONLY }, EPERM },
	{ "open to both", SYS_openat, { 0, 0, O_RDWR }, EPERM },
	{ "open neither", SYS_openat, { 0, 0, O_ACCMODE }, EPERM },
	{ "open to create", SYS_openat, { 0, 0, O_CREAT }, EPERM },
	{ "open to cut", SYS_openat, { 0, 0, O_TRUNC }, EPERM },
	{ "open without a name", SYS_openat, { 0, 0, O_TMPFILE }, EPERM },
	/* The kernel takes 32 bits of it. */
	{ "open to write, high bits", SYS_openat, { 0, 0, O_WRONLY | UINT64_C(1) << 40 }, EPERM },
	{ "open to read, high bits", SYS_openat, { 0, 0, UINT64_C(1) << 40 }, ALLOWED },

	{ "TCP", SYS_socket, { AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0 }, ALLOWED },
	{ "TCP over IPv6", SYS_socket, { AF_INET6, SOCK_STREAM, 0 }, ALLOWED },
	{ "UDP", SYS_socket, { AF_INET, SOCK_DGRAM, 0 }, ALLOWED },
	{ "UDP over IPv6", SYS_socket, { AF_INET6, SOCK_DGRAM, 0 }, ALLOWED },
	{ "raw", SYS_socket, { AF_INET, SOCK_RAW, IPPROTO_ICMP }, EPERM },
	{ "ping", SYS_socket, { AF_INET, SOCK_DGRAM, IPPROTO_ICMP }, EPERM },
	/* Landlock knows TCP only. */
	{ "multipath TCP", SYS_socket, { AF_INET, SOCK_STREAM, 262 }, EPERM },
	{ "SCTP", SYS_socket, { AF_INET, SOCK_STREAM, IPPROTO_SCTP }, EPERM },
	{ "packet", SYS_socket, { AF_PACKET, SOCK_RAW, 0 }, EPERM },
	{ "unix", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, EPERM },
	{ "netlink", SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, EPERM },
	{ "vsock", SYS_socket, { AF_VSOCK, SOCK_STREAM, 0 }, EPERM },
	{ "crypto", SYS_socket, { AF_ALG, SOCK_STREAM, 0 }, EPERM },
	{ "no family", SYS_socket, { AF_UNSPEC, SOCK_STREAM, 0 }, EPERM },

	{ "send", SYS_sendmsg, { 3, 0, MSG_NOSIGNAL }, ALLOWED },
	{ "send and connect", SYS_sendmsg, { 3, 0, MSG_NOSIGNAL | MSG_FASTOPEN }, EPERM },
	{ "sendto and connect", SYS_sendto, { 3, 0, 0, MSG_FASTOPEN }, EPERM },
	{ "sendmmsg and connect", SYS_sendmmsg, { 3, 0, 0, MSG_FASTOPEN }, EPERM },
	{ "no delay", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_NODELAY }, ALLOWED },
	{ "a dead way", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_USER_TIMEOUT }, ALLOWED },
	{ "how much is queued", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_NOTSENT_LOWAT }, ALLOWED },
	{ "kernel TLS", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_ULP }, EPERM },
	{ "fast open", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_FASTOPEN_CONNECT }, EPERM },
	{ "linger", SYS_setsockopt, { 3, SOL_SOCKET, SO_LINGER }, ALLOWED },
	{ "a filter", SYS_setsockopt, { 3, SOL_SOCKET, SO_ATTACH_FILTER }, EPERM },
	{ "non-blocking", SYS_ioctl, { 3, FIONBIO }, ALLOWED },
	{ "a terminal's input", SYS_ioctl, { 3, TIOCSTI }, EPERM },

	{ "memory",
	  SYS_mmap,
	  { 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS },
	  ALLOWED },
	{ "code", SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE }, EPERM },
	{ "memory to code", SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC }, EPERM },
	{ "memory to read", SYS_mprotect, { 0, 4096, PROT_READ }, ALLOWED },
	{ "abort", SYS_tgkill, { OWN, OWN, SIGABRT }, ALLOWED },
	{ "another's end", SYS_tgkill, { 1, 1, SIGKILL }, EPERM },
};

static void check_rows(const struct sandbox_filter *f)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct seccomp_data data = { .nr = rows[i].nr, .arch = ARCH };

		memcpy(data.args, rows[i].args, sizeof(data.args));
		check_row(rows[i].name, run(f, &data) == rows[i].want);
	}
}

static void test_rows(void)
{
	struct sandbox_filter f;

	check(sandbox_filter_make(&f, CONFIG_TUNNEL, true, OWN));
	check_rows(&f);
	check(sandbox_filter_make(&f, CONFIG_TUNNEL, false, OWN));
	check_rows(&f);
}

/* The status server makes no socket and no thread. */
static void test_status(void)
{
	static const struct row status_rows[] = {
		{ "status: accept", SYS_accept4, { 3 }, ALLOWED },
		{ "status: TCP", SYS_socket, { AF_INET, SOCK_STREAM, 0 }, EPERM },
		{ "status: connect", SYS_connect, { 3 }, EPERM },
		{ "status: a thread", SYS_clone, { THREAD }, SANDBOX_IS_CHECKED ? ALLOWED : EPERM },
		{ "status: a limit is asked",
		  SYS_prlimit64,
		  { 0, 7, 0, UINT64_C(0x7f0000001000) },
		  ALLOWED },
		{ "status: a limit is set",
		  SYS_prlimit64,
		  { 0, 7, 0x1000 },
		  SANDBOX_IS_CHECKED ? ALLOWED : EPERM },
		{ "status: a limit is set from far",
		  SYS_prlimit64,
		  { 0, 7, UINT64_C(0x7f0000000000) },
		  SANDBOX_IS_CHECKED ? ALLOWED : EPERM },
		{ "status: no delay", SYS_setsockopt, { 3, IPPROTO_TCP, TCP_NODELAY }, ALLOWED },
		{ "status: open to write", SYS_openat, { 0, 0, O_WRONLY }, EPERM },
	};
	struct sandbox_filter f;

	check(sandbox_filter_make(&f, CONFIG_STATUS, false, OWN));
	for (size_t i = 0; i < array_len(status_rows); i++) {
		struct seccomp_data data = { .nr = status_rows[i].nr, .arch = ARCH };

		memcpy(data.args, status_rows[i].args, sizeof(data.args));
		check_row(status_rows[i].name, run(&f, &data) == status_rows[i].want);
	}
}

static int answer(bool has_ring, uint32_t arch, int nr)
{
	struct sandbox_filter f;

	check(sandbox_filter_make(&f, CONFIG_TUNNEL, has_ring, OWN));
	return run(&f, &(struct seccomp_data){ .nr = nr, .arch = arch });
}

static void test_backend(void)
{
	check(answer(true, ARCH, SYS_io_uring_enter) == ALLOWED);
	check(answer(false, ARCH, SYS_io_uring_enter) == EPERM);
	check(answer(true, ARCH, SYS_epoll_pwait) == EPERM);
	check(answer(false, ARCH, SYS_epoll_pwait) == ALLOWED);
}

/* The same number is another call there. */
static void test_other_architecture(void)
{
	check(answer(true, AUDIT_ARCH_I386, SYS_read) == KILLED);
	check(answer(true, AUDIT_ARCH_ARM, SYS_read) == KILLED);
	check(answer(true, ARCH ^ 1, SYS_read) == KILLED);
}

static volatile int has_begun, is_in;

/* A thread that was there before: 0 when it is bound as well. */
static void *other_thread(void *arg)
{
	(void)arg;
	has_begun = 1;
	while (!is_in)
		sched_yield();
	const long rc = syscall(SYS_memfd_create, "x", 0);
	return (void *)(intptr_t)(rc < 0 && errno == EPERM ? 0 : 1);
}

static int judge_kernel(void)
{
	struct sandbox_filter f;
	pthread_t thread;
	void *result;

	if (pthread_create(&thread, NULL, other_thread, NULL))
		return 2;
	while (!has_begun)
		sched_yield();
	if (!sandbox_filter_make(&f, CONFIG_TUNNEL, false, getpid()) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 3;
	if (sandbox_filter_install(&f))
		return 4;
	is_in = 1;
	if (pthread_join(thread, &result) || result)
		return 5;
	if (syscall(SYS_execve, "/bin/true", NULL, NULL) != -1 || errno != EPERM)
		return 6;
	if (open("/etc/passwd", O_WRONLY | O_CLOEXEC) >= 0 || errno != EPERM)
		return 7;
	if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0)
		return 8;
	if (socket(AF_INET, SOCK_STREAM, 0) < 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return 9;
	return pthread_create(&thread, NULL, other_thread, NULL) || pthread_join(thread, &result) ||
			       result
		       ? 10
		       : 0;
}

static void test_kernel(void)
{
	int status = -1;

	fflush(stdout);
	const pid_t child = fork();
	if (child == 0)
		_exit(judge_kernel());
	check(waitpid(child, &status, 0) == child && WIFEXITED(status));
	check(WEXITSTATUS(status) == 0);
	if (status)
		printf("judged %d\n", WEXITSTATUS(status));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "status server", test_status },
		{ "backend of the loop", test_backend },
		{ "other architecture", test_other_architecture },
		{ "all threads, by the kernel", test_kernel },
	};
	return run_cases("sandbox filter", cases, array_len(cases));
}
