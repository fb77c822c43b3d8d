/*
 * ssh2.c is the life of an ssh:// connection: its socket, what libssh2 calls, its
 * failures.  Logging in is ssh2_connect.c's, the channels are ssh2_channels.c's, and
 * how the socket ends is conn_end's.
 */
#include "lib/io/ssh2/ssh2_private.h"

#include <errno.h>
#include <unistd.h>

#include "lib/base/escape.h"
#include "lib/base/limits.h"
#include "lib/base/units.h"

/* ---- failures ---- */

int ssh2_fail(struct ssh2 *s, enum err code, const char *what)
{
	return fault_set(&s->fault, code, "%s", what);
}

int ssh2_fail_library(struct ssh2 *s, int code, const char *what)
{
	char *text = NULL, words[120];
	enum err err = ERR_PROTO;

	/* Whatever libssh2 makes of them: these are the causes. */
	if (s->said_goodbye)
		return fault_set(&s->fault, ERR_CLOSED, "the server disconnected: %s", s->goodbye);
	if (s->memory.refused)
		return fault_set(&s->fault, ERR_LIMIT,
				 "%s: the server makes libssh2 hold more than %zu MiB", what,
				 s->memory.max >> 20);
	if (buf_len(&s->tx) >= LIMIT_SSH2_ANSWERS)
		return fault_set(&s->fault, ERR_LIMIT,
				 "%s: the server asks and does not read the answers", what);
	if (code == LIBSSH2_ERROR_ALLOC)
		err = ERR_NOMEM;
	else if (code == LIBSSH2_ERROR_SOCKET_DISCONNECT || code == LIBSSH2_ERROR_SOCKET_RECV)
		err = ERR_CLOSED;
	else if (code == LIBSSH2_ERROR_TIMEOUT)
		err = ERR_TIMEOUT;
	libssh2_session_last_error(s->session, &text, NULL, 0);
	escape_text(words, sizeof(words), span_str(text ? text : ""));
	return fault_set(&s->fault, err, "%s: %s (libssh2 error %d)", what, words, code);
}

static void lose(struct ssh2 *s, const struct fault *why)
{
	if (conn_end_lose(&s->end))
		s->handler->on_lost(s->user, why);
}

void ssh2_enter(struct ssh2 *s, enum ssh2_phase phase)
{
	s->phase = phase;
	if (ssh2_lives(s))
		s->handler->on_phase(s->user, phase);
}

/* ---- what libssh2 calls ---- */

static void *on_take(size_t n, void **abstract)
{
	return ssh2_memory_take(&((struct ssh2 *)*abstract)->memory, n);
}

static void on_give(void *p, void **abstract)
{
	ssh2_memory_give(&((struct ssh2 *)*abstract)->memory, p);
}

static void *on_resize(void *p, size_t n, void **abstract)
{
	return ssh2_memory_resize(&((struct ssh2 *)*abstract)->memory, p, n);
}

static bool is_trusted(void *user, const uint8_t hash[32])
{
	struct ssh2 *s = user;

	return s->handler->on_host_key(s->user, hash);
}

static ssize_t on_read(libssh2_socket_t fd, void *to, size_t n, int flags, void **abstract)
{
	struct ssh2 *s = *abstract;
	const size_t have = min_size(n, s->rx.n);

	(void)fd;
	(void)flags;
	if (s->dead)
		return -EIO;
	if (!have)
		return -EAGAIN;
	if (ssh2_gate_feed(&s->gate, span_of(s->rx.p, have), is_trusted, s, &s->fault) < 0)
		return -EIO;
	memcpy(to, s->rx.p, have);
	s->rx = (struct mspan){ s->rx.p + have, s->rx.n - have };
	return (ssize_t)have;
}

/* Takes all: with nothing ever half sent, libssh2 waits for the peer only. */
static ssize_t on_write(libssh2_socket_t fd, const void *p, size_t n, int flags, void **abstract)
{
	struct ssh2 *s = *abstract;

	(void)fd;
	(void)flags;
	return s->dead || buf_append(&s->tx, p, n) < 0 ? -EIO : (ssize_t)n;
}

