/*
 * chisel_stack -- joins the engines of proxy, TLS, WebSocket and SSH into one:
 * bytes of a TCP connection in, SSH events out. Each engine keeps its own rules;
 * this file only decides order and how much fits.
 */
#include "lib/proto/chisel_stack.h"

#include "lib/base/buf.h"
#include "lib/base/escape.h"
#include "lib/base/limits.h"
#include "lib/proto/chisel.h"

enum {
	BATCH = 256 * 1024, /* ciphertext of one chisel_stack_pending(), about */
	HEADROOM = WS_FRAME_HEAD_MAX + 2,
	PLAIN_TX_MAX = BATCH + 512 * 1024,
};

struct stack {
	const struct mem *mem;
	struct proxy *proxy; /* NULL: none, or it is behind us */
	struct tls *tls;     /* NULL: plain */
	struct ws *ws;
	struct ssh *ssh;
	struct fault fault; /* of none of the three */
	enum chisel_stack_phase phase;
	uint64_t now_ns;

	/* What was received, floor by floor; each is read to its end before the
	 * floor below is asked for more. */
	struct mspan in, plain, payload;
	struct buf held;     /* … or those bytes, while an event awaits its answer */
	size_t held_payload; /* how many of held are payload; the rest is in, or plain */

	struct mspan frame;    /* of a packet that is on its way down */
	bool in_packet;	       /* … whose ssh_sent() is due after it */
	struct buf tx, flight; /* without TLS: as in tls.c */
	bool closing, said_close;
};

