/*
 * conn.c opens a connection step by step (dial, proxy, TLS), then moves bytes.  What
 * its owner does not take at once is held here, within CONN_HELD_MAX, and nothing is
 * received meanwhile.  How the socket ends is conn_end's.
 */
#include "lib/io/conn.h"

#include <inttypes.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/conn_end.h"
#include "lib/io/dial.h"
#include "lib/proto/tls.h"

enum { RECEIVE_MAX = 32 * 1024, WIRE_MAX = 2 * CONN_SEND_MAX };

struct conn {
	struct loop *loop;
	const struct conn_handler *handler;
	void *user;
	SSL_CTX *tls_ctx;
	char host[256], alpn[64];
	enum conn_phase phase;
	struct dial *dial;   /* until it is done */
	struct conn_end end; /* end.sock from then on */
	struct proxy *proxy; /* until it has opened the way */
	struct tls *tls;
	/* What the kernel is given.  TLS may write at any time, the kernel's bytes
	 * must keep still: so its ciphertext is moved here first. */
	struct buf wire;
	struct buf held; /* plaintext that the owner has not taken */
	struct timer deadline, resume;
	uint64_t timeout_ns;
	bool sending; /* the owner waits for on_sent */
	bool paused;  /* the owner took less than it was given */
	bool ended;   /* by `why`, which the owner hears once it took all */
	bool whole;
	struct fault why;
	bool dropped; /* by the owner: no callback follows */
};

/* The sender's token may stand in it. */
static void wipe_wire(struct conn *k)
{
	const struct mspan b = buf_bytes(&k->wire);

	if (b.p)
		explicit_bzero(b.p, b.n);
	buf_consume(&k->wire, b.n);
}

static void conn_free(struct conn *k)
{
	wipe_wire(k);
	buf_fini(&k->wire);
	buf_fini(&k->held);
	tls_free(k->tls);
	proxy_free(k->proxy);
	mem_free(&mem_heap, k);
}

static void tell_end(struct conn *k)
{
	if (k->dropped || buf_len(&k->held) || !conn_end_lose(&k->end))
		return;
	k->handler->on_end(k->user, &k->why, k->whole);
}

static void end(struct conn *k, const struct fault *why, bool whole)
{
	if (k->ended || k->dropped)
		return;
	k->ended = true;
	k->why = *why;
	k->whole = whole;
	timer_clear(k->loop, &k->deadline);
	tell_end(k);
}

static void end_because(struct conn *k, enum err code, const char *what, bool whole)
{
	struct fault why = { 0 };

	fault_set(&why, code, "%s", what);
	end(k, &why, whole);
}

/* Moves what the engine on top wants sent to where it keeps still. */
static int fill_wire(struct conn *k)
{
	const struct span out = k->proxy ? proxy_pending(k->proxy)
				: k->tls ? tls_pending(k->tls)
					 : span_of(NULL, 0);
	const int rc = buf_append(&k->wire, out.p, out.n);

	if (rc >= 0 && k->proxy)
		proxy_sent(k->proxy, out.n);
	else if (rc >= 0 && k->tls)
		tls_sent(k->tls, out.n);
	return rc;
}

/* Gives the kernel what waits, and says so when all is gone. */
static int pump(struct conn *k)
{
	if (!conn_end_may_send(&k->end))
		return 0;
	const int rc = fill_wire(k);
	if (rc < 0)
		return rc;
	const struct mspan bytes = buf_bytes(&k->wire);
	if (bytes.n) {
		sock_send(k->end.sock, &(struct iovec){ bytes.p, bytes.n }, 1);
	} else if (k->dropped) {
		conn_end_flushed(&k->end);
	} else if (k->sending) {
		k->sending = false;
		k->handler->on_sent(k->user);
	}
	return 0;
}

static void pump_or_end(struct conn *k)
{
	const int rc = pump(k);

	if (rc < 0)
		end_because(k, rc, "no memory to send", false);
}

/* ---- what comes in ---- */

/* To the owner, or behind what it has not taken yet. */
static int deliver(struct conn *k, struct span data)
{
	size_t taken = 0;

	if (!k->paused)
		taken = k->handler->on_data(k->user, data);
	if (k->dropped || taken == data.n)
		return 0;
	k->paused = true;
	return buf_append(&k->held, data.p + taken, data.n - taken);
}

static void on_resume(struct timer *t)
{
	struct conn *k = owner_of(t, struct conn, resume);
	const struct mspan b = buf_bytes(&k->held);
	const size_t taken = b.n ? k->handler->on_data(k->user, span_of(b.p, b.n)) : 0;

	if (k->dropped)
		return;
	buf_consume(&k->held, taken);
	if (buf_len(&k->held))
		return;
	k->paused = false;
	if (k->ended)
		tell_end(k);
	else
		sock_recv(k->end.sock, RECEIVE_MAX);
}

