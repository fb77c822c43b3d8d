/*
 * ssh_channel -- the caller's side of channels: open, accept, write, credit, end
 * (RFC 4254, section 5). Messages of the peer about channels are handled in
 * ssh_mux.c.
 */
#include "lib/proto/ssh/ssh_channel.h"

enum {
	PIECE_MIN = 1024, /* smaller room is not worth a packet */
	DATA_HEAD = 9,	  /* type, channel, length */
};

/* --- what is said about channels --- */

struct ssh_writer ssh_channel_head(uint8_t bytes[SSH_HEAD_MAX], uint8_t type)
{
	struct ssh_writer w = ssh_writer_of(bytes, SSH_HEAD_MAX);

	ssh_put_u8(&w, type);
	return w;
}

int ssh_channel_say(struct ssh *s, const struct ssh_channel *c, uint8_t type)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_channel_head(bytes, type);

	ssh_put_u32(&w, c->remote);
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

int ssh_channel_say_adjust(struct ssh *s, struct ssh_channel *c, uint32_t more)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_channel_head(bytes, SSH_MSG_CHANNEL_WINDOW_ADJUST);

	ssh_put_u32(&w, c->remote);
	ssh_put_u32(&w, more);
	c->rx_window += more;
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

int ssh_channel_say_failure(struct ssh *s, uint32_t remote, uint32_t code, const char *text)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_channel_head(bytes, SSH_MSG_CHANNEL_OPEN_FAILURE);

	ssh_put_u32(&w, remote);
	ssh_put_u32(&w, code);
	ssh_put_string(&w, span_of(text, min_size(strlen(text), 256)));
	ssh_put_str(&w, "");
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

int ssh_channel_say_eof(struct ssh *s, struct ssh_channel *c)
{
	c->eof_sent = true;
	ssh_scheduler_leave(s, (uint32_t)(c - s->mux.table));
	return ssh_channel_say(s, c, SSH_MSG_CHANNEL_EOF);
}

int ssh_channel_say_close(struct ssh *s, struct ssh_channel *c)
{
	if (c->close_sent)
		return 0;
	c->close_sent = true;
	ssh_scheduler_leave(s, (uint32_t)(c - s->mux.table));
	return ssh_channel_say(s, c, SSH_MSG_CHANNEL_CLOSE);
}

/* The window opens again once half of it has been passed on. */
int ssh_channel_give_credit(struct ssh *s, struct ssh_channel *c, uint32_t n)
{
	c->rx_credit += n;
	if (c->rx_credit < c->rx_total / 2 || c->eof_got || c->close_sent ||
	    c->state != SSH_CHANNEL_OPEN)
		return 0;
	const uint32_t more = c->rx_credit;
	c->rx_credit = 0;
	return ssh_channel_say_adjust(s, c, more);
}

/* --- channels, the caller's side --- */

int ssh_channel_open(struct ssh *s, const char *type, struct span extra)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_channel_head(bytes, SSH_MSG_CHANNEL_OPEN);

	if (!ssh_is_live(s))
		return s->fault.code ? (int)s->fault.code : ERR_CLOSED;
	must(s->phase == SSH_PHASE_OPEN);
	const int64_t id = ssh_channel_alloc(s, SSH_CHANNEL_OPENING);
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
	struct ssh_channel *c = ssh_channel_at(s, id);
	must(c->state == SSH_CHANNEL_OFFERED);
	c->state = SSH_CHANNEL_OPEN;
	c->rx_window = c->rx_total;
	if (c->blocked)
		ssh_scheduler_block(s, c, id);

	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_channel_head(bytes, SSH_MSG_CHANNEL_OPEN_CONFIRMATION);
	ssh_put_u32(&w, c->remote);
	ssh_put_u32(&w, id);
	ssh_put_u32(&w, c->rx_window);
	ssh_put_u32(&w, SSH_DATA_MAX);
	int rc = ssh_send(s, ssh_written(&w), (struct span){ 0 });
	if (rc == 0 && c->eof_wanted)
		rc = ssh_channel_say_eof(s, c);
	(void)ssh_sticky(s, rc);
}

void ssh_channel_reject(struct ssh *s, uint32_t id, enum ssh_open_failure code, const char *text)
{
	if (!ssh_is_live(s))
		return;
	const struct ssh_channel *c = ssh_channel_at(s, id);
	must(c->state == SSH_CHANNEL_OFFERED);
	const uint32_t remote = c->remote;

	ssh_mux_release(s, id);
	(void)ssh_sticky(s, ssh_channel_say_failure(s, remote, code, text));
}

/* The data bytes that fit into `room` bytes of what may wait. */
static size_t fit(const struct ssh *s, size_t room)
{
	const size_t over = ssh_tx_cost(&s->tx, DATA_HEAD);

	return room > over ? room - over : 0;
}

/* Room for sealed bytes of this channel: what is promised to others is not. */
static size_t tx_room(const struct ssh *s, const struct ssh_channel *c)
{
	const size_t taken = s->tx.held + s->mux.promised - c->promise;

	return taken < s->tx_bound ? s->tx_bound - taken : 0;
}

static bool is_writable(const struct ssh *s, const struct ssh_channel *c)
{
	return ssh_is_live(s) && c->state == SSH_CHANNEL_OPEN && !c->eof_sent && !c->close_sent;
}