static void on_disconnect(LIBSSH2_SESSION *session, int reason, const char *text, int n,
			  const char *language, int language_n, void **abstract)
{
	struct ssh2 *s = *abstract;

	(void)session;
	(void)reason;
	(void)language;
	(void)language_n;
	s->said_goodbye = true;
	escape_text(s->goodbye, sizeof(s->goodbye), span_of(text, text && n > 0 ? (size_t)n : 0));
}

static void blame(struct ssh2 *s)
{
	glitch_refill(&s->glitches, loop_now(s->loop));
	if (!glitch_charge(&s->glitches, GLITCH_IGNORED, 1))
		ssh2_fail(s, ERR_LIMIT, "the server sends too many messages without any use");
}

static void on_ignore(LIBSSH2_SESSION *session, const char *text, int n, void **abstract)
{
	(void)session;
	(void)text;
	(void)n;
	blame(*abstract);
}

static void on_debug(LIBSSH2_SESSION *session, int show, const char *text, int n,
		     const char *language, int language_n, void **abstract)
{
	(void)session;
	(void)show;
	(void)text;
	(void)n;
	(void)language;
	(void)language_n;
	blame(*abstract);
}

static void set_callbacks(LIBSSH2_SESSION *session)
{
	static const struct {
		int kind;
		void (*call)(void);
	} rows[] = {
		{ LIBSSH2_CALLBACK_RECV, (void (*)(void))on_read },
		{ LIBSSH2_CALLBACK_SEND, (void (*)(void))on_write },
		{ LIBSSH2_CALLBACK_DISCONNECT, (void (*)(void))on_disconnect },
		{ LIBSSH2_CALLBACK_IGNORE, (void (*)(void))on_ignore },
		{ LIBSSH2_CALLBACK_DEBUG, (void (*)(void))on_debug },
	};

	for (size_t i = 0; i < array_len(rows); i++)
#if LIBSSH2_VERSION_NUM >= 0x010b01
		libssh2_session_callback_set2(session, rows[i].kind, rows[i].call);
#else
		libssh2_session_callback_set(session, rows[i].kind, (void *)rows[i].call);
#endif
}

static int new_session(struct ssh2 *s, struct fault *why)
{
	s->session = libssh2_session_init_ex(on_take, on_give, on_resize, s);
	if (!s->session)
		return fault_set(why, ERR_NOMEM, "no memory for an SSH connection");
	libssh2_session_set_blocking(s->session, 0);
	set_callbacks(s->session);
	return ssh2_prepare(s, why);
}

/* With reads and writes that fail, libssh2 gives up on goodbyes and frees. */
static void free_session(struct ssh2 *s)
{
	s->dead = true;
	s->memory.wipe = true;
	if (s->session)
		(void)libssh2_session_free(s->session);
	s->session = NULL;
	ssh2_memory_give_all(&s->memory);
}

/* ---- the socket ---- */

static void arm(struct ssh2 *s)
{
	if (!ssh2_lives(s))
		timer_clear(s->loop, &s->timer);
	else if (s->fault.code)
		timer_set(s->loop, &s->timer, loop_now(s->loop));
}

/* What is to be sent next, at a place where it stays until on_sent(). */
static struct span next_flight(struct ssh2 *s)
{
	if (s->proxy) {
		const struct span out = proxy_pending(s->proxy);

		s->proxy_flight = out.n;
		return out;
	}
	const struct buf empty = s->flight;

	s->flight = s->tx;
	s->tx = empty;
	return span_of(buf_bytes(&s->flight).p, buf_len(&s->flight));
}

static void flush(struct ssh2 *s)
{
	if (!conn_end_may_send(&s->end))
		return;
	const struct span out = next_flight(s);
	if (out.n)
		sock_send(s->end.sock, &(struct iovec){ (void *)(uintptr_t)out.p, out.n }, 1);
	else
		conn_end_flushed(&s->end);
}

static void step_proxy(struct ssh2 *s)
{
	const int taken = s->rx.n ? proxy_feed(s->proxy, s->rx.p, s->rx.n) : 0;

	if (taken < 0) {
		s->fault = *proxy_fault(s->proxy);
		return;
	}
	s->rx = (struct mspan){ s->rx.p + taken, s->rx.n - (size_t)taken };
	if (!proxy_is_open(s->proxy) || proxy_is_sending(s->proxy))
		return;
	proxy_free(s->proxy);
	s->proxy = NULL;
	ssh2_enter(s, SSH2_KEX);
}

