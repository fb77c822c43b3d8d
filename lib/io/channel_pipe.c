/*
 * Two directions over one socket and one channel, each with what waits in it; credit and
 * reads are asked for as the other side takes.  Who may open a channel is not decided here.
 */
#include "lib/io/channel_pipe.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/base/units.h"

enum {
	RECV_MAX = 64 * 1024,	     /* one receive from the socket */
	HELD_MAX = 64 * 1024 * 1024, /* above any window we grant: the window is the real bound */
};

struct channel_pipe {
	struct channel_pipe_options o;
	struct channels channels; /* none once the link has forgotten the channel */
	struct sock *sock;	  /* NULL after on_closed */
	struct buf sending;	  /* with the kernel: channel to socket */
	struct buf waiting;	  /* next in line */
	struct buf unsent;	  /* socket to channel: found no room in the link */
	size_t spent;		  /* of the budget: beyond PIPE_RECV_LEAST of what was asked for */
	size_t heard;		  /* the last receive */
	struct timer linger;	  /* runs once the channel is gone and data still waits */
	bool channel_eof, socket_shut; /* the channel sends no more; told to the socket */
	bool socket_eof, channel_shut; /* the socket sends no more; told to the channel */
	bool closing;		       /* sock_close() was called */
};

static void give_back(struct channel_pipe *p)
{
	p->o.budget->spent -= p->spent;
	p->spent = 0;
}

static void destroy_when_unused(struct channel_pipe *p)
{
	void (*on_gone)(void *) = p->o.on_gone;
	void *user = p->o.user;

	if (p->sock || channels_exist(&p->channels))
		return;
	timer_clear(p->o.loop, &p->linger);
	give_back(p);
	buf_fini(&p->sending);
	buf_fini(&p->waiting);
	buf_fini(&p->unsent);
	mem_free(&mem_heap, p);
	on_gone(user);
}

static void close_sock(struct channel_pipe *p, bool reset)
{
	if (p->closing)
		return;
	p->closing = true;
	sock_close(p->sock, reset);
}

/* An end that is no orderly one: the other side learns it as far as it can. */
static void cut(struct channel_pipe *p)
{
	if (channels_exist(&p->channels))
		channels_close(&p->channels, p->o.channel);
	close_sock(p, true);
}

/* ---- channel to socket ---- */

/* The link hears of it first: what its owner says to on_passed() may open the
 * channel's window again. */
static void passed(struct channel_pipe *p, size_t n)
{
	if (channels_exist(&p->channels))
		channels_credit(&p->channels, p->o.channel, n);
	p->o.on_passed(p->o.user, n);
}

static void send_waiting(struct channel_pipe *p)
{
	if (p->closing || sock_is_sending(p->sock))
		return;
	if (buf_len(&p->waiting)) {
		const struct buf empty = p->sending;

		p->sending = p->waiting;
		p->waiting = empty;
		const struct mspan bytes = buf_bytes(&p->sending);
		sock_send(p->sock, &(struct iovec){ bytes.p, bytes.n }, 1);
		return;
	}
	if (p->channel_eof && !p->socket_shut) {
		p->socket_shut = true;
		sock_shutdown_write(p->sock);
	}
	if (p->socket_shut && p->channel_shut) {
		if (channels_exist(&p->channels))
			channels_close(&p->channels, p->o.channel);
		close_sock(p, false);
	}
}

void channel_pipe_on_data(struct channel_pipe *p, struct mspan data)
{
	p->o.on_bytes(p->o.user, PIPE_TO_SOCKET, data.n);
	if (p->closing || p->socket_shut) {
		passed(p, data.n); /* nobody is left to read it */
		return;
	}
	if (buf_append(&p->waiting, data.p, data.n) < 0) {
		cut(p);
		return;
	}
	send_waiting(p);
}

static void on_sent(struct sock *s, void *user)
{
	struct channel_pipe *p = user;
	const size_t n = buf_len(&p->sending);

	(void)s;
	buf_consume(&p->sending, n);
	passed(p, n);
	send_waiting(p);
	channels_flush(&p->channels);
}

void channel_pipe_on_eof(struct channel_pipe *p)
{
	p->channel_eof = true;
	send_waiting(p);
}

/* ---- socket to channel ---- */

static bool has_data(const struct channel_pipe *p)
{
	int n = 0;

	return ioctl(sock_fd(p->sock), FIONREAD, &n) == 0 && n > 0;
}

/* How much to ask for: a lot when it comes at once, or is likely to and the budget
 * can bear that it does not. */
