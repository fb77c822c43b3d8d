/*
 * sandbox_private -- the walls of the sandbox, one by one, for sandbox.c and
 * the tests.
 */
#ifndef LIB_APP_SANDBOX_SANDBOX_PRIVATE_H
#define LIB_APP_SANDBOX_SANDBOX_PRIVATE_H

#include <linux/filter.h>
#include <sys/types.h>

#include "lib/app/sandbox/sandbox.h"

/* A sanitizer reads files for its reports and has calls of its own. */
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_IS_CHECKED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_IS_CHECKED true
#endif
#ifndef SANDBOX_IS_CHECKED
#define SANDBOX_IS_CHECKED false
#endif

/* ---- sandbox_filter.c: sandbox_calls.def as a program for the kernel ---- */

#define SANDBOX_CODE_MAX 1024

struct sandbox_filter {
	struct sock_filter code[SANDBOX_CODE_MAX];
	unsigned short n;
};

/* false: there is no list for this architecture. */
bool sandbox_filter_make(struct sandbox_filter *f, enum config_user program, bool has_ring,
			 pid_t own);
/* For all threads.  0 or an errno. */
int sandbox_filter_install(const struct sandbox_filter *f);

/* ---- sandbox_landlock.c ---- */

/* The kernel's three calls; a test has its own. */
struct sandbox_landlock {
	long (*create)(const void *attr, size_t size, uint32_t flags);
	long (*add_rule)(int fd, int type, const void *rule);
	long (*restrict_self)(int fd);
};
extern const struct sandbox_landlock sandbox_landlock_kernel;

/* Reading below the paths, nothing else of files.  0 or an errno. */
int sandbox_landlock_files(const struct sandbox_landlock *k, const char *const *read, size_t n);
/* Connects to the ports, nothing else of TCP.  ENOTSUP: the kernel knows Landlock but not this. */
int sandbox_landlock_ports(const struct sandbox_landlock *k, const uint16_t *ports, size_t n);

/* ---- sandbox_names.c: what the C library and OpenSSL read and load late ---- */

#define SANDBOX_PATHS_MAX 48
struct sandbox_paths {
	const char *path[SANDBOX_PATHS_MAX];
	size_t n;
	char resolver_dir[256]; /* where /etc/resolv.conf leads */
	char cert_dirs[1024];	/* of OpenSSL, cut up */
};
void sandbox_paths_add(struct sandbox_paths *p, const char *path); /* NULL and more than fit: not */
/* Files of the resolver, folders of certificates. */
void sandbox_paths_find(struct sandbox_paths *p, bool has_names, bool has_system_trust);
/* The code that a look-up or a handshake would load, for none can be mapped later. */
void sandbox_load_late_code(bool has_names);

#endif
