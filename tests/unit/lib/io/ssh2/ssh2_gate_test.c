/* ssh2_gate: which bytes of a server's first packets reach libssh2. */
#include "lib/io/ssh2/ssh2_gate.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "tests/support/cases.h"

/* One packet: length, padding length, payload, four bytes of padding. */
#define IDENT "SSH-2.0-x\r\n"
#define KEXINIT "\0\0\0\x07\x04\x14\0\0\0\0\0"
#define NEWKEYS "\0\0\0\x06\x04\x15\0\0\0\0"
#define REPLY_OF(key) "\0\0\0\x0d\x04\x1f\0\0\0\x03" key "\0\0\0\0"
#define GOOD REPLY_OF("key")
#define OTHER REPLY_OF("kex")
#define LATER "any bytes that are ciphertext"
#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X240 X50 X50 X50 X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

struct wire {
	const char *name;
	const char *bytes;
	size_t n;
	int want;      /* 0: all passes */
	size_t passed; /* bytes that passed before it was refused, fed one by one */
};
#define WIRE(name, bytes, want, passed) { name, bytes, sizeof(bytes) - 1, want, passed }
#define LEN(text) (sizeof(text) - 1)

static const struct wire rows[] = {
	WIRE("a good exchange", IDENT KEXINIT GOOD NEWKEYS LATER, 0, 0),
	WIRE("lines before the identification", "hello\r\nSSH\n" IDENT KEXINIT GOOD NEWKEYS LATER,
	     0, 0),
	WIRE("two good replies", IDENT KEXINIT GOOD GOOD NEWKEYS LATER, 0, 0),
	WIRE("a foreign key", IDENT KEXINIT OTHER NEWKEYS LATER, ERR_TRUST,
	     LEN(IDENT KEXINIT) + 12),
	WIRE("a foreign key after a good one", IDENT KEXINIT GOOD OTHER NEWKEYS LATER, ERR_TRUST,
	     LEN(IDENT KEXINIT GOOD) + 12),
	WIRE("keys before a reply", IDENT KEXINIT NEWKEYS LATER, ERR_TRUST, LEN(IDENT KEXINIT) + 5),
	/* libssh2 ends a line where its own buffer ends, and takes what follows for packets. */
	WIRE("an identification of 255 bytes",
	     "SSH-2.0-" X240 "xxxxx\r\n" KEXINIT GOOD NEWKEYS LATER, 0, 0),
	WIRE("an identification without an end", "SSH-2.0-" X240 "xxxxxxxx" KEXINIT OTHER NEWKEYS,
	     ERR_PROTO, 255),
	WIRE("a line before it without an end",
	     "hello---" X240 "xxxxxxxx" IDENT KEXINIT OTHER NEWKEYS, ERR_PROTO, 255),
	/* libssh2 1.11 passes over these in front of a line. */
	WIRE("empty lines", "\r\n\n" IDENT KEXINIT GOOD NEWKEYS LATER, 0, 0),
	WIRE("a carriage return alone", "\r" IDENT KEXINIT OTHER NEWKEYS, ERR_PROTO, 1),
	WIRE("two of them", "\r\r\n" IDENT KEXINIT OTHER NEWKEYS, ERR_PROTO, 1),
	WIRE("a NUL in a line", "x\0\n" IDENT KEXINIT OTHER NEWKEYS, ERR_PROTO, 1),
	WIRE("a packet of one byte", IDENT "\0\0\0\x01\x04\x14", ERR_PROTO, LEN(IDENT) + 5),
	WIRE("a packet of 35001 bytes", IDENT "\0\0\x88\xb9\x04\x14", ERR_PROTO, LEN(IDENT) + 5),
	WIRE("a packet of 4 GiB", IDENT "\xff\xff\xff\xff\x04\x14", ERR_PROTO, LEN(IDENT) + 5),
	WIRE("a reply without a key", IDENT "\0\0\0\x04\x02\x1f\0\0", ERR_PROTO, LEN(IDENT) + 6),
	WIRE("a key that is longer than its packet", IDENT "\0\0\0\x0d\x04\x1f\0\0\0\x08keykeyk",
	     ERR_PROTO, LEN(IDENT) + 9),
	WIRE("a key of 8193 bytes", IDENT "\0\0\x40\0\x04\x1f\0\0\x20\x01", ERR_PROTO,
	     LEN(IDENT) + 9),
};

/* SHA-256 of "key". */
static bool is_key(void *user, const uint8_t hash[32])
{
	static const uint8_t want[4] = { 0x2c, 0x70, 0xe1, 0x2b };

	(*(unsigned *)user)++;
	return memcmp(hash, want, sizeof(want)) == 0;
}

/* Feeds in pieces of `piece` bytes; returns the code, *passed is what passed. */
static int feed(const struct wire *w, size_t piece, size_t *passed)
{
	struct ssh2_gate g = { 0 };
	struct fault why = { 0 };
	unsigned judged = 0;
	int rc = 0;

	*passed = 0;
	while (*passed < w->n && rc >= 0) {
		const size_t n = min_size(piece, w->n - *passed);

		rc = ssh2_gate_feed(&g, span_of((const uint8_t *)w->bytes + *passed, n), is_key,
				    &judged, &why);
		if (rc >= 0)
			*passed += (size_t)rc;
	}
	check_row(w->name, rc >= 0 || why.code == (enum err)rc);
	check_row(w->name, rc < 0 || g.state == SSH2_GATE_OPEN);
	return rc < 0 ? rc : 0;
}

static void test_rows(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		size_t passed;

		check_row(rows[i].name, feed(&rows[i], 1, &passed) == rows[i].want);
		check_row(rows[i].name, passed == (rows[i].want ? rows[i].passed : rows[i].n));
	}
}

static void test_any_piece(void)
{
	for (size_t i = 0; i < array_len(rows); i++)
		for (size_t piece = 2; piece <= rows[i].n; piece++) {
			size_t passed;

			check_row(rows[i].name, feed(&rows[i], piece, &passed) == rows[i].want);
			check_row(rows[i].name, !rows[i].want || passed <= rows[i].passed);
		}
}

/* RFC 4253, 7.1: what may stand in a first key exchange; of method messages the reply alone. */
static void test_types(void)
{
	for (unsigned type = 0; type < 256; type++) {
		const uint8_t head[6] = { 0, 0, 0, 7, 4, (uint8_t)type };
		const bool passes = (type >= 1 && type <= 4) || type == 20 || type == 31;
		struct ssh2_gate g = { .state = SSH2_GATE_HEAD };
		struct fault why = { 0 };
		unsigned judged = 0;
		char name[32];

		snprintf(name, sizeof(name), "type %u", type);
		const int rc =
			ssh2_gate_feed(&g, span_of(head, sizeof(head)), is_key, &judged, &why);
		check_row(name, rc == (passes ? 6 : type == 21 ? ERR_TRUST : ERR_PROTO));
	}
}

static const struct test_case cases[] = {
	{ "each row, byte by byte: what passes, and why no more", test_rows },
	{ "the same in pieces of every size", test_any_piece },
	{ "no message that has no place in a key exchange", test_types },
};

int main(void)
{
	return run_cases("ssh2_gate", cases, array_len(cases));
}
