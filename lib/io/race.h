/*
 * race -- several addresses of one host to one connected TCP socket: each is
 * tried in turn, the next when one fails or after 250 ms, and the first that
 * answers wins (RFC 8305).  While none does, the round begins again every two
 * seconds, up to RACE_MAX attempts.  No name resolution and no overall deadline;
 * that is dial's.
 */
#ifndef LIB_IO_RACE_H
#define LIB_IO_RACE_H

#include "lib/io/loop/loop.h"

#define RACE_MAX 16 /* further addresses are ignored */

struct race;

/* fd >= 0 is connected, non-blocking, close-on-exec and the callee's; `winner`
 * is its address.  Else *why says what the most telling attempt met.  The race
 * is gone by then. */
typedef void race_done_fn(void *user, int fd, const struct sockaddr_storage *winner,
			  const struct fault *why);

/* `name` ("host:port", printable) is for faults; it is copied and cut to 128.
 * Calls done exactly once, later, unless cancelled.  ERR_NOMEM. */
MUST_USE int race_start(struct race **out, struct loop *l, const struct sockaddr_storage *to,
			size_t n, const char *name, race_done_fn *done, void *user,
			struct fault *why);
void race_cancel(struct race *r); /* accepts NULL */

/* "127.0.0.1:80", "[::1]:80" */
void race_address_text(char *out, size_t size, const struct sockaddr_storage *a);

/* Puts the families in turn, beginning with that of the first (RFC 8305, 4). */
void race_interleave(struct sockaddr_storage *a, size_t n);

#endif
