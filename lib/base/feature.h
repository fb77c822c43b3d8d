/*
 * feature -- the parts of the sandbox, each of which takes hold or does not:
 * names of metrics and log lines.
 */
#ifndef LIB_BASE_FEATURE_H
#define LIB_BASE_FEATURE_H

#define SANDBOX_FEATURES(X)                                                                        \
	X(SECCOMP, "seccomp")		/* system calls: an allow-list for all threads */          \
	X(LANDLOCK_FS, "landlock_fs")	/* files: nothing written, a few folders read */           \
	X(LANDLOCK_NET, "landlock_net") /* TCP: connects to the ports of the configuration */      \
	X(RING, "ring")			/* io_uring: the loop's operations, or no ring */          \
	X(NO_DUMP, "no_dump")		/* no core dumps, no ptrace of peers */                    \
	X(NO_NEW_PRIVS, "no_new_privs") /* no privilege to be gained by execve */

enum sandbox_feature {
#define X(id, name) SANDBOX_##id,
	SANDBOX_FEATURES(X)
#undef X
		SANDBOX_FEATURES_N
};

static inline const char *sandbox_feature_name(enum sandbox_feature f)
{
	static const char *const names[SANDBOX_FEATURES_N] = {
#define X(id, name) [SANDBOX_##id] = name,
		SANDBOX_FEATURES(X)
#undef X
	};
	return names[f];
}

#endif
