#include "tests/torture/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/library_famine.h"

static __thread struct {
	struct fail_plan plan;
	uint64_t calls;
	bool fired;
	bool in_library; /* the next allocation is OpenSSL's */
} state;

void fail_arm(const struct fail_plan *plan)
{
	state.plan = *plan;
	state.calls = 0;
	state.fired = false;
}

void fail_disarm(void)
{
	state.plan.kind = FAIL_NOTHING;
}

bool fail_has_fired(void)
{
	return state.fired;
}

bool fail_now(enum fail_kind kind)
{
	if (state.plan.kind != kind)
		return false;
	state.calls++;
	if (state.plan.lasting ? state.calls < state.plan.nth : state.calls != state.plan.nth)
		return false;
	state.fired = true;
	return true;
}

int fail_sys(void)
{
	return state.plan.sys;
}

#define FAIL(name, result, parameters, arguments)                        \
	result __real_##name parameters;                                 \
	result __wrap_##name parameters;                                 \
	result __wrap_##name parameters                                  \
	{                                                                \
		if (!fail_now(FAIL_##name))                              \
			return __real_##name arguments;                  \
		errno = state.plan.sys;                                  \
		return -1;                                               \
	}
#include "tests/torture/fail.def"
#undef FAIL

/* ---- those that fail in another way ---- */

/* These two move bytes: one instead of all of them. */
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
	const bool fails = fail_now(FAIL_recv);

	if (!fails || state.plan.sys == FAIL_SHORT)
		return __real_recv(fd, p, fails ? 1 : n, flags);
	errno = state.plan.sys;
	return -1;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct iovec one = m->msg_iov[0];
	struct msghdr part = *m;

	if (!fail_now(FAIL_sendmsg))
		return __real_sendmsg(fd, m, flags);
	one.iov_len = 1;
	part.msg_iov = &one;
	part.msg_iovlen = 1;
	if (state.plan.sys == FAIL_SHORT)
		return __real_sendmsg(fd, &part, flags);
	errno = state.plan.sys;
	return -1;
}

static bool alloc_fails(void)
{
	const bool ours = !state.in_library;

	state.in_library = false;
	return ours && fail_now(FAIL_ALLOC);
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return alloc_fails() ? NULL : __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return alloc_fails() ? NULL : __real_realloc(p, n);
}

/* Interrupted, it goes on in the background. */
int __real_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *a, socklen_t n)
{
	const bool fails = fail_now(FAIL_connect);
	const int rc = fails && state.plan.sys != EINTR ? -1 : __real_connect(fd, a, n);

	if (fails)
		errno = state.plan.sys;
	return fails ? -1 : rc;
}

int __real_epoll_ctl(int e, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int e, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int e, int op, int fd, struct epoll_event *ev)
{
	if (op == EPOLL_CTL_DEL || !fail_now(FAIL_epoll_ctl))
		return __real_epoll_ctl(e, op, fd, ev);
	errno = state.plan.sys;
	return -1;
}

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *h,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *h,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *h,
		       struct addrinfo **out)
{
	if (!fail_now(FAIL_getaddrinfo))
		return __real_getaddrinfo(host, port, h, out);
	errno = state.plan.sys;
	return EAI_SYSTEM;
}

int __real_ioctl(int fd, unsigned long what, void *p);
int __wrap_ioctl(int fd, unsigned long what, void *p);
int __wrap_ioctl(int fd, unsigned long what, void *p)
{
	if (!fail_now(FAIL_ioctl))
		return __real_ioctl(fd, what, p);
	errno = state.plan.sys;
	return -1;
}

void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
	if (!fail_now(FAIL_mmap))
		return __real_mmap(at, n, prot, flags, fd, from);
	errno = state.plan.sys;
	return MAP_FAILED;
}

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	const mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (!fail_now(FAIL_openat))
		return __real_openat(fd, path, flags, mode);
	errno = state.plan.sys;
	return -1;
}

int __real_posix_fallocate(int fd, off_t from, off_t n);
int __wrap_posix_fallocate(int fd, off_t from, off_t n);
int __wrap_posix_fallocate(int fd, off_t from, off_t n)
{
	return fail_now(FAIL_posix_fallocate) ? state.plan.sys
					      : __real_posix_fallocate(fd, from, n);
}

typedef void *thread_fn(void *);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, thread_fn *fn, void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, thread_fn *fn, void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, thread_fn *fn, void *arg)
{
	return fail_now(FAIL_pthread_create) ? state.plan.sys
					     : __real_pthread_create(t, a, fn, arg);
}

/* ---- OpenSSL's memory ---- */

static bool library_refuses(void)
{
	state.in_library = !fail_now(FAIL_LIBRARY_ALLOC);
	return !state.in_library;
}

void fail_start(void)
{
	library_famine_start(library_refuses);
}
