/*
 * ws_frame -- frame heads of RFC 6455, section 5.2, read and written, and
 * masking. It has no state: ws.c checks the order of frames.
 */
#include "lib/proto/ws/ws_frame.h"

#include <string.h>

#include "lib/base/bytes.h"

enum { FIN = 0x80, RSV = 0x70, OP = 0x0f, CONTROL = 0x08 };	/* first byte */
enum { MASKED = 0x80, LEN = 0x7f, LEN_16 = 126, LEN_64 = 127 }; /* second byte */

static bool is_known(unsigned op)
{
	return op <= WS_OP_BINARY || (op >= WS_OP_CLOSE && op <= WS_OP_PONG);
}

/* What the first two bytes already tell. */
static int check_start(const struct ws_frame *f, uint8_t first, unsigned len, struct fault *why)
{
	if (first & RSV)
		return fault_set(why, ERR_PROTO,
				 "WebSocket: reserved bits set, but no extension was agreed");
	if (!is_known(f->op))
		return fault_set(why, ERR_PROTO, "WebSocket: unknown opcode %u", f->op);
	if ((f->op & CONTROL) && (!f->fin || len >= LEN_16))
		return fault_set(why, ERR_PROTO,
				 "WebSocket: control frame in pieces or above 125 bytes");
	return 0;
}

int ws_frame_read(struct ws_frame *out, const uint8_t *in, size_t n, struct fault *why)
{
	if (n < 2)
		return 0;

	struct ws_frame f = { .op = in[0] & OP, .fin = in[0] & FIN, .masked = in[1] & MASKED };
	const unsigned len = in[1] & LEN;
	const int rc = check_start(&f, in[0], len, why);
	if (rc < 0)
		return rc;

	const size_t wide = len == LEN_16 ? 2 : len == LEN_64 ? 8 : 0;
	const size_t head = 2 + wide + (f.masked ? sizeof(f.key) : 0);
	if (n < 2 + wide)
		return 0;
	f.payload = wide ? get_be(in + 2, wide) : len;
	if (wide && f.payload < (wide == 2 ? LEN_16 : UINT16_MAX + 1ull))
		return fault_set(why, ERR_PROTO, "WebSocket: length not in its shortest form");
	if (f.payload >> 63)
		return fault_set(why, ERR_PROTO, "WebSocket: length above 2^63");
	if (n < head)
		return 0;
	if (f.masked)
		memcpy(f.key, in + head - sizeof(f.key), sizeof(f.key));

	*out = f;
	return (int)head;
}

size_t ws_frame_write(uint8_t to[static WS_FRAME_HEAD_MAX], const struct ws_frame *f)
{
	must(is_known(f->op) && f->payload >> 63 == 0);

	const size_t wide = f->payload < LEN_16 ? 0 : f->payload <= UINT16_MAX ? 2 : 8;
	const unsigned len = wide == 2 ? LEN_16 : wide == 8 ? LEN_64 : (unsigned)f->payload;

	to[0] = (uint8_t)((f->fin ? FIN : 0) | f->op);
	to[1] = (uint8_t)((f->masked ? MASKED : 0) | len);
	put_be(to + 2, wide, f->payload);
	if (f->masked)
		memcpy(to + 2 + wide, f->key, sizeof(f->key));
	return 2 + wide + (f->masked ? sizeof(f->key) : 0);
}

/* Eight bytes at a time: the compiler makes vectors of it. */
void ws_frame_mask(const struct ws_frame *f, uint64_t at, uint8_t *data, size_t n)
{
	uint8_t turned[8];
	uint64_t key;
	size_t i = 0;

	for (size_t k = 0; k < sizeof(turned); k++)
		turned[k] = f->key[(at + k) % sizeof(f->key)];
	memcpy(&key, turned, sizeof(key));
	for (; i + sizeof(key) <= n; i += sizeof(key)) {
		uint64_t word;

		memcpy(&word, data + i, sizeof(word));
		word ^= key;
		memcpy(data + i, &word, sizeof(word));
	}
	for (; i < n; i++)
		data[i] ^= turned[i % sizeof(f->key)];
}
