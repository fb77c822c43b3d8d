/*
 * channel_pipe -- a channel of a link joined to a TCP socket, either role.
 *
 * Each direction ends on its own (half-close is kept); when both have, the
 * channel closes.  Nothing is read from either side faster than the other
 * takes it: credit goes back to the channel when the socket took the bytes,
 * the socket is read only while the channel has room.  An idle pipe holds no
 * buffer.
 *
 * A receive that was asked for is a promise of memory: its bytes must lie
 * somewhere when the channel turns out to have no room.  So a pipe whose socket
 * is silent asks for little, and all that ask for more share one budget.
 */
#ifndef LIB_IO_CHANNEL_PIPE_H
#define LIB_IO_CHANNEL_PIPE_H

#include "lib/io/channels.h"
#include "lib/io/loop/loop.h"

struct channel_pipe;

enum pipe_direction { PIPE_TO_CHANNEL, PIPE_TO_SOCKET };

enum {
	PIPE_RECV_LEAST = 4 * 1024, /* any pipe may ask its socket for so much */
	PIPE_BUDGET = 1024 * 1024,  /* beyond that: all pipes of one budget together */
};

/* Starts as zeros; outlives its pipes. */
struct pipe_budget {
	size_t spent;
};

struct channel_pipe_options {
	struct loop *loop;
	struct channels channels;
	uint32_t channel;
	int fd; /* taken in success and failure */
	struct pipe_budget *budget;
	/* n payload bytes were read from the socket or the channel. */
	void (*on_bytes)(void *user, enum pipe_direction d, size_t n);
	/* n of those from the channel were taken by the socket, or thrown away. */
	void (*on_passed)(void *user, size_t n);
	/* Channel and socket are both gone and so is the pipe: the last call, never
	 * from inside channel_pipe_new(). */
	void (*on_gone)(void *user);
	void *user;
};

/* Starts reading the socket at once: the channel must be open. ERR_NOMEM, ERR_SYS. */
MUST_USE int channel_pipe_new(struct channel_pipe **out, const struct channel_pipe_options *options,
			      struct fault *why);

/* Events of the link for this channel. */
void channel_pipe_on_data(struct channel_pipe *p, struct mspan data);
void channel_pipe_on_writable(struct channel_pipe *p);
void channel_pipe_on_eof(struct channel_pipe *p);
/* The link has forgotten the channel: what it sent still goes to the socket,
 * for at most a minute. */
void channel_pipe_on_closed(struct channel_pipe *p);

/* Ends both sides in good order (CLOSE, FIN) without waiting for theirs; what waits is
 * dropped.  The caller flushes the channels.  on_gone follows once channel and socket are
 * gone. */
void channel_pipe_end(struct channel_pipe *p);

/* The link itself is gone, or going: resets the socket, never touches the
 * link again.  on_gone follows. */
void channel_pipe_abort(struct channel_pipe *p);

#endif
