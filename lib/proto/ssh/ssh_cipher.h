/*
 * ssh_cipher -- the packet ciphers, one direction each: aes128-gcm@openssh.com
 * and aes256-gcm@openssh.com (RFC 5647 with OpenSSH's names),
 * chacha20-poly1305@openssh.com (PROTOCOL.chacha20poly1305), and none.
 *
 * The key is set once; a packet costs no allocation and no key schedule.  All
 * of them authenticate, so there is no MAC to negotiate.
 */
#ifndef LIB_PROTO_SSH_SSH_CIPHER_H
#define LIB_PROTO_SSH_SSH_CIPHER_H

#include <openssl/evp.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

enum {
	SSH_CIPHER_KEY_MAX = 64,
	SSH_CIPHER_IV_LEN = 12,
	SSH_CIPHER_TAG_LEN = 16,
	SSH_CIPHER_LENGTH_LEN = 4, /* the packet length in front */
};

struct ssh_cipher_kind {
	const char *name, *evp;
	size_t key_len, block;
	bool needs_strict; /* no sequence number games (CVE-2023-48795) */
	uint64_t rekey_bytes;
};

/* NULL for a name that is not ours. */
const struct ssh_cipher_kind *ssh_cipher_find(struct span name);
/* The default preference, best first for this CPU. */
const char *ssh_cipher_default_list(void);

struct ssh_cipher {
	const struct ssh_cipher_kind *kind; /* NULL: none, packets in the clear */
	EVP_CIPHER_CTX *body;
	EVP_CIPHER_CTX *length; /* chacha20: the second key */
	EVP_MAC_CTX *mac;	/* chacha20: poly1305 */
};

/* ERR_CRYPTO; then *c is as after fini. */
MUST_USE int ssh_cipher_init(struct ssh_cipher *c, const struct ssh_cipher_kind *kind,
			     const uint8_t *key, const uint8_t iv[SSH_CIPHER_IV_LEN], bool seal);
void ssh_cipher_fini(struct ssh_cipher *c); /* accepts a zeroed c; wipes keys */

/* What every packet carries besides its length and content. */
static inline size_t ssh_cipher_tag_len(const struct ssh_cipher *c)
{
	return c->kind ? SSH_CIPHER_TAG_LEN : 0;
}

/* Writes length, encrypted parts and tag to `to`.  The parts are one after the
 * other the packet from padding_length to the last byte of padding. */
MUST_USE int ssh_cipher_seal(struct ssh_cipher *c, uint32_t seq, uint8_t *to,
			     const struct span *parts, size_t parts_n);

/* The packet length, from its first four bytes; not yet to be trusted. */
MUST_USE int ssh_cipher_length(struct ssh_cipher *c, uint32_t seq, const uint8_t *head,
			       uint32_t *len);
/* Checks and decrypts in place a packet of 4 + len + tag bytes.  ERR_PROTO
 * when it is not authentic. */
MUST_USE int ssh_cipher_open(struct ssh_cipher *c, uint32_t seq, uint8_t *packet, uint32_t len);

#endif
