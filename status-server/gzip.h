/*
 * gzip -- a page, compressed (RFC 1952).
 */
#ifndef STATUS_SERVER_GZIP_H
#define STATUS_SERVER_GZIP_H

#include "lib/base/buf.h"

/* Appends `page` to `to`.  ERR_NOMEM, ERR_LIMIT: then `to` is as before. */
MUST_USE int gzip_append(struct buf *to, struct span page);

#endif