static size_t appetite(struct channel_pipe *p, size_t room, bool at_once)
{
	const size_t n = min_size(room, RECV_MAX);

	if (n <= PIPE_RECV_LEAST || at_once)
		return n;
	if (p->heard < PIPE_RECV_LEAST)
		return PIPE_RECV_LEAST;
	if (n - PIPE_RECV_LEAST > PIPE_BUDGET - p->o.budget->spent)
		return has_data(p) ? n : PIPE_RECV_LEAST;
	p->spent = n - PIPE_RECV_LEAST;
	p->o.budget->spent += p->spent;
	return n;
}

/* Asks the socket for as much as the link would take, and for nothing while
 * it takes nothing: its "writable" comes here again. */
static void receive(struct channel_pipe *p, bool at_once)
{
	if (!channels_exist(&p->channels) || p->closing || p->socket_eof || buf_len(&p->unsent) ||
	    sock_is_receiving(p->sock))
		return;
	const size_t room = channels_writable(&p->channels, p->o.channel);
	if (room)
		sock_recv(p->sock, appetite(p, room, at_once));
	else
		channels_want_write(&p->channels, p->o.channel);
}

static void pass_eof(struct channel_pipe *p)
{
	if (!p->socket_eof || p->channel_shut || buf_len(&p->unsent))
		return;
	p->channel_shut = true;
	if (channels_exist(&p->channels))
		channels_eof(&p->channels, p->o.channel);
	send_waiting(p);
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct channel_pipe *p = user;

	(void)s;
	give_back(p);
	p->heard = data.n;
	if (!channels_exist(&p->channels))
		return;
	if (data.n == 0) {
		p->socket_eof = true;
		pass_eof(p);
		channels_flush(&p->channels);
		return;
	}
	p->o.on_bytes(p->o.user, PIPE_TO_CHANNEL, data.n);
	const int taken = channels_write(&p->channels, p->o.channel, data.p, data.n);
	/* A failed link ends this pipe with all others. */
	if (taken >= 0 && (size_t)taken < data.n &&
	    buf_append(&p->unsent, data.p + taken, data.n - (size_t)taken) < 0)
		cut(p);
	receive(p, false);
	channels_flush(&p->channels);
}

void channel_pipe_on_writable(struct channel_pipe *p)
{
	const struct mspan left = buf_bytes(&p->unsent);

	if (p->closing)
		return;
	if (left.n) {
		const int taken = channels_write(&p->channels, p->o.channel, left.p, left.n);
		if (taken > 0)
			buf_consume(&p->unsent, (size_t)taken);
	}
	pass_eof(p);
	const bool at_once = has_data(p);
	receive(p, at_once);
	/* A turn with nothing to send is another's; what comes later has its own. */
	if (!at_once && channels_exist(&p->channels))
		channels_pass(&p->channels, p->o.channel);
}

/* ---- life ---- */

static void on_error(struct sock *s, void *user, int sys)
{
	struct channel_pipe *p = user;

	(void)s;
	(void)sys; /* SSH has no reset: the channel closes without an end of file */
	cut(p);
	channels_flush(&p->channels);
}

static void on_closed(void *user)
{
	struct channel_pipe *p = user;

	p->sock = NULL;
	destroy_when_unused(p);
}

static void on_linger(struct timer *t)
{
	struct channel_pipe *p = owner_of(t, struct channel_pipe, linger);

	close_sock(p, true);
}

void channel_pipe_on_closed(struct channel_pipe *p)
{
	p->channels = (struct channels){ 0 };
	p->channel_eof = p->socket_eof = p->channel_shut = true;
	if (p->sock && !p->closing) {
		timer_set(p->o.loop, &p->linger, loop_now(p->o.loop) + LIMIT_NS(LINGER));
		send_waiting(p);
	}
	destroy_when_unused(p);
}

void channel_pipe_end(struct channel_pipe *p)
{
	if (p->closing)
		return;
	if (channels_exist(&p->channels))
		channels_close(&p->channels, p->o.channel);
	close_sock(p, false);
}

void channel_pipe_abort(struct channel_pipe *p)
{
	p->channels = (struct channels){ 0 };
	if (p->sock)
		close_sock(p, true);
	destroy_when_unused(p);
}

static const struct sock_handler handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

int channel_pipe_new(struct channel_pipe **out, const struct channel_pipe_options *options,
		     struct fault *why)
{
	struct channel_pipe *p = mem_alloc_zeroed(&mem_heap, sizeof(*p));

	must(options->budget);
	if (!p) {
		close(options->fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	p->o = *options;
	p->channels = options->channels;
	p->linger.fire = on_linger;
	buf_init(&p->sending, &mem_heap, HELD_MAX);
	buf_init(&p->waiting, &mem_heap, HELD_MAX);
	buf_init(&p->unsent, &mem_heap, RECV_MAX);
	const int rc = sock_new(&p->sock, options->loop, options->fd, &handler, p, why);
	if (rc < 0) {
		mem_free(&mem_heap, p);
		return rc;
	}
	receive(p, false);
	*out = p;
	return 0;
}
