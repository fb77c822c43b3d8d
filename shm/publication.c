/*
 * The steps from an empty role directory to a visible segment, each with its
 * failure, and the predecessor that is kept under a second name.  What the file
 * holds is writer.c's.
 */
#include "shm/publication.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/crash_point.h"
#include "shm/layout.h"

#define OWNER_RETRY_MS 50

const char *bus_role_name(enum bus_role role)
{
	return role == BUS_TUNNEL ? "tunnel" : "control";
}

void bus_publication_init(struct bus_publication *p)
{
	*p = (struct bus_publication){ .dir = -1, .owner = -1, .fd = -1 };
}

static int step_failed(struct fault *why, const char *step)
{
	return fault_set_sys(why, errno, "%s", step);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* In a pod the role's directory is a volume; on one machine it is made here. */
static int open_role_dir(struct bus_publication *p, const char *root, enum bus_role role,
			 struct fault *why)
{
	const char *name = bus_role_name(role);
	int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root_fd < 0)
		return step_failed(why, "open the bus directory");
	if (mkdirat(root_fd, name, 0750) && errno != EEXIST && errno != EROFS && errno != EACCES) {
		step_failed(why, "make the role's directory");
		close_fd(&root_fd);
		return ERR_SYS;
	}
	p->dir = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->dir < 0)
		step_failed(why, "open the role's directory");
	close_fd(&root_fd);
	return p->dir < 0 ? ERR_SYS : 0;
}

