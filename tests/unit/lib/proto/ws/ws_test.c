#include "lib/proto/ws/ws.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/proto/http/http1.h"
#include "tests/support/cases.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

#define SECOND 1000000000ull

/* RFC 6455, 1.3: this nonce makes this key makes this answer. */
#define NONCE "the sample nonce"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define UP "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: chisel-v3\r\n"
#define GOOD_ANSWER "HTTP/1.1 101 Switching Protocols\r\n" UP ACCEPT PROTOCOL "\r\n"
#define ASK "GET / HTTP/1.1\r\nHost: x\r\n"
#define WANT_13 "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
#define GOOD_REQUEST ASK UP WANT_13 PROTOCOL "\r\n"

static void fill_random(void *ctx, void *p, size_t n)
{
	unsigned *seed = ctx;
	uint8_t *to = p;

	if (n == 16) {
		memcpy(p, NONCE, 16);
		return;
	}
	while (n--) {
		*seed = *seed * 1664525 + 1013904223;
		*to++ = (uint8_t)(*seed >> 24);
	}
}

/* One engine, and what it told in a form that does not depend on how its bytes
 * were cut: "O" open, "R" request, "b:…|" a binary message, "t:…|", "C1000:…",
 * "E-3" a failure. */
struct end {
	struct ws *ws;
	unsigned seed;
	char log[4096];
	size_t log_n;
	bool in_message;
	int rc;
};

static void note(struct end *e, const void *p, size_t n)
{
	must(e->log_n + n < sizeof(e->log));
	if (n)
		memcpy(e->log + e->log_n, p, n);
	e->log_n += n;
	e->log[e->log_n] = '\0';
}

static void note_text(struct end *e, const char *text)
{
	note(e, text, strlen(text));
}

static void note_event(struct end *e, const struct ws_event *ev)
{
	char text[32];

	switch (ev->kind) {
	case WS_EVENT_NONE:
		must(!"an event of no kind");
		break;
	case WS_EVENT_REQUEST:
		note_text(e, "R");
		ws_accept(e->ws);
		break;
	case WS_EVENT_OPEN:
		note_text(e, "O");
		break;
	case WS_EVENT_DATA:
		if (!e->in_message)
			note_text(e, ev->op == WS_OP_TEXT ? "t:" : "b:");
		note(e, ev->payload.p, ev->payload.n);
		if (ev->last)
			note_text(e, "|");
		e->in_message = !ev->last;
		break;
	case WS_EVENT_CLOSED:
		snprintf(text, sizeof(text), "C%u:", ev->code);
		note_text(e, text);
		note(e, ev->payload.p, ev->payload.n);
		break;
	}
}

static void end_init(struct end *e, const struct ws_options *options, const struct mem *mem)
{
	struct ws_options o = *options;

	*e = (struct end){ .seed = 1 };
	o.random = fill_random;
	o.random_ctx = &e->seed;
	if (!o.server && !o.host)
		o.host = "x";
	e->rc = ws_new(&e->ws, &o, mem, 0, NULL);
}

static void draw(struct end *e)
{
	struct ws_event ev;
	int rc;

	while ((rc = ws_next(e->ws, &ev)) == 1)
		note_event(e, &ev);
	if (rc < 0 && e->rc >= 0) {
		char text[16];
		snprintf(text, sizeof(text), "E%d", rc);
		note_text(e, text);
		e->rc = rc;
	}
}

/* Bytes from a page that ends where they end: they may be unmasked in place. */
static void feed(struct end *e, const void *bytes, size_t n, uint64_t now)
{
	struct fence in;
	size_t at = 0;

	fence_init(&in, bytes, n);
	while (at < n && e->rc >= 0) {
		const int rc = ws_feed(e->ws, in.p + at, n - at, now);
		if (rc > 0)
			at += (size_t)rc;
		draw(e);
	}
	fence_fini(&in);
}

static void feed_text(struct end *e, const char *bytes)
{
	feed(e, bytes, strlen(bytes), 0);
}

static const struct ws_options client = { .protocol = "chisel-v3" };
static const struct ws_options server = { .server = true, .protocol = "chisel-v3" };

static void start_client(struct end *e)
{
	end_init(e, &client, &mem_heap);
	ws_sent(e->ws, ws_pending(e->ws).n);
	feed_text(e, GOOD_ANSWER);
	check(strcmp(e->log, "O") == 0);
	e->log_n = 0;
	e->log[0] = '\0';
}