int chisel_stack_new(struct stack **out, const struct chisel_stack_options *options,
		     const struct mem *mem, uint64_t now_ns, struct fault *why)
{
	struct stack *s = mem_alloc_zeroed(mem, sizeof(*s));
	struct tls_options tls = options->tls;
	struct ws_options ws = options->ws;
	struct ssh_config ssh = options->ssh;
	int rc = 0;

	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	s->mem = mem;
	s->now_ns = now_ns;
	s->phase = options->proxy     ? CHISEL_STACK_PROXY
		   : options->tls_ctx ? CHISEL_STACK_TLS
				      : CHISEL_STACK_UPGRADE;
	buf_init(&s->tx, mem, PLAIN_TX_MAX);
	buf_init(&s->flight, mem, PLAIN_TX_MAX);
	tls.tx_max = BATCH;
	if (!ws.protocol)
		ws.protocol = CHISEL_PROTOCOL;
	ssh.tx_headroom = HEADROOM;
	if (options->proxy)
		rc = proxy_new(&s->proxy, options->proxy, mem, why);
	if (rc >= 0 && options->tls_ctx)
		rc = tls_new(&s->tls, options->tls_ctx, &tls, mem, now_ns, why);
	if (rc >= 0)
		rc = ws_new(&s->ws, &ws, mem, now_ns, why);
	if (rc >= 0)
		rc = ssh_new(&s->ssh, &ssh, now_ns, why);
	if (rc < 0) {
		chisel_stack_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void chisel_stack_free(struct stack *s)
{
	if (!s)
		return;
	proxy_free(s->proxy);
	ssh_free(s->ssh);
	ws_free(s->ws);
	tls_free(s->tls);
	buf_fini(&s->tx);
	buf_fini(&s->flight);
	buf_fini(&s->held);
	mem_free(s->mem, s);
}

/* ---- up: ciphertext to events ---- */

/* The bytes of the caller's that wait, as they lie floor by floor. */
static struct mspan *lowest(struct stack *s)
{
	return s->tls ? &s->in : &s->plain;
}

/* Keeps what the caller's buffer still holds before it is used again.  With TLS
 * plain and payload lie in the engine below, which is not called meanwhile. */
static int hold(struct stack *s, const struct mspan *more)
{
	struct mspan *low = lowest(s);
	struct buf kept;
	int rc = 0;

	buf_init(&kept, s->mem, LIMIT_HELD);
	s->held_payload = s->tls ? 0 : s->payload.n;
	if (s->held_payload)
		rc = buf_append(&kept, s->payload.p, s->payload.n);
	if (rc >= 0 && low->n)
		rc = buf_append(&kept, low->p, low->n);
	if (rc >= 0 && more->n)
		rc = buf_append(&kept, more->p, more->n);
	if (rc < 0) {
		buf_fini(&kept);
		return fault_set(&s->fault, (enum err)rc,
				 rc == ERR_NOMEM ? "no memory for what was received"
						 : "the peer goes on before it was answered");
	}
	buf_fini(&s->held);
	s->held = kept;
	const struct mspan all = buf_bytes(&s->held);
	if (!s->tls)
		s->payload = (struct mspan){ all.p, s->held_payload };
	*low = (struct mspan){ all.p + s->held_payload, all.n - s->held_payload };
	return 0;
}

int chisel_stack_feed(struct stack *s, uint8_t *in, size_t n, uint64_t now_ns)
{
	const int rc = chisel_stack_fault(s)->code;
	const struct mspan fed = { in, n };

	s->now_ns = now_ns;
	if (rc < 0 || !n)
		return rc;
	if (lowest(s)->n || s->payload.n)
		return hold(s, &fed);
	buf_fini(&s->held);
	*lowest(s) = fed;
	return 0;
}

int chisel_stack_feed_end(struct stack *s)
{
	static const char *const during[] = {
		[CHISEL_STACK_PROXY] = " while it should open the way (it is a proxy)",
		[CHISEL_STACK_TLS] = " during the TLS handshake",
		[CHISEL_STACK_UPGRADE] = " during the WebSocket upgrade",
		[CHISEL_STACK_SSH] = " during the SSH handshake",
		[CHISEL_STACK_READY] = "",
	};

	if (chisel_stack_fault(s)->code)
		return chisel_stack_fault(s)->code;
	return fault_set(&s->fault, ERR_CLOSED, "the peer closed the connection%s%s",
			 during[s->phase],
			 s->phase == CHISEL_STACK_UPGRADE && !s->tls
				 ? ": does this port want TLS (https://)?"
				 : "");
}

static void advance(struct mspan *m, int n)
{
	m->p += n;
	m->n -= (size_t)n;
}

/* Each floor's step: 1 when something moved, 0 when there is nothing, < 0. */
static int step_proxy(struct stack *s)
{
	struct mspan *low = lowest(s);
	const int taken = low->n ? proxy_feed(s->proxy, low->p, low->n) : 0;

	if (taken < 0)
		return taken;
	advance(low, taken);
	if (proxy_is_open(s->proxy))
		s->phase = s->tls ? CHISEL_STACK_TLS : CHISEL_STACK_UPGRADE;
	return taken > 0;
}

static int step_tls(struct stack *s)
{
	struct tls_event ev;

	if (!s->tls)
		return 0;
	const int rc = tls_next(s->tls, &ev);
	if (rc < 0)
		return rc;
	if (rc && ev.kind == TLS_EVENT_OPEN && s->phase == CHISEL_STACK_TLS)
		s->phase = CHISEL_STACK_UPGRADE;
	else if (rc && ev.kind == TLS_EVENT_DATA)
		s->plain = ev.data;
	else if (rc && ev.kind == TLS_EVENT_CLOSED)
		return chisel_stack_feed_end(s);
	if (rc || !s->in.n)
		return rc;
	const int taken = tls_feed(s->tls, s->in.p, s->in.n, s->now_ns);
	if (taken > 0)
		advance(&s->in, taken);
	return taken < 0 ? taken : taken > 0;
}

/* What the peer said with its close, in words. */
static int fail_closed(struct stack *s, const struct ws_event *ev)
{
	char text[100];

	escape_text(text, sizeof(text), span_of(ev->payload.p, ev->payload.n));
	return fault_set(&s->fault, ERR_CLOSED, "the peer closed the WebSocket (code %u%s%s)",
			 ev->code, *text ? ": " : "", text);
}

static int step_ws(struct stack *s)
{
	struct ws_event ev;
	const int rc = ws_next(s->ws, &ev);

	if (rc > 0 && ev.kind == WS_EVENT_REQUEST)
		ws_accept(s->ws);
	else if (rc > 0 && ev.kind == WS_EVENT_OPEN)
		s->phase = CHISEL_STACK_SSH;
	else if (rc > 0 && ev.kind == WS_EVENT_DATA && ev.op != WS_OP_BINARY) {
		ws_close(s->ws, 1003, "");
		return fault_set(
			&s->fault, ERR_PROTO,
			"the peer sent a text message over the WebSocket: is it a chisel server?");
	} else if (rc > 0 && ev.kind == WS_EVENT_DATA)
		s->payload = ev.payload;
	else if (rc > 0 && ev.kind == WS_EVENT_CLOSED)
		return fail_closed(s, &ev);
	if (rc || !s->plain.n)
		return rc;
	const int taken = ws_feed(s->ws, s->plain.p, s->plain.n, s->now_ns);
	if (taken > 0)
		advance(&s->plain, taken);
	return taken < 0 ? taken : taken > 0;
}

/* The caller may now use its buffer again. */
static int keep_rest(struct stack *s)
{
	const struct mspan none = { 0 };

	const struct mspan *low = lowest(s);

	if (!low->n && (s->tls || !s->payload.n))
		return 0;
	if (s->held.p && low->p + low->n == s->held.p + s->held.end)
		return 0; /* it is in held already */
	return hold(s, &none);
}

int chisel_stack_next(struct stack *s, struct ssh_event *ev)
{
	for (;;) {
		int rc = ssh_next(s->ssh, ev);

		if (rc > 0 && ev->kind == SSH_EVENT_READY)
			s->phase = CHISEL_STACK_READY;
		if (rc)
			return rc;
		if (s->fault.code)
			return s->fault.code;
		if (s->payload.n) {
			rc = ssh_feed(s->ssh, s->payload.p, s->payload.n, s->now_ns);
			if (rc < 0)
				return rc;
			/* An event that was drawn awaits its answer. */
			if (rc == 0)
				return keep_rest(s);
			advance(&s->payload, rc);
			continue;
		}
		if (s->phase == CHISEL_STACK_PROXY) {
			rc = step_proxy(s);
		} else {
			rc = step_ws(s);
			if (!rc)
				rc = step_tls(s);
		}
		if (rc < 0)
			return rc;
		if (rc == 0)
			return keep_rest(s);
	}
}

/* ---- down: packets to ciphertext ---- */

/* Bytes taken; 0 also after a fault, which chisel_stack_fault() then has. */
static size_t write_below(struct stack *s, const uint8_t *p, size_t n)
{
	if (s->tls) {
		const int taken = tls_write(s->tls, p, n);
		return taken < 0 ? 0 : (size_t)taken;
	}
	if (buf_len(&s->tx) >= BATCH)
		return 0;
	const int rc = buf_append(&s->tx, p, n);
	if (rc < 0)
		fault_set(&s->fault, (enum err)rc, "no memory for what is to be sent");
	return rc < 0 ? 0 : n;
}

/* The frame on its way: true once all of it is below. */
static bool finish_frame(struct stack *s)
{
	if (s->frame.n) {
		const size_t taken = write_below(s, s->frame.p, s->frame.n);
		advance(&s->frame, (int)taken);
	}
	if (s->frame.n)
		return false;
	if (s->in_packet)
		ssh_sent(s->ssh);
	s->in_packet = false;
	return true;
}

static bool finish_control(struct stack *s)
{
	for (;;) {
		const struct span out = ws_pending(s->ws);
		const size_t taken = out.n ? write_below(s, out.p, out.n) : 0;

		if (!taken)
			return !out.n;
		ws_sent(s->ws, taken);
	}
}

static bool can_frame(const struct stack *s)
{
	return s->phase >= CHISEL_STACK_SSH && ws_is_open(s->ws);
}

static void fill(struct stack *s)
{
	if (s->phase == CHISEL_STACK_TLS)
		return;
	while (finish_frame(s) && finish_control(s)) {
		const struct mspan packet =
			can_frame(s) ? ssh_pending(s->ssh) : (struct mspan){ 0 };

		if (packet.n) {
			const size_t head = ws_frame(s->ws, WS_OP_BINARY, packet);

			s->frame = (struct mspan){ packet.p - head, packet.n + head };
			s->in_packet = true;
			continue;
		}
		if (!s->closing || s->said_close)
			return;
		/* All packets are below: the last words of the other floors. */
		s->said_close = true;
		if (can_frame(s))
			ws_close(s->ws, 1000, "");
		finish_control(s);
		if (s->tls)
			tls_close(s->tls);
	}
}

struct span chisel_stack_pending(struct stack *s)
{
	if (s->phase == CHISEL_STACK_PROXY || (s->proxy && proxy_is_sending(s->proxy)))
		return proxy_pending(s->proxy);
	fill(s);
	if (s->tls)
		return tls_pending(s->tls);
	if (!buf_len(&s->flight)) {
		const struct buf empty = s->flight;

		s->flight = s->tx;
		s->tx = empty;
	}
	const struct mspan b = buf_bytes(&s->flight);
	return span_of(b.p, b.n);
}

void chisel_stack_sent(struct stack *s, size_t n)
{
	if (s->proxy && proxy_is_sending(s->proxy))
		proxy_sent(s->proxy, n);
	else if (s->tls)
		tls_sent(s->tls, n);
	else
		buf_consume(&s->flight, n);
}

/* ---- the rest ---- */

uint64_t chisel_stack_deadline(const struct stack *s)
{
	if (chisel_stack_fault(s)->code)
		return UINT64_MAX;
	return min_u64(ws_deadline(s->ws), ssh_deadline(s->ssh));
}

int chisel_stack_tick(struct stack *s, uint64_t now_ns)
{
	const struct fault *f = chisel_stack_fault(s);

	s->now_ns = now_ns;
	if (f->code)
		return f->code;
	if (s->phase <= CHISEL_STACK_TLS && now_ns >= ws_deadline(s->ws))
		return fault_set(&s->fault, ERR_TIMEOUT, "the %s in time",
				 s->phase == CHISEL_STACK_TLS ? "TLS handshake was not done"
							      : "proxy did not open the way");
	const int rc = ws_tick(s->ws, now_ns);
	return rc < 0 ? rc : ssh_tick(s->ssh, now_ns);
}

void chisel_stack_trim(struct stack *s)
{
	if (s->tls)
		tls_trim(s->tls);
	ssh_trim(s->ssh);
}

struct ssh *chisel_stack_ssh(struct stack *s)
{
	return s->ssh;
}

enum chisel_stack_phase chisel_stack_phase(const struct stack *s)
{
	return s->phase;
}

const struct fault *chisel_stack_fault(const struct stack *s)
{
	if (s->proxy && proxy_fault(s->proxy)->code)
		return proxy_fault(s->proxy);
	if (s->tls && tls_fault(s->tls)->code)
		return tls_fault(s->tls);
	if (ws_fault(s->ws)->code)
		return ws_fault(s->ws);
	return ssh_fault(s->ssh)->code ? ssh_fault(s->ssh) : &s->fault;
}

const struct tls *chisel_stack_tls(const struct stack *s)
{
	return s->tls;
}

int chisel_stack_upgrade_status(const struct stack *s)
{
	return ws_refused_status(s->ws);
}

unsigned chisel_stack_retry_after_s(const struct stack *s)
{
	return ws_retry_after_s(s->ws);
}

void chisel_stack_glitches(const struct stack *s, uint64_t counts[GLITCH_KINDS])
{
	for (size_t k = 0; k < GLITCH_KINDS; k++)
		counts[k] = ws_glitches(s->ws)->counts[k] + ssh_stats(s->ssh)->glitches.counts[k];
}

void chisel_stack_close(struct stack *s, enum ssh_disconnect_reason reason, const char *text)
{
	if (can_frame(s) && !ssh_fault(s->ssh)->code)
		ssh_disconnect(s->ssh, reason, text);
	s->closing = true;
}
