/*
 * ssh_hostkey -- host keys and signatures in SSH's encoding, on OpenSSL's keys.
 * The caller decides whether a key is trusted.
 */
#include "lib/proto/ssh/ssh_hostkey.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "lib/proto/ssh/ssh_kex.h"

#define P256_NAME "nistp256"

enum { ED25519_LEN = 32, P256_NUMBER_LEN = 32, RSA_E_MAX = 8 };

static const struct ssh_hostkey_kind kinds[] = {
	{ "ssh-ed25519", "ssh-ed25519", SSH_HOSTKEY_ED25519, NULL },
	{ "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", SSH_HOSTKEY_P256, "SHA256" },
	{ "rsa-sha2-512", "ssh-rsa", SSH_HOSTKEY_RSA, "SHA512" },
	{ "rsa-sha2-256", "ssh-rsa", SSH_HOSTKEY_RSA, "SHA256" },
};

const struct ssh_hostkey_kind *ssh_hostkey_find(struct span name)
{
	for (size_t i = 0; i < array_len(kinds); i++)
		if (span_is(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

static bool is_p256(const EVP_PKEY *key)
{
	char group[32];
	size_t n;

	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), &n) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

bool ssh_hostkey_fits(const struct ssh_hostkey_kind *kind, const EVP_PKEY *key)
{
	switch (kind->type) {
	case SSH_HOSTKEY_ED25519:
		return EVP_PKEY_is_a(key, "ED25519");
	case SSH_HOSTKEY_P256:
		return is_p256(key);
	case SSH_HOSTKEY_RSA:
		return EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= SSH_RSA_BITS_MIN &&
		       EVP_PKEY_get_bits(key) <= SSH_RSA_BITS_MAX;
	}
	return false;
}

static bool put_bn(struct ssh_writer *w, const BIGNUM *bn)
{
	uint8_t bytes[SSH_RSA_BITS_MAX / 8];
	const int n = BN_num_bytes(bn);

	if (n < 0 || (size_t)n > sizeof(bytes) || BN_bn2bin(bn, bytes) != n)
		return false;
	ssh_put_mpint(w, span_of(bytes, (size_t)n));
	return true;
}

static bool put_rsa(struct ssh_writer *w, const EVP_PKEY *key)
{
	BIGNUM *e = NULL, *n = NULL;
	const bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
			EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
			put_bn(w, e) && put_bn(w, n);

	BN_free(e);
	BN_free(n);
	return ok;
}

static bool put_p256(struct ssh_writer *w, const EVP_PKEY *key)
{
	uint8_t point[SSH_ECDH_PUBLIC_MAX];
	size_t n = 0;

	ssh_put_str(w, P256_NAME);
	if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point,
					    sizeof(point), &n) != 1)
		return false;
	ssh_put_string(w, span_of(point, n));
	return n == sizeof(point);
}

static bool put_ed25519(struct ssh_writer *w, const EVP_PKEY *key)
{
	uint8_t raw[ED25519_LEN];
	size_t n = sizeof(raw);

	if (EVP_PKEY_get_raw_public_key(key, raw, &n) != 1)
		return false;
	ssh_put_string(w, span_of(raw, n));
	return true;
}

int ssh_hostkey_blob(const struct ssh_hostkey_kind *kind, const EVP_PKEY *key, struct ssh_writer *w)
{
	bool ok = false;

	ssh_put_str(w, kind->blob_name);
	switch (kind->type) {
	case SSH_HOSTKEY_ED25519:
		ok = put_ed25519(w, key);
		break;
	case SSH_HOSTKEY_P256:
		ok = put_p256(w, key);
		break;
	case SSH_HOSTKEY_RSA:
		ok = put_rsa(w, key);
		break;
	}
	return !ok ? ERR_CRYPTO : w->full ? ERR_FULL : 0;
}

/* RFC 5656, 3.1.2: two mpints where X9.62 has DER. */
static bool put_ecdsa_signature(struct ssh_writer *w, const uint8_t *der, size_t n)
{
	uint8_t bytes[2 * (P256_NUMBER_LEN + 5)];
	struct ssh_writer inner = ssh_writer_of(bytes, sizeof(bytes));
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
	const bool ok = sig && put_bn(&inner, ECDSA_SIG_get0_r(sig)) &&
			put_bn(&inner, ECDSA_SIG_get0_s(sig)) && !inner.full;

	ECDSA_SIG_free(sig);
	ssh_put_string(w, ssh_written(&inner));
	return ok;
}

int ssh_hostkey_sign(const struct ssh_hostkey_kind *kind, EVP_PKEY *key, struct span data,
		     struct ssh_writer *w)
{
	uint8_t raw[SSH_RSA_BITS_MAX / 8];
	size_t n = sizeof(raw);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx &&
		  EVP_DigestSignInit_ex(ctx, NULL, kind->digest, NULL, NULL, key, NULL) == 1 &&
		  EVP_DigestSign(ctx, raw, &n, data.p, data.n) == 1;

