/*
 * budget -- how much the server may send into this process at once: the windows of
 * all channels together, shared out of one sum that follows the memory limit.
 *
 * Pure arithmetic: no system call, no clock, no memory.  The caller tells what a
 * channel received and what its local socket took; the answer is how much its
 * window is to be opened.  What a channel holds is what the server may still send
 * on it and what is buffered here and not yet taken.  The rules:
 *
 *	- No grant takes the sum of what all channels hold beyond the limit.
 *	- A channel opens with a small window (the smaller, the less is free), and
 *	  as long as it is open a floor of 4 KiB is kept for it: it can always go on.
 *	- A window doubles when it was what kept the server waiting: used up while
 *	  the local socket kept rate.  It is halved for each second in which less than
 *	  the window went through: not taken back, but not granted again.
 *	- What goes beyond the first windows comes from one half of the limit, of which
 *	  a channel gets at most as much as is left: n channels in bulk get 1/(n+1)
 *	  each, and the other half is for those that are still to come.
 *	- When the limit shrinks below what is held, nothing is granted until enough of
 *	  it has been taken; but a channel that waits gets its floor with each try.
 */
#ifndef TUNNEL_SIDECAR_BUDGET_H
#define TUNNEL_SIDECAR_BUDGET_H

#include "lib/base/bytes.h"
#include "lib/base/must.h"

enum {
	BUDGET_FLOOR = 4 * 1024,  /* kept for every open channel */
	BUDGET_START = 64 * 1024, /* first window where memory is plenty */
	BUDGET_WINDOW_MAX = 8 * 1024 * 1024,
};

/* The sum where nothing limits the container's memory, and its upper bound. */
#define BUDGET_LIMIT_MAX (256ull * 1024 * 1024)

struct budget {
	uint64_t limit;
	uint64_t held;	   /* by all channels; what the limit is about */
	uint64_t reserved; /* the same with every open channel's floor */
	uint64_t extra;	   /* of held: beyond the first windows */
	size_t starved_n;  /* channels that wait for room */
	/* Numbers that only grow. */
	uint64_t refused, growths;
};

struct share {
	bool open;		    /* the server may send more */
	bool starved;		    /* would have been granted something */
	bool pinched;		    /* its window was used up since the last grant */
	uint32_t window;	    /* what the server may still send */
	uint32_t buffered;	    /* came, and the local socket has not taken it */
	uint32_t first;		    /* the window it opened with */
	uint32_t target;	    /* the window it has earned */
	uint64_t second_ns, passed; /* began then; bytes taken since */
};

/* `limit`: of memory, in bytes, as the container has it; UINT64_MAX for none.  A
 * quarter of it is for windows: buffers grow by doubling, and the kernel's own
 * for the sockets cost as much again. */
void budget_set_memory(struct budget *b, uint64_t limit);

/* The window to open the channel with; 0: no room even for the smallest. */
MUST_USE uint32_t budget_open(struct budget *b, struct share *s, uint64_t now_ns);
/* A channel whose window is not ours to say: only what is buffered counts.  False:
 * there is no room. */
MUST_USE bool budget_open_foreign(struct budget *b, struct share *s);
/* n bytes came. */
void budget_received(struct budget *b, struct share *s, size_t n);
/* n of them were taken by the local socket, or thrown away.  Returns by how much
 * to open the window now; mostly 0, at once by half a window or more. */
MUST_USE uint32_t budget_passed(struct budget *b, struct share *s, size_t n, uint64_t now_ns);
/* The same for a starved channel that has waited a while. */
MUST_USE uint32_t budget_retry(struct budget *b, struct share *s, uint64_t now_ns);
/* The server sends no more: only what is buffered still counts. */
void budget_end(struct budget *b, struct share *s);
/* … nor that.  The share may be forgotten; idempotent. */
void budget_close(struct budget *b, struct share *s);

#endif