static void start_server(struct end *e)
{
	end_init(e, &server, &mem_heap);
	feed_text(e, GOOD_REQUEST);
	check(strcmp(e->log, "RO") == 0);
	ws_sent(e->ws, ws_pending(e->ws).n);
	e->log_n = 0;
	e->log[0] = '\0';
}

/* ---- the client's upgrade ---- */

static void test_request_is_what_the_rfc_asks(void)
{
	static const char *const headers[] = { "Authorization: Bearer x", "X-Y:z", NULL };
	struct ws_options o = {
		.host = "h:1", .path = "/p?q", .protocol = "chisel-v3", .headers = headers
	};
	struct http1_head h;
	struct end e;

	end_init(&e, &o, &mem_heap);
	const struct span out = ws_pending(e.ws);
	check(http1_read_request(&h, out.p, out.n, NULL) == (int)out.n);
	check(span_is(h.method, "GET") && span_is(h.target, "/p?q"));
	check(span_is(http1_field(&h, "Host"), "h:1"));
	check(span_is(http1_field(&h, "Upgrade"), "websocket"));
	check(span_is(http1_field(&h, "Connection"), "Upgrade"));
	check(span_is(http1_field(&h, "Sec-WebSocket-Key"), KEY));
	check(span_is(http1_field(&h, "Sec-WebSocket-Version"), "13"));
	check(span_is(http1_field(&h, "Sec-WebSocket-Protocol"), "chisel-v3"));
	check(span_is(http1_field(&h, "Authorization"), "Bearer x"));
	check(span_is(http1_field(&h, "X-Y"), "z"));
	check(http1_field(&h, "Sec-WebSocket-Extensions").p == NULL);
	ws_free(e.ws);
}

