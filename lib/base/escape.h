/*
 * escape -- bytes of a peer as one printable line.
 */
#ifndef LIB_BASE_ESCAPE_H
#define LIB_BASE_ESCAPE_H

#include "lib/base/bytes.h"

/* Writes in as printable ASCII to to[0..n), NUL-terminated: other bytes and the
 * backslash become \xNN, what does not fit is cut and ends in "...".  Returns
 * the length written. */
size_t escape_text(char *to, size_t n, struct span in);

#endif
