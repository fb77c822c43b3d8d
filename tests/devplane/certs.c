#include "tests/devplane/certs.h"

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	const bool good = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return good;
}

static X509 *certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *x = X509_new();
	uint8_t serial[8];

	if (!x || RAND_bytes(serial, sizeof(serial)) != 1)
		return NULL;
	serial[0] &= 0x7f;
	BIGNUM *n = BN_bin2bn(serial, sizeof(serial), NULL);
	X509_NAME *subject = X509_get_subject_name(x);
	bool good = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) &&
		    X509_set_version(x, 2) && X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
		    X509_gmtime_adj(X509_getm_notAfter(x), 86400) && X509_set_pubkey(x, key) &&
		    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name,
					       -1, -1, 0) &&
		    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject);
	BN_free(n);
	if (issuer)
		good = good &&
		       add_extension(x, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
		       add_extension(x, issuer, NID_ext_key_usage, "serverAuth") &&
		       add_extension(x, issuer, NID_authority_key_identifier, "keyid:always") &&
		       add_extension(x, issuer, NID_subject_alt_name,
				     "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1");
	else
		good = good && add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE") &&
		       add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		       add_extension(x, x, NID_subject_key_identifier, "hash");
	if (good && X509_sign(x, issuer_key, EVP_sha256()) > 0)
		return x;
	X509_free(x);
	return NULL;
}

static FILE *create(const char *dir, const char *name, mode_t mode)
{
	char path[1200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	return fd < 0 ? NULL : fdopen(fd, "w");
}

static bool write_certificate(const char *dir, const char *name, X509 *x)
{
	FILE *f = create(dir, name, 0644);
	const bool good = f && x && PEM_write_X509(f, x) == 1;

	return f && fclose(f) == 0 && good;
}

static bool write_key(const char *dir, const char *name, EVP_PKEY *key)
{
	FILE *f = create(dir, name, 0600);
	const bool good = f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;

	return f && fclose(f) == 0 && good;
}

int certs_make(const char *dir, struct fault *why)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = ca_key ? certificate("devplane CA", ca_key, NULL, ca_key) : NULL;
	X509 *server = ca && key ? certificate("localhost", key, ca, ca_key) : NULL;
	const bool good = server && write_certificate(dir, "ca.pem", ca) &&
			  write_certificate(dir, "server.pem", server) &&
			  write_key(dir, "server.key", key);

	X509_free(server);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return good ? 0 : fault_set(why, ERR_CRYPTO, "can't make certificates in %.150s", dir);
}
