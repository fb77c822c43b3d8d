#include "lib/proto/ws.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "lib/base/buf.h"
#include "lib/base/escape.h"
#include "lib/proto/http1.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */
#define HANDSHAKE_NS 10000000000ull

enum {
	FRAME_MAX = 1024 * 1024,
	CONTROL_MAX = 125,
	KEYS = 64,            /* mask keys drawn at once */
	GLITCHES_MAX = 10000, /* control frames and empty frames without data between them */
	TX_MAX = 64 * 1024,
};

enum ws_state {
	WS_REQUESTED, /* client: the answer is awaited */
	WS_LISTENING, /* server: the request is awaited */
	WS_DECIDING,  /* server: the request waits for ws_accept or ws_refuse */
	WS_OPEN,
	WS_CLOSING,   /* our close is out, theirs is awaited */
	WS_CLOSED,
};

struct ws {
	const struct mem *mem;
	struct ws_options o;
	struct fault fault;
	enum ws_state state;
	struct buf head;          /* of the handshake, until it is whole */
	struct buf tx;
	char accept[32];          /* the answer that proves the upgrade */
	uint64_t deadline_ns;

	uint8_t partial[WS_FRAME_HEAD_MAX]; /* frame head that came in pieces */
	size_t partial_n;
	struct ws_frame frame;    /* being read */
	uint64_t frame_at;        /* payload bytes of it seen */
	bool in_frame, in_message;
	enum ws_op message_op;
	uint8_t control[CONTROL_MAX];
	uint8_t pong[CONTROL_MAX];/* the newest ping to answer */
	size_t pong_n;
	bool pong_due;
	unsigned glitches;

	struct ws_event event;    /* waits to be drawn */
	bool has_event, open_told;
	int refused_status;
	uint16_t close_code;
	uint8_t keys[KEYS][4];
	size_t keys_used;
};

static int fail(struct ws *w, enum err code, const char *text)
{
	return fault_set(&w->fault, code, "%s", text);
}

/* ---- set-up and the client's request ---- */

static int compute_accept(char to[32], struct span key)
{
	uint8_t in[64 + sizeof(GUID)], digest[EVP_MAX_MD_SIZE];

	if (key.n > 64)
		return ERR_PROTO;
	memcpy(in, key.p, key.n);
	memcpy(in + key.n, GUID, sizeof(GUID) - 1);
	if (!EVP_Digest(in, key.n + sizeof(GUID) - 1, digest, NULL, EVP_sha1(), NULL))
		return ERR_CRYPTO;
	EVP_EncodeBlock((unsigned char *)to, digest, 20);
	return 0;
}

static int write_line_field(struct buf *to, const char *line)
{
	char name[128];
	const char *colon = strchr(line, ':');

	if (!colon || (size_t)(colon - line) >= sizeof(name))
		return ERR_USAGE;
	snprintf(name, sizeof(name), "%.*s", (int)(colon - line), line);
	return http1_write_field(to, name, colon + 1 + strspn(colon + 1, " "));
}

static int write_request(struct ws *w)
{
	uint8_t nonce[16];
	char key[32];
	const struct ws_options *o = &w->o;

	o->random(o->random_ctx, nonce, sizeof(nonce));
	EVP_EncodeBlock((unsigned char *)key, nonce, sizeof(nonce));
	int rc = compute_accept(w->accept, span_str(key));
	if (rc >= 0)
		rc = http1_write_request(&w->tx, "GET", o->path ? o->path : "/");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Host", o->host);
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Upgrade", "websocket");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Connection", "Upgrade");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Sec-WebSocket-Key", key);
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Sec-WebSocket-Version", "13");
	if (rc >= 0 && o->protocol)
		rc = http1_write_field(&w->tx, "Sec-WebSocket-Protocol", o->protocol);
	for (size_t i = 0; rc >= 0 && o->headers && o->headers[i]; i++)
		rc = write_line_field(&w->tx, o->headers[i]);
	return rc < 0 ? rc : http1_write_end(&w->tx);
}

int ws_new(struct ws **out, const struct ws_options *options, const struct mem *mem, uint64_t now_ns,
	   struct fault *why)
{
	struct ws *w = mem_take_zeroed(mem, sizeof(*w));
	int rc = 0;