/* Moves all that can move; the owner hears of it in events.  From the loop only:
 * an owner that drives the channels is not to be called back from that call. */
static void pump(struct ssh2 *s)
{
	if (!ssh2_lives(s))
		return;
	s->pumping = true; /* what an event sets going is seen to before the end */
	if (s->proxy)
		step_proxy(s);
	if (!s->proxy && !s->fault.code && s->phase != SSH2_READY && ssh2_lives(s) &&
	    ssh2_connect(s) == 1)
		s->memory.wipe = false;
	if (s->phase == SSH2_READY && !s->fault.code)
		ssh2_serve(s);
	s->pumping = false;
	if (s->fault.code)
		lose(s, &s->fault);
	flush(s);
	arm(s);
}

static void on_data(struct sock *sock, void *user, struct mspan data)
{
	struct ssh2 *s = user;

	if (conn_end_received(&s->end, data.n))
		return;
	if (!data.n) {
		s->end.peer_gone = true;
		ssh2_fail(s, ERR_CLOSED,
			  s->proxy ? "the proxy closed the connection"
				   : "the server closed the connection");
		lose(s, &s->fault);
		return;
	}
	s->heard_ns = loop_now(s->loop);
	s->rx = data;
	if (s->phase < SSH2_LISTENING) {
		s->heard += data.n;
		if (s->heard > LIMIT_SSH2_BEFORE_AUTH)
			ssh2_fail(
				s, ERR_LIMIT,
				"the server sends data without limit before it accepts the login");
	}
	pump(s);
	/* libssh2 reads until there is no more, unless it has failed. */
	if (ssh2_lives(s) && s->rx.n && !s->fault.code)
		lose(s, (ssh2_fail(s, ERR_PROTO, "libssh2 does not take what the server sent"),
			 &s->fault));
	s->rx = (struct mspan){ NULL, 0 };
	if (ssh2_lives(s))
		sock_recv(sock, SOCK_RECV_MAX);
}

static void on_sent(struct sock *sock, void *user)
{
	struct ssh2 *s = user;

	(void)sock;
	if (s->proxy_flight) {
		proxy_sent(s->proxy, s->proxy_flight);
		s->proxy_flight = 0;
	}
	buf_consume(&s->flight, buf_len(&s->flight));
	pump(s); /* room makes channels writable */
	flush(s);
}

static void on_error(struct sock *sock, void *user, int sys)
{
	struct ssh2 *s = user;
	struct fault why = { 0 };

	(void)sock;
	s->end.peer_gone = true;
	conn_end_sentence(&why, sys, "server");
	lose(s, &why);
}

static void destroy(struct ssh2 *s)
{
	ssh2_forget(s);
	if (s->session || s->memory.first)
		free_session(s);
	proxy_free(s->proxy);
	buf_fini(&s->tx);
	buf_fini(&s->flight);
	mem_free(&mem_heap, s->slots);
	mem_free(&mem_heap, s);
}

static void on_closed(void *user)
{
	struct ssh2 *s = user;
	void (*gone)(void *) = s->handler->on_gone;
	void *owner = s->user;

	conn_end_fini(&s->end);
	timer_clear(s->loop, &s->timer);
	destroy(s);
	gone(owner);
}

static void on_timer(struct timer *t)
{
	pump(owner_of(t, struct ssh2, timer));
}

static const struct sock_handler sock_handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

/* ---- life ---- */

static char *copy_text(const char *text)
{
	const size_t n = strlen(text) + 1;
	char *to = mem_alloc(&mem_heap, n);

	return to ? memcpy(to, text, n) : NULL;
}

