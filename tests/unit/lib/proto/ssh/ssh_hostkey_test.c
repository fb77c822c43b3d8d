#include "lib/proto/ssh/ssh_hostkey.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "tests/support/cases.h"
#include "tests/support/fence.h"

static const char *const names[] = { "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512",
				     "rsa-sha2-256" };

static EVP_PKEY *make(const struct ssh_hostkey_kind *kind)
{
	static EVP_PKEY *rsa;

	switch (kind->type) {
	case SSH_HOSTKEY_ED25519:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	case SSH_HOSTKEY_P256:
		return EVP_EC_gen("P-256");
	case SSH_HOSTKEY_RSA:
		if (!rsa)
			rsa = EVP_RSA_gen(2048);
		EVP_PKEY_up_ref(rsa);
		return rsa;
	}
	return NULL;
}

static int verify(const struct ssh_hostkey_kind *kind, struct span blob, const char *data,
		  struct span signature)
{
	struct fence b, s;
	struct fault why = { 0 };

	fence_init(&b, blob.p, blob.n);
	fence_init(&s, signature.p, signature.n);
	const int rc = ssh_hostkey_verify(kind, span_of(b.p, b.n), span_str(data),
					  span_of(s.p, s.n), &why);
	fence_fini(&b);
	fence_fini(&s);
	check(rc == 0 || (why.code == (enum err)rc && why.why[0]));
	return rc;
}

static void test_sign_and_verify(void)
{
	for (size_t i = 0; i < array_len(names); i++) {
		const struct ssh_hostkey_kind *kind = ssh_hostkey_find(span_str(names[i]));
		uint8_t blob[SSH_HOSTKEY_BLOB_MAX], signature[SSH_SIGNATURE_MAX];
		/* ECDSA numbers have leading zeros now and then */
		for (int round = 0; round < 20; round++) {
			EVP_PKEY *key = make(kind);
			struct ssh_writer b = ssh_writer_of(blob, sizeof(blob));
			struct ssh_writer s = ssh_writer_of(signature, sizeof(signature));
			check_row(names[i], ssh_hostkey_fits(kind, key));
			check_row(names[i], ssh_hostkey_blob(kind, key, &b) == 0);
			check_row(names[i], ssh_hostkey_sign(kind, key, span_str("data"), &s) == 0);
			check_row(names[i],
				  verify(kind, ssh_written(&b), "data", ssh_written(&s)) == 0);
			check_row(names[i], verify(kind, ssh_written(&b), "dat4",
						   ssh_written(&s)) == ERR_TRUST);
			EVP_PKEY_free(key);
		}
	}
}

/* Each byte of blob and signature changed, each cut: never accepted. */
static void test_damage(void)
{
	for (size_t i = 0; i < array_len(names); i++) {
		const struct ssh_hostkey_kind *kind = ssh_hostkey_find(span_str(names[i]));
		uint8_t blob[SSH_HOSTKEY_BLOB_MAX], signature[SSH_SIGNATURE_MAX];
		EVP_PKEY *key = make(kind);
		struct ssh_writer b = ssh_writer_of(blob, sizeof(blob));
		struct ssh_writer s = ssh_writer_of(signature, sizeof(signature));
		check(ssh_hostkey_blob(kind, key, &b) == 0);
		check(ssh_hostkey_sign(kind, key, span_str("data"), &s) == 0);
		EVP_PKEY_free(key);
		for (size_t at = 0; at < b.n; at++) {
			blob[at] ^= 0x40;
			const int rc = verify(kind, ssh_written(&b), "data", ssh_written(&s));
			check_row(names[i], rc == ERR_PROTO || rc == ERR_TRUST);
			blob[at] ^= 0x40;
			check_row(names[i], verify(kind, span_of(blob, at), "data",
						   ssh_written(&s)) == ERR_PROTO);
		}
		for (size_t at = 0; at < s.n; at++) {
			signature[at] ^= 0x01;
			const int rc = verify(kind, ssh_written(&b), "data", ssh_written(&s));
			check_row(names[i], rc == ERR_PROTO || rc == ERR_TRUST);
			signature[at] ^= 0x01;
			check_row(names[i], verify(kind, ssh_written(&b), "data",
						   span_of(signature, at)) == ERR_PROTO);
		}
	}
}

