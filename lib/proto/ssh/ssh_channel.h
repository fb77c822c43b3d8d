/*
 * ssh_channel -- the channels of one SSH connection: their table, the queue of
 * those that owe the caller an event, and what is said about them.
 * For lib/proto/ssh only.
 *
 *	ssh_channel_table.c  numbers
 *	ssh_scheduler.c          who may send next
 *	ssh_channel.c        the caller's side: open, write, credit, close
 *	ssh_mux.c            the peer's side: messages that come in
 */
#ifndef LIB_PROTO_SSH_SSH_CHANNEL_H
#define LIB_PROTO_SSH_SSH_CHANNEL_H

#include "lib/proto/ssh/ssh_engine.h"

#define SSH_CHANNEL_NONE UINT32_MAX

enum ssh_channel_state {
	SSH_CHANNEL_FREE,
	SSH_CHANNEL_OPENING, /* ours, not yet answered */
	SSH_CHANNEL_OFFERED, /* the peer's, not yet answered */
	SSH_CHANNEL_OPEN,
	SSH_CHANNEL_CLOSED, /* by both; until the caller has heard of it */
};

enum ssh_channel_list { SSH_LIST_NONE, SSH_LIST_FRESH, SSH_LIST_BULK };

struct ssh_channel {
	uint8_t state;
	uint8_t list; /* which of the two queues it is in */
	bool eof_sent, eof_got, close_sent;
	bool eof_wanted, close_wanted; /* called for before the channel was open */
	bool blocked;		       /* a write was cut: WRITABLE is owed */
	bool tx_since_adjust;	       /* data was sent since the peer opened its window last */
	bool has_turn;		       /* WRITABLE was said, nothing was written since */
	bool heavy;		       /* had a turn and has not fallen silent since */
	uint32_t remote;	       /* the peer's number */
	uint32_t next, prev;	       /* of the queue, or of the free list */
	uint32_t tx_window, tx_packet;
	uint32_t deficit;   /* bytes it may send before it is another's turn */
	uint32_t promise;   /* its part of mux.promised */
	uint32_t rx_window; /* what the peer may still send */
	uint32_t rx_held;   /* delivered, no credit given yet */
	uint32_t rx_credit; /* given, not yet announced */
	uint32_t rx_total;  /* the window at rest; with manual_windows: at open */
	void *user;
};

_Static_assert(sizeof(struct ssh_channel) <= 256, "channels come by the thousand");

/* A new channel's number, ERR_FULL without a fault, or ERR_NOMEM. */
MUST_USE int64_t ssh_channel_alloc(struct ssh *s, enum ssh_channel_state state);
/* A live channel of the caller's; anything else is the caller's bug. */
struct ssh_channel *ssh_channel_at(const struct ssh *s, uint32_t id);

void ssh_scheduler_init(struct ssh *s);
/* WRITABLE is owed: queued now, or when the peer opens its window. */
void ssh_scheduler_block(struct ssh *s, struct ssh_channel *c, uint32_t id);
/* The peer has opened the window of a channel that may wait for it. */
void ssh_scheduler_opened(struct ssh *s, struct ssh_channel *c, uint32_t id);
/* CLOSED is owed, before anything else. */
void ssh_scheduler_owe_closed(struct ssh *s, uint32_t id);
/* It sends no more: waits for nothing, holds no turn. */
void ssh_scheduler_leave(struct ssh *s, uint32_t id);
/* How many bytes the channel may seal before others have had their turn, and
 * while the room that was promised to them stays theirs. */
size_t ssh_scheduler_allow(const struct ssh *s, const struct ssh_channel *c);
/* It has sealed n bytes; its turn is used. */
void ssh_scheduler_used(struct ssh *s, struct ssh_channel *c, uint32_t id, size_t n);

struct ssh_writer ssh_channel_head(uint8_t bytes[SSH_HEAD_MAX], uint8_t type);
/* A message of nothing but the channel's number. */
MUST_USE int ssh_channel_say(struct ssh *s, const struct ssh_channel *c, uint8_t type);
MUST_USE int ssh_channel_say_adjust(struct ssh *s, struct ssh_channel *c, uint32_t more);
MUST_USE int ssh_channel_say_failure(struct ssh *s, uint32_t remote, uint32_t code,
				     const char *text);
MUST_USE int ssh_channel_say_eof(struct ssh *s, struct ssh_channel *c);
MUST_USE int ssh_channel_say_close(struct ssh *s, struct ssh_channel *c); /* once */
/* n bytes of the peer's data are done with: its window opens again once half
 * of it has been. */
MUST_USE int ssh_channel_give_credit(struct ssh *s, struct ssh_channel *c, uint32_t n);

#endif
