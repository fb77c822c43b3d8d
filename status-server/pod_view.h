/*
 * pod_view -- what the status bus says now: readers of each container's segment
 * and of its predecessor's, and one view of all that is made anew for each
 * request.
 *
 * A value of a view is true or absent: records of a container that is not
 * alive are marked as such by its presence, never passed off as current.
 */
#ifndef STATUS_SERVER_POD_VIEW_H
#define STATUS_SERVER_POD_VIEW_H

#include "lib/io/loop/loop.h"
#include "shm/reader.h"

enum component { COMPONENT_TUNNEL, COMPONENT_CONTROL, COMPONENTS };

/* How the life of a container ended that ended last: the one before the life
 * that is shown, or that one itself where it is dead. */
struct life_end {
	bool is_known;		   /* false: none has ended that we can read */
	struct bus_reader *reader; /* for its records and lines */
	bool is_exit;		   /* it left an exit code; else it was killed */
	enum bus_phase phase;	   /* in which it ended */
	uint32_t exit_code;	   /* of an exit */
	uint64_t start_realtime_ns;
	uint64_t realtime_ns;	  /* its last beat: up to a second before its end */
	const char *state;	  /* of the tunnel; of control "registered", "not registered"; "" */
	char error[BUS_TEXT_MAX]; /* the last error of its record, "" for none */
};

struct component_view {
	const char *name; /* "tunnel", "control" */
	enum bus_presence presence;
	struct bus_reader *reader;  /* the source's; for samples and lines */
	uint64_t start_realtime_ns; /* 0: no segment is attached */
	const char *build;	    /* "" likewise */
	enum bus_phase phase;
	uint32_t exit_code;
	const struct fault *fault;
	uint64_t silent_ns;	     /* since its beat was last seen to move */
	struct bus_reader *previous; /* of the life before; NULL: nothing to be read */
	struct life_end end;
};

struct pod_view {
	uint64_t realtime_ns; /* of the view */
	struct component_view of[COMPONENTS];
	bool has_session, has_observed, has_registration, has_desired;
	struct bus_session session;
	struct bus_observed observed;
	struct bus_registration registration;
	struct bus_desired desired;
	/* The tunnel has seen what control wants now and refuses it: observed.error_text
	 * says why.  What it had before goes on. */
	bool is_refused;
};

struct pod_watch;

/* Looks once a second, so that a stall is seen between requests, and logs when
 * a container comes, goes or stalls.  Writes nowhere.  ERR_NOMEM, ERR_SYS. */
MUST_USE int pod_watch_new(struct pod_watch **out, struct loop *l, const char *dir,
			   struct fault *why);
void pod_watch_free(struct pod_watch *s); /* accepts NULL */

/* The readers of one container: of its segment, and of the one before. */
struct pod_readers {
	struct bus_reader *now[COMPONENTS], *previous[COMPONENTS];
};
/* ERR_NOMEM, ERR_SYS; what was made is freed by _free() also then. */
MUST_USE int pod_readers_new(struct pod_readers *r, const char *dir, struct fault *why);
void pod_readers_free(struct pod_readers *r);
/* Reads everything; now_ns: any monotonic clock. */
void pod_view_read(struct pod_view *v, const struct pod_readers *r, uint64_t now_ns,
		   uint64_t realtime_ns);

/* Reads everything now; good until the next call. */
const struct pod_view *pod_watch_look(struct pod_watch *s);

/* A segment is attached: alive, stalled or dead. */
bool component_is_readable(const struct component_view *c);

#endif
