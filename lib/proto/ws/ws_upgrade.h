/*
 * ws_upgrade -- the HTTP exchange that turns a connection into a WebSocket
 * (RFC 6455, section 4), both sides of it.
 *
 * Pure functions on message heads; ws.c decides when they are called.
 */
#ifndef LIB_PROTO_WS_WS_UPGRADE_H
#define LIB_PROTO_WS_WS_UPGRADE_H

#include "lib/proto/http/http1.h"
#include "lib/proto/ws/ws.h"

#define WS_ACCEPT_TEXT 29 /* base64 of a SHA-1, and NUL */

/* Client.  The request, with a fresh key; *accept is what proves its answer.
 * ERR_USAGE: host, path or a header line holds what none may. */
MUST_USE int ws_upgrade_write_request(struct buf *to, const struct ws_options *options,
				      char accept[WS_ACCEPT_TEXT]);
/* 0 when the 101 answer is exactly the one to be had, else ERR_PROTO. */
MUST_USE int ws_upgrade_check_answer(const struct http1_head *h, const char *accept,
				     const char *protocol, struct fault *why);
/* Any other answer in words, with what came of its body: ERR_REFUSED,
 * ERR_AUTH for 401. */
int ws_upgrade_explain_refusal(const struct http1_head *h, struct span body, struct fault *why);
/* Seconds of its Retry-After, at most LIMIT_RETRY_AFTER_S; 0 for none. */
unsigned ws_upgrade_retry_after(const struct http1_head *h);

/* Server.  0 when the request asks for what we speak, else the status to refuse
 * it with.  NULL path or protocol: any. */
MUST_USE int ws_upgrade_check_request(const struct http1_head *h, const char *path,
				      const char *protocol, char accept[WS_ACCEPT_TEXT]);
MUST_USE int ws_upgrade_write_answer(struct buf *to, const char *accept, const char *protocol);
MUST_USE int ws_upgrade_write_refusal(struct buf *to, int status, const char *text);

#endif
