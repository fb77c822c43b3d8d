/*
 * ssh_kex -- ECDH, the exchange hash and the keys derived from it. The messages
 * of a key exchange are handled in ssh_transport.c.
 */
#include "lib/proto/ssh/ssh_kex.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/params.h>

enum { X25519_LEN = 32, P256_POINT_LEN = 65, POINT_UNCOMPRESSED = 4 };

static const struct ssh_kex_kind kinds[] = {
	{ "curve25519-sha256", false },
	{ "curve25519-sha256@libssh.org", false },
	{ "ecdh-sha2-nistp256", true },
};

const struct ssh_kex_kind *ssh_kex_find(struct span name)
{
	for (size_t i = 0; i < array_len(kinds); i++)
		if (span_is(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

EVP_PKEY *ssh_p256_public(struct span point)
{
	if (point.n != P256_POINT_LEN || point.p[0] != POINT_UNCOMPRESSED)
		return NULL;

	char group[] = "prime256v1";
	uint8_t copy[P256_POINT_LEN];
	memcpy(copy, point.p, sizeof(copy));
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);

	ctx = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	if (!ctx || EVP_PKEY_public_check(ctx) != 1) { /* on the curve, not at infinity */
		EVP_PKEY_free(key);
		key = NULL;
	}
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return key;
}

static int p256_init(struct ssh_ecdh *e)
{
	uint8_t *point = NULL;

	e->key = EVP_EC_gen("P-256");
	e->public_n = e->key ? EVP_PKEY_get1_encoded_public_key(e->key, &point) : 0;
	if (e->public_n == P256_POINT_LEN)
		memcpy(e->public, point, P256_POINT_LEN);
	OPENSSL_free(point);
	return e->public_n == P256_POINT_LEN ? 0 : ERR_CRYPTO;
}

int ssh_ecdh_init(struct ssh_ecdh *e, const struct ssh_kex_kind *kind,
		  void (*random)(void *ctx, void *p, size_t n), void *random_ctx)
{
	*e = (struct ssh_ecdh){ 0 };
	if (kind->p256)
		return p256_init(e);

	uint8_t scalar[X25519_LEN];
	random(random_ctx, scalar, sizeof(scalar));
	e->key = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, scalar, sizeof(scalar));
	OPENSSL_cleanse(scalar, sizeof(scalar));
	e->public_n = X25519_LEN;
	if (!e->key || EVP_PKEY_get_raw_public_key(e->key, e->public, &e->public_n) != 1)
		return ERR_CRYPTO;
	return 0;
}

int ssh_ecdh_agree(const struct ssh_ecdh *e, struct span peer, uint8_t secret[SSH_SECRET_LEN])
{
	const bool p256 = e->public_n == P256_POINT_LEN;
	if (peer.n != e->public_n)
		return ERR_PROTO;
	EVP_PKEY *theirs =
		p256 ? ssh_p256_public(peer)
		     : EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, peer.p, peer.n);
	if (!theirs)
		return ERR_PROTO;

	size_t n = SSH_SECRET_LEN;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, e->key, NULL);
	int rc = ERR_CRYPTO;
	/* RFC 8731, 3: an all-zero secret is refused; libcrypto does that. */
	if (ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, theirs) == 1)
		rc = EVP_PKEY_derive(ctx, secret, &n) == 1 && n == SSH_SECRET_LEN ? 0 : ERR_PROTO;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(theirs);
	ERR_clear_error();
	return rc;
}

void ssh_ecdh_fini(struct ssh_ecdh *e)
{
	EVP_PKEY_free(e->key);
	*e = (struct ssh_ecdh){ 0 };
}

void ssh_hash_init(struct ssh_hash *h)
{
	h->ctx = EVP_MD_CTX_new();
	h->bad = !h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1;
}

void ssh_hash_bytes(struct ssh_hash *h, struct span s)
{
	h->bad = h->bad || (s.n && EVP_DigestUpdate(h->ctx, s.p, s.n) != 1);
}

void ssh_hash_string(struct ssh_hash *h, struct span s)
{
	uint8_t n[4];

	put_be(n, sizeof(n), s.n);
	ssh_hash_bytes(h, span_of(n, sizeof(n)));
	ssh_hash_bytes(h, s);
}

void ssh_hash_mpint(struct ssh_hash *h, struct span m)
{
	while (m.n && m.p[0] == 0) {
		m.p++;
		m.n--;
	}
	const bool high = m.n && m.p[0] & 0x80;
	uint8_t head[5] = { 0 };
	put_be(head, 4, m.n + high);
	ssh_hash_bytes(h, span_of(head, 4 + (size_t)high));
	ssh_hash_bytes(h, m);
}

int ssh_hash_fini(struct ssh_hash *h, uint8_t digest[SSH_HASH_LEN])
{
	const bool ok = digest && !h->bad && EVP_DigestFinal_ex(h->ctx, digest, NULL) == 1;

	EVP_MD_CTX_free(h->ctx);
	*h = (struct ssh_hash){ .bad = true };
	return ok ? 0 : ERR_CRYPTO;
}

int ssh_sha256(struct span s, uint8_t digest[SSH_HASH_LEN])
{
	return EVP_Digest(s.p, s.n, digest, NULL, EVP_sha256(), NULL) == 1 ? 0 : ERR_CRYPTO;
}

int ssh_kex_derive(struct span secret, const uint8_t hash[SSH_HASH_LEN], char letter,
		   const uint8_t session_id[SSH_HASH_LEN], uint8_t *key, size_t n)
{
	const uint8_t x = (uint8_t)letter;
	uint8_t block[SSH_HASH_LEN];
	int rc = 0;

	for (size_t done = 0; done < n && rc == 0; done += sizeof(block)) {
		struct ssh_hash h;
		ssh_hash_init(&h);
		ssh_hash_mpint(&h, secret);
		ssh_hash_bytes(&h, span_of(hash, SSH_HASH_LEN));
		if (done == 0) {
			ssh_hash_bytes(&h, span_of(&x, 1));
			ssh_hash_bytes(&h, span_of(session_id, SSH_HASH_LEN));
		} else {
			ssh_hash_bytes(&h, span_of(key, done));
		}
		rc = ssh_hash_fini(&h, block);
		memcpy(key + done, block, min_size(sizeof(block), n - done));
	}
	OPENSSL_cleanse(block, sizeof(block));
	return rc;
}
