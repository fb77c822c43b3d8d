/*
 * ws -- one WebSocket connection (RFC 6455), either role: the upgrade, then
 * frames and their rules. Frame heads are ws_frame.c, the upgrade's HTTP is
 * ws_upgrade.c.
 */
#include "lib/proto/ws/ws.h"

#include "lib/base/buf.h"
#include "lib/base/limits.h"
#include "lib/base/utf8.h"
#include "lib/proto/ws/ws_upgrade.h"

enum {
	CONTROL_MAX = 125,
	KEYS = 64, /* mask keys drawn at once */
	TX_MAX = 64 * 1024,
};

enum ws_state {
	WS_REQUESTED, /* client: the answer is awaited */
	WS_LISTENING, /* server: the request is awaited */
	WS_DECIDING,  /* server: the request waits for ws_accept or ws_refuse */
	WS_OPEN,
	WS_CLOSING, /* our close is out, theirs is awaited */
	WS_CLOSED,
};

struct ws {
	const struct mem *mem;
	struct ws_options o; /* path and protocol are copies, behind this struct */
	struct fault fault;
	enum ws_state state;
	struct buf head; /* of the handshake, until it is whole */
	struct buf tx;
	char accept[WS_ACCEPT_TEXT]; /* what proves the upgrade's answer */
	unsigned interims;
	uint64_t now_ns, deadline_ns;

	uint8_t partial[WS_FRAME_HEAD_MAX]; /* frame head that came in pieces */
	size_t partial_n;
	struct ws_frame frame;		     /* being read */
	uint64_t frame_at;		     /* payload bytes of it seen */
	bool in_frame, in_message, is_empty; /* is_empty: the message, so far */
	enum ws_op message_op;
	uint8_t control[CONTROL_MAX];
	uint8_t pong[CONTROL_MAX]; /* the newest ping to answer */
	size_t pong_n;
	bool pong_due;
	struct glitches glitches; /* frames that carry nothing */

	struct ws_event event; /* waits to be drawn */
	bool has_event, open_told;
	int refused_status;
	unsigned retry_after_s;
	uint16_t close_code;
	uint8_t keys[KEYS][4];
	size_t keys_used;
};

static int fail(struct ws *w, enum err code, const char *text)
{
	return fault_set(&w->fault, code, "%s", text);
}

/* ---- set-up ---- */

static const char *keep_text(char **at, const char *text)
{
	if (!text)
		return NULL;
	const size_t n = strlen(text) + 1;
	char *to = memcpy(*at, text, n);
	*at += n;
	return to;
}

