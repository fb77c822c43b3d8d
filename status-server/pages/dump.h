/*
 * dump -- `status-server dump SEGMENT [--json]`: any segment file, made
 * readable and judged as a reader of the pod would judge it.
 *
 * For a file that is hostile, of another version or half a copy, too: then the
 * header and the sections as they stand, and why it is refused.
 */
#ifndef STATUS_SERVER_PAGES_DUMP_H
#define STATUS_SERVER_PAGES_DUMP_H

#include <stdbool.h>

#include "lib/base/buf.h"

/* Appends the dump: lines of text, or one JSON document.  0 the segment is
 * good, else why it is refused (then *why says it and the dump has it too);
 * ERR_NOMEM and ERR_LIMIT also when the dump is incomplete. */
MUST_USE int dump_write(struct buf *to, const char *path, bool json, struct fault *why);

/* The verb: argv[0] is "dump".  The exit code: EXIT_DONE for a good segment,
 * EXIT_RUNTIME for a refused one, EXIT_USAGE. */
int dump_main(int argc, char **argv);

#endif
