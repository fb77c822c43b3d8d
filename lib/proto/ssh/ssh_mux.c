/*
 * What a peer says about channels and global requests (RFC 4254): windows,
 * half-close, and the order of closing.
 *
 * Every message that a peer can send without need or measure either counts
 * against a window, or against the glitch budget, or is answered within the
 * bounded room for control messages.
 */
#include "lib/proto/ssh/ssh_channel.h"

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
	const bool answer =
		type == SSH_MSG_CHANNEL_OPEN_CONFIRMATION || type == SSH_MSG_CHANNEL_OPEN_FAILURE;
	if (!c || c->state != (answer ? SSH_CHANNEL_OPENING : SSH_CHANNEL_OPEN))
		return fault_set(&s->fault, ERR_PROTO,
				 "message %u for channel %u, which is not open", type,
				 (unsigned)*id);
	*out = c;
	return 0;
}

static int on_open(struct ssh *s, struct ssh_reader *r, struct mspan packet)
{
	const struct span type = ssh_get_string(r);
	const uint32_t remote = ssh_get_u32(r), window = ssh_get_u32(r), max = ssh_get_u32(r);

	if (r->bad || max < LIMIT_CHANNEL_PACKET_MIN)
		return ssh_malformed(s, "CHANNEL_OPEN");
	const int64_t id = ssh_channel_alloc(s, SSH_CHANNEL_OFFERED);
	if (id == ERR_FULL)
		return ssh_channel_say_failure(s, remote, SSH_OPEN_RESOURCE_SHORTAGE,
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

	if (r->bad || max < LIMIT_CHANNEL_PACKET_MIN)
		return ssh_malformed(s, "CHANNEL_OPEN_CONFIRMATION");
	c->remote = remote;
	c->tx_window = window;
	c->tx_packet = max < SSH_DATA_MAX ? max : SSH_DATA_MAX;
	c->state = SSH_CHANNEL_OPEN;
	if (c->close_wanted)
		return ssh_channel_say_close(s, c);
	event(s, SSH_EVENT_CHANNEL_OPENED, id);
	ssh_scheduler_opened(s, c, id);
	/* grown before there was anybody to tell */
	const uint32_t more = c->rx_total - c->rx_window;
	const int rc = more ? ssh_channel_say_adjust(s, c, more) : 0;
	return rc == 0 && c->eof_wanted ? ssh_channel_say_eof(s, c) : rc;
}

static int on_open_failure(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
			   struct mspan packet)
{
	const uint32_t code = ssh_get_u32(r);
	const struct span text = ssh_get_string(r);

	if (r->bad)
		return ssh_malformed(s, "CHANNEL_OPEN_FAILURE");
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
		return ssh_malformed(s, "CHANNEL_WINDOW_ADJUST");
	if (more < LIMIT_SMALL_ADJUST && !c->tx_since_adjust &&
	    ssh_glitch(s, GLITCH_SMALL_ADJUST, 1) < 0)
		return s->fault.code;
	c->tx_since_adjust = false;
	if (more > UINT32_MAX - c->tx_window)
		return fault_set(&s->fault, ERR_PROTO, "the peer opens a window beyond 2^32-1");
	c->tx_window += more;
	ssh_scheduler_opened(s, c, id);
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
	return n ? 0 : ssh_glitch(s, GLITCH_EMPTY_DATA, 1);
}

static int on_data(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
		   struct mspan packet)
{
	const struct span data = ssh_get_string(r);

	if (r->bad || r->n)
		return ssh_malformed(s, "CHANNEL_DATA");
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
		return ssh_malformed(s, "CHANNEL_EXTENDED_DATA");
	const int rc = charge(s, c, data.n);
	if (rc < 0)
		return rc;
	s->stats.ignored++;
	return ssh_channel_give_credit(s, c, (uint32_t)data.n);
}

static int on_eof(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	if (c->eof_got || c->close_sent) {
		c->eof_got = true;
		return ssh_glitch(s, GLITCH_REPEATED, 1);
	}
	c->eof_got = true;
	event(s, SSH_EVENT_CHANNEL_EOF, id);
	return 0;
}

static int on_close(struct ssh *s, struct ssh_channel *c, uint32_t id)
{
	const int rc = ssh_channel_say_close(s, c);

	if (rc < 0)
		return rc;
	c->state = SSH_CHANNEL_CLOSED;
	event(s, SSH_EVENT_CHANNEL_CLOSED, id);
	return 0;
}

static int on_request(struct ssh *s, struct ssh_channel *c, uint32_t id, struct ssh_reader *r,
		      struct mspan packet)
{
	const struct span name = ssh_get_string(r);
	const bool want_reply = ssh_get_bool(r);

	if (r->bad)
		return ssh_malformed(s, "CHANNEL_REQUEST");
	const int rc = ssh_glitch(s, GLITCH_REQUEST, LIMIT_REQUEST_COST);
	if (rc < 0 || c->close_sent)
		return rc;
	event(s, SSH_EVENT_CHANNEL_REQUEST, id);
	s->slot.name = name;
	s->slot.want_reply = want_reply;
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	return want_reply ? ssh_channel_say(s, c, SSH_MSG_CHANNEL_FAILURE) : 0;
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
	return ssh_glitch(s, GLITCH_UNEXPECTED_REPLY, 1);
}

/* --- global requests --- */

static int on_global_request(struct ssh *s, struct ssh_reader *r, struct mspan packet)
{
	const struct span name = ssh_get_string(r);
	const bool want_reply = ssh_get_bool(r);

	if (r->bad)
		return ssh_malformed(s, "GLOBAL_REQUEST");
	const int rc = ssh_glitch(s, GLITCH_REQUEST, LIMIT_REQUEST_COST);
	if (rc < 0)
		return rc;
	if (want_reply && ++s->mux.answers_due > LIMIT_SSH_ANSWERS)
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
		return ssh_glitch(s, GLITCH_UNEXPECTED_REPLY, 1);
	}
	event(s, SSH_EVENT_GLOBAL_REPLY, 0);
	s->slot.ok = ok;
	s->slot.tag = m->replies[m->replies_at];
	s->slot.payload = ssh_part(packet, ssh_get_rest(r));
	m->replies_at = (m->replies_at + 1) % LIMIT_SSH_REPLIES;
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
	struct ssh_writer w = ssh_channel_head(bytes, SSH_MSG_GLOBAL_REQUEST);

	if (!ssh_is_live(s))
		return s->fault.code ? (int)s->fault.code : ERR_CLOSED;
	must(s->phase == SSH_PHASE_OPEN);
	ssh_put_str(&w, name);
	ssh_put_u8(&w, want_reply);
	if (w.full || payload.n > SSH_REQUEST_MAX)
		return ERR_LIMIT;
	if (want_reply && m->replies_n == LIMIT_SSH_REPLIES)
		return ERR_FULL;
	const int rc = ssh_send(s, ssh_written(&w), payload);
	if (rc < 0)
		return ssh_sticky(s, rc);
	if (want_reply) {
		m->replies[(m->replies_at + m->replies_n) % LIMIT_SSH_REPLIES] = tag;
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
