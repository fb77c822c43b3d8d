/*
 * exposition -- numbers as a page that Prometheus reads: the text format 0.0.4
 * or OpenMetrics 1.0.
 *
 * Nothing of a sample is believed: names, labels and text are checked or made
 * harmless again, a name is given out once, and what goes over a bound is left
 * out and counted, so the page is valid whatever the samples.  It knows no
 * metric by name.
 */
#ifndef STATUS_SERVER_METRICS_EXPOSITION_H
#define STATUS_SERVER_METRICS_EXPOSITION_H

#include "lib/base/buf.h"
#include "shm/reader.h"

enum exposition_format { EXPOSITION_TEXT, EXPOSITION_OPENMETRICS };

enum {
	EXPOSITION_FAMILIES_MAX = 512,
	EXPOSITION_SERIES_MAX = 10000,
	/* Of the samples of a page: so many pages for slow readers fit what the server
	 * holds for all of them (64 connections, 16 MiB). */
	EXPOSITION_BYTES_MAX = 256 << 10,
};

struct exposition;

/* The page is appended to `to`; names of samples must stay until
 * exposition_end(), the rest is copied.  ERR_NOMEM. */
MUST_USE int exposition_start(struct exposition **out, struct buf *to,
			      enum exposition_format format);

/* When the counters of the samples that follow began, for OpenMetrics'
 * _created; 0 when that is not known. */
void exposition_created(struct exposition *e, uint64_t realtime_ns);

/* The samples that follow, up to the next call, may take `bytes` of the page; 0:
 * what it has left.  What goes over it is dropped and counted, so one source can't
 * take the room of another. */
void exposition_share(struct exposition *e, size_t bytes);

/* Samples of a family come together; the first brings unit and help. */
void exposition_sample(struct exposition *e, const struct bus_sample *s);
/* A constant 1 whose labels are the news; `name` ends in _info. */
void exposition_info(struct exposition *e, const char *name, const char *help, const char *labels);
/* Whether a family of that name stands on the page. */
bool exposition_has(const struct exposition *e, const char *name);
/* Samples that were left out so far. */
size_t exposition_dropped(const struct exposition *e);

/* Writes what ends the page and frees e.  ERR_NOMEM or ERR_LIMIT when the page
 * is not whole. */
MUST_USE int exposition_end(struct exposition *e);

const char *exposition_content_type(enum exposition_format format);

/* The shortest decimal that reads back as v, with a point or an exponent
 * ("1.0", "0.00025", "1e-05"), as OpenMetrics wants it in `le`. */
void exposition_number(char to[32], double v);

#endif