size_t ssh_channel_writable(const struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return 0;
	const struct ssh_channel *c = ssh_channel_at(s, id);
	if (!is_writable(s, c) || ssh_is_holding(s))
		return 0;

	const size_t room = tx_room(s, c);
	const size_t whole = ssh_tx_cost(&s->tx, DATA_HEAD + c->tx_packet);
	const size_t rest = min_size(fit(s, room % whole), c->tx_packet);
	const size_t n = room / whole * c->tx_packet + (rest >= PIECE_MIN ? rest : 0);
	return min_size(min_size(n, c->tx_window), ssh_scheduler_allow(s, c));
}

/* How much of n bytes the next packet takes; 0 when it is not worth one. */
static size_t next_piece(const struct ssh *s, const struct ssh_channel *c, size_t n)
{
	const size_t want = min_size(n, min_size(c->tx_window, c->tx_packet));
	const size_t room = tx_room(s, c);

	/* Not by fit(), which takes padding for lost: ssh_channel_writable() counts
	 * whole packets by their cost. */
	if (ssh_tx_cost(&s->tx, DATA_HEAD + want) <= room)
		return want;
	const size_t part = min_size(fit(s, room), want);
	return part == want || part >= PIECE_MIN ? part : 0;
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
	c->tx_since_adjust = true;
	return 0;
}

int ssh_channel_write(struct ssh *s, uint32_t id, const uint8_t *p, size_t n)
{
	if (!ssh_is_live(s))
		return s->fault.code;
	struct ssh_channel *c = ssh_channel_at(s, id);
	must(!c->eof_sent);
	if (!is_writable(s, c))
		return 0;
	if (ssh_is_holding(s)) {
		ssh_scheduler_block(s, c, id);
		return 0;
	}

	size_t done = 0;
	n = min_size(n, INT32_MAX);
	const size_t most = min_size(n, ssh_scheduler_allow(s, c));
	while (done < most) {
		const size_t piece = next_piece(s, c, most - done);
		if (piece == 0)
			break;
		const int rc = send_data(s, c, span_of(p + done, piece));
		if (rc < 0)
			return ssh_sticky(s, rc);
		done += piece;
	}
	ssh_scheduler_used(s, c, id, done);
	if (done < n)
		ssh_scheduler_block(s, c, id);
	/* Only now: what ssh_channel_writable() said still held. */
	const int rc = ssh_transport_rekey_if_due(s);
	return rc < 0 ? ssh_sticky(s, rc) : (int)done;
}

void ssh_channel_want_write(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	if (c->eof_sent || c->close_sent || c->state == SSH_CHANNEL_CLOSED)
		return;
	ssh_scheduler_block(s, c, id);
}

void ssh_channel_credit(struct ssh *s, uint32_t id, size_t n)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	must(n <= c->rx_held);
	c->rx_held -= (uint32_t)n;
	if (!s->config.manual_windows)
		(void)ssh_sticky(s, ssh_channel_give_credit(s, c, (uint32_t)n));
}

void ssh_channel_grow(struct ssh *s, uint32_t id, uint32_t more)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	/* By hand the size at rest is the caller's, and only the sum has a bound. */
	const bool by_hand = s->config.manual_windows && c->state == SSH_CHANNEL_OPEN;
	const uint32_t have = by_hand ? c->rx_window : c->rx_total;
	if (more > UINT32_MAX - have)
		more = UINT32_MAX - have;
	if (!by_hand)
		c->rx_total += more;
	if (more && c->state == SSH_CHANNEL_OPEN && !c->eof_got && !c->close_sent)
		(void)ssh_sticky(s, ssh_channel_say_adjust(s, c, more));
}

void ssh_channel_eof(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	if (c->state == SSH_CHANNEL_OPENING || c->state == SSH_CHANNEL_OFFERED)
		c->eof_wanted = true;
	else if (is_writable(s, c))
		(void)ssh_sticky(s, ssh_channel_say_eof(s, c));
}

void ssh_channel_close(struct ssh *s, uint32_t id)
{
	if (!ssh_is_live(s))
		return;
	struct ssh_channel *c = ssh_channel_at(s, id);
	int rc = 0;

	switch ((enum ssh_channel_state)c->state) {
	case SSH_CHANNEL_OPENING:
		c->close_wanted = true; /* when the peer has said its number */
		break;
	case SSH_CHANNEL_OFFERED:
		rc = ssh_channel_say_failure(s, c->remote, SSH_OPEN_CONNECT_FAILED, "closed");
		c->state = SSH_CHANNEL_CLOSED;
		ssh_scheduler_owe_closed(s, id);
		break;
	case SSH_CHANNEL_OPEN:
		rc = ssh_channel_say_close(s, c);
		break;
	case SSH_CHANNEL_CLOSED:
	case SSH_CHANNEL_FREE:
		break;
	}
	(void)ssh_sticky(s, rc);
}

void ssh_channel_set_user(struct ssh *s, uint32_t id, void *user)
{
	ssh_channel_at(s, id)->user = user;
}

void *ssh_channel_user(const struct ssh *s, uint32_t id)
{
	return id < s->mux.table_n ? s->mux.table[id].user : NULL;
}

uint32_t ssh_channels_open(const struct ssh *s)
{
	return s->mux.open_n;
}
