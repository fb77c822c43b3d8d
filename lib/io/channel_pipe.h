/*
 * channel_pipe -- a channel of a link joined to a TCP socket, either role.
 *
 * Each direction ends on its own (half-close is kept); when both have, the
 * channel closes.  Nothing is read from either side faster than the other
 * takes it: credit goes back to the channel when the socket took the bytes,
 * the socket is read only while the channel has room.  An idle pipe holds no
 * buffer.
 */
#ifndef LIB_IO_CHANNEL_PIPE_H
#define LIB_IO_CHANNEL_PIPE_H

#include "lib/io/channels.h"
#include "lib/io/loop.h"

struct channel_pipe;

enum pipe_direction { PIPE_TO_CHANNEL, PIPE_TO_SOCKET };

struct channel_pipe_options {
	struct loop *loop;
	struct channels channels;
	uint32_t channel;
	int fd; /* taken in success and failure */
	/* n payload bytes were read from the socket or the channel. */
	void (*on_bytes)(void *user, enum pipe_direction d, size_t n);
	/* The link was driven: what is pending should be sent. */
	void (*kick)(void *user);
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

/* The link itself is gone, or going: resets the socket, never touches the
 * link again.  on_gone follows. */
void channel_pipe_abort(struct channel_pipe *p);

#endif
