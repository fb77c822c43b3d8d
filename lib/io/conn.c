#include "lib/io/conn.h"

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/io/dial.h"
#include "lib/proto/tls.h"

enum { RECEIVE_MAX = 32 * 1024, WIRE_MAX = 2 * CONN_SEND_MAX };

static const uint64_t goodbye_ns = 1000000000;

struct conn {
	struct loop *loop;
	const struct conn_handler *handler;
	void *user;
	SSL_CTX *tls_ctx;
	char host[256];
	enum conn_phase phase;
	struct dial *dial;   /* until it is done */
	struct sock *sock;   /* from then on */
	struct proxy *proxy; /* until it has opened the way */
	struct tls *tls;
	/* What the kernel is given.  TLS may write at any time, the kernel's bytes
	 * must keep still: so its ciphertext is moved here first. */
	struct buf wire;
	struct timer goodbye;
	bool sending;	      /* the owner waits for on_sent */
	bool ended;	      /* on_end was called */
	bool peer_gone;	      /* the peer is gone: a goodbye has no hearer */
	bool closed, parting; /* by the owner; parting: the goodbye is leaving */
};

/* The sender's token may stand in it. */
static void wipe_wire(struct conn *k)
{
	const struct mspan b = buf_bytes(&k->wire);

	if (b.p)
		explicit_bzero(b.p, b.n);
	buf_consume(&k->wire, b.n);
}

static void link_free(struct conn *k)
{
	wipe_wire(k);
	buf_fini(&k->wire);
	tls_free(k->tls);
	proxy_free(k->proxy);
	mem_free(&mem_heap, k);
}

static void end(struct conn *k, const struct fault *why, bool whole)
{
	if (k->ended || k->closed)
		return;
	k->ended = true;
	k->handler->on_end(k->user, why, whole);
}

static void shut(struct conn *k)
{
	k->parting = false;
	timer_clear(k->loop, &k->goodbye);
	sock_close(k->sock, false);
}

/* Gives the kernel what waits, and says so when all is gone. */
static int pump(struct conn *k)
{
	if (sock_is_sending(k->sock) || (k->closed && !k->parting))
		return 0;
	if (k->proxy) {
		const struct span out = proxy_pending(k->proxy);
		const int rc = buf_append(&k->wire, out.p, out.n);
		if (rc < 0)
			return rc;
		proxy_sent(k->proxy, out.n);
	} else if (k->tls) {
		const struct span out = tls_pending(k->tls);
		const int rc = buf_append(&k->wire, out.p, out.n);
		if (rc < 0)
			return rc;
		tls_sent(k->tls, out.n);
	}
	const struct mspan bytes = buf_bytes(&k->wire);
	if (bytes.n) {
		sock_send(k->sock, &(struct iovec){ bytes.p, bytes.n }, 1);
	} else if (k->parting) {
		shut(k);
	} else if (k->sending) {
		k->sending = false;
		k->handler->on_sent(k->user);
	}
	return 0;
}

static void pump_or_end(struct conn *k)
{
	const int rc = pump(k);

	if (rc < 0) {
		struct fault why = { 0 };

		fault_set(&why, rc, "no memory to send");
		end(k, &why, false);
	}
}

/* ---- what comes in ---- */

static int take_events(struct conn *k)
{
	struct tls_event ev;
	int n = 0, rc;

	while (!k->closed && (rc = tls_next(k->tls, &ev)) != 0) {
		if (rc < 0)
			return rc;
		n++;
		switch (ev.kind) {
		case TLS_EVENT_NONE:
			break;
		case TLS_EVENT_OPEN:
			k->phase = CONN_OPEN;
			k->handler->on_open(k->user);
			break;
		case TLS_EVENT_DATA:
			k->handler->on_data(k->user, span_of(ev.data.p, ev.data.n));
			break;
		case TLS_EVENT_CLOSED: {
			struct fault why = { 0 };

			fault_set(&why, ERR_CLOSED, "the peer closed the connection");
			end(k, &why, true);
			return n;
		}
		}
	}
	return n;
}

static void take_ciphertext(struct conn *k, struct mspan data)
{
	size_t at = 0;

	while (at < data.n && !k->closed && !k->ended) {
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
		if (!fed && !rc && !k->closed) {
			struct fault why = { 0 };

			fault_set(&why, ERR_PROTO, "bytes behind the end of TLS");
			end(k, &why, false);
		}
	}
}