	if (!w)
		return fault_set(why, ERR_NOMEM, "no memory for the WebSocket");
	w->mem = mem;
	w->o = *options;
	if (!w->o.frame_max)
		w->o.frame_max = FRAME_MAX;
	w->state = options->server ? WS_LISTENING : WS_REQUESTED;
	w->deadline_ns = now_ns + (options->handshake_ns ? options->handshake_ns : HANDSHAKE_NS);
	w->keys_used = KEYS;
	buf_init(&w->head, mem, HTTP1_ANSWER_HEAD_MAX + 1);
	buf_init(&w->tx, mem, TX_MAX);
	if (!options->server)
		rc = write_request(w);
	if (rc < 0) {
		ws_free(w);
		return fault_set(why, (enum err)rc, rc == ERR_NOMEM
							     ? "no memory for the WebSocket"
							     : "the upgrade request can't be written: a header or path is not valid");
	}
	*out = w;
	return 0;
}

void ws_free(struct ws *w)
{
	if (!w)
		return;
	buf_fini(&w->head);
	buf_fini(&w->tx);
	mem_give(w->mem, w);
}

/* ---- the handshake ---- */

static int refuse_answer(struct ws *w, const struct http1_head *h, struct span body)
{
	char words[100], more[100];

	w->refused_status = h->status;
	if (h->status >= 300 && h->status < 400) {
		const struct span location = http1_field(h, "Location");

		escape_text(words, sizeof(words), location);
		return fault_set(&w->fault, ERR_REFUSED,
				 "the server answered the upgrade with %d and points to %s: name that URL, "
				 "redirects are not followed", h->status, words);
	}
	escape_text(words, sizeof(words), h->reason);
	escape_text(more, sizeof(more), span_of(body.p, min_size(body.n, 60)));
	return fault_set(&w->fault, ERR_REFUSED,
			 "the server answered the upgrade with %d %s%s%s: is it a chisel server, and does "
			 "everything on the way let WebSockets through?",
			 h->status, words, *more ? ": " : "", more);
}

static int check_answer(struct ws *w, const struct http1_head *h)
{
	const struct span protocol = http1_field(h, "Sec-WebSocket-Protocol");

	if (!http1_field_has(h, "Upgrade", "websocket") || !http1_field_has(h, "Connection", "upgrade"))
		return fail(w, ERR_PROTO, "the upgrade's answer is no upgrade to a WebSocket");
	if (!span_is(http1_field(h, "Sec-WebSocket-Accept"), w->accept))
		return fail(w, ERR_PROTO, "the upgrade's answer has a wrong Sec-WebSocket-Accept");
	if (http1_field(h, "Sec-WebSocket-Extensions").p)
		return fail(w, ERR_PROTO, "the server agreed to an extension that was not offered");
	/* Official chisel servers want the subprotocol but don't repeat it; another one
	 * than was offered is refused (RFC 6455, 4.1). */
	if (protocol.p && (!w->o.protocol || !span_is(protocol, w->o.protocol)))
		return fail(w, ERR_PROTO, "the upgrade's answer agrees to another subprotocol: is it a chisel server?");
	return 0;
}

static int read_answer(struct ws *w)
{
	const struct mspan in = buf_bytes(&w->head);
	struct http1_head h;
	const int n = http1_read_answer(&h, in.p, in.n, &w->fault);

	if (n <= 0)
		return n;
	if (h.status != 101)
		return refuse_answer(w, &h, span_of(in.p + n, in.n - (size_t)n));
	const int rc = check_answer(w, &h);
	if (rc < 0)
		return rc;
	w->state = WS_OPEN;
	w->deadline_ns = UINT64_MAX;
	return n;
}