/* The kernel frees it when the last descriptor goes, also by SIGKILL. */
static int write_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int take_owner_lock(struct bus_publication *p, unsigned wait_ms, struct fault *why)
{
	const struct timespec pause = { .tv_nsec = OWNER_RETRY_MS * 1000000L };

	p->owner = openat(p->dir, BUS_OWNER_NAME,
			  O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (p->owner < 0)
		return step_failed(why, "open owner.lock");
	for (unsigned waited = 0; write_lock(p->owner); waited += OWNER_RETRY_MS) {
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return step_failed(why, "lock owner.lock");
		if (waited >= wait_ms)
			return fault_set(
				why, ERR_FULL,
				"another writer of this role is alive and holds owner.lock");
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* What predecessors left that were killed while they published.  Under the
 * owner's lock, so none of these is in use; what can't be removed stays. */
static void sweep(const struct bus_publication *p)
{
	const int fd = openat(p->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (const struct dirent *e; (e = readdir(d));)
		if (strncmp(e->d_name, BUS_TEMP_PREFIX, strlen(BUS_TEMP_PREFIX)) == 0)
			unlinkat(p->dir, e->d_name, 0);
	closedir(d);
}

/* Whether the file under the segment's name is one that a writer may have left:
 * nothing else is kept, as what is kept takes room for one more life. */
static bool is_worth_keeping(const struct bus_publication *p)
{
	struct stat st;

	return fstatat(p->dir, BUS_SEGMENT_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= (off_t)BUS_FILE_MAX;
}

/* Gives the predecessor's segment its second name, so that its last words
 * outlive the rename that makes ours visible.  A link, because the first name
 * must lead to a whole segment at every moment; by a temporary name, because a
 * link can't take the place of the one that was kept before.  So at most two
 * segments exist: the older predecessor goes here, before ours is made.
 * Nothing that fails here stops the writer.  What can't be kept leaves no older
 * file under the name, for it would pass for the last life. */
static void keep_predecessor(const struct bus_publication *p)
{
	static const char temp[] = BUS_TEMP_PREFIX BUS_PREVIOUS_NAME;

	if (!is_worth_keeping(p) || linkat(p->dir, BUS_SEGMENT_NAME, p->dir, temp, 0)) {
		unlinkat(p->dir, BUS_PREVIOUS_NAME, 0);
		return;
	}
	BUS_CRASH_POINT(BUS_CRASH_LINKED);
	if (renameat(p->dir, temp, p->dir, BUS_PREVIOUS_NAME))
		unlinkat(p->dir, BUS_PREVIOUS_NAME, 0);
	/* still there when the rename failed, or when both are one file already */
	unlinkat(p->dir, temp, 0);
	BUS_CRASH_POINT(BUS_CRASH_KEPT);
}

/* The lock comes before the name: a reader could otherwise hold a read lock
 * and so keep the writer out for ever. */
static int make_file(struct bus_publication *p, size_t len, uint64_t nonce, struct fault *why)
{
	char temp[sizeof(p->temp)];

	snprintf(temp, sizeof(temp), BUS_TEMP_PREFIX "%016" PRIx64, nonce);
	p->fd = openat(p->dir, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return step_failed(why, "create the segment");
	memcpy(p->temp, temp, sizeof(temp));
	BUS_CRASH_POINT(BUS_CRASH_TEMP);
	if (write_lock(p->fd))
		return step_failed(why, "lock the segment");
	BUS_CRASH_POINT(BUS_CRASH_LOCKED);
	/* blocks now, or a full volume would be a SIGBUS at some later store */
	errno = posix_fallocate(p->fd, 0, (off_t)len);
	if (errno)
		return step_failed(why, "allocate the segment");
	BUS_CRASH_POINT(BUS_CRASH_ALLOCATED);
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, p->fd, 0);
	if (map == MAP_FAILED)
		return step_failed(why, "map the segment");
	p->map = map;
	p->len = len;
	BUS_CRASH_POINT(BUS_CRASH_MAPPED);
	return 0;
}

int bus_publication_open(struct bus_publication *p, const char *root, enum bus_role role,
			 size_t len, uint64_t nonce, unsigned wait_ms, struct fault *why)
{
	int rc = open_role_dir(p, root, role, why);

	if (rc == 0) {
		BUS_CRASH_POINT(BUS_CRASH_ROLE_DIR);
		rc = take_owner_lock(p, wait_ms, why);
	}
	if (rc == 0) {
		BUS_CRASH_POINT(BUS_CRASH_OWNER);
		sweep(p);
		BUS_CRASH_POINT(BUS_CRASH_SWEPT);
		keep_predecessor(p);
		rc = make_file(p, len, nonce, why);
	}
	return rc;
}

int bus_publication_commit(struct bus_publication *p, size_t immutable_len, struct fault *why)
{
	if (fchmod(p->fd, 0640))
		return step_failed(why, "set the segment's mode");
	BUS_CRASH_POINT(BUS_CRASH_MODE);
	if (mprotect(p->map, immutable_len, PROT_READ))
		return step_failed(why, "protect the segment");
	BUS_CRASH_POINT(BUS_CRASH_SEALED);
	if (renameat(p->dir, p->temp, p->dir, BUS_SEGMENT_NAME))
		return step_failed(why, "rename the segment");
	p->temp[0] = '\0';
	BUS_CRASH_POINT(BUS_CRASH_VISIBLE);
	return 0;
}

/* By the name, not by the count of links: a file that was replaced has its
 * second name still. */
int bus_publication_check(const struct bus_publication *p)
{
	struct stat own, named;

	if (p->fd < 0 || fstat(p->fd, &own))
		return 0;
	if (fstatat(p->dir, BUS_SEGMENT_NAME, &named, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? ERR_CLOSED : 0;
	return own.st_ino == named.st_ino && own.st_dev == named.st_dev ? 0 : ERR_CLOSED;
}

void bus_publication_abandon(struct bus_publication *p)
{
	if (p->temp[0])
		unlinkat(p->dir, p->temp, 0);
	p->temp[0] = '\0';
	if (p->map)
		munmap(p->map, p->len);
	p->map = NULL;
	close_fd(&p->fd);
}

void bus_publication_fini(struct bus_publication *p)
{
	bus_publication_abandon(p);
	close_fd(&p->owner);
	close_fd(&p->dir);
}
