/*
 * certs -- certificates made in memory: a CA, leaves with names and times, and
 * the contexts that use them.  No files, no fixed keys; P-256 throughout.
 */
#ifndef TESTS_SUPPORT_CERTS_H
#define TESTS_SUPPORT_CERTS_H

#include <openssl/ssl.h>

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

#define CERTS_DAY 86400l

void certs_make_ca(struct cert *out, const char *common_name);
/* A CA that another one has signed. */
void certs_make_intermediate(struct cert *out, const struct cert *ca, const char *common_name);
/* `names` as OpenSSL writes them, "DNS:localhost,IP:127.0.0.1", NULL for none.
 * Valid from now + from_s to now + to_s. */
void certs_make_leaf(struct cert *out, const struct cert *ca, const char *names, long from_s,
		     long to_s);
void certs_fini(struct cert *c);

/* The caller frees them with SSL_CTX_free(). */
SSL_CTX *certs_server_ctx(const struct cert *leaf);
SSL_CTX *certs_client_ctx(const struct cert *ca); /* NULL: trusts nobody */

void certs_write_pem(const struct cert *c, const char *cert_path, const char *key_path);

#endif
