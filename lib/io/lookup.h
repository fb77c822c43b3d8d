/*
 * lookup -- a host name to addresses, for all dials of this process: a name that
 * several dials want is asked once and remembered for a while.
 *
 * getaddrinfo() blocks for as long as the name server is silent (40 s with the
 * resolv.conf of a pod), so it runs in one of LOOKUPS_MAX threads.  A silent name can't take
 * them all: dials of one name wait for one look-up together, and a further one for the
 * same name, which finds a server that has come back, starts only while half of the
 * threads are free.  Names of the hosts file need no thread (hosts.h).
 *
 * The table belongs to the thread that runs the loop; no second thread may dial.
 */
#ifndef LIB_IO_LOOKUP_H
#define LIB_IO_LOOKUP_H

#include "lib/io/loop/loop.h"
#include "lib/io/race.h"

#define LOOKUPS_MAX	 8   /* threads */
#define LOOKUP_NAMES_MAX 64  /* remembered; the one that was not used for longest makes room */
#define LOOKUP_HOST_MAX	 255 /* bytes of a name */
#define LOOKUP_FRESH_NS	 5000000000ull /* an answer is not asked for again; a cluster's own TTL */

struct lookup_name;

struct lookup_answer {
	size_t n;			      /* 0: see why */
	struct sockaddr_storage to[RACE_MAX]; /* port 0 */
	struct fault why; /* ERR_NAME, its text is the reason alone: "Name or service not known" */
};

/* One dial that waits; the caller's storage, zeroed at first. */
struct lookup {
	struct lookup_name *name; /* NULL: does not wait */
	struct lookup *next, **at;
	/* Once, later, unless cancelled.  May start and cancel others. */
	void (*done)(struct lookup *w, const struct lookup_answer *answer);
};

/* 1: *answer is filled at once, from the hosts file or an answer that is still fresh.
 * 0: `w->done` will be called.  ERR_NAME (longer than LOOKUP_HOST_MAX), ERR_FULL (as many
 * names are waited for), ERR_NOMEM. */
MUST_USE int lookup_start(struct lookup *w, struct loop *l, const char *host,
			  struct lookup_answer *answer, struct fault *why);
void lookup_cancel(struct lookup *w);

/* Whether w waits for a thread, since names that are not answered hold all of them. */
bool lookup_is_queued(const struct lookup *w);
/* Since when this name's oldest look-up under way waits, loop clock; 0: none is. */
uint64_t lookup_asked_ns(const struct lookup *w);

/* The addresses that this name had last, at most max_age_ns ago; the one that answered a
 * connect last goes alone.  How many. */
size_t lookup_remembered(struct loop *l, const char *host, uint64_t max_age_ns,
			 struct sockaddr_storage to[RACE_MAX]);
/* An address of the name's answer accepted a connection, or none did: then the next dial
 * asks again. */
void lookup_note(struct loop *l, const char *host, const struct sockaddr_storage *accepted);

#endif
