/*
 * Channels and global requests (RFC 4254): windows both ways, half-close,
 * and the order of closing.
 *
 * Every message that a peer can send without need or measure either counts
 * against a window, or against the glitch budget, or is answered within the
 * bounded room for control messages.
 */
#include "lib/proto/ssh/ssh_engine.h"

enum {
	TABLE_FIRST = 8,
	PIECE_MIN = 1024, /* smaller room is not worth a packet */
	DATA_HEAD = 9,    /* type, channel, length */
};
#define NONE UINT32_MAX

enum ssh_channel_state {
	SSH_CHANNEL_FREE,
	SSH_CHANNEL_OPENING, /* ours, not yet answered */
	SSH_CHANNEL_OFFERED, /* the peer's, not yet answered */
	SSH_CHANNEL_OPEN,
	SSH_CHANNEL_CLOSED, /* by both; until the caller has heard of it */
};

struct ssh_channel {
	uint8_t state;
	bool eof_sent, eof_got, close_sent;
	bool eof_wanted, close_wanted; /* called for before the channel was open */
	bool blocked; /* a write was cut: WRITABLE is owed */
	bool queued;
	uint32_t remote;     /* the peer's number */
	uint32_t next, prev; /* of the queue, or of the free list */
	uint32_t tx_window, tx_packet;
	uint32_t rx_window; /* what the peer may still send */
	uint32_t rx_held;   /* delivered, no credit given yet */
	uint32_t rx_credit; /* given, not yet announced */
	uint32_t rx_total;  /* the window at rest */
	void *user;
};

_Static_assert(sizeof(struct ssh_channel) <= 256, "channels come by the thousand");

/* --- the table --- */

void ssh_mux_init(struct ssh *s)
{
	s->mux.free_head = s->mux.queue_head = s->mux.queue_tail = NONE;
}

void ssh_mux_fini(struct ssh *s)
{
	mem_give(s->config.mem, s->mux.table);
	s->mux.table = NULL;
	s->mux.table_n = 0;
}

void ssh_mux_trim(struct ssh *s)
{
	if (s->mux.open_n || !s->mux.table || s->slot.kind != SSH_EVENT_NONE)
		return;
	ssh_mux_fini(s);
	ssh_mux_init(s);
}

static int grow_table(struct ssh *s)
{
	struct ssh_mux *m = &s->mux;
	const uint32_t max = s->config.channels_max;
	const uint32_t n = m->table_n ? m->table_n * 2 : TABLE_FIRST;
	const uint32_t size = n < max ? n : max;
	struct ssh_channel *table = mem_take_zeroed(s->config.mem, size * sizeof(*table));

	if (!table)
		return fault_set(&s->fault, ERR_NOMEM, "no memory for %u channels", size);
	if (m->table_n)
		memcpy(table, m->table, m->table_n * sizeof(*table));
	for (uint32_t i = size; i-- > m->table_n;) {
		table[i].next = m->free_head;
		m->free_head = i;
	}
	mem_give(s->config.mem, m->table);
	m->table = table;
	m->table_n = size;
	return 0;
}

/* A new channel's number, or ERR_FULL without a fault. */
static int64_t take_channel(struct ssh *s, enum ssh_channel_state state)
{
	struct ssh_mux *m = &s->mux;

	if (m->open_n >= s->config.channels_max)
		return ERR_FULL;
	if (m->free_head == NONE) {
		const int rc = grow_table(s);
		if (rc < 0)
			return rc;
	}
	const uint32_t id = m->free_head;
	m->free_head = m->table[id].next;
	m->table[id] = (struct ssh_channel){ .state = (uint8_t)state,
					     .next = NONE,
					     .prev = NONE,
					     .rx_window = s->config.window,
					     .rx_total = s->config.window };
	m->open_n++;
	return id;
}

static struct ssh_channel *channel_at(const struct ssh *s, uint32_t id)
{
	must(id < s->mux.table_n && s->mux.table[id].state != SSH_CHANNEL_FREE);
	return &s->mux.table[id];
}

