/*
 * fault -- why something failed: one closed list of codes, one sentence.
 *
 * Functions return >= 0 for success and an enum err (< 0) for failure.  The
 * reason is written once, where it is known, into the struct fault of the
 * object that lives long enough to report it; the first fault stays.
 * The sentence may hold bytes of a peer: they are escaped by fault_set's
 * callers through escape_text() or left out.
 */
#ifndef LIB_BASE_FAULT_H
#define LIB_BASE_FAULT_H

#include "lib/base/must.h"

/* X(NAME, text): the text stands in log lines and metrics' reason labels. */
#define ERR_LIST(X)                                                                                \
	X(NOMEM, 1, "no_memory")	   /* an allocation was refused */                         \
	X(SYS, 2, "system")		   /* a system call failed; see fault.sys */               \
	X(PROTO, 3, "protocol")		   /* the peer broke a wire format */                      \
	X(LIMIT, 4, "limit")		   /* the peer went over a bound of ours */                \
	X(CLOSED, 5, "closed")		   /* the peer ended the connection */                     \
	X(TIMEOUT, 6, "timeout")	   /* a deadline passed */                                 \
	X(TRUST, 7, "untrusted")	   /* certificate or host key refused */                   \
	X(AUTH, 8, "auth_refused")	   /* our credentials were refused */                      \
	X(REFUSED, 9, "refused")	   /* the peer understood and said no */                   \
	X(ALGO, 10, "no_common_algorithm") /* nothing in common to negotiate */                    \
	X(CRYPTO, 11, "crypto")		   /* the crypto library failed */                         \
	X(CONFIG, 12, "config")		   /* the user's configuration is wrong */                 \
	X(USAGE, 13, "usage")		   /* the command line is wrong */                         \
	X(NAME, 14, "name_resolution")	   /* a host name has no address */                        \
	X(LISTEN, 15, "cannot_listen")	   /* the far end could not bind our port */               \
	X(FULL, 16, "full")		   /* no room on a volume or in a table */

enum err {
#define ERR_ENUM(name, number, text) ERR_##name = -(number),
	ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

#define FAULT_WHY_MAX 256

struct fault {
	enum err code; /* 0 while nothing has failed */
	int sys;       /* errno, or 0 */
	char why[FAULT_WHY_MAX];
};

/* Notes the first failure and returns f->code, so `return fault_set(...)`.
 * A NULL f is allowed; then `code` is returned.  Long sentences are cut. */
int fault_set(struct fault *f, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The same for a failed system call: appends the text of `sys` (an errno). */
int fault_set_sys(struct fault *f, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);

#ifdef __clang_analyzer__ /* it does not see into fault.c: what comes back is negative */
#define fault_set(f, code, ...)	   ((void)(fault_set)(f, code, __VA_ARGS__), (int)(code))
#define fault_set_sys(f, sys, ...) ((void)(fault_set_sys)(f, sys, __VA_ARGS__), (int)ERR_SYS)
#endif

/* The stable short name of a code ("protocol"); "ok" for 0. */
const char *err_name(int code);

#endif
