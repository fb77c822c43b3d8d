/*
 * cgroup -- the memory limit of the control group this process lives in, read live.
 *
 * Both versions, as a container sees them: the limit files of the own group and of
 * every group above it that the mount shows are opened once, and read again with
 * each question, so that a limit that is changed in place counts at once and a
 * sandbox that forbids open() later is no hindrance.  It moves no process, sets no
 * limit and knows no other controller.
 */
#ifndef LIB_IO_CGROUP_H
#define LIB_IO_CGROUP_H

#include <stddef.h>
#include <stdint.h>

enum { CGROUP_LEVELS_MAX = 16 };

struct cgroup {
	int fds[CGROUP_LEVELS_MAX]; /* of limit files, the own group's first */
	size_t n;
};

/* `root` is put in front of every path: "" but for tests.  Finds what it can: no
 * cgroup at all, or one that can't be read, is one without limit.  Not to be done
 * twice without cgroup_close(). */
void cgroup_open(struct cgroup *c, const char *root);
void cgroup_close(struct cgroup *c);

/* The least of the limits, in bytes; UINT64_MAX when there is none. */
uint64_t cgroup_memory_limit(const struct cgroup *c);

#endif
