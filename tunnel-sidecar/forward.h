/*
 * forward -- one channel of the session: dials the local service, then joins
 * the two with a channel_pipe and counts.
 *
 * Default deny is decided before this file: forward_start() is only called for
 * a target that is a forward of the session.
 */
#ifndef TUNNEL_SIDECAR_FORWARD_H
#define TUNNEL_SIDECAR_FORWARD_H

#include "lib/base/limits.h"
#include "lib/base/rate.h"
#include "lib/io/channel_pipe.h"
#include "tunnel-sidecar/publish.h"
#include "tunnel-sidecar/windows.h"

struct forward;

/* Beyond these the server hears RESOURCE_SHORTAGE.  Twice what a busy cluster is
 * known to have open; as many, all stuck, still fit into a container of 64 MiB
 * (windows.h sees to their data; each has 1 KiB of its own and a socket).  It
 * counts also what leaves: a channel may be gone while its service has not taken
 * the bytes yet, and the link's bound on channels does not see that one any more. */
enum {
	FORWARDS_MAX = 2048,
	FORWARDS_RESERVE = 64, /* of those: kept for each forward, or fewer with less room */
	FORWARD_INDEX_MAX = LIMIT_REMOTES, /* forwards of any session */
};

/* All channels of a session, and of those before it that still leave. */
struct forward_set {
	struct loop *loop;
	struct publish *publish;
	struct channels channels; /* none between sessions */
	struct windows *windows;  /* of the program: shared with the sets of other sessions */
	struct windows_user retry;
	struct pipe_budget budget;
	struct forward *first;
	size_t n;			      /* alive: dialling, open or leaving */
	size_t open[FORWARD_INDEX_MAX];	      /* of those: of this forward */
	size_t dials[FORWARD_INDEX_MAX];      /* … and dialling */
	size_t waiting[FORWARD_INDEX_MAX];    /* … and waiting for their turn to dial */
	uint16_t forwards[FORWARD_INDEX_MAX]; /* of the session, by their index for the bus */
	size_t forwards_n;
	size_t room;				/* for channels, of all forwards together */
	uint64_t failing_ns[FORWARD_INDEX_MAX]; /* when its failed opens are all forgiven */
	struct rate rate;	  /* of log lines: the server makes them as it likes */
	uint64_t last_byte_ns;	  /* loop clock; any byte of any channel */
	void (*left)(void *user); /* one is less in n */
	void *user;
};

struct forward_target {
	unsigned index; /* of the forward, for the bus */
	const char
		*host; /* what to dial; not resolved before; the caller's until the session ends */
	uint16_t port;
};

/* loop, publish, windows, left and user are the caller's to set before. */
void forward_set_init(struct forward_set *set);
void forward_set_fini(struct forward_set *set); /* all have left; the loop may be gone */

/* A session with these forwards begins, over a link that has so many channels (at most
 * FORWARDS_MAX): who may have how much of them, and of the dials. */
void forward_set_share_out(struct forward_set *set, const uint16_t *forwards, size_t n,
			   size_t room);

/* Dials; then accepts or refuses the channel.  Refuses at once when it can't
 * even try, when there are too many, or when too many of its forward failed of
 * late (LIMIT_FAILED_OPENS). */
void forward_start(struct forward_set *set, uint32_t channel, const struct forward_target *to);

/* Events of the link for a channel that forward_start() was given. */
void forward_on_event(struct forward *f, const struct ssh_event *ev);

/* The link gives this channel up for want of memory: its local connection is reset,
 * since what came last is lost, and what waits for it is dropped. */
void forward_cut(struct forward *f);

/* Ends those that moved no byte after `since_ns` (loop clock), also those that are only
 * dialling; how many.  The caller flushes the channels; they leave when the server confirms it.
 * *oldest_ns: when the quietest of the others moved its last; UINT64_MAX without. */
size_t forward_set_end_silent(struct forward_set *set, uint64_t since_ns, uint64_t *oldest_ns);

/* The session is lost: resets every local connection.  The set serves a new
 * session at once; the old ones leave when the kernel lets go. */
void forward_set_abort(struct forward_set *set);

#endif
