/* A library for LD_PRELOAD: refuses each call named by REFUSE that touches a
 * file below REFUSE_UNDER, as a full or broken volume would. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_refused(const char *name, int fd)
{
	const char *victim = getenv("REFUSE"), *under = getenv("REFUSE_UNDER");
	char link[64], path[PATH_MAX];

	if (!victim || !under || fd < 0 || strcmp(victim, name) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	const ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return strncmp(path, under, strlen(under)) == 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int posix_fallocate(int fd, off_t from, off_t n)
{
	return is_refused("posix_fallocate", fd) ? ENOSPC : REAL(posix_fallocate)(fd, from, n);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
	if (is_refused("mmap", fd)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return REAL(mmap)(at, n, prot, flags, fd, from);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	if (is_refused("renameat", from_dir)) {
		errno = EROFS;
		return -1;
	}
	return REAL(renameat)(from_dir, from, to_dir, to);
}

int fchmod(int fd, mode_t mode)
{
	if (is_refused("fchmod", fd)) {
		errno = EPERM;
		return -1;
	}
	return REAL(fchmod)(fd, mode);
}

int fcntl(int fd, int what, ...)
{
	va_list args;

	va_start(args, what);
	void *arg = va_arg(args, void *);
	va_end(args);
	if (what == F_OFD_SETLK && is_refused("fcntl", fd)) {
		errno = ENOLCK;
		return -1;
	}
	return REAL(fcntl)(fd, what, arg);
}
