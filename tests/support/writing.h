/*
 * writing -- checks of whatever writes a request into a buffer.
 */
#ifndef TESTS_SUPPORT_WRITING_H
#define TESTS_SUPPORT_WRITING_H

#include "lib/base/buf.h"

typedef int writing_fn(struct buf *to, const void *what);

/* It writes exactly this text. */
void check_written(writing_fn *write, const void *what, const char *want);
/* Each allocation refused in turn: ERR_NOMEM, and nothing is kept. */
void check_writing_in_famine(writing_fn *write, const void *what);

#endif
