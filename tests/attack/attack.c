/*
 * attack -- what an intruder would try, from inside the real program: preloaded,
 * it waits for signal SIGRTMIN + 1, then runs each attempt in the thread of the event loop
 * and writes a line with its errno (0: it succeeded) to stderr.
 *
 *	LD_PRELOAD=attack.so ATTACK_PORT=… tunnel-sidecar …
 *
 * ATTACK_PORT       a TCP port that the program has no business with
 * ATTACK_OWN_PORT   one that it has
 * ATTACK_READ       a file outside of what it may read
 * ATTACK_OWN_READ   one that it may
 * ATTACK_WRITE      a file that it has written itself, before
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct io_uring *ring; /* the program's, by io_uring_queue_init_params() */

static void tell(const char *where, const char *name, int sys)
{
	dprintf(STDERR_FILENO,
		"{\"event\":\"attack\",\"where\":\"%s\",\"name\":\"%s\",\"errno\":%d}\n", where,
		name, sys);
}

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "/";
}

/* The errno of what gave a descriptor, which is closed. */
static int of_fd(long fd)
{
	const int sys = fd < 0 ? errno : 0;

	if (fd >= 0)
		close((int)fd);
	return sys;
}

static int of(long rc)
{
	return rc < 0 ? errno : 0;
}

/* ---- processes and code ---- */

static char *const no_words[] = { NULL };

static int try_execve(void)
{
	return of(execve("/bin/true", no_words, no_words));
}

static int try_execveat(void)
{
	return of(syscall(SYS_execveat, AT_FDCWD, "/bin/true", no_words, no_words, 0));
}

static int try_fork(void)
{
	const long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return of(pid);
}

static int try_clone3(void)
{
	char args[88] = { 0 };
	const long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return of(pid);
}

static int try_ptrace(void)
{
	/* Where it is let through: ESRCH, and nothing happens to the test. */
	return of(ptrace(PTRACE_DETACH, getppid(), NULL, NULL));
}