/* --- the queue of channels with an event of their own --- */

static void enqueue(struct ssh *s, uint32_t id, bool front)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	if (c->queued)
		return;
	c->queued = true;
	c->next = front ? m->queue_head : NONE;
	c->prev = front ? NONE : m->queue_tail;
	*(c->prev == NONE ? &m->queue_head : &m->table[c->prev].next) = id;
	*(c->next == NONE ? &m->queue_tail : &m->table[c->next].prev) = id;
}

static void want_write(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	c->blocked = true;
	if (c->state == SSH_CHANNEL_OPEN && c->tx_window) /* else the peer's adjust will queue it */
		enqueue(s, id, false);
}

static void unqueue(struct ssh *s, uint32_t id)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	if (!c->queued)
		return;
	c->queued = false;
	*(c->prev == NONE ? &m->queue_head : &m->table[c->prev].next) = c->next;
	*(c->next == NONE ? &m->queue_tail : &m->table[c->next].prev) = c->prev;
}

/* The number may be used again.  `user` stays readable until it is. */
void ssh_mux_release(struct ssh *s, uint32_t id)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	unqueue(s, id);
	c->state = SSH_CHANNEL_FREE;
	c->next = m->free_head;
	m->free_head = id;
	m->open_n--;
}

/* --- sending --- */

static struct ssh_writer start(uint8_t bytes[SSH_HEAD_MAX], uint8_t type)
{
	struct ssh_writer w = ssh_writer_of(bytes, SSH_HEAD_MAX);

	ssh_put_u8(&w, type);
	return w;
}

static int send_plain(struct ssh *s, const struct ssh_channel *c, uint8_t type)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, type);

	ssh_put_u32(&w, c->remote);
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

static int send_adjust(struct ssh *s, struct ssh_channel *c, uint32_t more)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, SSH_MSG_CHANNEL_WINDOW_ADJUST);

	ssh_put_u32(&w, c->remote);
	ssh_put_u32(&w, more);
	c->rx_window += more;
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

static int send_open_failure(struct ssh *s, uint32_t remote, uint32_t code, const char *text)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, SSH_MSG_CHANNEL_OPEN_FAILURE);

	ssh_put_u32(&w, remote);
	ssh_put_u32(&w, code);
	ssh_put_string(&w, span_of(text, min_size(strlen(text), 256)));
	ssh_put_str(&w, "");
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

static int send_eof(struct ssh *s, struct ssh_channel *c)
{
	c->eof_sent = true;
	c->blocked = false;
	return send_plain(s, c, SSH_MSG_CHANNEL_EOF);
}

static int send_close(struct ssh *s, struct ssh_channel *c)
{
	if (c->close_sent)
		return 0;
	c->close_sent = true;
	return send_plain(s, c, SSH_MSG_CHANNEL_CLOSE);
}

/* The window opens again once half of it has been passed on. */
static int give_credit(struct ssh *s, struct ssh_channel *c, uint32_t n)
{
	c->rx_credit += n;
	if (c->rx_credit < c->rx_total / 2 || c->eof_got || c->close_sent ||
	    c->state != SSH_CHANNEL_OPEN)
		return 0;
	const uint32_t more = c->rx_credit;
	c->rx_credit = 0;
	return send_adjust(s, c, more);
}

/* --- messages of a channel --- */

static void event(struct ssh *s, enum ssh_event_kind kind, uint32_t id)
{
	s->slot = (struct ssh_event){ .kind = kind, .channel = id };
}

