/*
 * The channels of a connection that is let in: what their users ask of libssh2, and one
 * pump that hands out what has come until nothing moves any more.
 */
#include "lib/base/limits.h"
#include "lib/io/ssh2/ssh2_private.h"

enum { READ_MAX = 32 * 1024 }; /* one piece: what a packet of the server may carry */
#define PING_CHANNEL "ping@pipeops.io"

static struct ssh2_slot *slot_of(void *link, uint32_t channel)
{
	struct ssh2 *s = link;

	must(channel < s->slots_n && s->slots[channel].channel);
	return &s->slots[channel];
}

/* False when the owner is done with us. */
static bool emit(struct ssh2 *s, const struct ssh_event *ev)
{
	s->handler->on_event(s->user, ev);
	return ssh2_lives(s) && !s->fault.code;
}

/* ---- what the channels' users ask for ---- */

static void accept_channel(void *link, uint32_t channel)
{
	slot_of(link, channel)->accepted = true;
}

static void close_channel(void *link, uint32_t channel)
{
	slot_of(link, channel)->closing = true; /* the next pump sees to it */
}

static void reject(void *link, uint32_t channel, enum ssh_open_failure code, const char *text)
{
	(void)code; /* libssh2 has confirmed it already */
	(void)text;
	slot_of(link, channel)->told = true;
	close_channel(link, channel);
}

static size_t room(const struct ssh2 *s)
{
	const size_t waiting = buf_len(&s->tx) + buf_len(&s->flight);

	return waiting < s->tx_max ? s->tx_max - waiting : 0;
}

static size_t writable(void *link, uint32_t channel)
{
	const struct ssh2_slot *slot = slot_of(link, channel);

	if (slot->closing || slot->eof_due || !ssh2_lives(link))
		return 0;
	return min_size(room(link), libssh2_channel_window_write_ex(slot->channel, NULL));
}

static int write_channel(void *link, uint32_t channel, const uint8_t *p, size_t n)
{
	struct ssh2 *s = link;
	struct ssh2_slot *slot = slot_of(link, channel);
	size_t done = 0;

	while (done < n && writable(link, channel)) {
		const ssize_t rc = libssh2_channel_write_ex(slot->channel, 0,
							    (const char *)p + done, n - done);

		/* Amid a key exchange; what is offered again must be the same bytes. */
		if (rc == LIBSSH2_ERROR_EAGAIN)
			break;
		if (rc < 0)
			return ssh2_fail_library(s, (int)rc, "sending to a channel");
		if (rc == 0) { /* a channel whose packets may hold nothing */
			slot->closing = true;
			break;
		}
		done += (size_t)rc;
	}
	slot->want = done < n;
	return (int)done;
}

static void want_write(void *link, uint32_t channel)
{
	slot_of(link, channel)->want = true;
}

/* Nobody else waits for a turn of theirs: each pump tells all that may write. */
static void pass(void *link, uint32_t channel)
{
	(void)link;
	(void)channel;
}

static void grow(void *link, uint32_t channel, uint32_t more)
{
	(void)link;
	(void)channel;
	must(!more); /* own_windows */
}

static void credit(void *link, uint32_t channel, size_t n)
{
	struct ssh2_slot *slot = slot_of(link, channel);

	must(n <= slot->held);
	slot->held -= n;
	((struct ssh2 *)link)->held -= n;
}

static void eof(void *link, uint32_t channel)
{
	slot_of(link, channel)->eof_due = true;
}

static void set_user(void *link, uint32_t channel, void *user)
{
	slot_of(link, channel)->user = user;
}

static void *user_of(void *link, uint32_t channel)
{
	return slot_of(link, channel)->user;
}

static void flush(void *link)
{
	ssh2_flush(link);
}

static const struct channels_ops ops = {
	.accept = accept_channel,
	.reject = reject,
	.writable = writable,
	.write = write_channel,
	.want_write = want_write,
	.pass = pass,
	.grow = grow,
	.credit = credit,
	.eof = eof,
	.close = close_channel,
	.set_user = set_user,
	.user = user_of,
	.flush = flush,
};

struct channels ssh2_channels(struct ssh2 *s)
{
	return (struct channels){ .ops = &ops, .link = s, .own_windows = true };
}