static int read_request(struct ws *w)
{
	const struct mspan in = buf_bytes(&w->head);
	struct http1_head h;
	const int n = http1_read_request(&h, in.p, in.n, &w->fault);

	if (n <= 0)
		return n;
	const struct span key = http1_field(&h, "Sec-WebSocket-Key");
	const bool good = span_is(h.method, "GET") && h.minor == 1 &&
			  http1_field_has(&h, "Upgrade", "websocket") &&
			  http1_field_has(&h, "Connection", "upgrade") &&
			  span_is(http1_field(&h, "Sec-WebSocket-Version"), "13") && key.n == 24 &&
			  (!w->o.path || span_is(h.target, w->o.path)) &&
			  (!w->o.protocol || http1_field_has(&h, "Sec-WebSocket-Protocol", w->o.protocol));
	if (!good || compute_accept(w->accept, key) < 0) {
		ws_refuse(w, 400, "a WebSocket upgrade with the right subprotocol is expected\n");
		return n;
	}
	w->state = WS_DECIDING;
	w->event = (struct ws_event){ .kind = WS_EVENT_REQUEST, .head = span_of(in.p, (size_t)n) };
	w->has_event = true;
	return n;
}

/* Takes handshake bytes one head at most: what follows it is frames. */
static int feed_head(struct ws *w, const uint8_t *in, size_t n)
{
	const size_t had = buf_len(&w->head);
	const size_t fits = min_size(n, buf_room(&w->head));
	int rc = buf_append(&w->head, in, fits);

	if (rc < 0)
		return fail(w, (enum err)rc, "no memory for the upgrade");
	rc = w->o.server ? read_request(w) : read_answer(w);
	if (rc < 0)
		return w->fault.code ? w->fault.code : rc;
	if (rc == 0)
		return (int)fits;
	must((size_t)rc > had);
	return (int)((size_t)rc - had);
}

void ws_accept(struct ws *w)
{
	must(w->state == WS_DECIDING);
	int rc = http1_write_answer(&w->tx, 101);
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Upgrade", "websocket");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Connection", "Upgrade");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Sec-WebSocket-Accept", w->accept);
	if (rc >= 0 && w->o.protocol)
		rc = http1_write_field(&w->tx, "Sec-WebSocket-Protocol", w->o.protocol);
	if (rc >= 0)
		rc = http1_write_end(&w->tx);
	if (rc < 0) {
		fail(w, ERR_NOMEM, "no memory for the upgrade");
		return;
	}
	w->state = WS_OPEN;
	w->deadline_ns = UINT64_MAX;
}

void ws_refuse(struct ws *w, int status, const char *text)
{
	char length[24];

	snprintf(length, sizeof(length), "%zu", strlen(text));
	int rc = http1_write_answer(&w->tx, status);
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Content-Type", "text/plain; charset=utf-8");
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Content-Length", length);
	if (rc >= 0)
		rc = http1_write_field(&w->tx, "Connection", "close");
	if (rc >= 0)
		rc = http1_write_end(&w->tx);
	if (rc >= 0)
		rc = buf_append(&w->tx, text, strlen(text));
	fail(w, rc < 0 ? ERR_NOMEM : ERR_CLOSED, rc < 0 ? "no memory" : "the upgrade was refused");
	w->state = WS_CLOSED;
}

/* ---- frames that we send ---- */

static void draw_key(struct ws *w, uint8_t key[4])
{
	if (w->keys_used == KEYS) {
		w->o.random(w->o.random_ctx, w->keys, sizeof(w->keys));
		w->keys_used = 0;
	}
	memcpy(key, w->keys[w->keys_used++], 4);
}

static size_t write_head(struct ws *w, struct ws_frame *f, uint8_t head[WS_FRAME_HEAD_MAX])
{
	f->fin = true;
	f->masked = !w->o.server;
	if (f->masked)
		draw_key(w, f->key);
	return ws_frame_write(head, f);
}

static int send_control(struct ws *w, enum ws_op op, struct span payload)
{
	struct ws_frame f = { .op = op, .payload = payload.n };
	uint8_t wire[WS_FRAME_HEAD_MAX + CONTROL_MAX];

	must(payload.n <= CONTROL_MAX);
	const size_t n = write_head(w, &f, wire);
	if (payload.n)
		memcpy(wire + n, payload.p, payload.n);
	if (f.masked)
		ws_frame_mask(&f, 0, wire + n, payload.n);
	return buf_append(&w->tx, wire, n + payload.n);
}