/* The peer's channel number of ours must be one, and in the right state. */
static int find(struct ssh *s, struct ssh_reader *r, uint8_t type, uint32_t *id,
		struct ssh_channel **out)
{
	*id = ssh_get_u32(r);
	if (r->bad)
		return fault_set(&s->fault, ERR_PROTO, "channel message %u is cut short", type);
	struct ssh_channel *c = *id < s->mux.table_n ? &s->mux.table[*id] : NULL;
	const bool answer = type == SSH_MSG_CHANNEL_OPEN_CONFIRMATION ||
			    type == SSH_MSG_CHANNEL_OPEN_FAILURE;
	if (!c || c->state != (answer ? SSH_CHANNEL_OPENING : SSH_CHANNEL_OPEN))
		return fault_set(&s->fault, ERR_PROTO, "message %u for channel %u, which is not open",
				 type, (unsigned)*id);
	*out = c;
	return 0;
}

static int on_open(struct ssh *s, struct ssh_reader *r, struct mspan packet)
{
	const struct span type = ssh_get_string(r);
	const uint32_t remote = ssh_get_u32(r), window = ssh_get_u32(r), max = ssh_get_u32(r);

	if (r->bad || max == 0)
		return ssh_cut_short(s, "CHANNEL_OPEN");
	const int64_t id = take_channel(s, SSH_CHANNEL_OFFERED);
	if (id == ERR_FULL)
		return send_open_failure(s, remote, SSH_OPEN_RESOURCE_SHORTAGE,
					 "too many channels");
	if (id < 0)
		return (int)id;
	struct ssh_channel *c = &s->mux.table[id];
	c->remote = remote;
	c->tx_window = window;
	c->tx_packet = max < SSH_DATA_MAX ? max : SSH_DATA_MAX;
	event(s, SSH_EVENT_CHANNEL_OPEN, (uint32_t)id);
	s->slot.name = type;
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	return 0;
}

static int on_confirmation(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r)
{
	const uint32_t remote = ssh_get_u32(r), window = ssh_get_u32(r), max = ssh_get_u32(r);

	if (r->bad || max == 0)
		return ssh_cut_short(s, "CHANNEL_OPEN_CONFIRMATION");
	c->remote = remote;
	c->tx_window = window;
	c->tx_packet = max < SSH_DATA_MAX ? max : SSH_DATA_MAX;
	c->state = SSH_CHANNEL_OPEN;
	if (c->close_wanted)
		return send_close(s, c);
	event(s, SSH_EVENT_CHANNEL_OPENED, id);
	if (c->blocked)
		want_write(s, c, id);
	/* grown before there was anybody to tell */
	const uint32_t more = c->rx_total - c->rx_window;
	const int rc = more ? send_adjust(s, c, more) : 0;
	return rc == 0 && c->eof_wanted ? send_eof(s, c) : rc;
}

static int on_open_failure(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
			   struct mspan packet)
{
	const uint32_t code = ssh_get_u32(r);
	const struct span text = ssh_get_string(r);

	if (r->bad)
		return ssh_cut_short(s, "CHANNEL_OPEN_FAILURE");
	c->state = SSH_CHANNEL_CLOSED;
	event(s, SSH_EVENT_CHANNEL_REFUSED, id);
	s->slot.code = code;
	s->slot.payload = ssh_part(packet, text);
	return 0;
}

static int on_adjust(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r)
{
	const uint32_t more = ssh_get_u32(r);

	if (r->bad)
		return ssh_cut_short(s, "CHANNEL_WINDOW_ADJUST");
	if (more == 0)
		return ssh_glitch(s, 1);
	if (more > UINT32_MAX - c->tx_window)
		return fault_set(&s->fault, ERR_PROTO, "the peer opens a window beyond 2^32-1");
	c->tx_window += more;
	if (c->blocked)
		enqueue(s, id, false);
	return 0;
}

/* What both kinds of data cost the peer. */
static int charge(struct ssh *s, struct ssh_channel *c, size_t n)
{
	if (n > SSH_DATA_MAX)
		return fault_set(&s->fault, ERR_PROTO, "%zu bytes of data in one packet", n);
	if (n > c->rx_window)
		return fault_set(&s->fault, ERR_PROTO, "%zu bytes of data for a window of %u", n,
				 (unsigned)c->rx_window);
	if (c->eof_got)
		return fault_set(&s->fault, ERR_PROTO, "data after the end of data");
	c->rx_window -= (uint32_t)n;
	return n ? 0 : ssh_glitch(s, 1);
}

