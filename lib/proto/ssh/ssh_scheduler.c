/*
 * Whose turn it is to send: deficit round robin over the channels that have
 * something to say, those that were silent first (as fq_codel does with packets).
 *
 * The engine holds no data of its own to choose from: what waits lies with the
 * caller, mostly in the kernel.  So a turn is an event, WRITABLE, and a promise of
 * room, which the next write uses or ssh_channel_pass() gives back.  While nobody
 * waits, turns are of no account: whoever writes takes what room there is.
 *
 * A channel that was silent when it asked is in `fresh`, once; one that has had a
 * turn is in `bulk`, and stays there as a mere place until that comes up with
 * nothing to send, so that no channel is fresh again by falling silent for a moment.
 */
#include "lib/proto/ssh/ssh_channel.h"

enum {
	QUANTUM_MAX = 64 * 1024,
	PIECE_MIN = 1024, /* as in ssh_channel.c: less is not worth a packet */
};

void ssh_scheduler_init(struct ssh *s)
{
	s->mux.fresh = s->mux.bulk = (struct ssh_queue){ SSH_CHANNEL_NONE, SSH_CHANNEL_NONE };
	s->mux.waiting_n = 0;
	s->mux.promised = 0;
}

static struct ssh_queue *queue_of(struct ssh *s, const struct ssh_channel *c)
{
	return c->list == SSH_LIST_FRESH ? &s->mux.fresh : &s->mux.bulk;
}

static bool is_waiting(const struct ssh_channel *c)
{
	return c->list != SSH_LIST_NONE && c->blocked;
}

static void enqueue(struct ssh *s, uint32_t id, enum ssh_channel_list list, bool front)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	if (c->list != SSH_LIST_NONE)
		return;
	c->list = (uint8_t)list;
	struct ssh_queue *q = queue_of(s, c);
	c->next = front ? q->head : SSH_CHANNEL_NONE;
	c->prev = front ? SSH_CHANNEL_NONE : q->tail;
	*(c->prev == SSH_CHANNEL_NONE ? &q->head : &m->table[c->prev].next) = id;
	*(c->next == SSH_CHANNEL_NONE ? &q->tail : &m->table[c->next].prev) = id;
	m->waiting_n += c->blocked;
}

static void dequeue(struct ssh *s, uint32_t id)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	if (c->list == SSH_LIST_NONE)
		return;
	struct ssh_queue *q = queue_of(s, c);
	*(c->prev == SSH_CHANNEL_NONE ? &q->head : &m->table[c->prev].next) = c->next;
	*(c->next == SSH_CHANNEL_NONE ? &q->tail : &m->table[c->next].prev) = c->prev;
	m->waiting_n -= is_waiting(c);
	c->list = SSH_LIST_NONE;
}

static void end_turn(struct ssh *s, struct ssh_channel *c)
{
	s->mux.promised -= c->promise;
	c->promise = 0;
	c->has_turn = false;
}

/* What one channel may send before the next: a quarter of what may wait, so that
 * where the owner lets little wait, channels change often. */
static uint32_t quantum(const struct ssh *s)
{
	const size_t n = min_size(s->tx_bound / 4, QUANTUM_MAX);

	return n > PIECE_MIN ? (uint32_t)n : PIECE_MIN;
}

void ssh_scheduler_block(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	end_turn(s, c);
	if (!c->blocked && c->list != SSH_LIST_NONE)
		s->mux.waiting_n++;
	c->blocked = true;
	if (c->state == SSH_CHANNEL_OPEN && c->tx_window) /* else the peer's adjust will queue it */
		enqueue(s, id, c->heavy ? SSH_LIST_BULK : SSH_LIST_FRESH, false);
}

void ssh_scheduler_opened(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	if (c->blocked)
		ssh_scheduler_block(s, c, id);
}

void ssh_scheduler_owe_closed(struct ssh *s, uint32_t id)
{
	enqueue(s, id, SSH_LIST_FRESH, true);
}