	EVP_MD_CTX_free(ctx);
	if (!ok)
		return ERR_CRYPTO;
	ssh_put_str(w, kind->name);
	if (kind->type == SSH_HOSTKEY_P256)
		ok = put_ecdsa_signature(w, raw, n);
	else
		ssh_put_string(w, span_of(raw, n));
	return !ok ? ERR_CRYPTO : w->full ? ERR_FULL : 0;
}

static EVP_PKEY *rsa_public(struct span e, struct span n)
{
	BIGNUM *be = BN_bin2bn(e.p, (int)e.n, NULL), *bn = BN_bin2bn(n.p, (int)n.n, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;

	if (be && bn && bld && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1)
		params = OSSL_PARAM_BLD_to_param(bld);
	if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(be);
	BN_free(bn);
	return key;
}

static EVP_PKEY *read_rsa(struct ssh_reader *r)
{
	const struct span e = ssh_get_mpint(r), n = ssh_get_mpint(r);

	/* Bounds before any arithmetic: a huge modulus is only there to cost time. */
	if (r->bad || r->n || e.n > RSA_E_MAX || !(e.p[e.n - 1] & 1) || n.n > SSH_RSA_BITS_MAX / 8)
		return NULL;
	return rsa_public(e, n);
}

static EVP_PKEY *read_blob(const struct ssh_hostkey_kind *kind, struct span blob)
{
	struct ssh_reader r = ssh_reader_of(blob);
	struct span raw;

	if (!span_is(ssh_get_string(&r), kind->blob_name))
		return NULL;
	switch (kind->type) {
	case SSH_HOSTKEY_ED25519:
		raw = ssh_get_string(&r);
		if (r.bad || r.n || raw.n != ED25519_LEN)
			return NULL;
		return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, raw.p, raw.n);
	case SSH_HOSTKEY_P256:
		if (!span_is(ssh_get_string(&r), P256_NAME))
			return NULL;
		raw = ssh_get_string(&r);
		return r.bad || r.n ? NULL : ssh_p256_public(raw);
	case SSH_HOSTKEY_RSA:
		return read_rsa(&r);
	}
	return NULL;
}

/* The DER form of a signature of two mpints; its length, or 0. */
static size_t ecdsa_der(struct span raw, uint8_t *der, size_t cap)
{
	struct ssh_reader in = ssh_reader_of(raw);
	const struct span r = ssh_get_mpint(&in), s = ssh_get_mpint(&in);
	if (in.bad || in.n || r.n > P256_NUMBER_LEN || s.n > P256_NUMBER_LEN)
		return 0;

	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *br = BN_bin2bn(r.p, (int)r.n, NULL), *bs = BN_bin2bn(s.p, (int)s.n, NULL);
	int n = 0;
	if (sig && br && bs && ECDSA_SIG_set0(sig, br, bs) == 1) {
		br = bs = NULL; /* the signature's now */
		n = i2d_ECDSA_SIG(sig, NULL);
		n = n > 0 && (size_t)n <= cap ? i2d_ECDSA_SIG(sig, &der) : 0;
	}
	BN_free(br);
	BN_free(bs);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

static int check_signature(const struct ssh_hostkey_kind *kind, EVP_PKEY *key, struct span data,
			   struct span signature, struct fault *why)
{
	struct ssh_reader r = ssh_reader_of(signature);
	const struct span name = ssh_get_string(&r);
	struct span raw = ssh_get_string(&r);
	uint8_t der[2 * P256_NUMBER_LEN + 16];

	if (r.bad || r.n || !span_is(name, kind->name))
		return fault_set(why, ERR_PROTO, "the host key's signature is not of type %s",
				 kind->name);
	if (kind->type == SSH_HOSTKEY_P256) {
		raw = span_of(der, ecdsa_der(raw, der, sizeof(der)));
		if (raw.n == 0)
			return fault_set(why, ERR_PROTO, "the host key's signature is malformed");
	}
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const bool ready =
		ctx && EVP_DigestVerifyInit_ex(ctx, NULL, kind->digest, NULL, NULL, key, NULL) == 1;
	const bool ok = ready && EVP_DigestVerify(ctx, raw.p, raw.n, data.p, data.n) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!ready)
		return fault_set(why, ERR_CRYPTO, "cannot verify a %s signature", kind->name);
	if (!ok)
		return fault_set(why, ERR_TRUST,
				 "the server does not hold the private half of its host key");
	return 0;
}

int ssh_hostkey_verify(const struct ssh_hostkey_kind *kind, struct span blob, struct span data,
		       struct span signature, struct fault *why)
{
	EVP_PKEY *key = read_blob(kind, blob);

	if (!key || !ssh_hostkey_fits(kind, key)) {
		EVP_PKEY_free(key);
		ERR_clear_error();
		return fault_set(why, ERR_PROTO, "the server's host key is no %s key we accept",
				 kind->name);
	}
	const int rc = check_signature(kind, key, data, signature, why);
	EVP_PKEY_free(key);
	return rc;
}
