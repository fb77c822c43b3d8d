#include "lib/proto/ws/ws_frame.h"

#include <string.h>

#include "lib/base/bytes.h"
#include "tests/support/cases.h"
#include "tests/support/fence.h"

static const struct row {
	const char *name;
	const char *wire;
	size_t n;
	struct ws_frame want;
	size_t fault_at; /* how many bytes it takes to be refused; 0: a good head */
} rows[] = {
	/* RFC 6455, 5.7 */
	{ "text, unmasked", "\x81\x05", 2, { WS_OP_TEXT, true, false, { 0 }, 5 }, 0 },
	{ "text, masked",
	  "\x81\x85\x37\xfa\x21\x3d",
	  6,
	  { WS_OP_TEXT, true, true, { 0x37, 0xfa, 0x21, 0x3d }, 5 },
	  0 },
	{ "first fragment", "\x01\x03", 2, { WS_OP_TEXT, false, false, { 0 }, 3 }, 0 },
	{ "last fragment", "\x80\x02", 2, { WS_OP_CONT, true, false, { 0 }, 2 }, 0 },
	{ "ping", "\x89\x05", 2, { WS_OP_PING, true, false, { 0 }, 5 }, 0 },
	{ "pong, masked",
	  "\x8a\x85\x37\xfa\x21\x3d",
	  6,
	  { WS_OP_PONG, true, true, { 0x37, 0xfa, 0x21, 0x3d }, 5 },
	  0 },
	{ "256 bytes", "\x82\x7e\x01\x00", 4, { WS_OP_BINARY, true, false, { 0 }, 256 }, 0 },
	{ "64 KiB",
	  "\x82\x7f\0\0\0\0\0\x01\0\0",
	  10,
	  { WS_OP_BINARY, true, false, { 0 }, 65536 },
	  0 },
	/* the edges of each form */
	{ "125", "\x82\x7d", 2, { WS_OP_BINARY, true, false, { 0 }, 125 }, 0 },
	{ "126", "\x82\x7e\x00\x7e", 4, { WS_OP_BINARY, true, false, { 0 }, 126 }, 0 },
	{ "65535", "\x82\x7e\xff\xff", 4, { WS_OP_BINARY, true, false, { 0 }, 65535 }, 0 },
	{ "2^63-1, masked",
	  "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"
	  "keys",
	  14,
	  { WS_OP_BINARY, true, true, { 'k', 'e', 'y', 's' }, INT64_MAX },
	  0 },
	{ "empty close", "\x88\x00", 2, { WS_OP_CLOSE, true, false, { 0 }, 0 }, 0 },
	/* refused */
	{ "RSV1", "\xc1\x05", 2, .fault_at = 2 },
	{ "RSV2", "\xa1\x05", 2, .fault_at = 2 },
	{ "RSV3", "\x91\x05", 2, .fault_at = 2 },
	{ "opcode 3", "\x83\x00", 2, .fault_at = 2 },
	{ "opcode 7", "\x87\x00", 2, .fault_at = 2 },
	{ "opcode 11", "\x8b\x00", 2, .fault_at = 2 },
	{ "opcode 15", "\x8f\x00", 2, .fault_at = 2 },
	{ "ping in pieces", "\x09\x05", 2, .fault_at = 2 },
	{ "close of 126 bytes", "\x88\x7e\x00\x7e", 4, .fault_at = 2 },
	{ "125 in 16 bits", "\x82\x7e\x00\x7d", 4, .fault_at = 4 },
	{ "65535 in 64 bits", "\x82\x7f\0\0\0\0\0\0\xff\xff", 10, .fault_at = 10 },
	{ "2^63", "\x82\x7f\x80\0\0\0\0\0\0\0", 10, .fault_at = 10 },
	{ "2^64-1, masked: refused before its key", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10,
	  .fault_at = 10 },
};

static bool is_same(const struct ws_frame *a, const struct ws_frame *b)
{
	return a->op == b->op && a->fin == b->fin && a->masked == b->masked &&
	       a->payload == b->payload && memcmp(a->key, b->key, sizeof(a->key)) == 0;
}

/* Each row with an unreadable page behind every one of its beginnings. */
static void test_vectors_cut_everywhere(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		const struct row *r = &rows[i];

		for (size_t n = 0; n <= r->n; n++) {
			struct fence in;
			struct fault why = { 0 };
			struct ws_frame got = { .payload = 77 };
			fence_init(&in, r->wire, n);
			const int rc = ws_frame_read(&got, in.p, n, &why);

			if (r->fault_at && n >= r->fault_at) {
				check_row(r->name, rc == ERR_PROTO && why.code == ERR_PROTO);
				check_row(r->name, got.payload == 77);
			} else if (n < r->n) {
				check_row(r->name, rc == 0 && got.payload == 77);
			} else {
				check_row(r->name, rc == (int)r->n && is_same(&got, &r->want));
			}
			fence_fini(&in);
		}
	}
}

static void test_writing_is_the_mirror(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		uint8_t wire[WS_FRAME_HEAD_MAX];

		if (rows[i].fault_at)
			continue;
		const size_t n = ws_frame_write(wire, &rows[i].want);
		check_row(rows[i].name, n == rows[i].n && memcmp(wire, rows[i].wire, n) == 0);
	}
}

static void test_bytes_behind_the_head_do_not_matter(void)
{
	struct ws_frame f;

	check(ws_frame_read(&f, (const uint8_t *)"\x81\x05hello\xff\xff", 9, NULL) == 2);
}

static void test_mask_of_the_rfc(void)
{
	const struct ws_frame f = { .masked = true, .key = { 0x37, 0xfa, 0x21, 0x3d } };
	uint8_t hello[] = { 0x7f, 0x9f, 0x4d, 0x51, 0x58 };

	ws_frame_mask(&f, 0, hello, sizeof(hello));
	check(memcmp(hello, "Hello", 5) == 0);
}

/* Against the formula of RFC 6455, 5.3, at every offset, length and place. */
static void test_mask_at_every_offset(void)
{
	const struct ws_frame f = { .masked = true, .key = { 1, 2, 4, 8 } };

	for (size_t n = 0; n < 70; n++)
		for (uint64_t at = 0; at < 9; at++) {
			struct fence buf;
			uint8_t zeros[80] = { 0 };
			bool good = true;
			fence_init(&buf, zeros, n);

			ws_frame_mask(&f, at, buf.p, n);
			for (size_t i = 0; i < n; i++)
				good = good && buf.p[i] == f.key[(at + i) % 4];
			check(good);
			fence_fini(&buf);
		}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "vectors cut everywhere", test_vectors_cut_everywhere },
		{ "writing is the mirror", test_writing_is_the_mirror },
		{ "bytes behind the head", test_bytes_behind_the_head_do_not_matter },
		{ "mask of the RFC", test_mask_of_the_rfc },
		{ "mask at every offset", test_mask_at_every_offset },
	};
	return run_cases("ws_frame", cases, array_len(cases));
}