int ssh2_ping(struct ssh2 *s, uint64_t tag)
{
	if (s->phase != SSH2_READY || s->pinging)
		return ERR_FULL;
	s->pinging = true;
	s->ping_tag = tag;
	return 0;
}

void ssh2_unlisten(struct ssh2 *s)
{
	s->unlistening = s->phase == SSH2_READY;
}

/* ---- what comes ---- */

static struct ssh2_slot *free_slot(struct ssh2 *s)
{
	for (uint32_t i = 0; i < s->slots_n; i++)
		if (!s->slots[i].channel)
			return &s->slots[i];
	return NULL;
}

/* One that waits at a listener: 1, 0 without. */
static int take_open(struct ssh2 *s, size_t at)
{
	/* Those that find no place wait in libssh2's queue, which is bounded too. */
	struct ssh2_slot *slot = free_slot(s);
	LIBSSH2_CHANNEL *c = slot ? libssh2_channel_forward_accept(s->listeners[at]) : NULL;

	if (!c) {
		const int rc = slot ? libssh2_session_last_errno(s->session) : 0;

		/* All that is not "later" is a failure of the connection below. */
		return !slot || rc == LIBSSH2_ERROR_EAGAIN
			       ? 0
			       : ssh2_fail_library(s, rc, "SSH connection");
	}
	*slot = (struct ssh2_slot){ .channel = c };
	(void)libssh2_channel_handle_extended_data2(c, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
	emit(s, &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_OPEN,
				     .channel = (uint32_t)(slot - s->slots),
				     .name = span_str("forwarded-tcpip"),
				     .tag = at });
	return 1;
}

static bool accept_all(struct ssh2 *s)
{
	bool moved = false;

	for (size_t i = 0; i < s->listens_n; i++)
		while (s->listeners[i] && ssh2_lives(s) && !s->fault.code && take_open(s, i) == 1)
			moved = true;
	return moved;
}

/* The end of what the peer sends, or of the channel. */
static bool read_end(struct ssh2 *s, struct ssh2_slot *slot, uint32_t channel)
{
	bool moved = false;

	if (!slot->eof_told) {
		slot->eof_told = moved = true;
		if (!emit(s,
			  &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_EOF, .channel = channel }))
			return true;
	}
	/* 0: closed by the peer; an error: data after its end of file. */
	if (!slot->closing && libssh2_channel_wait_closed(slot->channel) != LIBSSH2_ERROR_EAGAIN)
		slot->closing = moved = true;
	return moved;
}

/* Where memory is short one read of each channel goes on: none is held up for good
 * by those whose readers are slow. */
static bool may_read(const struct ssh2 *s, const struct ssh2_slot *slot)
{
	return slot->accepted && !slot->closing && slot->held < LIMIT_SSH2_HELD &&
	       (s->held < s->held_max || !slot->held);
}

static bool read_slot(struct ssh2 *s, struct ssh2_slot *slot, uint32_t channel)
{
	static uint8_t piece[READ_MAX]; /* of the loop's one thread; handed on before the next */
	bool moved = false;

	if (slot->eof_told)
		return read_end(s, slot, channel);
	if (!slot->accepted && libssh2_channel_wait_closed(slot->channel) == 0)
		return slot->closing = true;
	while (may_read(s, slot)) {
		const ssize_t n =
			libssh2_channel_read_ex(slot->channel, 0, (char *)piece, sizeof(piece));

		if (n == LIBSSH2_ERROR_EAGAIN)
			break;
		if (n < 0) {
			ssh2_fail_library(s, (int)n, "SSH connection");
			return true;
		}
		if (n == 0)
			return libssh2_channel_eof(slot->channel) == 1
				       ? read_end(s, slot, channel) | moved
				       : moved;
		slot->held += (size_t)n;
		s->held += (size_t)n;
		moved = true;
		if (!emit(s, &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_DATA,
						  .channel = channel,
						  .payload = { piece, (size_t)n } }))
			return true;
	}
	return moved;
}

/* ---- what goes ---- */

static bool finish(struct ssh2 *s, struct ssh2_slot *slot, uint32_t channel)
{
	/* Errors are the connection's, and found where it is read. */
	if (libssh2_channel_free(slot->channel) == LIBSSH2_ERROR_EAGAIN)
		return false;
	if (!slot->told && slot->user)
		emit(s,
		     &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_CLOSED, .channel = channel });
	s->held -= slot->held;
	*slot = (struct ssh2_slot){ 0 };
	return true;
}

