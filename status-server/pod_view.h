/*
 * source -- what the status bus says now: its two readers, and one view of
 * both that is made anew for each request.
 *
 * A value of a view is true or absent: records of a container that is not
 * alive are marked as such by its presence, never passed off as current.
 */
#ifndef STATUS_SERVER_POD_VIEW_H
#define STATUS_SERVER_POD_VIEW_H

#include "lib/io/loop/loop.h"
#include "shm/reader.h"

enum component { COMPONENT_TUNNEL, COMPONENT_CONTROL, COMPONENTS };

struct component_view {
	const char *name; /* "tunnel", "control" */
	enum bus_presence presence;
	struct bus_reader *reader;  /* the source's; for samples and lines */
	uint64_t start_realtime_ns; /* 0: no segment is attached */
	const char *build;	    /* "" likewise */
	enum bus_phase phase;
	uint32_t exit_code;
	const struct fault *fault;
};

struct pod_view {
	uint64_t realtime_ns; /* of the view */
	struct component_view of[COMPONENTS];
	bool has_session, has_registration, has_desired;
	struct bus_session session;
	struct bus_registration registration;
	struct bus_desired desired;
};

struct pod_watch;

/* Looks once a second, so that a stall is seen between requests, and logs when
 * a container comes, goes or stalls.  Writes nowhere.  ERR_NOMEM, ERR_SYS. */
MUST_USE int pod_watch_new(struct pod_watch **out, struct loop *l, const char *dir,
			   struct fault *why);
void pod_watch_free(struct pod_watch *s); /* accepts NULL */

/* Reads everything now; good until the next call. */
const struct pod_view *pod_watch_look(struct pod_watch *s);

/* A segment is attached: alive, stalled or dead. */
bool component_is_readable(const struct component_view *c);

#endif
