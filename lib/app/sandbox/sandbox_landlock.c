/*
 * sandbox_landlock -- files and TCP ports as Landlock rules, by bare system
 * calls (landlock(7)). The caller decides which files and ports stay allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/app/sandbox/sandbox_private.h"
#include "lib/base/bytes.h"

/* The kernel's words, Documentation/userspace-api/landlock.rst: headers of the
 * machine that builds may be older than the kernel that runs. */
enum {
	ABI_REFER = 2,
	ABI_TRUNCATE = 3,
	ABI_NET = 4,
	ABI_IOCTL_DEV = 5,
	ABI_SCOPE = 6,
	CREATE_VERSION = 1,
	RULE_PATH_BENEATH = 1,
	RULE_NET_PORT = 2,
};
#define FS_READ_FILE	(UINT64_C(1) << 2)
#define FS_READ_DIR	(UINT64_C(1) << 3)
#define FS_ABI_1	((UINT64_C(1) << 13) - 1) /* execute, write, read, remove, make */
#define FS_REFER	(UINT64_C(1) << 13)
#define FS_TRUNCATE	(UINT64_C(1) << 14)
#define FS_IOCTL_DEV	(UINT64_C(1) << 15)
#define NET_BIND_TCP	(UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ALL	UINT64_C(3) /* abstract Unix sockets, signals */

struct ruleset {
	uint64_t fs, net, scope;
};

struct path_beneath {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

struct net_port {
	uint64_t access, port;
};

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule	    445
#define SYS_landlock_restrict_self  446
#endif

static long create(const void *attr, size_t size, uint32_t flags)
{
	return syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

static long add_rule(int fd, int type, const void *rule)
{
	return syscall(SYS_landlock_add_rule, fd, type, rule, 0);
}

static long restrict_self(int fd)
{
	return syscall(SYS_landlock_restrict_self, fd, 0);
}

const struct sandbox_landlock sandbox_landlock_kernel = { create, add_rule, restrict_self };

/* All that a kernel of this ABI can forbid of files. */
static uint64_t all_of_files(long abi)
{
	return FS_ABI_1 | (abi >= ABI_REFER ? FS_REFER : 0) |
	       (abi >= ABI_TRUNCATE ? FS_TRUNCATE : 0) | (abi >= ABI_IOCTL_DEV ? FS_IOCTL_DEV : 0);
}

/* What can't be opened now, or is not there, is no rule.  A rule is bound to the
 * file, so a folder's holds for what is put there later. */
static int allow_path(const struct sandbox_landlock *k, int ruleset, const char *path)
{
	const int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;
	int sys = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0) {
		const struct path_beneath rule = {
			.access = FS_READ_FILE | (S_ISDIR(st.st_mode) ? FS_READ_DIR : 0),
			.fd = fd,
		};
		sys = k->add_rule(ruleset, RULE_PATH_BENEATH, &rule) < 0 ? errno : 0;
	}
	close(fd);
	return sys;
}

/* Closes the ruleset. */
static int finish(const struct sandbox_landlock *k, int ruleset, int sys)
{
	if (!sys && k->restrict_self(ruleset) < 0)
		sys = errno;
	close(ruleset);
	return sys;
}

int sandbox_landlock_files(const struct sandbox_landlock *k, const char *const *read, size_t n)
{
	const long abi = k->create(NULL, 0, CREATE_VERSION);

	if (abi < 0)
		return errno;
	const struct ruleset attr = { .fs = all_of_files(abi),
				      .scope = abi >= ABI_SCOPE ? SCOPE_ALL : 0 };
	const int ruleset = (int)k->create(&attr, sizeof(attr), 0);
	if (ruleset < 0)
		return errno;
	int sys = 0;
	for (size_t i = 0; i < n && !sys; i++)
		sys = allow_path(k, ruleset, read[i]);
	return finish(k, ruleset, sys);
}

int sandbox_landlock_ports(const struct sandbox_landlock *k, const uint16_t *ports, size_t n)
{
	const struct ruleset attr = { .net = NET_BIND_TCP | NET_CONNECT_TCP };
	const long abi = k->create(NULL, 0, CREATE_VERSION);

	if (abi < 0)
		return errno;
	if (abi < ABI_NET)
		return ENOTSUP;
	const int ruleset = (int)k->create(&attr, sizeof(attr), 0);
	if (ruleset < 0)
		return errno;
	int sys = 0;
	for (size_t i = 0; i < n && !sys; i++) {
		const struct net_port rule = { NET_CONNECT_TCP, ports[i] };
		sys = k->add_rule(ruleset, RULE_NET_PORT, &rule) < 0 ? errno : 0;
	}
	return finish(k, ruleset, sys);
}