static bool step_slot(struct ssh2 *s, struct ssh2_slot *slot, uint32_t channel)
{
	bool moved = slot->closing ? false : read_slot(s, slot, channel);

	if (!ssh2_lives(s) || s->fault.code)
		return false;
	if (slot->want && slot->accepted && !slot->closing && writable(s, channel)) {
		slot->want = false;
		if (!emit(s, &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_WRITABLE,
						  .channel = channel }))
			return false;
	}
	if (slot->eof_due && !slot->eof_sent && !slot->closing &&
	    libssh2_channel_send_eof(slot->channel) != LIBSSH2_ERROR_EAGAIN)
		slot->eof_sent = moved = true;
	return slot->closing ? finish(s, slot, channel) | moved : moved;
}

/* libssh2 asks for no answer; what fails here fails where the connection is read. */
static bool step_unlisten(struct ssh2 *s)
{
	bool moved = false;

	for (size_t i = 0; s->unlistening && i < s->listens_n; i++) {
		if (!s->listeners[i])
			continue;
		if (libssh2_channel_forward_cancel(s->listeners[i]) == LIBSSH2_ERROR_EAGAIN)
			return moved;
		s->listeners[i] = NULL;
		moved = true;
	}
	return moved;
}

static bool step_ping(struct ssh2 *s)
{
	if (s->stray && libssh2_channel_free(s->stray) != LIBSSH2_ERROR_EAGAIN)
		s->stray = NULL;
	/* A server that opened the last one and does not let it go owes this answer too. */
	if (!s->pinging || s->stray)
		return false;
	s->stray = libssh2_channel_open_ex(s->session, PING_CHANNEL, sizeof(PING_CHANNEL) - 1, 1024,
					   1024, NULL, 0);
	if (!s->stray) {
		const int rc = libssh2_session_last_errno(s->session);

		if (rc == LIBSSH2_ERROR_EAGAIN)
			return false;
		if (rc != LIBSSH2_ERROR_CHANNEL_FAILURE)
			return ssh2_fail_library(s, rc, "SSH ping"), false;
	}
	s->pinging = false;
	emit(s,
	     &(struct ssh_event){ .kind = SSH_EVENT_GLOBAL_REPLY, .tag = s->ping_tag, .ok = true });
	return true;
}

static unsigned long unread(const struct ssh2_slot *slot)
{
	unsigned long n = 0;

	if (slot->channel)
		(void)libssh2_channel_window_read_ex(slot->channel, &n, NULL);
	return n;
}

/* Memory is short: the channel whose reader is furthest behind goes.  What those
 * hold that go already is freed by the server's own close: as good as free, or one
 * reader too slow would cost every channel that has a byte unread. */
static bool cut_slowest(struct ssh2 *s)
{
	uint64_t all = 0, going = 0;
	unsigned long most = 0;
	struct ssh2_slot *worst = NULL;

	if (s->memory.used < s->memory.max / 2)
		return false;
	for (uint32_t i = 0; i < s->slots_n; i++) {
		const unsigned long n = unread(&s->slots[i]);

		all += n;
		if (s->slots[i].closing) {
			going += n;
		} else if (n > most) {
			most = n;
			worst = &s->slots[i];
		}
	}
	if (!worst || s->memory.used - s->memory.used * going / all < s->memory.max / 2)
		return false;
	worst->closing = true;
	s->held -= worst->held; /* dropped with the channel */
	worst->held = 0;
	s->handler->on_cut(s->user, (uint32_t)(worst - s->slots), most);
	return true;
}

void ssh2_serve(struct ssh2 *s)
{
	bool moved = true;

	while (moved && ssh2_lives(s) && !s->fault.code) {
		moved = accept_all(s);
		for (uint32_t i = 0; i < s->slots_n && ssh2_lives(s) && !s->fault.code; i++)
			if (s->slots[i].channel)
				moved |= step_slot(s, &s->slots[i], i);
		if (ssh2_lives(s) && !s->fault.code)
			moved |= step_unlisten(s);
		if (ssh2_lives(s) && !s->fault.code)
			moved |= step_ping(s);
		if (ssh2_lives(s) && !s->fault.code)
			moved |= cut_slowest(s);
	}
}