int ws_new(struct ws **out, const struct ws_options *options, const struct mem *mem,
	   uint64_t now_ns, struct fault *why)
{
	const size_t texts = (options->path ? strlen(options->path) + 1 : 0) +
			     (options->protocol ? strlen(options->protocol) + 1 : 0);
	struct ws *w = mem_alloc_zeroed(mem, sizeof(*w) + texts);
	int rc = 0;

	if (!w)
		return fault_set(why, ERR_NOMEM, "no memory for the WebSocket");
	char *at = (char *)(w + 1);
	w->mem = mem;
	w->o = *options;
	w->o.path = keep_text(&at, options->path);
	w->o.protocol = keep_text(&at, options->protocol);
	if (!w->o.frame_max)
		w->o.frame_max = LIMIT_WS_FRAME;
	w->state = options->server ? WS_LISTENING : WS_REQUESTED;
	w->now_ns = now_ns;
	w->deadline_ns =
		now_ns + (options->handshake_ns ? options->handshake_ns : LIMIT_NS(WS_HANDSHAKE));
	w->keys_used = KEYS;
	glitch_init(&w->glitches, LIMIT_WS_GLITCHES, LIMIT_NS(WS_GLITCH_REFILL), now_ns);
	buf_init(&w->head, mem,
		 (options->server ? HTTP1_REQUEST_HEAD_MAX : HTTP1_RESPONSE_HEAD_MAX) + 1);
	buf_init(&w->tx, mem, TX_MAX);
	if (!options->server)
		rc = ws_upgrade_write_request(&w->tx, &w->o, w->accept);
	w->o.host = NULL;
	w->o.headers = NULL;
	if (rc < 0) {
		ws_free(w);
		return fault_set(why, (enum err)rc,
				 rc == ERR_NOMEM ? "no memory for the WebSocket"
						 : "the upgrade request can't be written: host, "
						   "path or a header holds what none may");
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
	mem_free(w->mem, w);
}

/* ---- the handshake ---- */

static void open_up(struct ws *w)
{
	w->state = WS_OPEN;
	w->deadline_ns = UINT64_MAX;
}

/* Each returns the length of the head at the front, 0 for not yet. */
static int read_answer(struct ws *w)
{
	const struct mspan in = buf_bytes(&w->head);
	struct http1_head h;
	const int n = http1_read_response(&h, in.p, in.n, &w->fault);

	if (n <= 0)
		return n;
	if (h.status < 200 && h.status != 101) {
		if (++w->interims > LIMIT_HTTP_INTERIMS)
			return fail(w, ERR_LIMIT, "the server sends too many 1xx responses");
		return n;
	}
	if (h.status != 101) {
		w->refused_status = h.status;
		w->retry_after_s = ws_upgrade_retry_after(&h);
		return ws_upgrade_explain_refusal(&h, span_of(in.p + n, in.n - (size_t)n),
						  &w->fault);
	}
	const int rc = ws_upgrade_check_answer(&h, w->accept, w->o.protocol, &w->fault);
	if (rc < 0)
		return rc;
	open_up(w);
	return n;
}

static int read_request(struct ws *w)
{
	const struct mspan in = buf_bytes(&w->head);
	struct http1_head h;
	const int n = http1_read_request(&h, in.p, in.n, &w->fault);

	if (n <= 0)
		return n;
	const int status = ws_upgrade_check_request(&h, w->o.path, w->o.protocol, w->accept);
	if (status) {
		ws_refuse(w, status, "a WebSocket upgrade is expected here\n");
		return n;
	}
	w->state = WS_DECIDING;
	w->event = (struct ws_event){ .kind = WS_EVENT_REQUEST, .head = span_of(in.p, (size_t)n) };
	w->has_event = true;
	return n;
}

/* Takes bytes of one head at most: what follows it is another's. */
static int feed_head(struct ws *w, const uint8_t *in, size_t n)
{
	const size_t had = buf_len(&w->head);
	const size_t fits = min_size(n, buf_room(&w->head));
	int rc = buf_append(&w->head, in, fits);

	if (rc < 0)
		return fail(w, (enum err)rc, "no memory for the upgrade");
	/* Only the end of a line can change the verdict: a head that drips in is
	 * not read again for each of its bytes. */
	if (!memchr(in, '\n', fits) && buf_room(&w->head))
		return (int)fits;
	rc = w->o.server ? read_request(w) : read_answer(w);
	if (rc <= 0)
		return rc < 0 ? rc : (int)fits;
	if (w->state == WS_REQUESTED)
		buf_consume(&w->head, buf_len(&w->head));
	return rc - (int)had;
}

void ws_accept(struct ws *w)
{
	must(w->state == WS_DECIDING);
	const int rc = ws_upgrade_write_answer(&w->tx, w->accept, w->o.protocol);
	if (rc < 0)
		fail(w, (enum err)rc, "no memory for the upgrade's answer");
	else
		open_up(w);
}

void ws_refuse(struct ws *w, int status, const char *text)
{
	const int rc = ws_upgrade_write_refusal(&w->tx, status, text);

	w->refused_status = status;
	w->state = WS_CLOSED;
	w->deadline_ns = UINT64_MAX;
	if (rc < 0)
		fail(w, (enum err)rc, "no memory for the upgrade's answer");
	else
		fault_set(&w->fault, ERR_CLOSED, "the upgrade was refused with %d", status);
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
	/* Without room pings of ours wait already: one more tells nothing. */
	if (w->state != WS_OPEN || w->fault.code ||
	    buf_room(&w->tx) < 2 * (WS_FRAME_HEAD_MAX + CONTROL_MAX))
		return;
	if (send_control(w, WS_OP_PING, payload) < 0)
		fail(w, ERR_NOMEM, "no memory for a WebSocket ping");
}

static int send_close(struct ws *w, uint16_t code, const char *text)
{
	uint8_t payload[CONTROL_MAX];
	const size_t n = min_size(strlen(text), CONTROL_MAX - 2);

	put_be(payload, 2, code);
	memcpy(payload + 2, text, n);
	return send_control(w, WS_OP_CLOSE, span_of(payload, n + 2));
}

void ws_close(struct ws *w, uint16_t code, const char *text)
{
	if (w->state != WS_OPEN || w->fault.code)
		return;
	w->state = WS_CLOSING;
	w->deadline_ns = w->now_ns + LIMIT_NS(WS_CLOSE);
	const int rc = send_close(w, code, text);
	if (rc < 0)
		fail(w, (enum err)rc, "no memory for the WebSocket's close");
}

struct span ws_pending(struct ws *w)
{
	/* One pong at most waits, for the newest ping (RFC 6455, 5.5.3). */
	if (w->pong_due && w->state == WS_OPEN &&
	    buf_room(&w->tx) > WS_FRAME_HEAD_MAX + CONTROL_MAX) {
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

/* A frame that carries nothing: a few are fine, and more as time passes. */
static int glitch(struct ws *w, enum glitch_kind kind)
{
	glitch_refill(&w->glitches, w->now_ns);
	if (glitch_charge(&w->glitches, kind, 1))
		return 0;
	return fail(w, ERR_LIMIT, "the peer floods the WebSocket with frames that carry nothing");
}

static int begin_message_frame(struct ws *w, const struct ws_frame *f)
{
	if ((f->op == WS_OP_CONT) != w->in_message)
		return fail(w, ERR_PROTO,
			    w->in_message ? "WebSocket: a new message inside another"
					  : "WebSocket: continuation of no message");
	if (f->op != WS_OP_CONT) {
		w->message_op = f->op;
		w->is_empty = true;
	}
	w->in_message = !f->fin;
	/* A writer may end a message with an empty frame when it learns late
	 * that nothing more comes. */
	const bool is_glitch = !f->payload && (w->is_empty || !f->fin);
	w->is_empty = w->is_empty && !f->payload;
	return is_glitch ? glitch(w, GLITCH_EMPTY_FRAME) : 0;
}

static int begin_frame(struct ws *w)
{
	const struct ws_frame *f = &w->frame;

	if (f->masked != w->o.server)
		return fail(w, ERR_PROTO,
			    w->o.server ? "WebSocket: a client's frame is not masked"
					: "WebSocket: a server's frame is masked");
	if (f->payload > w->o.frame_max)
		return fault_set(
			&w->fault, ERR_LIMIT, "WebSocket: a frame of %llu bytes is above %llu",
			(unsigned long long)f->payload, (unsigned long long)w->o.frame_max);
	w->in_frame = true;
	w->frame_at = 0;
	return f->op < WS_OP_CLOSE ? begin_message_frame(w, f) : glitch(w, GLITCH_CONTROL_FRAME);
}

/* RFC 6455, 7.4: what may stand in a close frame. */
static bool is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

static bool is_utf8(struct span s)
{
	uint32_t c;

	while (s.n) {
		const size_t n = utf8_read(s, &c);
		if (!n)
			return false;
		s = span_of(s.p + n, s.n - n);
	}
	return true;
}

static int take_close(struct ws *w, size_t n)
{
	const size_t code = min_size(n, 2);

	w->close_code = n < 2 ? 1005 : (uint16_t)get_be(w->control, 2);
	if (n && !is_close_code(w->close_code)) /* half a code reads as 1005 */
		return fail(w, ERR_PROTO, "WebSocket: close frame with a code that none may send");
	if (!is_utf8(span_of(w->control + code, n - code)))
		return fail(w, ERR_PROTO, "WebSocket: close frame with a text that is no UTF-8");
	if (w->state == WS_OPEN && send_control(w, WS_OP_CLOSE, span_of(w->control, code)) < 0)
		return fail(w, ERR_NOMEM, "no memory for the WebSocket's close");
	w->state = WS_CLOSED;
	w->deadline_ns = UINT64_MAX;
	w->event = (struct ws_event){
		.kind = WS_EVENT_CLOSED,
		.op = WS_OP_CLOSE,
		.code = w->close_code,
		.payload = { w->control + code, n - code },
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

/* A peer that broke the rules is told so (RFC 6455, 7.1.7), best effort. */
static int part(struct ws *w, int rc)
{
	if (w->state == WS_OPEN && (rc == ERR_PROTO || rc == ERR_LIMIT)) {
		const int sent = send_close(w, rc == ERR_PROTO ? 1002 : 1009, "");
		(void)sent;
	}
	if (w->state >= WS_OPEN)
		w->state = WS_CLOSED;
	return rc;
}

int ws_feed(struct ws *w, uint8_t *in, size_t n, uint64_t now_ns)
{
	int rc;

	if (now_ns > w->now_ns)
		w->now_ns = now_ns;
	n = min_size(n, INT32_MAX);
	if (w->fault.code)
		return w->fault.code;
	if (w->has_event || !n)
		return 0;
	switch (w->state) {
	case WS_REQUESTED:
	case WS_LISTENING:
		return feed_head(w, in, n);
	case WS_DECIDING:
		return 0;
	case WS_OPEN:
	case WS_CLOSING:
		rc = feed_frames(w, in, n);
		return rc < 0 ? part(w, rc) : rc;
	case WS_CLOSED:
		break; /* nothing counts after the close */
	}
	return (int)n;
}

int ws_next(struct ws *w, struct ws_event *ev)
{
	*ev = (struct ws_event){ .kind = WS_EVENT_NONE };
	if (w->state >= WS_OPEN && !w->open_told && !w->refused_status) {
		w->open_told = true;
		buf_fini(&w->head);
		buf_init(&w->head, w->mem, 0);
		ev->kind = WS_EVENT_OPEN;
		return 1;
	}
	if (w->has_event) {
		w->has_event = false;
		*ev = w->event;
		return 1;
	}
	return w->fault.code;
}

bool ws_is_open(const struct ws *w)
{
	return w->state == WS_OPEN && !w->fault.code;
}

/* ---- time ---- */

uint64_t ws_deadline(const struct ws *w)
{
	return w->fault.code ? UINT64_MAX : w->deadline_ns;
}

int ws_tick(struct ws *w, uint64_t now_ns)
{
	if (now_ns > w->now_ns)
		w->now_ns = now_ns;
	if (!w->fault.code && now_ns >= w->deadline_ns)
		fail(w, ERR_TIMEOUT,
		     w->state == WS_CLOSING
			     ? "the peer did not answer the WebSocket's close in time"
			     : "the WebSocket upgrade was not done in time");
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

unsigned ws_retry_after_s(const struct ws *w)
{
	return w->retry_after_s;
}

const struct glitches *ws_glitches(const struct ws *w)
{
	return &w->glitches;
}