static void begin(struct conn *k);

/* Nobody behind the proxy speaks before us: what stands there is no origin's. */
static void take_from_proxy(struct conn *k, struct mspan data)
{
	const int n = proxy_feed(k->proxy, data.p, data.n);
	struct fault why = { 0 };

	if (n < 0) {
		end(k, proxy_fault(k->proxy), false);
	} else if ((size_t)n < data.n) {
		fault_set(&why, ERR_PROTO, "the proxy sends bytes of its own behind its answer");
		end(k, &why, false);
	} else if (proxy_is_open(k->proxy)) {
		proxy_free(k->proxy);
		k->proxy = NULL;
		begin(k);
	}
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct conn *k = user;

	if (k->closed)
		return;
	if (!data.n) {
		struct fault why = { 0 };

		k->peer_gone = true;
		fault_set(&why, ERR_CLOSED,
			  k->proxy ? "the proxy closed the connection"
				   : "the peer closed the connection");
		end(k, &why,
		    !k->tls && !k->proxy); /* TLS would have said goodbye (RFC 8446, 6.1) */
		return;
	}
	if (k->proxy)
		take_from_proxy(k, data);
	else if (k->tls)
		take_ciphertext(k, data);
	else
		k->handler->on_data(k->user, span_of(data.p, data.n));
	if (k->closed || k->ended)
		return;
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
	if (k->parting) {
		shut(k);
		return;
	}
	k->peer_gone = true;
	fault_set_sys(&why, sys, "connection lost");
	end(k, &why, false);
}

static void on_closed(void *user)
{
	struct conn *k = user;

	timer_clear(k->loop, &k->goodbye); /* the loop itself may have ended us */
	link_free(k);
}

static const struct sock_handler sock_handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

int conn_send(struct conn *k, struct span data, struct fault *why)
{
	must(k->phase == CONN_OPEN && !k->sending && !k->closed);
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
	const struct tls_options options = { .verify_name = k->host, .alpn = "http/1.1" };
	const int rc = tls_new(&k->tls, k->tls_ctx, &options, &mem_heap, loop_now(k->loop), why);

	return rc < 0 ? rc : pump(k); /* the client speaks first */
}

static void begin(struct conn *k)
{
	struct fault why = { 0 };

	k->phase = k->tls_ctx ? CONN_TLS : CONN_OPEN;
	if (!k->tls_ctx)
		k->handler->on_open(k->user);
	else if (start_tls(k, &why) < 0)
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
	if (sock_new(&k->sock, k->loop, r->fd, &sock_handler, k, &why) < 0) {
		end(k, &why, false);
		return;
	}
	sock_recv(k->sock, RECEIVE_MAX);
	if (k->proxy)
		pump_or_end(k);
	else
		begin(k);
}

static void on_goodbye(struct timer *t)
{
	shut((struct conn *)((char *)t - offsetof(struct conn, goodbye)));
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
	if (!k)
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	k->loop = l;
	k->handler = handler;
	k->user = user;
	k->tls_ctx = options->tls_ctx;
	memcpy(k->host, options->host, strlen(options->host));
	k->goodbye.fire = on_goodbye;
	buf_init(&k->wire, &mem_heap, WIRE_MAX);
	int rc = options->proxy ? proxy_new(&k->proxy, &proxy, &mem_heap, why) : 0;
	if (rc >= 0)
		rc = dial_start(&k->dial, l, &dial, on_dialled, k, why);
	if (rc < 0) {
		link_free(k);
		return rc;
	}
	*out = k;
	return 0;
}

enum conn_phase conn_phase(const struct conn *k)
{
	return k->phase;
}

void conn_close(struct conn *k)
{
	if (!k)
		return;
	must(!k->closed);
	k->closed = true;
	if (!k->sock) {
		dial_cancel(k->dial);
		link_free(k);
		return;
	}
	if (!k->tls || k->proxy || k->sending ||
	    k->peer_gone) { /* half a request is no place for a goodbye */
		sock_close(k->sock, false);
		return;
	}
	k->parting = true;
	timer_set(k->loop, &k->goodbye, loop_now(k->loop) + goodbye_ns);
	tls_close(k->tls); /* after a fault the alert that OpenSSL wrote leaves instead */
	if (pump(k) < 0)
		shut(k);
}
