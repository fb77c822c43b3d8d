#include "lib/proto/ssh/ssh_kex.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "tests/support/cases.h"

static void give(void *ctx, void *p, size_t n)
{
	memcpy(p, ctx, n);
}

/* RFC 7748, 6.1 */
static uint8_t alice[32] = "\x77\x07\x6d\x0a\x73\x18\xa5\x7d\x3c\x16\xc1\x72\x51\xb2\x66\x45"
			   "\xdf\x4c\x2f\x87\xeb\xc0\x99\x2a\xb1\x77\xfb\xa5\x1d\xb9\x2c\x2a";
static const uint8_t alice_public[32] =
	"\x85\x20\xf0\x09\x89\x30\xa7\x54\x74\x8b\x7d\xdc\xb4\x3e\xf7\x5a"
	"\x0d\xbf\x3a\x0d\x26\x38\x1a\xf4\xeb\xa4\xa9\x8e\xaa\x9b\x4e\x6a";
static const uint8_t bob_public[32] =
	"\xde\x9e\xdb\x7d\x7b\x7d\xc1\xb4\xd3\x5b\x61\xc2\xec\xe4\x35\x37"
	"\x3f\x83\x43\xc8\x5b\x78\x67\x4d\xad\xfc\x7e\x14\x6f\x88\x2b\x4f";
static const uint8_t shared[32] =
	"\x4a\x5d\x9d\x5b\xa4\xce\x2d\xe1\x72\x8e\x3b\xf4\x80\x35\x0f\x25"
	"\xe0\x7e\x21\xc9\x47\xd1\x9e\x33\x76\xf0\x9b\x3c\x1e\x16\x17\x42";

static void test_curve25519(void)
{
	struct ssh_ecdh e;
	uint8_t secret[SSH_SECRET_LEN];

	check(ssh_ecdh_init(&e, ssh_kex_find(span_str("curve25519-sha256")), give, alice) == 0);
	check(e.public_n == 32 && memcmp(e.public, alice_public, 32) == 0);
	check(ssh_ecdh_agree(&e, span_of(bob_public, 32), secret) == 0);
	check(memcmp(secret, shared, 32) == 0);

	/* RFC 8731, 3: points of small order make the secret known to all */
	static const uint8_t zero[32], one[32] = { 1 };
	check(ssh_ecdh_agree(&e, span_of(zero, 32), secret) == ERR_PROTO);
	check(ssh_ecdh_agree(&e, span_of(one, 32), secret) == ERR_PROTO);
	check(ssh_ecdh_agree(&e, span_of(bob_public, 31), secret) == ERR_PROTO);
	check(ssh_ecdh_agree(&e, (struct span){ 0 }, secret) == ERR_PROTO);
	ssh_ecdh_fini(&e);
	ssh_ecdh_fini(&e);
}

static void test_p256(void)
{
	const struct ssh_kex_kind *kind = ssh_kex_find(span_str("ecdh-sha2-nistp256"));
	struct ssh_ecdh a, b;
	uint8_t x[SSH_SECRET_LEN], y[SSH_SECRET_LEN], bad[65];

	check(ssh_ecdh_init(&a, kind, NULL, NULL) == 0 && a.public_n == 65);
	check(ssh_ecdh_init(&b, kind, NULL, NULL) == 0);
	check(ssh_ecdh_agree(&a, span_of(b.public, 65), x) == 0);
	check(ssh_ecdh_agree(&b, span_of(a.public, 65), y) == 0);
	check(memcmp(x, y, sizeof(x)) == 0);

	memcpy(bad, b.public, 65);
	bad[64] ^= 1; /* off the curve */
	check(ssh_ecdh_agree(&a, span_of(bad, 65), x) == ERR_PROTO);
	bad[64] ^= 1;
	bad[0] = 2; /* compressed */
	check(ssh_ecdh_agree(&a, span_of(bad, 65), x) == ERR_PROTO);
	check(ssh_ecdh_agree(&a, span_of(bad, 33), x) == ERR_PROTO);
	check(ssh_ecdh_agree(&a, span_of("", 1), x) == ERR_PROTO); /* infinity */
	ssh_ecdh_fini(&a);
	ssh_ecdh_fini(&b);
}

static void test_hash_of_values(void)
{
	static const uint8_t by_hand[] = "\0\0\0\3abc\0\0\0\2\0\x80\0\0\0\1\x7f\0\0\0\0z";
	uint8_t want[SSH_HASH_LEN], got[SSH_HASH_LEN];
	struct ssh_hash h;

	check(ssh_sha256(span_of(by_hand, sizeof(by_hand) - 1), want) == 0);
	ssh_hash_init(&h);
	ssh_hash_string(&h, span_str("abc"));
	ssh_hash_mpint(&h, span_of("\x80", 1));
	ssh_hash_mpint(&h, span_of("\0\0\x7f", 3));
	ssh_hash_mpint(&h, span_of("\0", 1));
	ssh_hash_bytes(&h, span_str("z"));
	check(ssh_hash_fini(&h, got) == 0);
	check(memcmp(want, got, sizeof(got)) == 0);
	check(ssh_hash_fini(&h, NULL) == ERR_CRYPTO);
}

/* OpenSSL has RFC 4253's derivation, too, and wants K as an mpint. */
static void derive_by_openssl(const uint8_t *mpint, size_t mpint_n, const uint8_t *hash,
			      char letter, const uint8_t *id, uint8_t *out, size_t n)
{
	char digest[] = "SHA256", type[2] = { letter };
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SSHKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)mpint, mpint_n),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SSHKDF_XCGHASH, (void *)hash, 32),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SSHKDF_SESSION_ID, (void *)id, 32),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_SSHKDF_TYPE, type, 1),
		OSSL_PARAM_construct_end(),
	};
	check(EVP_KDF_derive(ctx, out, n, params) == 1);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}

static void test_derivation(void)
{
	static const struct {
		const char *name, *mpint;
		size_t mpint_n;
		const char *secret;
		size_t secret_n;
	} rows[] = {
		{ "plain", "\0\0\0\3\x01\x02\x03", 7, "\x01\x02\x03", 3 },
		{ "high bit", "\0\0\0\3\0\xff\x02", 7, "\xff\x02", 2 },
		{ "leading zeros", "\0\0\0\1\x05", 5, "\0\0\x05", 3 },
	};
	uint8_t hash[32], id[32], want[64], got[64];
	memset(hash, 7, sizeof(hash));
	memset(id, 9, sizeof(id));
	for (size_t i = 0; i < array_len(rows); i++)
		for (char letter = 'A'; letter <= 'F'; letter++)
			for (size_t n = 1; n <= 64; n += 9) {
				derive_by_openssl((const uint8_t *)rows[i].mpint, rows[i].mpint_n,
						  hash, letter, id, want, n);
				check(ssh_kex_derive(span_of(rows[i].secret, rows[i].secret_n),
						     hash, letter, id, got, n) == 0);
				check_row(rows[i].name, memcmp(want, got, n) == 0);
			}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "curve25519", test_curve25519 },
		{ "p-256", test_p256 },
		{ "hash", test_hash_of_values },
		{ "derivation", test_derivation },
	};
	return run_cases("ssh_kex", cases, array_len(cases));
}