static void enter_open(struct conn *k)
{
	k->phase = CONN_OPEN;
	timer_clear(k->loop, &k->deadline);
	k->handler->on_open(k->user);
}

static int take_events(struct conn *k)
{
	struct tls_event ev;
	int n = 0, rc;

	while (!k->dropped && (rc = tls_next(k->tls, &ev)) != 0) {
		if (rc < 0)
			return rc;
		n++;
		switch (ev.kind) {
		case TLS_EVENT_NONE:
			break;
		case TLS_EVENT_OPEN:
			enter_open(k);
			break;
		case TLS_EVENT_DATA:
			if (deliver(k, span_of(ev.data.p, ev.data.n)) < 0)
				end_because(k, ERR_NOMEM, "no memory to receive", false);
			break;
		case TLS_EVENT_CLOSED:
			end_because(k, ERR_CLOSED, "the peer closed the connection", true);
			return n;
		}
	}
	return n;
}

static void take_ciphertext(struct conn *k, struct mspan data)
{
	size_t at = 0;

	while (at < data.n && !k->dropped && !k->ended) {
		int rc = tls_feed(k->tls, data.p + at, data.n - at, loop_now(k->loop));
		const int fed = rc;
		if (rc >= 0) {
			at += (size_t)rc;
			rc = take_events(k);
		}
		if (rc < 0) {
			end(k, tls_fault(k->tls), false);
			return;
		}
		if (!fed && !rc && !k->dropped)
			end_because(k, ERR_PROTO, "bytes behind the end of TLS", false);
	}
}

static void begin(struct conn *k);

/* TLS and HTTP clients speak first, so bytes after the proxy's reply cannot come from the
 * origin. */
static void take_from_proxy(struct conn *k, struct mspan data)
{
	const int n = proxy_feed(k->proxy, data.p, data.n);

	if (n < 0) {
		end(k, proxy_fault(k->proxy), false);
	} else if ((size_t)n < data.n) {
		end_because(k, ERR_PROTO, "the proxy sends bytes of its own behind its response",
			    false);
	} else if (proxy_is_open(k->proxy)) {
		proxy_free(k->proxy);
		k->proxy = NULL;
		begin(k);
	}
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct conn *k = user;

	if (conn_end_received(&k->end, data.n))
		return;
	if (!data.n) {
		k->end.peer_gone = true;
		/* TLS would have sent close_notify (RFC 8446, 6.1). */
		end_because(k, ERR_CLOSED,
			    k->proxy ? "the proxy closed the connection"
				     : "the peer closed the connection",
			    !k->tls && !k->proxy);
		return;
	}
	if (k->proxy)
		take_from_proxy(k, data);
	else if (k->tls)
		take_ciphertext(k, data);
	else if (deliver(k, span_of(data.p, data.n)) < 0)
		end_because(k, ERR_NOMEM, "no memory to receive", false);
	if (k->dropped || k->ended)
		return;
	if (!k->paused)
		sock_recv(s, RECEIVE_MAX);
	pump_or_end(k);
}

/* ---- what goes out ---- */

static void on_sent(struct sock *s, void *user)
{
	struct conn *k = user;

	(void)s;
	wipe_wire(k);
	pump_or_end(k);
}

static void on_error(struct sock *s, void *user, int sys)
{
	struct conn *k = user;
	struct fault why = { 0 };

	(void)s;
	k->end.peer_gone = true;
	if (k->dropped) {
		conn_end_close(&k->end);
		return;
	}
	conn_end_sentence(&why, sys, "peer");
	end(k, &why, false);
}

static void on_closed(void *user)
{
	struct conn *k = user;

	/* The loop itself may have ended us. */
	conn_end_fini(&k->end);
	timer_clear(k->loop, &k->deadline);
	timer_clear(k->loop, &k->resume);
	conn_free(k);
}

static const struct sock_handler sock_handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

int conn_send(struct conn *k, struct span data, struct fault *why)
{
	must(k->phase == CONN_OPEN && !k->sending && !k->dropped);
	if (data.n > CONN_SEND_MAX)
		return fault_set(why, ERR_LIMIT, "larger than %d bytes", CONN_SEND_MAX);
	if (k->ended)
		return fault_set(why, ERR_CLOSED, "the peer closed the connection");
	int rc;
	if (k->tls) {
		rc = tls_write(k->tls, data.p, data.n);
		if (rc < 0)
			return fault_set(why, rc, "%s", tls_fault(k->tls)->why);
		if ((size_t)rc < data.n)
			return fault_set(why, ERR_LIMIT, "more than TLS takes at once");
	} else {
		/* Over plain TCP nothing else writes: the kernel holds nothing now. */
		rc = buf_append(&k->wire, data.p, data.n);
		if (rc < 0)
			return fault_set(why, rc, "no memory to send");
	}
	k->sending = true;
	rc = pump(k);
	return rc < 0 ? fault_set(why, rc, "no memory to send") : 0;
}