static int try_process_vm_readv(void)
{
	return of(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}

static int try_kill(void)
{
	return of(syscall(SYS_kill, 1, 0));
}

static int try_tgkill(void)
{
	return of(syscall(SYS_tgkill, 1, 1, 0));
}

static int try_mmap_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int try_mprotect_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : of(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int try_memfd(void)
{
	return of_fd(memfd_create("code", 0));
}

static int try_dumpable(void)
{
	return of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_unshare(void)
{
	return of(unshare(CLONE_NEWUSER));
}

static int try_mount(void)
{
	return of(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_bpf(void)
{
	return of(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_keyctl(void)
{
	return of(syscall(SYS_keyctl, 0, -3, 1));
}

static int try_perf(void)
{
	return of(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static int try_userfaultfd(void)
{
	return of_fd(syscall(SYS_userfaultfd, 1));
}

/* ---- files ---- */

static int try_open_write(void)
{
	return of_fd(open(setting("ATTACK_WRITE"), O_RDWR));
}

static int try_open_create(void)
{
	return of_fd(open("/tmp/attack-was-here", O_WRONLY | O_CREAT, 0600));
}

static int try_open_memory(void)
{
	return of_fd(open("/proc/self/mem", O_RDWR));
}

static int try_openat2(void)
{
	struct open_how how = { .flags = O_RDONLY };

	return of_fd(syscall(SYS_openat2, AT_FDCWD, setting("ATTACK_OWN_READ"), &how, sizeof(how)));
}

static int try_open_read(void)
{
	return of_fd(open(setting("ATTACK_READ"), O_RDONLY));
}

static int try_open_own(void)
{
	return of_fd(open(setting("ATTACK_OWN_READ"), O_RDONLY));
}

static int try_list_root(void)
{
	return of_fd(open("/", O_RDONLY | O_DIRECTORY));
}

static int try_unlink(void)
{
	return of(unlink(setting("ATTACK_WRITE")));
}

static int try_rename(void)
{
	return of(rename(setting("ATTACK_WRITE"), "/tmp/attack-was-here"));
}

static int try_chmod(void)
{
	return of(chmod(setting("ATTACK_WRITE"), 0777));
}

static int try_mkdir(void)
{
	return of(mkdir("/tmp/attack-was-here", 0700));
}

static int try_symlink(void)
{
	return of(symlink("/etc", "/tmp/attack-was-here"));
}

static int try_truncate(void)
{
	return of(truncate(setting("ATTACK_WRITE"), 0));
}

/* ---- the network ---- */

static int try_packet(void)
{
	return of_fd(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_raw(void)
{
	return of_fd(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int try_unix(void)
{
	return of_fd(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int try_netlink(void)
{
	return of_fd(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int try_multipath(void)
{
	return of_fd(socket(AF_INET, SOCK_STREAM, 262));
}

static struct sockaddr_in to_port(const char *name)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)strtoul(setting(name), NULL, 10)),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int dial(const char *name)
{
	const struct sockaddr_in to = to_port(name);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int sys = fd < 0 ? errno : of(connect(fd, (const struct sockaddr *)&to, sizeof(to)));

	close(fd);
	return sys;
}

static int try_connect(void)
{
	return dial("ATTACK_PORT");
}

static int try_connect_own(void)
{
	return dial("ATTACK_OWN_PORT");
}

static int try_fast_open(void)
{
	const struct sockaddr_in to = to_port("ATTACK_PORT");
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int sys =
		of(sendto(fd, "x", 1, MSG_FASTOPEN, (const struct sockaddr *)&to, sizeof(to)));

	close(fd);
	return sys;
}

static int try_bind(void)
{
	const struct sockaddr_in to = { .sin_family = AF_INET };
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int sys = of(bind(fd, (const struct sockaddr *)&to, sizeof(to)));

	close(fd);
	return sys;
}

static int try_listen(void)
{
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int sys = of(listen(fd, 1));

	close(fd);
	return sys;
}

static int try_ulp(void)
{
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int sys = of(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3));

	close(fd);
	return sys;
}

/* ---- the ring ---- */

static int try_new_ring(void)
{
	struct io_uring_params params = { 0 };

	return of_fd(syscall(SYS_io_uring_setup, 8, &params));
}

/* The program's own ring: the completion stays for its loop, which ignores one
 * whose name has no tag in its low bits. */
static int answer_of(struct io_uring_sqe *sqe)
{
	static uint64_t name = 0x7ac0;
	struct io_uring_cqe *cqe;
	unsigned head;

	sqe->user_data = name += 8;
	for (int i = 0; i < 1000; i++) {
		io_uring_submit_and_get_events(ring);
		io_uring_for_each_cqe(ring, head, cqe)
			if (cqe->user_data == name)
				return cqe->res < 0 ? -cqe->res : 0;
		usleep(1000);
	}
	return -1;
}

static int ask_ring(int op, int fd, const void *at, unsigned len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		return -1;
	io_uring_prep_rw(op, sqe, fd, at, len, 0);
	return answer_of(sqe);
}

static int try_ring_open(void)
{
	return ask_ring(IORING_OP_OPENAT, AT_FDCWD, setting("ATTACK_OWN_READ"), 0);
}

static int try_ring_socket(void)
{
	return ask_ring(IORING_OP_SOCKET, AF_INET, NULL, 0);
}

static int try_ring_unlink(void)
{
	return ask_ring(IORING_OP_UNLINKAT, AT_FDCWD, setting("ATTACK_WRITE"), 0);
}

static int try_ring_accept(void)
{
	return ask_ring(IORING_OP_ACCEPT, 0, NULL, 0);
}

static int try_ring_nop(void)
{
	return ask_ring(IORING_OP_NOP, -1, NULL, 0);
}

static int try_ring_register(void)
{
	return of(syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_PERSONALITY, NULL,
			  0));
}

static int try_ring_connect(void)
{
	static struct sockaddr_in to;
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	to = to_port("ATTACK_PORT");
	if (!sqe)
		return -1;
	io_uring_prep_connect(sqe, fd, (struct sockaddr *)&to, sizeof(to));
	const int sys = answer_of(sqe);
	close(fd);
	return sys;
}

/* The ring's send can connect as well: no restriction knows the flag. */
static int try_ring_fast_open(void)
{
	static struct sockaddr_in to;
	static char byte = 'x';
	static struct iovec iov = { &byte, 1 };
	static struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1
	};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	to = to_port("ATTACK_PORT");
	if (!sqe)
		return -1;
	io_uring_prep_sendmsg(sqe, fd, &msg, MSG_FASTOPEN);
	const int sys = answer_of(sqe);
	close(fd);
	return sys;
}

/* ---- all of it ---- */

struct attempt {
	const char *name;
	int (*run)(void);
	bool on_ring;
};

static const struct attempt attempts[] = {
#define ROW(name) { #name, try_##name, false }
	ROW(execve),	    ROW(execveat),	 ROW(fork),
	ROW(clone3),	    ROW(ptrace),	 ROW(process_vm_readv),
	ROW(kill),	    ROW(tgkill),	 ROW(mmap_code),
	ROW(mprotect_code), ROW(memfd),		 ROW(dumpable),
	ROW(unshare),	    ROW(mount),		 ROW(bpf),
	ROW(keyctl),	    ROW(perf),		 ROW(userfaultfd),
	ROW(open_write),    ROW(open_create),	 ROW(open_memory),
	ROW(openat2),	    ROW(open_read),	 ROW(open_own),
	ROW(list_root),	    ROW(unlink),	 ROW(rename),
	ROW(chmod),	    ROW(mkdir),		 ROW(symlink),
	ROW(truncate),	    ROW(packet),	 ROW(raw),
	ROW(unix),	    ROW(netlink),	 ROW(multipath),
	ROW(connect),	    ROW(connect_own),	 ROW(fast_open),
	ROW(bind),	    ROW(listen),	 ROW(ulp),
	ROW(new_ring),
#undef ROW
#define ROW(name) { #name, try_##name, true }
	ROW(ring_nop),	    ROW(ring_open),	 ROW(ring_socket),
	ROW(ring_unlink),   ROW(ring_accept),	 ROW(ring_register),
	ROW(ring_connect),  ROW(ring_fast_open),
#undef ROW
};

static void run_all(const char *where)
{
	const bool in_loop = strcmp(where, "loop") == 0; /* the ring answers its own thread only */

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++)
		if (!attempts[i].on_ring || (ring && in_loop))
			tell(where, attempts[i].name, attempts[i].run());
	tell(where, "done", 0);
}

static void *new_thread(void *arg)
{
	(void)arg;
	run_all("new thread");
	return NULL;
}

static void on_signal(int number)
{
	const int saved = errno;
	pthread_t thread;

	(void)number;
	run_all("loop");
	if (pthread_create(&thread, NULL, new_thread, NULL))
		tell("loop", "thread", errno);
	else
		pthread_join(thread, NULL);
	errno = saved;
}

static pthread_barrier_t is_there;

/* One that is there before the sandbox; Landlock does not bind it, the filter does. */
static void *old_thread(void *arg)
{
	int number;

	pthread_barrier_wait(&is_there);
	while (sigwait(arg, &number) || number != SIGRTMIN + 2)
		;
	tell("old thread", "execve", try_execve());
	tell("old thread", "open_create", try_open_create());
	tell("old thread", "packet", try_packet());
	tell("old thread", "done", 0);
	return NULL;
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *r, struct io_uring_params *p)
{
	int (*real)(unsigned, struct io_uring *, struct io_uring_params *);

	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
	const int rc = real(entries, r, p);
	if (rc == 0)
		ring = r;
	return rc;
}

__attribute__((constructor)) static void begin(void)
{
	static sigset_t set;
	sigset_t all, before;
	pthread_t thread;

	signal(SIGRTMIN + 1, on_signal); /* none that the programs use */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	sigfillset(&all); /* the program's own signals are for its own thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* It must have begun: starting takes calls that the sandbox may not leave. */
	pthread_barrier_init(&is_there, NULL, 2);
	if (pthread_create(&thread, NULL, old_thread, &set) == 0)
		pthread_barrier_wait(&is_there);
	sigaddset(&before, SIGRTMIN + 2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
