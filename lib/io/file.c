/* Blocking calls on purpose: these files are small, and are read at start or once
 * per request or wish. */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/trim.h"

static int open_checked(const char *path, unsigned flags, struct stat *st, struct fault *why)
{
	const int extra = flags & FILE_NO_FOLLOW ? O_NOFOLLOW : 0;
	/* Not to wait for the other end of a FIFO. */
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | extra);
	const int sys = errno;

	if (fd < 0 && sys == ELOOP && extra)
		return fault_set(why, ERR_CONFIG, "%.160s is a symbolic link", path);
	if (fd < 0 || fstat(fd, st) < 0) {
		const int rc = fault_set_sys(why, fd < 0 ? sys : errno, "%.160s", path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	if (!S_ISREG(st->st_mode)) {
		close(fd);
		return fault_set(why, ERR_CONFIG, "%.160s is no regular file", path);
	}
	return fd;
}

static int read_all(char *to, size_t cap, int fd, const char *path, struct fault *why)
{
	size_t n = 0;
	ssize_t got;

	do {
		got = read(fd, to + n, cap - n);
		if (got > 0)
			n += (size_t)got;
	} while ((got > 0 && n < cap) || (got < 0 && errno == EINTR));
	if (got < 0)
		return fault_set_sys(why, errno, "%.160s", path);
	if (n == cap)
		return fault_set(why, ERR_CONFIG, "%.160s is longer than %zu bytes", path, cap - 1);
	to[n] = '\0';
	return (int)n;
}

int file_read(char *to, size_t cap, const char *path, unsigned flags, struct stat *st,
	      struct fault *why)
{
	struct stat own;

	must(cap > 0 && cap <= INT_MAX);
	const int fd = open_checked(path, flags, st ? st : &own, why);
	if (fd < 0)
		return fd;
	int n = read_all(to, cap, fd, path, why);
	close(fd);
	if (n >= 0 && (flags & FILE_TEXT) && memchr(to, '\0', (size_t)n))
		n = fault_set(why, ERR_CONFIG, "%.160s holds a NUL byte", path);
	if (n < 0) {
		explicit_bzero(to, cap);
		return n;
	}
	if (flags & FILE_TRIM) {
		const struct span text = trim_text(span_of(to, (size_t)n));

		memmove(to, text.p, text.n);
		explicit_bzero(to + text.n, (size_t)n - text.n + 1);
		n = (int)text.n;
	}
	return n;
}

static int write_all(int fd, struct span bytes)
{
	while (bytes.n) {
		const ssize_t n = write(fd, bytes.p, bytes.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes = span_of(bytes.p + n, bytes.n - (size_t)n);
	}
	return fsync(fd);
}

/* The rename itself must survive a power cut, too; a file system that can't
 * promise that still holds the old or the new file. */
static void sync_directory(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	const int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

int file_replace(const char *path, struct span bytes, mode_t mode, struct fault *why)
{
	char fresh[PATH_MAX];

	const int length = snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (length < 0 || (size_t)length >= sizeof(fresh))
		return fault_set_sys(why, ENAMETOOLONG, "%.160s: create", path);
	(void)unlink(fresh); /* of a life that ended in the middle */
	const int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return fault_set_sys(why, errno, "%.160s: create", fresh);
	const bool good = fchmod(fd, mode) == 0 && write_all(fd, bytes) == 0;
	const int sys = errno;
	close(fd);
	if (good && rename(fresh, path) == 0) {
		sync_directory(path);
		return 0;
	}
	const int rc = fault_set_sys(why, good ? errno : sys, "%.160s: write", path);
	(void)unlink(fresh);
	return rc;
}
