/*
 * ssh2_gate -- holds back what an SSH server sends until its host key is judged.
 *
 * libssh2 decrypts the server's first packets inside its one handshake call, so
 * a caller can judge the host key only after libssh2 has parsed bytes of whoever
 * is at the other end; and libssh2 ends the program by assert() for a packet
 * whose length is no multiple of the cipher's block.  The packets up to NEWKEYS
 * are in the clear (RFC 4253, 6 and 7.3): the gate reads along, finds the host
 * key in the ECDH reply (RFC 5656, 4) and lets no byte pass before it is trusted.
 * It does not check the signature: libssh2 does, before it takes NEWKEYS.
 *
 * Pure: no I/O, no clock, no memory but its own.
 */
#ifndef LIB_IO_SSH2_SSH2_GATE_H
#define LIB_IO_SSH2_SSH2_GATE_H

#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

#define SSH2_GATE_KEY_MAX 8192 /* bytes of a host key: RSA of 32768 bits has half of that */

enum ssh2_gate_state {
	SSH2_GATE_IDENT,  /* lines up to the one that begins with SSH- */
	SSH2_GATE_HEAD,	  /* length, padding length, type of a packet */
	SSH2_GATE_LENGTH, /* of the host key */
	SSH2_GATE_KEY,
	SSH2_GATE_REST, /* of the packet */
	SSH2_GATE_OPEN, /* everything passes */
};

/* Starts zeroed. */
struct ssh2_gate {
	enum ssh2_gate_state state;
	bool trusted;
	uint8_t head[6]; /* of a line, a packet or a length */
	size_t head_n;
	size_t line_n;	/* bytes of the line so far */
	bool is_return; /* the last of them is a carriage return */
	size_t left;	/* bytes of the packet that are still to come */
	size_t key_n, key_at;
	uint8_t key[SSH2_GATE_KEY_MAX];
};

/* Whether the host key with this SHA-256 is the expected one. */
typedef bool ssh2_gate_trust_fn(void *user, const uint8_t hash[32]);

/* How many bytes of `in`, from its front, may be given to libssh2: all of them,
 * or those before the reason to refuse.  ERR_TRUST: a foreign host key, or keys
 * taken into use before one was shown; ERR_PROTO: no line or packet of SSH; ERR_CRYPTO. */
MUST_USE int ssh2_gate_feed(struct ssh2_gate *g, struct span in, ssh2_gate_trust_fn *trust,
			    void *user, struct fault *why);

#endif