/* RFC 8709 has no vectors; RFC 8032, 7.1, test 1 in the form of RFC 8709. */
static void test_ed25519_vector(void)
{
	static const char blob[] =
		"\0\0\0\x0bssh-ed25519\0\0\0\x20"
		"\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a"
		"\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a";
	static const char signature[] =
		"\0\0\0\x0bssh-ed25519\0\0\0\x40"
		"\xe5\x56\x43\x00\xc3\x60\xac\x72\x90\x86\xe2\xcc\x80\x6e\x82\x8a"
		"\x84\x87\x7f\x1e\xb8\xe5\xd9\x74\xd8\x73\xe0\x65\x22\x49\x01\x55"
		"\x5f\xb8\x82\x15\x90\xa3\x3b\xac\xc6\x1e\x39\x70\x1c\xf9\xb4\x6b"
		"\xd2\x5b\xf5\xf0\x59\x5b\xbe\x24\x65\x51\x41\x43\x8e\x7a\x10\x0b";
	const struct ssh_hostkey_kind *kind = ssh_hostkey_find(span_str("ssh-ed25519"));
	check(verify(kind, span_of(blob, sizeof(blob) - 1), "",
		     span_of(signature, sizeof(signature) - 1)) == 0);
}

static void rsa_blob(struct ssh_writer *w, struct span e, size_t n_bytes)
{
	static uint8_t n[1200];

	memset(n, 0x77, sizeof(n));
	ssh_put_str(w, "ssh-rsa");
	ssh_put_mpint(w, e);
	ssh_put_mpint(w, span_of(n, n_bytes));
}

static void test_rsa_bounds(void)
{
	static const struct {
		const char *name, *e;
		size_t e_n, n_bytes;
		int want;
	} rows[] = {
		{ "2047 bits", "\1\0\1", 3, 256, ERR_PROTO }, /* 0x77: one bit short */
		{ "2055 bits", "\1\0\1", 3, 257, ERR_TRUST },
		{ "8191 bits", "\1\0\1", 3, 1024, ERR_TRUST },
		{ "8199 bits", "\1\0\1", 3, 1025, ERR_PROTO },
		{ "even e", "\1\0\2", 3, 257, ERR_PROTO },
		{ "zero e", "", 0, 257, ERR_PROTO },
		{ "huge e", "\1\1\1\1\1\1\1\1\1", 9, 257, ERR_PROTO },
	};
	const struct ssh_hostkey_kind *kind = ssh_hostkey_find(span_str("rsa-sha2-256"));
	for (size_t i = 0; i < array_len(rows); i++) {
		uint8_t blob[2000], signature[600];
		struct ssh_writer b = ssh_writer_of(blob, sizeof(blob));
		struct ssh_writer s = ssh_writer_of(signature, sizeof(signature));
		rsa_blob(&b, span_of(rows[i].e, rows[i].e_n), rows[i].n_bytes);
		ssh_put_str(&s, "rsa-sha2-256");
		ssh_put_str(&s, "not a signature");
		check_row(rows[i].name,
			  verify(kind, ssh_written(&b), "data", ssh_written(&s)) == rows[i].want);
	}
}

static void test_wrong_kinds(void)
{
	EVP_PKEY *p384 = EVP_EC_gen("P-384"), *small = EVP_RSA_gen(1024);

	check(!ssh_hostkey_fits(ssh_hostkey_find(span_str("ecdsa-sha2-nistp256")), p384));
	check(!ssh_hostkey_fits(ssh_hostkey_find(span_str("rsa-sha2-256")), small));
	check(!ssh_hostkey_fits(ssh_hostkey_find(span_str("ssh-ed25519")), small));
	check(!ssh_hostkey_find(span_str("ssh-rsa"))); /* SHA-1 */
	check(!ssh_hostkey_find(span_str("ssh-dss")));
	EVP_PKEY_free(p384);
	EVP_PKEY_free(small);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "sign and verify", test_sign_and_verify }, { "damage", test_damage },
		{ "ed25519 vector", test_ed25519_vector },   { "rsa bounds", test_rsa_bounds },
		{ "wrong kinds", test_wrong_kinds },
	};
	return run_cases("ssh_hostkey", cases, array_len(cases));
}