/* ---- life ---- */

static int start_tls(struct conn *k, struct fault *why)
{
	const struct tls_options options = { .verify_name = k->host,
					     .alpn = k->alpn[0] ? k->alpn : NULL };
	const int rc = tls_new(&k->tls, k->tls_ctx, &options, &mem_heap, loop_now(k->loop), why);

	return rc < 0 ? rc : pump(k); /* the client speaks first */
}

static void begin(struct conn *k)
{
	struct fault why = { 0 };

	if (!k->tls_ctx) {
		enter_open(k);
		return;
	}
	k->phase = CONN_TLS;
	if (start_tls(k, &why) < 0)
		end(k, &why, false);
}

static void on_dialled(void *user, struct dial_result *r)
{
	struct conn *k = user;
	struct fault why = { 0 };

	k->dial = NULL;
	k->phase = r->phase == DIAL_RESOLVING ? CONN_RESOLVE : CONN_CONNECT;
	if (r->fd < 0) {
		end(k, &r->why, false);
		return;
	}
	if (sock_new(&k->end.sock, k->loop, r->fd, &sock_handler, k, &why) < 0) {
		end(k, &why, false);
		return;
	}
	sock_recv(k->end.sock, RECEIVE_MAX);
	if (k->proxy)
		pump_or_end(k);
	else
		begin(k);
}

static void on_deadline(struct timer *t)
{
	struct conn *k = owner_of(t, struct conn, deadline);
	static const char *const names[] = { "resolve: ", "connect: ", "", "" };
	struct fault why = { 0 };

	fault_set(&why, ERR_TIMEOUT, "%snot done within %" PRIu64 " ms", names[k->phase],
		  k->timeout_ns / 1000000);
	end(k, &why, false);
}

int conn_new(struct conn **out, struct loop *l, const struct conn_options *options,
	     const struct conn_handler *handler, void *user, struct fault *why)
{
	const struct dial_options dial = {
		.host = options->proxy ? options->proxy->host : options->host,
		.port = options->proxy ? options->proxy->port : options->port,
		.timeout_ns = options->timeout_ns,
	};
	const struct proxy_options proxy = { options->proxy, options->host, options->port };
	struct conn *k = mem_alloc_zeroed(&mem_heap, sizeof(*k));

	*out = NULL;
	must(strlen(options->host) < sizeof(k->host));
	must(!options->alpn || strlen(options->alpn) < sizeof(k->alpn));
	if (!k)
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	k->loop = l;
	k->handler = handler;
	k->user = user;
	k->tls_ctx = options->tls_ctx;
	memcpy(k->host, options->host, strlen(options->host));
	if (options->alpn)
		memcpy(k->alpn, options->alpn, strlen(options->alpn));
	conn_end_init(&k->end, l);
	k->deadline.fire = on_deadline;
	k->resume.fire = on_resume;
	k->timeout_ns = options->timeout_ns;
	buf_init(&k->wire, &mem_heap, WIRE_MAX);
	buf_init(&k->held, &mem_heap, CONN_HELD_MAX);
	int rc = options->proxy ? proxy_new(&k->proxy, &proxy, &mem_heap, why) : 0;
	if (rc >= 0)
		rc = dial_start(&k->dial, l, &dial, on_dialled, k, why);
	if (rc < 0) {
		conn_free(k);
		return rc;
	}
	if (k->timeout_ns)
		timer_set(l, &k->deadline, loop_now(l) + k->timeout_ns);
	*out = k;
	return 0;
}

void conn_resume(struct conn *k)
{
	if (k->paused && !k->dropped)
		timer_set(k->loop, &k->resume, loop_now(k->loop));
}

struct span conn_alpn(const struct conn *k)
{
	return k->tls ? tls_alpn(k->tls) : span_of(NULL, 0);
}

enum conn_phase conn_phase(const struct conn *k)
{
	return k->phase;
}

/* True when there is no socket, and so nothing left to end. */
static bool drop(struct conn *k)
{
	must(!k->dropped);
	k->dropped = true;
	timer_clear(k->loop, &k->deadline);
	timer_clear(k->loop, &k->resume);
	if (k->end.sock)
		return false;
	dial_cancel(k->dial);
	conn_free(k);
	return true;
}

void conn_close(struct conn *k)
{
	if (!k || drop(k))
		return;
	/* In the middle of a request no close_notify is sent. */
	if (!k->tls || k->proxy || k->sending || !conn_end_begin(&k->end)) {
		conn_end_close(&k->end);
		return;
	}
	tls_close(k->tls); /* after a fault the alert that OpenSSL wrote leaves instead */
	if (pump(k) < 0)
		conn_end_close(&k->end);
}

void conn_abort(struct conn *k)
{
	if (k && !drop(k))
		conn_end_close(&k->end);
}