static void test_request_cannot_be_split(void)
{
	static const char *const split[] = { "A: b\r\nC: d", NULL };
	static const char *const bare[] = { "no colon", NULL };
	const struct ws_options rows[] = {
		{ .host = "x", .headers = split },
		{ .host = "x", .headers = bare },
		{ .host = "x\r\nA: b" },
		{ .host = "x", .path = "/ HTTP/1.1\r\n" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct ws_options o = rows[i];
		struct fault why = { 0 };
		struct ws *w = NULL;
		unsigned seed = 1;
		o.random = fill_random;
		o.random_ctx = &seed;
		check(ws_new(&w, &o, &mem_heap, 0, &why) == ERR_USAGE && why.why[0] && !w);
	}
}

static const struct answer_row {
	const char *name, *wire, *log;
	int status;
	const char *says;
} answers[] = {
	{ "good", GOOD_ANSWER, "O", 0, NULL },
	{ "any case, any order",
	  "HTTP/1.1 101 X\r\n" PROTOCOL ACCEPT "CONNECTION: foo, UPGRADE\r\nupgrade: "
	  "WebSocket\r\n\r\n",
	  "O", 0, NULL },
	{ "after 100 and 103",
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" GOOD_ANSWER,
	  "O", 0, NULL },
	{ "frames behind it", GOOD_ANSWER "\x82\x02hi\x82\x01!", "Ob:hi|b:!|", 0, NULL },
	{ "close behind it",
	  GOOD_ANSWER "\x88\x05\x03\xe8"
		      "bye",
	  "OC1000:bye", 0, NULL },
	{ "200", "HTTP/1.1 200 OK\r\n\r\n<html>", "E-9", 200, "is this a chisel server" },
	{ "200 with a page", "HTTP/1.1 200 OK\r\n\r\n<html>\r\n", "E-9", 200,
	  "with 200 OK: is this a chisel server" },
	{ "400", "HTTP/1.1 400 Bad Request\r\n\r\n<html>", "E-9", 400, "let them through" },
	{ "401", "HTTP/1.1 401 Unauthorized\r\n\r\n<html>\r\n", "E-8", 401,
	  "401 Unauthorized: the front of the server wants credentials" },
	{ "403", "HTTP/1.1 403 Forbidden\r\n\r\nblocked\r\n", "E-9", 403,
	  "403 Forbidden: blocked: the front of the server forbids it" },
	{ "404", "HTTP/1.1 404 Not Found\r\n\r\nNot found\r\n", "E-9", 404,
	  "Not found: is this a chisel server" },
	{ "407", "HTTP/1.1 407 X\r\n\r\n", "E-8", 407, "a proxy on the way wants credentials" },
	{ "426", "HTTP/1.1 426 Upgrade Required\r\n\r\n", "E-9", 426, "another version" },
	{ "429", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n", "E-9", 429,
	  "too many requests" },
	{ "500", "HTTP/1.1 500 X\r\n\r\n", "E-9", 500, "is broken: look at its log" },
	{ "502", "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>\r\n<head>", "E-9", 502,
	  "502 Bad Gateway: the front does not reach the server" },
	{ "503", "HTTP/1.1 503 X\r\n\r\n", "E-9", 503, "not there at the moment" },
	{ "504", "HTTP/1.1 504 X\r\n\r\n", "E-9", 504, "got no answer from the server" },
	{ "403 with words", "HTTP/1.1 403 No\r\n\r\nnot you\x1b[2J\nmore", "E-9", 403,
	  "not you\\x1b[2J" },
	{ "502 of HTTP/1.0", "HTTP/1.0 502 Bad Gateway\r\n\r\n", "E-9", 502, "Bad Gateway" },
	{ "redirect", "HTTP/1.1 302 Found\r\nLocation: https://evil.example/take?token=1\r\n\r\n",
	  "E-9", 302, "points to https://evil.example: " },
	{ "redirect on the spot", "HTTP/1.1 303 Found\r\nLocation: /login\r\n\r\n", "E-9", 303,
	  "points to /login: " },
	{ "redirect to nowhere", "HTTP/1.1 302 Found\r\n\r\n", "E-9", 302, "302 Found" },
	{ "HTTP/1.0 101", "HTTP/1.0 101 X\r\n" UP ACCEPT PROTOCOL "\r\n", "E-3", 0, "no upgrade" },
	{ "no Upgrade", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n" ACCEPT PROTOCOL "\r\n", "E-3",
	  0, "no upgrade" },
	{ "no Connection", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n" ACCEPT PROTOCOL "\r\n", "E-3",
	  0, "no upgrade" },
	{ "other Upgrade",
	  "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT PROTOCOL "\r\n", "E-3",
	  0, "no upgrade" },
	{ "no Accept", "HTTP/1.1 101 X\r\n" UP PROTOCOL "\r\n", "E-3", 0, "Sec-WebSocket-Accept" },
	{ "wrong Accept",
	  "HTTP/1.1 101 X\r\n" UP "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO0=\r\n" PROTOCOL
	  "\r\n",
	  "E-3", 0, "Sec-WebSocket-Accept" },
	{ "Accept in other case",
	  "HTTP/1.1 101 X\r\n" UP "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\r\n" PROTOCOL
	  "\r\n",
	  "E-3", 0, "Sec-WebSocket-Accept" },
	{ "two Accepts", "HTTP/1.1 101 X\r\n" UP ACCEPT ACCEPT PROTOCOL "\r\n", "E-3", 0,
	  "Sec-WebSocket-Accept" },
	{ "extension",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT PROTOCOL
	  "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	  "E-3", 0, "extension" },
	{ "subprotocol not repeated", "HTTP/1.1 101 X\r\n" UP ACCEPT "\r\n", "O", 0, NULL },
	{ "other subprotocol",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT "Sec-WebSocket-Protocol: chisel-v2\r\n\r\n", "E-3", 0,
	  "chisel-v3" },
	{ "subprotocol in other case",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT "Sec-WebSocket-Protocol: Chisel-V3\r\n\r\n", "E-3", 0,
	  "chisel-v3" },
	{ "two subprotocols", "HTTP/1.1 101 X\r\n" UP ACCEPT PROTOCOL PROTOCOL "\r\n", "E-3", 0,
	  "chisel-v3" },
	{ "list of subprotocols",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT "Sec-WebSocket-Protocol: chisel-v3, x\r\n\r\n", "E-3", 0,
	  "chisel-v3" },
	{ "smuggled length",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT PROTOCOL "Content-Length: 1\r\nContent-Length: 2\r\n"
	  "\r\n",
	  "E-3", 0, "Content-Length" },
	{ "chunked body",
	  "HTTP/1.1 101 X\r\n" UP ACCEPT PROTOCOL "Transfer-Encoding: chunked\r\n\r\n", "E-3", 0,
	  "Transfer-Encoding" },
	{ "body", "HTTP/1.1 101 X\r\n" UP ACCEPT PROTOCOL "Content-Length: 5\r\n\r\nhello", "E-3",
	  0, "Content-Length" },
	{ "SSH", "SSH-2.0-OpenSSH_9.2\r\n", "E-3", 0, "HTTP" },
	{ "bare LF", "HTTP/1.1 101 X\n", "E-3", 0, "HTTP" },
};

/* Every answer whole, byte by byte and cut at every offset. */
static void test_answers_cut_everywhere(void)
{
	for (size_t i = 0; i < array_len(answers); i++) {
		const struct answer_row *r = &answers[i];
		const size_t n = strlen(r->wire);

		for (size_t cut = 0; cut <= n + 1; cut++) {
			struct end e;
			end_init(&e, &client, &mem_heap);
			for (size_t j = 0; cut > n && j < n; j++)
				feed(&e, r->wire + j, 1, 0);
			if (cut <= n) {
				feed(&e, r->wire, cut, 0);
				feed(&e, r->wire + cut, n - cut, 0);
			}
			check_row(r->name, strcmp(e.log, r->log) == 0);
			check_row(r->name, ws_refused_status(e.ws) == r->status);
			/* What came of the body depends on the cut. */
			if (r->says && cut == n)
				check_row(r->name, strstr(ws_fault(e.ws)->why, r->says) != NULL);
			ws_free(e.ws);
		}
	}
}

static void test_answers_are_bounded(void)
{
	struct end e;

	end_init(&e, &client, &mem_heap);
	feed_text(&e, "HTTP/1.1 101 X\r\nA: ");
	for (int i = 0; i < HTTP1_RESPONSE_HEAD_MAX && e.rc >= 0; i++)
		feed(&e, "a", 1, 0);
	check(e.rc == ERR_LIMIT);
	ws_free(e.ws);

	end_init(&e, &client, &mem_heap);
	for (int i = 0; i < 100 && e.rc >= 0; i++)
		feed_text(&e, "HTTP/1.1 100 Continue\r\n\r\n");
	check(e.rc == ERR_LIMIT);
	ws_free(e.ws);
}

static void test_no_protocol_asked(void)
{
	const struct ws_options o = { .server = false };
	struct end e;

	end_init(&e, &o, &mem_heap);
	feed_text(&e, "HTTP/1.1 101 X\r\n" UP ACCEPT "\r\n");
	check(strcmp(e.log, "O") == 0);
	ws_free(e.ws);
	end_init(&e, &o, &mem_heap);
	feed_text(&e, GOOD_ANSWER);
	check(e.rc == ERR_PROTO);
	ws_free(e.ws);
}

/* Fed to the end before anything is drawn. */
static void test_open_comes_first(void)
{
	char wire[] = GOOD_ANSWER "\x88\x02\x03\xe8";
	size_t at = 0;
	struct end e;

	end_init(&e, &client, &mem_heap);
	for (int rc = 1; rc > 0; at += (size_t)rc)
		rc = ws_feed(e.ws, (uint8_t *)wire + at, sizeof(wire) - 1 - at, 0);
	check(at == sizeof(wire) - 1);
	draw(&e);
	check(strcmp(e.log, "OC1000:") == 0);
	ws_free(e.ws);
}

/* ---- the server's upgrade ---- */

static const struct request_row {
	const char *name, *wire;
	int status; /* 101, or what the request is refused with; 0: no answer, ERR_PROTO */
} requests[] = {
	{ "good", GOOD_REQUEST, 101 },
	{ "several subprotocols", ASK UP WANT_13 "Sec-WebSocket-Protocol: a, chisel-v3\r\n\r\n",
	  101 },
	{ "keep-alive, Upgrade",
	  ASK "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" WANT_13 PROTOCOL
	      "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	  101 },
	{ "no Host", "GET / HTTP/1.1\r\n" UP WANT_13 PROTOCOL "\r\n", 400 },
	{ "two Hosts", ASK "Host: y\r\n" UP WANT_13 PROTOCOL "\r\n", 400 },
	{ "POST", "POST / HTTP/1.1\r\nHost: x\r\n" UP WANT_13 PROTOCOL "\r\n", 400 },
	{ "HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\n" UP WANT_13 PROTOCOL "\r\n", 400 },
	{ "with a body", ASK UP WANT_13 PROTOCOL "Content-Length: 5\r\n\r\n", 400 },
	{ "plain page", ASK "\r\n", 426 },
	{ "version 8",
	  ASK UP "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8\r\n" PROTOCOL "\r\n",
	  426 },
	{ "no key", ASK UP "Sec-WebSocket-Version: 13\r\n" PROTOCOL "\r\n", 400 },
	{ "two keys", ASK UP WANT_13 "Sec-WebSocket-Key: " KEY "\r\n" PROTOCOL "\r\n", 400 },
	{ "short key",
	  ASK UP "Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n" PROTOCOL "\r\n", 400 },
	{ "key of 17 bytes",
	  ASK UP
	  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=\r\nSec-WebSocket-Version: 13\r\n" PROTOCOL
	  "\r\n",
	  400 },
	{ "key no base64",
	  ASK UP
	  "Sec-WebSocket-Key: ?????????????????????A==\r\nSec-WebSocket-Version: 13\r\n" PROTOCOL
	  "\r\n",
	  400 },
	{ "no subprotocol", ASK UP WANT_13 "\r\n", 400 },
	{ "other subprotocol", ASK UP WANT_13 "Sec-WebSocket-Protocol: chisel-v2\r\n\r\n", 400 },
	{ "no HTTP", "\x16\x03\x01\r\n", 0 },
};

static int pending_status(struct ws *w)
{
	const struct span out = ws_pending(w);
	struct http1_head h;

	return out.n && http1_read_response(&h, out.p, out.n, NULL) > 0 ? h.status : 0;
}

static void test_requests_cut_everywhere(void)
{
	for (size_t i = 0; i < array_len(requests); i++) {
		const struct request_row *r = &requests[i];
		const size_t n = strlen(r->wire);

		for (size_t cut = 0; cut < n; cut++) {
			struct end e;
			end_init(&e, &server, &mem_heap);
			feed(&e, r->wire, cut, 0);
			feed(&e, r->wire + cut, n - cut, 0);
			check_row(r->name, pending_status(e.ws) == r->status);
			check_row(r->name, strcmp(e.log, r->status == 101 ? "RO" :
						       r->status	  ? "E-5" :
									    "E-3") == 0);
			ws_free(e.ws);
		}
	}
}

static void test_answer_proves_the_key(void)
{
	struct end e;
	struct http1_head h;

	end_init(&e, &server, &mem_heap);
	feed_text(&e, GOOD_REQUEST);
	const struct span out = ws_pending(e.ws);
	check(http1_read_response(&h, out.p, out.n, NULL) == (int)out.n);
	check(span_is(http1_field(&h, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	check(span_is(http1_field(&h, "Sec-WebSocket-Protocol"), "chisel-v3"));
	ws_free(e.ws);
}

static void test_server_may_decide(void)
{
	struct ws_options o = server;
	struct ws_event ev;
	unsigned seed = 1;
	struct ws *w;
	char wire[] = GOOD_REQUEST "\x82\x80keys";
	const size_t head = sizeof(GOOD_REQUEST) - 1;

	o.random = fill_random;
	o.random_ctx = &seed;
	o.path = "/";
	check(ws_new(&w, &o, &mem_heap, 0, NULL) == 0);
	check(ws_feed(w, (uint8_t *)wire, sizeof(wire) - 1, 0) == (int)head);
	check(ws_feed(w, (uint8_t *)wire + head, 6, 0) == 0); /* held until it is decided */
	check(ws_next(w, &ev) == 1 && ev.kind == WS_EVENT_REQUEST && ev.head.n == head);
	check(ws_feed(w, (uint8_t *)wire + head, 6, 0) == 0);
	ws_refuse(w, 403, "not today\n");
	check(pending_status(w) == 403);
	check(ws_next(w, &ev) == ERR_CLOSED);
	check(ws_feed(w, (uint8_t *)wire, 1, 0) == ERR_CLOSED);
	check(ws_refused_status(w) == 403);
	ws_free(w);

	o.path = "/elsewhere";
	check(ws_new(&w, &o, &mem_heap, 0, NULL) == 0);
	check(ws_feed(w, (uint8_t *)wire, head, 0) == (int)head);
	check(pending_status(w) == 404);
	ws_free(w);
}

/* ---- messages ---- */

static const struct message_row {
	const char *name;
	const char *wire;
	size_t n;
	const char *log;
	int close; /* code of the close frame that waits afterwards; 0: none */
} messages[] = {
	{ "one", "\x82\x05hello", 7, "b:hello|", 0 },
	{ "text", "\x81\x02hi", 4, "t:hi|", 0 },
	{ "empty", "\x82\x00", 2, "b:|", 0 },
	{ "fragments", "\x02\x02he\x00\x01l\x80\x02lo", 12, "b:hello|", 0 },
	{ "control between fragments", "\x02\x02he\x89\x01?\x80\x03llo", 13, "b:hello|", 0 },
	{ "empty fragments", "\x02\x00\x00\x00\x80\x00", 6, "b:|", 0 },
	{ "ended by an empty fragment", "\x02\x02hi\x80\x00", 6, "b:hi|", 0 },
	{ "close", "\x88\x02\x03\xe8", 4, "C1000:", 1000 },
	{ "close with text", "\x88\x06\x0b\xb8why?", 8, "C3000:why?", 3000 },
	{ "close without code", "\x88\x00", 2, "C1005:", 1005 },
	{ "data behind the close", "\x88\x02\x03\xe8\x82\x01x", 7, "C1000:", 1000 },
	{ "close inside a message", "\x02\x02hi\x88\x02\x03\xe8", 8, "b:hiC1000:", 1000 },
	{ "half a code", "\x88\x01\x03", 3, "E-3", 1002 },
	{ "code 1005 on the wire", "\x88\x02\x03\xed", 4, "E-3", 1002 },
	{ "code 999", "\x88\x02\x03\xe7", 4, "E-3", 1002 },
	{ "code 5000", "\x88\x02\x13\x88", 4, "E-3", 1002 },
	{ "close text no UTF-8", "\x88\x03\x03\xe8\xff", 5, "E-3", 1002 },
	{ "continuation of nothing", "\x80\x01x", 3, "E-3", 1002 },
	{ "message inside a message", "\x02\x01x\x82\x01y", 6, "b:xE-3", 1002 },
	{ "masked", "\x82\x81keysx", 7, "E-3", 1002 },
	{ "RSV1", "\xc2\x01x", 3, "E-3", 1002 },
	{ "opcode 3", "\x83\x01x", 3, "E-3", 1002 },
	{ "good, then bad", "\x82\x01x\xf2\x01y", 6, "b:x|E-3", 1002 },
	{ "above frame_max", "\x82\x7f\0\0\0\0\0\x10\0\x01", 10, "E-4", 1009 },
	{ "2^63-1", "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10, "E-4", 1009 },
};

/* The code in a close frame at the front of what waits: 1005 for none in it. */
static int pending_close(struct ws *w, bool masked)
{
	const struct span out = ws_pending(w);
	struct ws_frame f;
	uint8_t code[2];
	const int head = out.n ? ws_frame_read(&f, out.p, out.n, NULL) : 0;

	if (head <= 0 || f.op != WS_OP_CLOSE || f.masked != masked)
		return 0;
	if (f.payload < 2)
		return 1005;
	memcpy(code, out.p + head, 2);
	if (masked)
		ws_frame_mask(&f, 0, code, 2);
	return (int)get_be(code, 2);
}

static void test_messages_cut_everywhere(void)
{
	for (size_t i = 0; i < array_len(messages); i++) {
		const struct message_row *r = &messages[i];

		for (size_t cut = 0; cut <= r->n + 1; cut++) {
			struct end e;
			start_client(&e);
			for (size_t j = 0; cut > r->n && j < r->n; j++)
				feed(&e, r->wire + j, 1, 0);
			if (cut <= r->n) {
				feed(&e, r->wire, cut, 0);
				feed(&e, r->wire + cut, r->n - cut, 0);
			}
			check_row(r->name, strcmp(e.log, r->log) == 0);
			if (r->close)
				check_row(r->name, pending_close(e.ws, true) == r->close &&
							   !ws_is_open(e.ws));
			else
				check_row(r->name, ws_is_open(e.ws));
			ws_free(e.ws);
		}
	}
}

static void test_server_unmasks(void)
{
	struct end e;

	start_server(&e);
	feed_text(&e, "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
	check(strcmp(e.log, "b:Hello|") == 0);
	feed_text(&e, "\x82\x01x"); /* RFC 6455, 5.1: unmasked */
	check(e.rc == ERR_PROTO && pending_close(e.ws, false) == 1002);
	ws_free(e.ws);
}

/* ---- what is sent ---- */

static void test_frames_carry_fresh_keys(void)
{
	enum { FRAMES = 4000 };
	struct end e;
	uint8_t room[WS_FRAME_HEAD_MAX + 300];
	static uint32_t keys[FRAMES];
	size_t twice = 0;

	start_client(&e);
	for (size_t i = 0; i < FRAMES; i++) {
		uint8_t *payload = room + WS_FRAME_HEAD_MAX;
		const size_t n = i % 300;
		struct ws_frame f;

		memset(payload, 'x', n);
		const size_t head = ws_frame(e.ws, WS_OP_BINARY, (struct mspan){ payload, n });
		check(ws_frame_read(&f, payload - head, head, NULL) == (int)head);
		check(f.masked && f.fin && f.op == WS_OP_BINARY && f.payload == n);
		ws_frame_mask(&f, 0, payload, n);
		for (size_t j = 0; j < n; j++)
			if (payload[j] != 'x')
				check(!"the payload does not come back");
		memcpy(&keys[i], f.key, 4);
		for (size_t j = 0; j < i; j++)
			twice += keys[i] == keys[j];
	}
	check(twice < 10); /* 4000 of 2^32: hardly any by chance */
	ws_free(e.ws);
}

static void test_both_ends_understand_each_other(void)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 1000 };
	struct end c, s;
	uint8_t room[WS_FRAME_HEAD_MAX + 1000];

	start_client(&c);
	start_server(&s);
	for (size_t i = 0; i < array_len(sizes); i++) {
		struct end *const from[] = { &c, &s }, *const to[] = { &s, &c };
		for (int d = 0; d < 2; d++) {
			const struct mspan p = { room + WS_FRAME_HEAD_MAX, sizes[i] };
			memset(p.p, 'a', p.n);
			const size_t head = ws_frame(from[d]->ws, WS_OP_BINARY, p);
			to[d]->log_n = 0;
			feed(to[d], p.p - head, p.n + head, 0);
			check(to[d]->log_n == sizes[i] + 3);
		}
	}
	ws_free(c.ws);
	ws_free(s.ws);
}

static void test_only_the_newest_ping_is_answered(void)
{
	struct end e;
	struct ws_frame f;

	start_server(&e);
	feed_text(&e, "\x89\x82\x01\x01\x01\x01``"); /* "aa" */
	feed_text(&e, "\x89\x81\x01\x01\x01\x01" "c"); /* "b" */
	const struct span out = ws_pending(e.ws);
	check(ws_frame_read(&f, out.p, out.n, NULL) == 2 && f.op == WS_OP_PONG && f.payload == 1);
	check(out.n == 3 && out.p[2] == 'b');
	ws_sent(e.ws, out.n);
	check(ws_pending(e.ws).n == 0);
	check(e.log_n == 0);
	ws_free(e.ws);
}

static void test_ping_waits_first(void)
{
	struct end e;
	struct ws_frame f;

	start_client(&e);
	ws_ping(e.ws, span_str("12345678"));
	const struct span out = ws_pending(e.ws);
	check(ws_frame_read(&f, out.p, out.n, NULL) == 6 && f.op == WS_OP_PING && f.masked);
	for (int i = 0; i < 100000; i++) /* nobody sends them: no more memory than the bound */
		ws_ping(e.ws, span_str("12345678"));
	check(ws_pending(e.ws).n < 65536 && ws_is_open(e.ws));
	ws_free(e.ws);
}

/* ---- floods and time ---- */

static void flood(const char *name, const char *frame, size_t n, bool dies)
{
	struct end e;
	unsigned i = 0;

	start_client(&e);
	for (; i < 1000 && e.rc >= 0; i++) {
		feed(&e, frame, n, 0);
		e.log_n = 0;
	}
	check_row(name, dies ? e.rc == ERR_LIMIT && i > 200 : e.rc == 0);
	ws_free(e.ws);
}

static void test_floods_of_nothing_end(void)
{
	flood("pings", "\x89\x01x", 3, true);
	flood("pongs", "\x8a\x00", 2, true);
	flood("empty messages", "\x82\x00", 2, true);
	flood("pings between data", "\x89\x00\x82\x01x", 5, true);
	flood("data", "\x82\x01x", 3, false);
	flood("data ended by an empty frame", "\x02\x01x\x80\x00", 5, false);
}

static void test_pings_over_time_are_fine(void)
{
	struct end e;

	start_client(&e);
	for (uint64_t i = 0; i < 5000; i++) { /* in twos */
		feed(&e, "\x89\x00", 2, i / 2 * (SECOND / 5) + i % 2 * (SECOND / 20));
		ws_sent(e.ws, ws_pending(e.ws).n);
	}
	check(e.rc == 0);
	ws_free(e.ws);
}

static void test_deadlines(void)
{
	struct ws_options o = client;
	struct end e;

	o.handshake_ns = 3 * SECOND;
	end_init(&e, &o, &mem_heap);
	check(ws_deadline(e.ws) == 3 * SECOND);
	check(ws_tick(e.ws, 3 * SECOND - 1) == 0);
	check(ws_tick(e.ws, 3 * SECOND) == ERR_TIMEOUT);
	check(ws_deadline(e.ws) == UINT64_MAX);
	draw(&e);
	check(e.rc == ERR_TIMEOUT);
	ws_free(e.ws);

	start_client(&e);
	check(ws_deadline(e.ws) == UINT64_MAX);
	check(ws_tick(e.ws, 100 * SECOND) == 0);
	ws_close(e.ws, 1000, "done");
	check(pending_close(e.ws, true) == 1000);
	check(!ws_is_open(e.ws));
	check(ws_deadline(e.ws) == 105 * SECOND);
	feed_text(&e, "\x82\x01x"); /* was on its way */
	feed_text(&e, "\x88\x02\x03\xe8");
	check(strcmp(e.log, "b:x|C1000:") == 0);
	check(ws_deadline(e.ws) == UINT64_MAX);
	feed_text(&e, "whatever");
	check(e.rc == 0);
	ws_free(e.ws);

	start_client(&e);
	ws_close(e.ws, 1001, "");
	check(ws_tick(e.ws, ws_deadline(e.ws)) == ERR_TIMEOUT);
	ws_free(e.ws);
}

/* ---- famine ---- */

static void live(struct end *e)
{
	static const char frames[] = "\x89\x01x\x82\x01y\x88\x02\x03\xe8";

	if (e->rc < 0)
		return;
	ws_sent(e->ws, ws_pending(e->ws).n);
	feed_text(e, GOOD_ANSWER);
	feed(e, frames, 3, 0);
	if (e->rc == 0)
		ws_sent(e->ws, ws_pending(e->ws).n);
	feed(e, frames + 3, sizeof(frames) - 4, 0);
	ws_ping(e->ws, span_str("p"));
	ws_close(e->ws, 1000, "");
	draw(e);
}

static void test_famine(void)
{
	int rc = ERR_NOMEM;

	for (size_t refuse = 1; rc == ERR_NOMEM && refuse < 50; refuse++) {
		struct famine f;
		struct end e;
		famine_init(&f, refuse);
		end_init(&e, &client, &f.mem);
		live(&e);
		rc = e.rc;
		check(rc == 0 || rc == ERR_NOMEM);
		ws_free(e.ws);
		check(f.live == 0);
	}
	check(rc == 0);
}

static void test_famine_of_a_server(void)
{
	int rc = ERR_NOMEM;

	for (size_t refuse = 1; rc == ERR_NOMEM && refuse < 50; refuse++) {
		struct famine f;
		struct end e;
		famine_init(&f, refuse);
		end_init(&e, &server, &f.mem);
		rc = e.rc;
		if (rc == 0) {
			feed_text(&e, GOOD_REQUEST);
			rc = e.rc;
		}
		ws_free(e.ws);
		check(f.live == 0);
	}
	check(rc == 0);
	ws_free(NULL);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "request", test_request_is_what_the_rfc_asks },
		{ "request splitting", test_request_cannot_be_split },
		{ "answers cut everywhere", test_answers_cut_everywhere },
		{ "answers are bounded", test_answers_are_bounded },
		{ "open comes first", test_open_comes_first },
		{ "no subprotocol", test_no_protocol_asked },
		{ "requests cut everywhere", test_requests_cut_everywhere },
		{ "answer proves the key", test_answer_proves_the_key },
		{ "server decides", test_server_may_decide },
		{ "messages cut everywhere", test_messages_cut_everywhere },
		{ "server unmasks", test_server_unmasks },
		{ "fresh keys", test_frames_carry_fresh_keys },
		{ "both ends", test_both_ends_understand_each_other },
		{ "newest ping", test_only_the_newest_ping_is_answered },
		{ "ping", test_ping_waits_first },
		{ "floods", test_floods_of_nothing_end },
		{ "pings over time", test_pings_over_time_are_fine },
		{ "deadlines", test_deadlines },
		{ "famine", test_famine },
		{ "famine of a server", test_famine_of_a_server },
	};
	return run_cases("ws", cases, array_len(cases));
}
