/*
 * channels -- the channels of one link, whatever carries them: the seam
 * between those who move a channel's bytes (channel_pipe, the tunnel's
 * forwards) and the protocol below.
 *
 * It holds nothing but a table of operations and whom they act on; copied
 * freely.  The promises of each operation are those of its namesake in
 * lib/proto/ssh/ssh.h, and every link speaks of its channels in struct
 * ssh_event.  Connecting, requests and goodbyes are the link's own affair.
 */
#ifndef LIB_IO_CHANNELS_H
#define LIB_IO_CHANNELS_H

#include "lib/proto/ssh/ssh.h"

struct channels_ops {
	void (*accept)(void *link, uint32_t channel);
	void (*reject)(void *link, uint32_t channel, enum ssh_open_failure code, const char *text);
	size_t (*writable)(void *link, uint32_t channel);
	int (*write)(void *link, uint32_t channel, const uint8_t *p, size_t n);
	void (*want_write)(void *link, uint32_t channel);
	void (*pass)(void *link, uint32_t channel);
	void (*grow)(void *link, uint32_t channel, uint32_t more);
	void (*credit)(void *link, uint32_t channel, size_t n);
	void (*eof)(void *link, uint32_t channel);
	void (*close)(void *link, uint32_t channel);
	void (*set_user)(void *link, uint32_t channel, void *user);
	void *(*user)(void *link, uint32_t channel);
	void (*flush)(void *link);
};

struct channels {
	const struct channels_ops *ops; /* NULL: there is no link */
	void *link;
	/* False: a channel opens with the window that grow() gives it before accept(),
	 * and has no more than that.  True: windows are the link's own affair. */
	bool own_windows;
};

static inline bool channels_exist(const struct channels *c)
{
	return c->ops;
}

static inline void channels_accept(const struct channels *c, uint32_t channel)
{
	c->ops->accept(c->link, channel);
}

static inline void channels_reject(const struct channels *c, uint32_t channel,
				   enum ssh_open_failure code, const char *text)
{
	c->ops->reject(c->link, channel, code, text);
}

static inline size_t channels_writable(const struct channels *c, uint32_t channel)
{
	return c->ops->writable(c->link, channel);
}

MUST_USE static inline int channels_write(const struct channels *c, uint32_t channel,
					  const uint8_t *p, size_t n)
{
	return c->ops->write(c->link, channel, p, n);
}

static inline void channels_want_write(const struct channels *c, uint32_t channel)
{
	c->ops->want_write(c->link, channel);
}

static inline void channels_pass(const struct channels *c, uint32_t channel)
{
	c->ops->pass(c->link, channel);
}

static inline void channels_grow(const struct channels *c, uint32_t channel, uint32_t more)
{
	c->ops->grow(c->link, channel, more);
}

static inline void channels_credit(const struct channels *c, uint32_t channel, size_t n)
{
	c->ops->credit(c->link, channel, n);
}

static inline void channels_eof(const struct channels *c, uint32_t channel)
{
	c->ops->eof(c->link, channel);
}

static inline void channels_close(const struct channels *c, uint32_t channel)
{
	c->ops->close(c->link, channel);
}

static inline void channels_set_user(const struct channels *c, uint32_t channel, void *user)
{
	c->ops->set_user(c->link, channel, user);
}

static inline void *channels_user(const struct channels *c, uint32_t channel)
{
	return c->ops->user(c->link, channel);
}

/* To be called after driving channels outside the link's own events: what is pending is
 * sent.  Never tells an event before it returns.  Nothing happens where there is no link. */
static inline void channels_flush(const struct channels *c)
{
	if (c->ops)
		c->ops->flush(c->link);
}

#endif
