/*
 * blackbox -- what a container said last, living or dead: presence, phase and
 * exit code, its records, its last log lines and events; and the same of the
 * life before, whose segment a container that was started again keeps.
 *
 * All of it is read from the bus at the request, so it outlives any crash of
 * the writer.  What was never written is left out, not made up.
 */
#ifndef STATUS_SERVER_PAGES_BLACKBOX_H
#define STATUS_SERVER_PAGES_BLACKBOX_H

#include "lib/base/buf.h"
#include "status-server/pod_view.h"

struct json_writer;

#define BLACKBOX_LINES 100 /* of each ring on the page */
/* The page, whatever the segments: so many pages for slow readers fit what the
 * server holds for all of them (64 connections, 16 MiB). */
#define BLACKBOX_BYTES_MAX (256u << 10)

/* The page /api/v1/blackbox.  Errors of buf_append. */
MUST_USE int blackbox_write(struct buf *to, const struct pod_view *v);

/* The members of one life of a container, into an object that is open: how it
 * ended, if it did, its records, and of each ring the last `lines`; with `bounded`
 * no more of them than a page has room for. */
void blackbox_write_life(struct json_writer *j, struct bus_reader *r, uint64_t lines, bool bounded);

#endif
