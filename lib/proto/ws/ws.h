/*
 * ws -- one WebSocket connection (RFC 6455), either role, sans-I/O: the HTTP
 * upgrade, then messages.  No extension is ever agreed.
 *
 * Payload is not buffered: ws_next() hands out each piece of a message as it
 * came, unmasked in place; a stream protocol above sees only bytes.
 */
#ifndef LIB_PROTO_WS_WS_H
#define LIB_PROTO_WS_WS_H

#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/glitch.h"
#include "lib/base/mem.h"
#include "lib/proto/ws/ws_frame.h"

struct ws;

/* Texts are copied by ws_new(). */
struct ws_options {
	bool server;
	const char *host;     /* client: Host header, with port unless default */
	const char *path;     /* client: request target; server: NULL = any */
	const char *protocol; /* Sec-WebSocket-Protocol: the one that must be agreed; or NULL */
	const char *const *headers; /* client: more "Name: value" lines, NULL-ended; no CR or LF */
	uint64_t frame_max;	    /* payload bytes in one frame; 0 = 1 MiB */
	uint64_t handshake_ns;	    /* 0 = 10 s */
	void (*random)(void *ctx, void *p, size_t n);
	void *random_ctx;
};

enum ws_event_kind {
	WS_EVENT_NONE,
	WS_EVENT_REQUEST, /* server: the upgrade asked for is fine: head; ws_accept() or ws_refuse()
			   */
	WS_EVENT_OPEN,
	WS_EVENT_DATA,	 /* op TEXT or BINARY, payload; `last` when it ends its message */
	WS_EVENT_CLOSED, /* close handshake done, or the peer's close: code, payload */
};

struct ws_event {
	enum ws_event_kind kind;
	enum ws_op op;
	struct mspan payload; /* good until the next call */
	bool last;
	uint16_t code;
	struct span head; /* REQUEST: the request head as it came */
};

MUST_USE int ws_new(struct ws **out, const struct ws_options *options, const struct mem *mem,
		    uint64_t now_ns, struct fault *why);
void ws_free(struct ws *w); /* accepts NULL */

/* in[0..n) may be changed (unmasking).  Returns bytes taken, or: ERR_REFUSED
 * (the answer was not 101: status and the server's words, escaped, in the
 * fault), ERR_AUTH (it was 401), ERR_PROTO, ERR_LIMIT, ERR_CLOSED. */
MUST_USE int ws_feed(struct ws *w, uint8_t *in, size_t n, uint64_t now_ns);
MUST_USE int ws_next(struct ws *w, struct ws_event *ev); /* 1, 0 or enum err */

/* Handshake and control frames that wait; to be sent before data frames.  After
 * a fault too: the peer is told why (good until the next call on w). */
struct span ws_pending(struct ws *w);
void ws_sent(struct ws *w, size_t n);

/* Makes one whole frame of payload: writes its head into the WS_FRAME_HEAD_MAX
 * writable bytes in front of it and, as a client, masks the payload in place
 * with a fresh key.  Returns the head's length: the frame is at payload.p -
 * that, and is the caller's to send after ws_pending().  Only when open. */
size_t ws_frame(struct ws *w, enum ws_op op, struct mspan payload);

/* Upgraded, no close in either direction, no fault: ws_frame() may be called. */
bool ws_is_open(const struct ws *w);

void ws_accept(struct ws *w); /* server */
void ws_refuse(struct ws *w, int status,
	       const char *text); /* server: plain answer, then ERR_CLOSED */
void ws_ping(struct ws *w, struct span payload);
void ws_close(struct ws *w, uint16_t code, const char *text);

uint64_t ws_deadline(const struct ws *w);
MUST_USE int ws_tick(struct ws *w, uint64_t now_ns);
const struct fault *ws_fault(const struct ws *w);
/* The HTTP status of an upgrade that was refused, by either side; 0 for none. */
int ws_refused_status(const struct ws *w);
/* Client: how long the refusing server asked to be left alone (Retry-After in
 * seconds, at most LIMIT_RETRY_AFTER_S); 0 when it did not. */
unsigned ws_retry_after_s(const struct ws *w);
/* Frames that carried nothing, by kind. */
const struct glitches *ws_glitches(const struct ws *w);

#endif
