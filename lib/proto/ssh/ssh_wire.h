/*
 * ssh_wire -- the data types of RFC 4251, section 5, and the message numbers.
 *
 * A reader never passes its end: the first value that does not fit marks it
 * bad and every later one reads as zero, so a message is checked once, after
 * its last field.  A writer fills storage of the caller in the same way.
 */
#ifndef LIB_PROTO_SSH_SSH_WIRE_H
#define LIB_PROTO_SSH_SSH_WIRE_H

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

enum ssh_msg {
	SSH_MSG_DISCONNECT = 1,
	SSH_MSG_IGNORE = 2,
	SSH_MSG_UNIMPLEMENTED = 3,
	SSH_MSG_DEBUG = 4,
	SSH_MSG_SERVICE_REQUEST = 5,
	SSH_MSG_SERVICE_ACCEPT = 6,
	SSH_MSG_EXT_INFO = 7, /* RFC 8308 */
	SSH_MSG_KEXINIT = 20,
	SSH_MSG_NEWKEYS = 21,
	SSH_MSG_KEX_ECDH_INIT = 30, /* RFC 5656; the same for curve25519, RFC 8731 */
	SSH_MSG_KEX_ECDH_REPLY = 31,
	SSH_MSG_KEX_LAST = 49,
	SSH_MSG_USERAUTH_REQUEST = 50,
	SSH_MSG_USERAUTH_FAILURE = 51,
	SSH_MSG_USERAUTH_SUCCESS = 52,
	SSH_MSG_USERAUTH_BANNER = 53,
	SSH_MSG_USERAUTH_PASSWD_CHANGEREQ = 60,
	SSH_MSG_GLOBAL_REQUEST = 80,
	SSH_MSG_REQUEST_SUCCESS = 81,
	SSH_MSG_REQUEST_FAILURE = 82,
	SSH_MSG_CHANNEL_OPEN = 90,
	SSH_MSG_CHANNEL_OPEN_CONFIRMATION = 91,
	SSH_MSG_CHANNEL_OPEN_FAILURE = 92,
	SSH_MSG_CHANNEL_WINDOW_ADJUST = 93,
	SSH_MSG_CHANNEL_DATA = 94,
	SSH_MSG_CHANNEL_EXTENDED_DATA = 95,
	SSH_MSG_CHANNEL_EOF = 96,
	SSH_MSG_CHANNEL_CLOSE = 97,
	SSH_MSG_CHANNEL_REQUEST = 98,
	SSH_MSG_CHANNEL_SUCCESS = 99,
	SSH_MSG_CHANNEL_FAILURE = 100,
};

struct ssh_reader {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static inline struct ssh_reader ssh_reader_of(struct span s)
{
	return (struct ssh_reader){ .p = s.p, .n = s.n };
}

struct span ssh_get_bytes(struct ssh_reader *r, size_t n);
uint8_t ssh_get_u8(struct ssh_reader *r);
bool ssh_get_bool(struct ssh_reader *r);
uint32_t ssh_get_u32(struct ssh_reader *r);
struct span ssh_get_string(struct ssh_reader *r);
/* The magnitude of a positive mpint, without leading zeros; negative numbers,
 * zero and needless leading bytes are bad (RFC 4251, 5). */
struct span ssh_get_mpint(struct ssh_reader *r);
/* What is left. */
struct span ssh_get_rest(struct ssh_reader *r);

struct ssh_writer {
	uint8_t *p;
	size_t n, cap;
	bool full; /* something did not fit */
};

static inline struct ssh_writer ssh_writer_of(uint8_t *p, size_t cap)
{
	return (struct ssh_writer){ .p = p, .cap = cap };
}

static inline struct span ssh_written(const struct ssh_writer *w)
{
	return span_of(w->p, w->n);
}

void ssh_put_bytes(struct ssh_writer *w, struct span s);
void ssh_put_u8(struct ssh_writer *w, uint8_t v);
void ssh_put_u32(struct ssh_writer *w, uint32_t v);
void ssh_put_string(struct ssh_writer *w, struct span s);
void ssh_put_str(struct ssh_writer *w, const char *s);
/* An unsigned big-endian magnitude as an mpint. */
void ssh_put_mpint(struct ssh_writer *w, struct span magnitude);

/* Draws the next name of a comma separated list; false at its end. */
bool ssh_list_next(struct span *list, struct span *name);
bool ssh_list_has(struct span list, struct span name);

/* Bytes of a peer as text for an operator: printable ASCII, the rest '?', cut
 * with "..." when it does not fit.  Returns `to`. */
const char *ssh_text(char *to, size_t cap, struct span text);

#endif
