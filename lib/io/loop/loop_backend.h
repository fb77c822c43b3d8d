/*
 * loop_backend -- what loop.c and its two backends share; nobody else's.
 *
 * The calls of loop.h only note what is asked for and put the socket on the
 * dirty list.  Each round the backend begins what is dirty, sleeps, and hands
 * out what is done:
 *
 *	flush -> retire the closed -> wait (sleep, callbacks) -> timers -> wakes
 *
 * So no callback can run inside the call that asked, a socket that is closed
 * again before the flush costs no system call, and memory is only freed while
 * no event batch is being walked.
 */
#ifndef LIB_IO_LOOP_LOOP_BACKEND_H
#define LIB_IO_LOOP_LOOP_BACKEND_H

#include "lib/io/loop/loop.h"

#define LOOP_FOREVER  UINT64_MAX
#define LOOP_RETRY_NS 100000000ull /* pause after an error that would come again at once */

enum sock_op { SOCK_OP_CONNECT = 1, SOCK_OP_RECV = 2, SOCK_OP_SEND = 4 };

/* The vector of a send, or the address of a connect: borrowed while one is
 * under way, so an idle socket has none. */
struct sock_out {
	struct sock_out *next; /* on loop->spare_out */
	struct msghdr msg;     /* what is left to send */
	union {
		struct iovec iov[SOCK_IOV_MAX];
		struct sockaddr_storage to;
	};
	socklen_t to_len;
};

struct sock {
	struct loop *loop;
	struct sock *prev, *next; /* all of the loop's */
	struct sock *dirty_next, *ready_next;
	const struct sock_handler *handler;
	void *user;
	struct sock_out *out;
	int fd;
	int sys; /* errno that on_error will tell */
	uint32_t recv_max;
	uint8_t asked;	    /* enum sock_op: the owner waits for these */
	uint8_t begun;	    /* of those, in the kernel's hands (epoll: connect) */
	uint8_t done;	    /* of those, to be told (epoll: connect, send) */
	uint8_t cancelling; /* uring */
	bool dirty, ready;  /* is on that list */
	bool closing, reset;
	bool failed; /* on_error was called */
	bool shut_asked, shut_done;

	bool registered, readable, writable; /* epoll: last edge seen */
	bool short_means_nothing;	     /* epoll: more may wait after a short read */
	bool starved;			     /* uring: the pool had no buffer */
	bool bulk;			     /* uring: the last receive filled its buffer */
	bool drained;			     /* uring: the last receive left nothing behind */
	uint8_t group;			     /* uring: the pool of the receive under way */
};

struct watch {
	struct loop *loop;
	struct watch *prev, *next; /* all of the loop's, or its dead */
	struct watch *dirty_next;
	struct timer retry;
	int fd;
	short events; /* POLLIN or POLLOUT */
	watch_ready_fn *on_ready;
	void *user;
	bool internal; /* not in loop_counts() */
	bool paused, closed;
	bool dirty, begun, cancelling; /* uring; begun also epoll: registered */
};

struct sock_queue {
	struct sock *head, *tail;
};

/* One call at loop_free(), for whoever must not outlive the loop; it clears itself. */
struct loop_end {
	void (*call)(struct loop_end *e);
	struct loop_end *prev, *next;
};

struct loop_backend {
	const char *name;
	int (*open)(struct loop *l, struct fault *why);
	void (*close)(struct loop *l); /* accepts half open */
	/* A socket has come; may change its descriptor's mode.  0 or an errno. */
	int (*adopt)(struct loop *l, struct sock *s);
	int (*watch_arm)(struct loop *l, struct watch *w); /* 0 or an errno */
	void (*watch_disarm)(struct loop *l, struct watch *w);
	void (*flush)(struct loop *l);
	int (*wait)(struct loop *l, uint64_t timeout_ns, struct fault *why);
};

extern const struct loop_backend loop_epoll, loop_uring;

struct loop {
	const struct loop_backend *backend;
	void *state; /* the backend's */
	char reason[FAULT_WHY_MAX];
	char unrestricted[112]; /* why the ring takes every operation; "" = it does not */
	uint64_t now_ns;
	bool running, stopped, firing, ending;

	struct sock *socks;
	struct sock_queue dirty;
	struct sock_queue ready;  /* something to tell, see loop_ready() */
	struct sock_queue closed; /* nothing of theirs in the kernel: to be freed */
	struct watch *watches, *dead_watches, *dirty_watches;
	struct sock_out *spare_out;
	size_t count_spare_out;
	struct loop_end *ends;
	struct loop_counts counts;

	struct timer **timers; /* heap by at_ns, counts.timers long */

	int wake_fd;
	struct watch *wake_watch;
	struct loop_wake *wakes; /* pushed by any thread, newest first */
	struct loop_wake *woken; /* taken over by the loop, oldest first */
};

uint64_t loop_read_clock(void);
void loop_at_end(struct loop *l, struct loop_end *e);
void loop_end_clear(struct loop *l, struct loop_end *e);

/* ---- loop_timer.c ---- */
int timers_open(struct loop *l); /* 0 or an errno */
void timers_close(struct loop *l);
void timers_fire(struct loop *l); /* those due at now_ns */

/* ---- loop_sock.c ---- */
void loop_dirty(struct sock *s);
struct sock *loop_take_dirty(struct sock_queue *q);
void loop_ready(struct sock *s); /* to be served by the backend's next wait */
struct sock *loop_next_ready(struct loop *l);
void loop_retire(struct sock *s); /* closing, and the kernel holds nothing */
void loop_free_retired(struct loop *l);
void loop_free_spares(struct loop *l);

/* An operation is over: tells the owner, unless the socket is closing or has
 * failed.  The callback may close it. */
void sock_tell_connected(struct sock *s, int sys);
void sock_tell_data(struct sock *s, struct mspan data);
void sock_tell_sent(struct sock *s);
void sock_tell_error(struct sock *s, int sys);

/* n bytes of s->out went: drops them; true when nothing is left. */
bool sock_out_advance(struct sock_out *o, size_t n);
void sock_shutdown_if_due(struct sock *s);
static inline bool sock_wants(const struct sock *s, enum sock_op op)
{
	return (s->asked & op) && !s->closing && !s->failed;
}

/* ---- loop_watch.c ---- */
/* watch_new() for POLLIN or POLLOUT, and not counted. */
MUST_USE int watch_new_internal(struct watch **out, struct loop *l, int fd, short events,
				watch_ready_fn *on_ready, void *user, struct fault *why);
void watch_retry_later(struct watch *w); /* is disarmed; arms it in LOOP_RETRY_NS */
void loop_free_dead_watches(struct loop *l);

#endif