void ssh_scheduler_leave(struct ssh *s, uint32_t id)
{
	struct ssh_channel *c = &s->mux.table[id];

	end_turn(s, c);
	dequeue(s, id);
	c->blocked = false;
}

size_t ssh_scheduler_allow(const struct ssh *s, const struct ssh_channel *c)
{
	const struct ssh_mux *m = &s->mux;

	if (m->waiting_n == is_waiting(c)) /* nobody else waits */
		return SIZE_MAX;
	if (c->has_turn)
		return c->deficit;
	/* Silent so far: before those that were not, behind those that were. */
	const bool first =
		c->list == SSH_LIST_NONE && !c->heavy && m->fresh.head == SSH_CHANNEL_NONE;
	return first ? quantum(s) : 0;
}

void ssh_scheduler_used(struct ssh *s, struct ssh_channel *c, uint32_t id, size_t n)
{
	const bool in_turn = c->has_turn;

	if (!in_turn && (n == 0 || s->mux.waiting_n == is_waiting(c)))
		return;
	if (!in_turn)
		c->deficit = quantum(s);
	c->deficit -= (uint32_t)min_size(n, c->deficit);
	c->heavy = true;
	end_turn(s, c);
	enqueue(s, id, SSH_LIST_BULK, false);
}

/* Nothing to send when its place came up: it is silent. */
static void fall_silent(struct ssh *s, uint32_t id)
{
	struct ssh_channel *c = &s->mux.table[id];

	dequeue(s, id);
	if (c->blocked)
		return; /* waits for the peer's window */
	c->heavy = false;
	c->deficit = 0;
}

/* Is there room for one more turn?  Bulk waits until half of it is free: a wake
 * for each packet would be dear.  Who was silent need not, when others fill it. */
static bool has_room(const struct ssh *s, enum ssh_channel_list list)
{
	const size_t taken = s->tx.held + s->mux.promised;

	if (ssh_is_holding(s))
		return false;
	if (list == SSH_LIST_FRESH && s->mux.waiting_n > 1)
		return taken + ssh_tx_cost(&s->tx, 2 * PIECE_MIN) <= s->tx_bound;
	return taken <= s->tx_bound / 2;
}

static void give_turn(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	dequeue(s, id);
	c->blocked = false;
	if (c->deficit < PIECE_MIN)
		c->deficit += quantum(s);
	c->has_turn = true;
	c->heavy = true;
	c->promise = c->deficit < c->tx_window ? c->deficit : c->tx_window;
	s->mux.promised += c->promise;
}

bool ssh_mux_next(struct ssh *s, struct ssh_event *ev)
{
	struct ssh_mux *m = &s->mux;

	for (;;) {
		const uint32_t id =
			m->fresh.head != SSH_CHANNEL_NONE ? m->fresh.head : m->bulk.head;
		if (id == SSH_CHANNEL_NONE)
			break;
		struct ssh_channel *c = &m->table[id];

		*ev = (struct ssh_event){ .channel = id };
		if (c->state == SSH_CHANNEL_CLOSED) {
			ev->kind = SSH_EVENT_CHANNEL_CLOSED;
			ssh_mux_release(s, id);
			return true;
		}
		if (!c->blocked || c->tx_window == 0) {
			fall_silent(s, id);
			continue;
		}
		if (!has_room(s, c->list))
			break;
		give_turn(s, c, id);
		ev->kind = SSH_EVENT_CHANNEL_WRITABLE;
		return true;
	}
	*ev = (struct ssh_event){ 0 };
	return false;
}

void ssh_channel_pass(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	if (!c->has_turn)
		return;
	end_turn(s, c);
	enqueue(s, id, SSH_LIST_BULK, false);
}

void ssh_set_tx_bound(struct ssh *s, size_t n)
{
	s->tx_bound = n < SSH_TX_LEAST ? SSH_TX_LEAST : min_size(n, s->config.tx_max);
}