static int fill(struct ssh2 *s, const struct ssh2_options *o, struct fault *why)
{
	if (o->listens_n > SSH2_LISTENS_MAX || o->key.n > SSH2_KEY_MAX)
		return fault_set(why, ERR_USAGE, "too many forwards, or too long a key");
	s->tx_max = o->tx_max;
	s->slots_n = o->channels_max;
	s->slots = mem_alloc_zeroed(&mem_heap, o->channels_max * sizeof(*s->slots));
	s->login = copy_text(o->user);
	s->password = copy_text(o->password);
	s->passphrase = o->passphrase ? copy_text(o->passphrase) : NULL;
	if (!s->slots || !s->login || !s->password || (o->passphrase && !s->passphrase) ||
	    (o->key.n && buf_append(&s->key, o->key.p, o->key.n) < 0) ||
	    buf_append(&s->key, "", 1) < 0)
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	s->listens_n = o->listens_n;
	memcpy(s->listens, o->listens, o->listens_n * sizeof(*o->listens));
	if (o->proxy)
		return proxy_new(&s->proxy, o->proxy, &mem_heap, why);
	return 0;
}

int ssh2_new(struct ssh2 **out, struct loop *l, int fd, const struct ssh2_options *options,
	     const struct ssh2_handler *handler, void *user, struct fault *why)
{
	struct ssh2 *s = mem_alloc_zeroed(&mem_heap, sizeof(*s));

	if (!s) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	s->loop = l;
	s->handler = handler;
	s->user = user;
	conn_end_init(&s->end, l);
	s->timer.fire = on_timer;
	s->heard_ns = loop_now(l);
	glitch_init(&s->glitches, LIMIT_GLITCHES, LIMIT_NS(GLITCH_REFILL), loop_now(l));
	s->memory = (struct ssh2_memory){ .max = min_size(options->memory_max, LIMIT_SSH2_MEMORY),
					  .wipe = true };
	s->held_max = options->held_max;
	s->phase = options->proxy ? SSH2_PROXY : SSH2_KEX;
	buf_init(&s->key, &mem_heap, SSH2_KEY_MAX + 1);
	buf_init(&s->tx, &mem_heap, LIMIT_SSH2_ANSWERS + options->tx_max);
	buf_init(&s->flight, &mem_heap, LIMIT_SSH2_ANSWERS + options->tx_max);
	int rc = fill(s, options, why);
	if (rc >= 0)
		rc = new_session(s, why);
	if (rc < 0)
		close(fd);
	else
		rc = sock_new(&s->end.sock, l, fd, &sock_handler, s, why);
	if (rc < 0) {
		destroy(s);
		return rc;
	}
	sock_recv(s->end.sock, SOCK_RECV_MAX);
	*out = s;
	ssh2_flush(s);
	return 0;
}

void ssh2_flush(struct ssh2 *s)
{
	if (!ssh2_lives(s) || s->pumping)
		return;
	flush(s);
	timer_set(s->loop, &s->timer, loop_now(s->loop));
}

void ssh2_close(struct ssh2 *s)
{
	timer_clear(s->loop, &s->timer);
	conn_end_close(&s->end);
}

void ssh2_shutdown(struct ssh2 *s, enum ssh_disconnect_reason reason, const char *text)
{
	char words[120];

	/* Before the keys are agreed the peer can't decrypt a disconnect message. */
	if (s->phase < SSH2_AUTH && !s->end.graceful)
		ssh2_close(s);
	if (!conn_end_begin(&s->end))
		return;
	timer_clear(s->loop, &s->timer);
	escape_text(words, sizeof(words), span_str(text));
	if (!s->said_goodbye)
		(void)libssh2_session_disconnect_ex(s->session, (int)reason, words, "");
	flush(s);
}

uint64_t ssh2_heard_ns(const struct ssh2 *s)
{
	return s->heard_ns;
}

const struct glitches *ssh2_glitches(const struct ssh2 *s)
{
	return &s->glitches;
}

struct ssh2_names ssh2_names(struct ssh2 *s)
{
	const char *kex = NULL, *key = NULL, *cipher = NULL;

	if (s->phase > SSH2_KEX) {
		kex = libssh2_session_methods(s->session, LIBSSH2_METHOD_KEX);
		key = libssh2_session_methods(s->session, LIBSSH2_METHOD_HOSTKEY);
		cipher = libssh2_session_methods(s->session, LIBSSH2_METHOD_CRYPT_CS);
	}
	return (struct ssh2_names){ kex ? kex : "", key ? key : "", cipher ? cipher : "" };
}
