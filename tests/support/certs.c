#include "tests/support/certs.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "lib/base/must.h"

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(e && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static void begin(struct cert *c, const char *common_name, long from_s, long to_s)
{
	static long serial;

	c->x509 = X509_new();
	c->key = EVP_EC_gen("P-256");
	must(c->x509 && c->key);
	must(X509_set_version(c->x509, X509_VERSION_3) == 1);
	must(ASN1_INTEGER_set(X509_get_serialNumber(c->x509), ++serial) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(c->x509), from_s));
	must(X509_gmtime_adj(X509_getm_notAfter(c->x509), to_s));
	must(X509_set_pubkey(c->x509, c->key) == 1);
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(c->x509), "CN", MBSTRING_UTF8,
					(const unsigned char *)common_name, -1, -1, 0) == 1);
}

void certs_make_intermediate(struct cert *out, const struct cert *ca, const char *common_name)
{
	begin(out, common_name, -CERTS_DAY, 365 * CERTS_DAY);
	must(X509_set_issuer_name(out->x509, X509_get_subject_name(ca->x509)) == 1);
	add_extension(out->x509, ca->x509, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(out->x509, ca->x509, NID_key_usage, "critical,keyCertSign");
	must(X509_sign(out->x509, ca->key, EVP_sha256()) > 0);
}

void certs_make_ca(struct cert *out, const char *common_name)
{
	begin(out, common_name, -CERTS_DAY, 365 * CERTS_DAY);
	must(X509_set_issuer_name(out->x509, X509_get_subject_name(out->x509)) == 1);
	add_extension(out->x509, out->x509, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(out->x509, out->x509, NID_key_usage, "critical,keyCertSign");
	must(X509_sign(out->x509, out->key, EVP_sha256()) > 0);
}

void certs_make_leaf(struct cert *out, const struct cert *ca, const char *names, long from_s,
		     long to_s)
{
	begin(out, "leaf", from_s, to_s);
	must(X509_set_issuer_name(out->x509, X509_get_subject_name(ca->x509)) == 1);
	add_extension(out->x509, ca->x509, NID_basic_constraints, "critical,CA:FALSE");
	if (names)
		add_extension(out->x509, ca->x509, NID_subject_alt_name, names);
	must(X509_sign(out->x509, ca->key, EVP_sha256()) > 0);
}

void certs_fini(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
	*c = (struct cert){ 0 };
}

SSL_CTX *certs_server_ctx(const struct cert *leaf)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	must(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
	must(SSL_CTX_use_certificate(ctx, leaf->x509) == 1);
	must(SSL_CTX_use_PrivateKey(ctx, leaf->key) == 1);
	return ctx;
}

SSL_CTX *certs_client_ctx(const struct cert *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	must(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (ca)
		must(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->x509) == 1);
	return ctx;
}

void certs_write_pem(const struct cert *c, const char *cert_path, const char *key_path)
{
	FILE *f = fopen(cert_path, "we");

	must(f && PEM_write_X509(f, c->x509) == 1 && fclose(f) == 0);
	f = fopen(key_path, "we");
	must(f && PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL) == 1 &&
	     fclose(f) == 0);
}