static int on_data(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
		   struct mspan packet)
{
	const struct span data = ssh_get_string(r);

	if (r->bad || r->n)
		return ssh_cut_short(s, "CHANNEL_DATA");
	const int rc = charge(s, c, data.n);
	if (rc < 0 || data.n == 0 || c->close_sent)
		return rc;
	c->rx_held += (uint32_t)data.n;
	event(s, SSH_EVENT_CHANNEL_DATA, id);
	s->slot.payload = ssh_part(packet, data);
	return 0;
}

/* No stream but the first has a meaning here: counted and dropped. */
static int on_extended_data(struct ssh *s, struct ssh_channel *c, struct ssh_reader *r)
{
	(void)ssh_get_u32(r);
	const struct span data = ssh_get_string(r);

	if (r->bad || r->n)
		return ssh_cut_short(s, "CHANNEL_EXTENDED_DATA");
	const int rc = charge(s, c, data.n);
	if (rc < 0)
		return rc;
	s->stats.ignored++;
	return give_credit(s, c, (uint32_t)data.n);
}

static int on_eof(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	if (c->eof_got || c->close_sent) {
		c->eof_got = true;
		return ssh_glitch(s, 1);
	}
	c->eof_got = true;
	event(s, SSH_EVENT_CHANNEL_EOF, id);
	return 0;
}

static int on_close(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	const int rc = send_close(s, c);

	if (rc < 0)
		return rc;
	c->state = SSH_CHANNEL_CLOSED;
	c->blocked = false;
	event(s, SSH_EVENT_CHANNEL_CLOSED, id);
	return 0;
}

static int on_request(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
		      struct mspan packet)
{
	const struct span name = ssh_get_string(r);
	const bool want_reply = ssh_get_bool(r);

	if (r->bad)
		return ssh_cut_short(s, "CHANNEL_REQUEST");
	if (c->close_sent)
		return ssh_glitch(s, 1);
	event(s, SSH_EVENT_CHANNEL_REQUEST, id);
	s->slot.name = name;
	s->slot.want_reply = want_reply;
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	return want_reply ? send_plain(s, c, SSH_MSG_CHANNEL_FAILURE) : 0;
}

static int channel_message(struct ssh *s, uint8_t type, struct ssh_reader *r, struct mspan packet)
{
	struct ssh_channel *c = NULL;
	uint32_t id;
	const int rc = find(s, r, type, &id, &c);

	if (rc < 0)
		return rc;
	switch (type) {
	case SSH_MSG_CHANNEL_OPEN_CONFIRMATION:
		return on_confirmation(s, c, id, r);
	case SSH_MSG_CHANNEL_OPEN_FAILURE:
		return on_open_failure(s, c, id, r, packet);
	case SSH_MSG_CHANNEL_WINDOW_ADJUST:
		return on_adjust(s, c, id, r);
	case SSH_MSG_CHANNEL_DATA:
		return on_data(s, c, id, r, packet);
	case SSH_MSG_CHANNEL_EXTENDED_DATA:
		return on_extended_data(s, c, r);
	case SSH_MSG_CHANNEL_EOF:
		return on_eof(s, c, id);
	case SSH_MSG_CHANNEL_CLOSE:
		return on_close(s, c, id);
	case SSH_MSG_CHANNEL_REQUEST:
		return on_request(s, c, id, r, packet);
	}
	s->stats.unexpected_replies++; /* we never ask, so no reply is awaited */
	return 0;
}

/* --- global requests --- */

