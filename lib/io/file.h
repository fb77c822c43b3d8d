/*
 * file -- a small regular file read whole, and one replaced atomically.
 *
 * For tokens, keys, credentials, states and configurations.  Whoever may write
 * in the directory may have put anything there: a FIFO or a device does not
 * block us, a directory and a file without an end are refused, a symbolic link
 * is followed only where the caller says so (the kubelet mounts Secrets as
 * links).  Not for files of /proc and /sys, which tell no size and no end.
 */
#ifndef LIB_IO_FILE_H
#define LIB_IO_FILE_H

#include <stddef.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

enum file_flag {
	FILE_NO_FOLLOW = 1, /* a symbolic link is refused */
	FILE_TEXT = 2,	    /* a NUL byte is refused */
	FILE_TRIM = 4,	    /* see lib/base/trim.h */
};

/* Reads it all to to[0..cap) and ends it with a NUL: its length, at most cap - 1;
 * 0 for an empty one.  *st (may be NULL) is what fstat() said of it.
 * ERR_SYS (why->sys) when it can't be opened or read, ERR_CONFIG when it is no
 * regular file, a link, too long or holds a NUL; then `to` is wiped.  The
 * sentence begins with the path: "/etc/x: No such file or directory". */
MUST_USE int file_read(char *to, size_t cap, const char *path, unsigned flags, struct stat *st,
		       struct fault *why);

/* Writes bytes to PATH.new and renames it to PATH: whoever opens PATH finds the
 * old bytes or the new ones, after a power cut, too.  The file is new, so links
 * at either name are replaced and never followed, and has exactly `mode`.
 * ERR_SYS; PATH is as before then. */
MUST_USE int file_replace(const char *path, struct span bytes, mode_t mode, struct fault *why);

#endif