size_t ws_frame(struct ws *w, enum ws_op op, struct mspan payload)
{
	struct ws_frame f = { .op = op, .payload = payload.n };
	uint8_t head[WS_FRAME_HEAD_MAX];

	must(w->state == WS_OPEN);
	const size_t n = write_head(w, &f, head);
	memcpy(payload.p - n, head, n);
	if (f.masked)
		ws_frame_mask(&f, 0, payload.p, payload.n);
	return n;
}

void ws_ping(struct ws *w, struct span payload)
{
	if (w->state == WS_OPEN && send_control(w, WS_OP_PING, payload) < 0)
		fail(w, ERR_NOMEM, "no memory for a WebSocket ping");
}

void ws_close(struct ws *w, uint16_t code, const char *text)
{
	uint8_t payload[CONTROL_MAX];
	const size_t n = min_size(strlen(text), CONTROL_MAX - 2);

	if (w->state != WS_OPEN)
		return;
	put_be(payload, 2, code);
	memcpy(payload + 2, text, n);
	w->state = WS_CLOSING;
	if (send_control(w, WS_OP_CLOSE, span_of(payload, n + 2)) < 0)
		fail(w, ERR_NOMEM, "no memory for the WebSocket's close");
}

struct span ws_pending(struct ws *w)
{
	/* One pong at most waits, for the newest ping (RFC 6455, 5.5.3). */
	if (w->pong_due && w->state == WS_OPEN && buf_room(&w->tx) > WS_FRAME_HEAD_MAX + CONTROL_MAX) {
		w->pong_due = false;
		if (send_control(w, WS_OP_PONG, span_of(w->pong, w->pong_n)) < 0)
			fail(w, ERR_NOMEM, "no memory for a WebSocket pong");
	}
	const struct mspan b = buf_bytes(&w->tx);
	return span_of(b.p, b.n);
}

void ws_sent(struct ws *w, size_t n)
{
	buf_consume(&w->tx, n);
}

/* ---- frames that come ---- */

static int glitch(struct ws *w)
{
	if (++w->glitches <= GLITCHES_MAX)
		return 0;
	return fail(w, ERR_LIMIT, "the peer floods the WebSocket with frames that carry nothing");
}

static int begin_frame(struct ws *w)
{
	const struct ws_frame *f = &w->frame;

	if (f->masked != w->o.server)
		return fail(w, ERR_PROTO, w->o.server ? "WebSocket: a client's frame is not masked"
						       : "WebSocket: a server's frame is masked");
	if (f->payload > w->o.frame_max)
		return fault_set(&w->fault, ERR_LIMIT, "WebSocket: a frame of %llu bytes is above %llu",
				 (unsigned long long)f->payload, (unsigned long long)w->o.frame_max);
	if (f->op < WS_OP_CLOSE) {
		if ((f->op == WS_OP_CONT) != w->in_message)
			return fail(w, ERR_PROTO, w->in_message ? "WebSocket: a new message inside another"
								: "WebSocket: continuation of no message");
		if (f->op != WS_OP_CONT)
			w->message_op = f->op;
		w->in_message = !f->fin;
		if (f->payload)
			w->glitches = 0;
	}
	w->in_frame = true;
	w->frame_at = 0;
	return f->op >= WS_OP_CLOSE || !f->payload ? glitch(w) : 0;
}

static int take_close(struct ws *w, size_t n)
{
	if (n == 1)
		return fail(w, ERR_PROTO, "WebSocket: close frame with half a code");
	w->close_code = n ? (uint16_t)get_be(w->control, 2) : 1005;
	if (w->state == WS_OPEN && send_control(w, WS_OP_CLOSE, span_of(w->control, min_size(n, 2))) < 0)
		return fail(w, ERR_NOMEM, "no memory for the WebSocket's close");
	w->state = WS_CLOSED;
	w->event = (struct ws_event){
		.kind = WS_EVENT_CLOSED,
		.op = WS_OP_CLOSE,
		.code = w->close_code,
		.payload = { w->control + min_size(n, 2), n - min_size(n, 2) },
	};
	w->has_event = true;
	return 0;
}

static int end_control(struct ws *w)
{
	const size_t n = (size_t)w->frame.payload;

	w->in_frame = false;
	if (w->frame.op == WS_OP_CLOSE)
		return take_close(w, n);
	if (w->frame.op == WS_OP_PING) {
		memcpy(w->pong, w->control, n);
		w->pong_n = n;
		w->pong_due = true;
	}
	return 0;
}