static int on_global_request(struct ssh *s, struct ssh_reader *r, struct mspan packet)
{
	const struct span name = ssh_get_string(r);
	const bool want_reply = ssh_get_bool(r);

	if (r->bad)
		return ssh_cut_short(s, "GLOBAL_REQUEST");
	if (want_reply && ++s->mux.answers_due > SSH_ANSWERS_MAX)
		return fault_set(&s->fault, ERR_LIMIT, "%u global requests wait for an answer",
				 (unsigned)s->mux.answers_due);
	event(s, SSH_EVENT_GLOBAL_REQUEST, 0);
	s->slot.name = name;
	s->slot.want_reply = want_reply;
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	return 0;
}

static int on_global_reply(struct ssh *s, bool ok, struct ssh_reader *r, struct mspan packet)
{
	struct ssh_mux *m = &s->mux;

	if (m->replies_n == 0) {
		s->stats.unexpected_replies++;
		return 0;
	}
	event(s, SSH_EVENT_GLOBAL_REPLY, 0);
	s->slot.ok = ok;
	s->slot.tag = m->replies[m->replies_at];
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	m->replies_at = (m->replies_at + 1) % SSH_REPLIES_MAX;
	m->replies_n--;
	return 0;
}

int ssh_mux_message(struct ssh *s, uint8_t type, struct mspan packet)
{
	struct ssh_reader r = ssh_reader_of(span_of(packet.p + 1, packet.n - 1));

	switch (type) {
	case SSH_MSG_GLOBAL_REQUEST:
		return on_global_request(s, &r, packet);
	case SSH_MSG_REQUEST_SUCCESS:
	case SSH_MSG_REQUEST_FAILURE:
		return on_global_reply(s, type == SSH_MSG_REQUEST_SUCCESS, &r, packet);
	case SSH_MSG_CHANNEL_OPEN:
		return on_open(s, &r, packet);
	}
	if (type > SSH_MSG_CHANNEL_OPEN && type <= SSH_MSG_CHANNEL_FAILURE)
		return channel_message(s, type, &r, packet);
	return ssh_transport_unknown(s);
}

int ssh_global_request(struct ssh *s, const char *name, bool want_reply, struct span payload,
		       uint64_t tag)
{
	struct ssh_mux *m = &s->mux;
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, SSH_MSG_GLOBAL_REQUEST);

	if (!ssh_is_live(s))
		return s->fault.code ? (int)s->fault.code : ERR_CLOSED;
	must(s->phase == SSH_PHASE_OPEN);
	ssh_put_str(&w, name);
	ssh_put_u8(&w, want_reply);
	if (w.full || payload.n > SSH_DATA_MAX)
		return ERR_LIMIT;
	if (want_reply && m->replies_n == SSH_REPLIES_MAX)
		return ERR_FULL;
	const int rc = ssh_send(s, ssh_written(&w), payload);
	if (rc < 0)
		return ssh_sticky(s, rc);
	if (want_reply) {
		m->replies[(m->replies_at + m->replies_n) % SSH_REPLIES_MAX] = tag;
		m->replies_n++;
	}
	return 0;
}

void ssh_global_answer(struct ssh *s, bool ok, struct span payload)
{
	const uint8_t type = ok ? SSH_MSG_REQUEST_SUCCESS : SSH_MSG_REQUEST_FAILURE;

	if (!ssh_is_live(s))
		return;
	must(s->mux.answers_due > 0 && payload.n <= SSH_DATA_MAX);
	s->mux.answers_due--;
	(void)ssh_sticky(s, ssh_send(s, span_of(&type, 1), payload));
}

/* --- channels, the caller's side --- */

int ssh_channel_open(struct ssh *s, const char *type, struct span extra)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, SSH_MSG_CHANNEL_OPEN);

	if (!ssh_is_live(s))
		return s->fault.code ? (int)s->fault.code : ERR_CLOSED;
	must(s->phase == SSH_PHASE_OPEN);
	const int64_t id = take_channel(s, SSH_CHANNEL_OPENING);
	if (id == ERR_FULL)
		return ERR_FULL;
	if (id < 0)
		return ssh_sticky(s, (int)id);
	ssh_put_str(&w, type);
	ssh_put_u32(&w, (uint32_t)id);
	ssh_put_u32(&w, s->config.window);
	ssh_put_u32(&w, SSH_DATA_MAX);
	must(!w.full && extra.n <= SSH_DATA_MAX);
	const int rc = ssh_send(s, ssh_written(&w), extra);
	return rc < 0 ? ssh_sticky(s, rc) : (int)id;
}

