/*
 * negotiate -- what a client would rather have (RFC 9110, 12.5), for the two
 * choices of /metrics.  Pure.
 */
#ifndef STATUS_SERVER_NEGOTIATE_H
#define STATUS_SERVER_NEGOTIATE_H

#include "lib/base/bytes.h"
#include "status-server/metrics/exposition.h"

/* Of the Accept field; the older format when it is absent, tied, or names
 * neither. */
enum exposition_format negotiate_format(struct span accept);
/* Whether Accept-Encoding asks for gzip at least as much as for nothing. */
bool negotiate_gzip(struct span accept_encoding);

#endif