/* Payload of the frame being read: bytes taken. */
static size_t take_payload(struct ws *w, uint8_t *in, size_t n)
{
	const size_t piece = (size_t)min_u64(w->frame.payload - w->frame_at, n);

	if (w->frame.masked)
		ws_frame_mask(&w->frame, w->frame_at, in, piece);
	if (w->frame.op >= WS_OP_CLOSE)
		memcpy(w->control + w->frame_at, in, piece);
	w->frame_at += piece;
	if (w->frame.op < WS_OP_CLOSE) {
		w->in_frame = w->frame_at < w->frame.payload;
		w->event = (struct ws_event){
			.kind = WS_EVENT_DATA,
			.op = w->message_op,
			.payload = { in, piece },
			.last = w->frame.fin && !w->in_frame,
		};
		w->has_event = piece || w->event.last;
	}
	return piece;
}

/* A frame head, perhaps from two feeds: bytes taken, 0 when it needs more and
 * all of in was kept. */
static int take_head(struct ws *w, const uint8_t *in, size_t n)
{
	const size_t had = w->partial_n;
	const size_t add = min_size(n, sizeof(w->partial) - had);

	memcpy(w->partial + had, in, add);
	const int rc = ws_frame_read(&w->frame, w->partial, had + add, &w->fault);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		w->partial_n = had + add;
		return (int)add;
	}
	w->partial_n = 0;
	const int begun = begin_frame(w);
	return begun < 0 ? begun : rc - (int)had;
}

static int feed_frames(struct ws *w, uint8_t *in, size_t n)
{
	size_t at = 0;

	while (!w->has_event && w->state < WS_CLOSED) {
		if (!w->in_frame) {
			if (at == n)
				break;
			const int rc = take_head(w, in + at, n - at);
			if (rc < 0)
				return rc;
			at += (size_t)rc;
			if (!w->in_frame)
				continue;
		}
		if (w->frame_at < w->frame.payload && at == n)
			break;
		at += take_payload(w, in + at, n - at);
		if (w->frame.op >= WS_OP_CLOSE && w->frame_at == w->frame.payload) {
			const int rc = end_control(w);
			if (rc < 0)
				return rc;
		}
	}
	return (int)at;
}

int ws_feed(struct ws *w, uint8_t *in, size_t n, uint64_t now_ns)
{
	(void)now_ns;
	if (w->fault.code)
		return w->fault.code;
	if (w->has_event || w->state == WS_DECIDING)
		return 0;
	if (w->state == WS_REQUESTED || w->state == WS_LISTENING) {
		const int rc = feed_head(w, in, n);
		return rc < 0 && w->fault.code ? w->fault.code : rc;
	}
	if (w->state == WS_CLOSED)
		return (int)min_size(n, INT32_MAX); /* nothing counts after the close */
	return feed_frames(w, in, min_size(n, INT32_MAX));
}

int ws_next(struct ws *w, struct ws_event *ev)
{
	*ev = (struct ws_event){ .kind = WS_EVENT_NONE };
	if (w->fault.code)
		return w->fault.code;
	if (w->has_event) {
		w->has_event = false;
		*ev = w->event;
		return 1;
	}
	if (w->state == WS_OPEN && !w->open_told) {
		w->open_told = true;
		buf_fini(&w->head);
		buf_init(&w->head, w->mem, 0);
		ev->kind = WS_EVENT_OPEN;
		return 1;
	}
	return 0;
}

/* ---- time ---- */

uint64_t ws_deadline(const struct ws *w)
{
	return w->fault.code ? UINT64_MAX : w->deadline_ns;
}

int ws_tick(struct ws *w, uint64_t now_ns)
{
	if (!w->fault.code && now_ns >= w->deadline_ns)
		fail(w, ERR_TIMEOUT, "the WebSocket upgrade was not answered in time");
	return w->fault.code;
}

const struct fault *ws_fault(const struct ws *w)
{
	return &w->fault;
}

int ws_refused_status(const struct ws *w)
{
	return w->refused_status;
}
