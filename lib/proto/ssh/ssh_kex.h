/*
 * ssh_kex -- the arithmetic of a key exchange: ECDH on curve25519 (RFC 8731)
 * and P-256 (RFC 5656), the exchange hash and the keys made from it
 * (RFC 4253, 7.2 and 8).  All with SHA-256.
 *
 * Entropy of curve25519 keys is the caller's; P-256 keys are made by
 * OpenSSL's own generator, since libcrypto takes no other there.
 */
#ifndef LIB_PROTO_SSH_SSH_KEX_H
#define LIB_PROTO_SSH_SSH_KEX_H

#include <openssl/evp.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

enum {
	SSH_HASH_LEN = 32,
	SSH_SECRET_LEN = 32,
	SSH_ECDH_PUBLIC_MAX = 65,
};

struct ssh_kex_kind {
	const char *name;
	bool p256; /* else curve25519 */
};

#define SSH_KEX_DEFAULT_LIST "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256"

const struct ssh_kex_kind *ssh_kex_find(struct span name); /* NULL for none of ours */

/* Our half of one exchange. */
struct ssh_ecdh {
	EVP_PKEY *key;
	uint8_t public[SSH_ECDH_PUBLIC_MAX];
	size_t public_n;
};

MUST_USE int ssh_ecdh_init(struct ssh_ecdh *e, const struct ssh_kex_kind *kind,
			   void (*random)(void *ctx, void *p, size_t n), void *random_ctx);
/* ERR_PROTO: the peer's value is no point, or one of those that make the
 * secret guessable. */
MUST_USE int ssh_ecdh_agree(const struct ssh_ecdh *e, struct span peer,
			    uint8_t secret[SSH_SECRET_LEN]);
void ssh_ecdh_fini(struct ssh_ecdh *e); /* accepts a zeroed e */

/* A public key on P-256 from an uncompressed point; NULL when it is none. */
EVP_PKEY *ssh_p256_public(struct span point);

/* SHA-256 over values of RFC 4251; a failure of the library shows at the end. */
struct ssh_hash {
	EVP_MD_CTX *ctx;
	bool bad;
};

void ssh_hash_init(struct ssh_hash *h);
void ssh_hash_bytes(struct ssh_hash *h, struct span s);
void ssh_hash_string(struct ssh_hash *h, struct span s);
void ssh_hash_mpint(struct ssh_hash *h, struct span magnitude);
/* Ends it; also the destructor (digest NULL) and accepts a zeroed h. */
int ssh_hash_fini(struct ssh_hash *h, uint8_t digest[SSH_HASH_LEN]);

MUST_USE int ssh_sha256(struct span s, uint8_t digest[SSH_HASH_LEN]);

/* Key `letter` ('A'..'F') of n bytes. */
MUST_USE int ssh_kex_derive(struct span secret, const uint8_t hash[SSH_HASH_LEN], char letter,
			    const uint8_t session_id[SSH_HASH_LEN], uint8_t *key, size_t n);

#endif