void ssh_channel_accept(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	must(c->state == SSH_CHANNEL_OFFERED);
	c->state = SSH_CHANNEL_OPEN;
	c->rx_window = c->rx_total;
	if (c->blocked)
		want_write(s, c, id);

	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = start(bytes, SSH_MSG_CHANNEL_OPEN_CONFIRMATION);
	ssh_put_u32(&w, c->remote);
	ssh_put_u32(&w, id);
	ssh_put_u32(&w, c->rx_window);
	ssh_put_u32(&w, SSH_DATA_MAX);
	int rc = ssh_send(s, ssh_written(&w), (struct span){ 0 });
	if (rc == 0 && c->eof_wanted)
		rc = send_eof(s, c);
	(void)ssh_sticky(s, rc);
}

void ssh_channel_reject(struct ssh *s, uint32_t id, enum ssh_open_failure code, const char *text)
{
	if (!ssh_is_live(s))
		return;
	const struct ssh_channel *c = channel_at(s, id);
	must(c->state == SSH_CHANNEL_OFFERED);
	const uint32_t remote = c->remote;

	ssh_mux_release(s, id);
	(void)ssh_sticky(s, send_open_failure(s, remote, code, text));
}

/* The data bytes that fit into `room` bytes of what may wait. */
static size_t fit(const struct ssh *s, size_t room)
{
	const size_t over = ssh_tx_cost(&s->tx, DATA_HEAD);

	return room > over ? room - over : 0;
}

static size_t tx_room(const struct ssh *s)
{
	return s->tx.held < s->config.tx_max ? s->config.tx_max - s->tx.held : 0;
}

static bool is_writable(const struct ssh *s, const struct ssh_channel *c)
{
	return ssh_is_live(s) && c->state == SSH_CHANNEL_OPEN && !c->eof_sent && !c->close_sent;
}

size_t ssh_channel_writable(const struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return 0;
	const struct ssh_channel *c = channel_at(s, id);
	if (!is_writable(s, c) || ssh_is_holding(s))
		return 0;

	const size_t room = tx_room(s);
	const size_t whole = ssh_tx_cost(&s->tx, DATA_HEAD + c->tx_packet);
	const size_t rest = min_size(fit(s, room % whole), c->tx_packet);
	const size_t n = room / whole * c->tx_packet + (rest >= PIECE_MIN ? rest : 0);
	return min_size(n, c->tx_window);
}

/* How much of n bytes the next packet takes; 0 when it is not worth one. */
static size_t next_piece(const struct ssh *s, const struct ssh_channel *c, size_t n)
{
	const size_t want = min_size(n, min_size(c->tx_window, c->tx_packet));
	const size_t room = fit(s, tx_room(s));

	return want <= room ? want : room >= PIECE_MIN ? room : 0;
}

static int send_data(struct ssh *s, struct ssh_channel *c, struct span data)
{
	uint8_t head[DATA_HEAD];

	head[0] = SSH_MSG_CHANNEL_DATA;
	put_be(head + 1, 4, c->remote);
	put_be(head + 5, 4, data.n);
	const int rc = ssh_send_now(s, span_of(head, sizeof(head)), data);
	if (rc < 0)
		return rc;
	c->tx_window -= (uint32_t)data.n;
	return 0;
}

