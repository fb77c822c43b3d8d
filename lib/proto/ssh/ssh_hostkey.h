/*
 * ssh_hostkey -- host keys and their signatures: ssh-ed25519 (RFC 8709),
 * ecdsa-sha2-nistp256 (RFC 5656), rsa-sha2-256 and -512 (RFC 8332).
 *
 * ECDSA and RSA signatures take their entropy from OpenSSL's own generator.
 */
#ifndef LIB_PROTO_SSH_SSH_HOSTKEY_H
#define LIB_PROTO_SSH_SSH_HOSTKEY_H

#include <openssl/evp.h>

#include "lib/base/limits.h"
#include "lib/proto/ssh/ssh_wire.h"

enum ssh_hostkey_type { SSH_HOSTKEY_ED25519, SSH_HOSTKEY_P256, SSH_HOSTKEY_RSA };

enum {
	SSH_RSA_BITS_MIN = LIMIT_SSH_RSA_BITS_MIN,
	SSH_RSA_BITS_MAX = LIMIT_SSH_RSA_BITS_MAX,
	SSH_HOSTKEY_BLOB_MAX = 1200, /* RSA of 8192 bits */
	SSH_SIGNATURE_MAX = 1100,
};

struct ssh_hostkey_kind {
	const char *name;      /* as negotiated, and in the signature */
	const char *blob_name; /* in the key blob */
	enum ssh_hostkey_type type;
	const char *digest; /* NULL: the signature has its own */
};

#define SSH_HOSTKEY_DEFAULT_LIST "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"

const struct ssh_hostkey_kind *ssh_hostkey_find(struct span name); /* NULL for none of ours */

/* Can this key sign so?  Size bounds of RSA included. */
bool ssh_hostkey_fits(const struct ssh_hostkey_kind *kind, const EVP_PKEY *key);

/* Writes the public key blob; ERR_CRYPTO, ERR_FULL. */
MUST_USE int ssh_hostkey_blob(const struct ssh_hostkey_kind *kind, const EVP_PKEY *key,
			      struct ssh_writer *w);
MUST_USE int ssh_hostkey_sign(const struct ssh_hostkey_kind *kind, EVP_PKEY *key, struct span data,
			      struct ssh_writer *w);
/* ERR_PROTO (no such key or signature at all), ERR_TRUST (the signature is
 * wrong), ERR_CRYPTO, with a sentence. */
MUST_USE int ssh_hostkey_verify(const struct ssh_hostkey_kind *kind, struct span blob,
				struct span data, struct span signature, struct fault *why);

#endif
