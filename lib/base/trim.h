/*
 * trim -- a text without what files, Secrets and editors add around it.
 *
 * A byte order mark in front, and blanks, tabs, CR and LF at either end are
 * left out; what stands between stays as it is.
 */
#ifndef LIB_BASE_TRIM_H
#define LIB_BASE_TRIM_H

#include "lib/base/bytes.h"

/* A view into s. */
struct span trim_text(struct span s);

#endif