int ssh_channel_write(struct ssh *s, uint32_t id, const uint8_t *p, size_t n)
{
	if (!ssh_is_live(s))
		return s->fault.code;
	struct ssh_channel *c = channel_at(s, id);
	must(!c->eof_sent);
	if (!is_writable(s, c))
		return 0;
	if (ssh_is_holding(s)) {
		want_write(s, c, id);
		return 0;
	}

	size_t done = 0;
	n = min_size(n, INT32_MAX);
	while (done < n) {
		const size_t piece = next_piece(s, c, n - done);
		if (piece == 0)
			break;
		const int rc = send_data(s, c, span_of(p + done, piece));
		if (rc < 0)
			return ssh_sticky(s, rc);
		done += piece;
	}
	if (done < n)
		want_write(s, c, id);
	/* Only now: what ssh_channel_writable() said still held. */
	const int rc = ssh_transport_wear(s);
	return rc < 0 ? ssh_sticky(s, rc) : (int)done;
}

void ssh_channel_want_write(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	if (c->eof_sent || c->close_sent || c->state == SSH_CHANNEL_CLOSED)
		return;
	want_write(s, c, id);
}

bool ssh_mux_next(struct ssh *s, struct ssh_event *ev)
{
	struct ssh_mux *m = &s->mux;

	while (m->queue_head != NONE) {
		const uint32_t id = m->queue_head;
		struct ssh_channel *c = &m->table[id];

		*ev = (struct ssh_event){ .channel = id };
		if (c->state == SSH_CHANNEL_CLOSED) {
			ev->kind = SSH_EVENT_CHANNEL_CLOSED;
			ssh_mux_release(s, id);
			return true;
		}
		/* not at the first free byte: a wake per packet would be dear */
		if (ssh_is_holding(s) || s->tx.held > s->config.tx_max / 2)
			break;
		unqueue(s, id);
		if (!c->blocked || !is_writable(s, c) || c->tx_window == 0)
			continue;
		c->blocked = false;
		ev->kind = SSH_EVENT_CHANNEL_WRITABLE;
		return true;
	}
	*ev = (struct ssh_event){ 0 };
	return false;
}

void ssh_channel_credit(struct ssh *s, uint32_t id, size_t n)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	must(n <= c->rx_held);
	c->rx_held -= (uint32_t)n;
	(void)ssh_sticky(s, give_credit(s, c, (uint32_t)n));
}

void ssh_channel_grow(struct ssh *s, uint32_t id, uint32_t more)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	if (more > UINT32_MAX - c->rx_total)
		more = UINT32_MAX - c->rx_total;
	c->rx_total += more;
	if (more && c->state == SSH_CHANNEL_OPEN && !c->eof_got && !c->close_sent)
		(void)ssh_sticky(s, send_adjust(s, c, more));
}

void ssh_channel_eof(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	if (c->state == SSH_CHANNEL_OPENING || c->state == SSH_CHANNEL_OFFERED)
		c->eof_wanted = true;
	else if (is_writable(s, c))
		(void)ssh_sticky(s, send_eof(s, c));
}

void ssh_channel_close(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = channel_at(s, id);
	int rc = 0;

	switch ((enum ssh_channel_state)c->state) {
	case SSH_CHANNEL_OPENING:
		c->close_wanted = true; /* when the peer has said its number */
		break;
	case SSH_CHANNEL_OFFERED:
		rc = send_open_failure(s, c->remote, SSH_OPEN_CONNECT_FAILED, "closed");
		c->state = SSH_CHANNEL_CLOSED;
		enqueue(s, id, true);
		break;
	case SSH_CHANNEL_OPEN:
		rc = send_close(s, c);
		break;
	case SSH_CHANNEL_CLOSED:
	case SSH_CHANNEL_FREE:
		break;
	}
	(void)ssh_sticky(s, rc);
}

void ssh_channel_set_user(struct ssh *s, uint32_t id, void *user)
{
	channel_at(s, id)->user = user;
}

void *ssh_channel_user(const struct ssh *s, uint32_t id)
{
	return id < s->mux.table_n ? s->mux.table[id].user : NULL;
}

uint32_t ssh_channels_open(const struct ssh *s)
{
	return s->mux.open_n;
}
