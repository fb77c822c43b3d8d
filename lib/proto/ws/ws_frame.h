/*
 * ws_frame -- WebSocket frame heads (RFC 6455, section 5.2).
 *
 * Bytes to one frame head and back.  A pure codec: no state, no memory, no
 * clock.  Payload never passes through here; a head only tells the caller
 * how many payload bytes follow and with which key they are masked.
 */
#ifndef LIB_PROTO_WS_WS_FRAME_H
#define LIB_PROTO_WS_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"

#define WS_FRAME_HEAD_MAX 14 /* 2 fixed, up to 8 of length, up to 4 of key */

enum ws_op {
	WS_OP_CONT = 0,
	WS_OP_TEXT = 1,
	WS_OP_BINARY = 2,
	WS_OP_CLOSE = 8,
	WS_OP_PING = 9,
	WS_OP_PONG = 10,
};

struct ws_frame {
	enum ws_op op;
	bool fin, masked;
	uint8_t key[4];	  /* meaningful when masked */
	uint64_t payload; /* bytes that follow the head */
};

/* Reads the head at the front of in[0..n).  Returns its length, 0 when more
 * bytes are needed, or ERR_PROTO with the reason in *why.  Refuses a head as
 * early as its bytes allow.  *out is written on success only. */
MUST_USE int ws_frame_read(struct ws_frame *out, const uint8_t *in, size_t n, struct fault *why);

/* Writes the head of *f to `to` and returns its length.  Cannot fail: an
 * impossible *f is the caller's bug. */
size_t ws_frame_write(uint8_t to[static WS_FRAME_HEAD_MAX], const struct ws_frame *f);

/* Masks, or unmasks, data[0..n), whose first byte is payload byte `at`. */
void ws_frame_mask(const struct ws_frame *f, uint64_t at, uint8_t *data, size_t n);

#endif
