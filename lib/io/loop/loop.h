/*
 * loop -- one thread's event loop: sockets, timers, watched descriptors.
 *
 * Completion style: the caller asks for one receive or one send, the loop
 * calls back when it is done.  Two backends of equal standing do the work,
 * io_uring and epoll (loop_uring.c, loop_epoll.c behind loop_backend.h); the
 * caller cannot tell them apart.  Callbacks are only ever called from
 * loop_run(), never from inside the call that asked.
 *
 * Not thread safe but for loop_wake(); one thread makes it, runs it and frees
 * it (io_uring insists on that).
 */
#ifndef LIB_IO_LOOP_LOOP_H
#define LIB_IO_LOOP_LOOP_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

struct loop;

enum loop_choice { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

/* LOOP_AUTO takes io_uring when the kernel (>= 6.1) grants it and a self-test
 * (an echo through the ring within 100 ms) passes, else epoll; LOOP_URING
 * fails instead.  ERR_SYS, ERR_NOMEM. */
MUST_USE int loop_new(struct loop **out, enum loop_choice want, struct fault *why);
/* Closes what is left; of all callbacks only on_closed comes.  Not from inside
 * loop_run().  Accepts NULL. */
void loop_free(struct loop *l);

const char *loop_backend(const struct loop *l); /* "uring" or "epoll" */
/* Why it is not io_uring ("io_uring_setup: Operation not permitted"); "" if asked for. */
const char *loop_backend_reason(const struct loop *l);
/* Why the ring could not be restricted to the operations the loop uses ("io_uring_register of
 * restrictions: Invalid argument"); "" if it is restricted, or there is no ring.  System call
 * filters do not see the operations of a ring, so this is part of the sandbox. */
const char *loop_unrestricted(const struct loop *l);

/* Runs until loop_stop().  ERR_SYS when the kernel fails the loop itself. */
MUST_USE int loop_run(struct loop *l, struct fault *why);
void loop_stop(struct loop *l);

/* CLOCK_BOOTTIME in ns, read once per round. */
uint64_t loop_now(const struct loop *l);

/* From any thread or signal handler: `wake->call` runs in the loop soon.
 * Several loop_wake() before it runs are one call. */
struct loop_wake {
	void (*call)(struct loop_wake *w);
	struct loop_wake *next; /* loop's */
	int pending;		/* loop's */
};
void loop_wake(struct loop *l, struct loop_wake *w);
void loop_wake_cancel(struct loop *l, struct loop_wake *w); /* loop thread only */

/* ---- timers: embedded by their owner ---- */
struct timer {
	void (*fire)(struct timer *t);
	uint64_t at_ns; /* loop's; 0 while unset */
	size_t slot;	/* loop's */
};
/* Re-arms when armed.  The past is now; in a timer's callback, the next round. */
void timer_set(struct loop *l, struct timer *t, uint64_t at_ns);
void timer_clear(struct loop *l, struct timer *t); /* idempotent */

/* ---- stream sockets ---- */
#define SOCK_HEADROOM 64 /* writable bytes before and after data of on_data */
#define SOCK_IOV_MAX  64
#define SOCK_RECV_MAX (256 * 1024) /* most bytes in one on_data */

struct sock;
struct sock_handler {
	/* A connect that was asked for is done: sys = 0 or an errno. */
	void (*on_connected)(struct sock *s, void *user, int sys);
	/* Data for one sock_recv(); n = 0 is end of stream.  The bytes are the
	 * loop's, may be changed, and are good until the callback returns. */
	void (*on_data)(struct sock *s, void *user, struct mspan data);
	/* All bytes of the sock_send() are with the kernel. */
	void (*on_sent)(struct sock *s, void *user);
	/* Receive or send failed with errno `sys`; the socket is only fit for
	 * sock_close().  Called once. */
	void (*on_error)(struct sock *s, void *user, int sys);
	/* After sock_close(): the kernel holds no memory of the caller's any
	 * more, *s is gone.  The last callback. */
	void (*on_closed)(void *user);
};

/* Takes fd (a non-blocking stream socket) in success and failure.
 * ERR_NOMEM, ERR_SYS. */
MUST_USE int sock_new(struct sock **out, struct loop *l, int fd, const struct sock_handler *handler,
		      void *user, struct fault *why);
void sock_connect(struct sock *s, const struct sockaddr *to, socklen_t len);
/* Asks for one on_data of at most `max` bytes (<= SOCK_RECV_MAX).  Until it is
 * asked again nothing is received and nothing is held: this is how back
 * pressure is made.  Asking while armed changes nothing. */
void sock_recv(struct sock *s, size_t max);
bool sock_is_receiving(const struct sock *s);
/* Sends all of iov[0..n), n <= SOCK_IOV_MAX.  The vector is copied; the bytes
 * stay the caller's and must not change until on_sent, on_error or on_closed.
 * One send at a time, and none before on_connected. */
void sock_send(struct sock *s, const struct iovec *iov, int n);
bool sock_is_sending(const struct sock *s);
void sock_shutdown_write(struct sock *s); /* FIN, once the send under way is done */
/* No callback but on_closed follows.  `reset` closes with RST. */
void sock_close(struct sock *s, bool reset);
int sock_fd(const struct sock *s); /* for getsockopt and the like only */

/* ---- listening sockets ---- */
struct listener;
typedef void listener_accept_fn(void *user, int fd); /* takes fd: non-blocking, cloexec */
MUST_USE int listener_new(struct listener **out, struct loop *l, int fd,
			  listener_accept_fn *on_accept, void *user, struct fault *why);
void listener_pause(struct listener *x, bool paused);
void listener_close(struct listener *x); /* accepts NULL */

/* ---- any other descriptor: readiness to read ---- */
struct watch;
typedef void watch_ready_fn(void *user);
MUST_USE int watch_new(struct watch **out, struct loop *l, int fd, watch_ready_fn *on_ready,
		       void *user, struct fault *why); /* does not take fd */
void watch_close(struct watch *w);		       /* accepts NULL */

/* What is alive, for leak gates and metrics. */
struct loop_counts {
	size_t socks, listeners, watches, timers;
	size_t in_flight; /* operations that a socket's owner waits for */
	size_t in_kernel; /* uring: entries of the ring without an answer; epoll: descriptors
			     watched */
};
struct loop_counts loop_counts(const struct loop *l);
/* Gives back memory that is only kept for a next time; for a quiet moment. */
void loop_trim(struct loop *l);

#endif
