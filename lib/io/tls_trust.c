/*
 * tls_trust -- reads a CA file block by block, so that each way in which such a
 * file is wrong has a sentence of its own.  OpenSSL parses the blocks; the
 * system's own trust store is not read here (tls_context.c asks OpenSSL for it).
 */
#include "lib/io/tls_trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "lib/base/mem.h"
#include "lib/io/file.h"

static int refuse(struct fault *why, const char *path, const char *what)
{
	return fault_set(why, ERR_CONFIG, "CA file %s: %s", path, what);
}

/* Why OpenSSL found no block where the text has something like one. */
static int explain_none(const char *text, const char *path, struct fault *why)
{
	const char *begin = strstr(text, "-----BEGIN ");

	if (begin && begin > text && (begin[-1] == ' ' || begin[-1] == '\t'))
		return refuse(
			why, path,
			"its lines are indented: -----BEGIN CERTIFICATE----- must stand at the "
			"beginning of a line");
	if (begin)
		return refuse(why, path, "its first block is broken");
	if ((uint8_t)text[0] == 0x30)
		return refuse(
			why, path,
			"it is DER; convert it: openssl x509 -inform DER -in FILE -out FILE.pem");
	return refuse(why, path, "no PEM certificate in it");
}

/* Block number n, whose bytes are not base64 of a certificate. */
static int refuse_block(struct fault *why, const char *path, unsigned n)
{
	return fault_set(
		why, ERR_CONFIG,
		"CA file %s: block %u is no certificate that can be read: it is broken or cut "
		"short",
		path, n);
}

static int add_certificate(X509_STORE *store, const uint8_t *der, long n)
{
	const uint8_t *at = der;
	X509 *x = d2i_X509(NULL, &at, n);
	const int rc = x && at == der + n ? X509_STORE_add_cert(store, x) : 0;

	X509_free(x);
	return rc == 1 ? 0 : ERR_CONFIG;
}

/* One block: 1 when there was one, 0 at the end of the file. */
static int read_block(BIO *bio, X509_STORE *store, const char *path, unsigned n, struct fault *why)
{
	char *name = NULL, *header = NULL;
	uint8_t *der = NULL;
	long len = 0;
	int rc = 1;

	if (PEM_read_bio(bio, &name, &header, &der, &len) != 1)
		return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
			       ? 0
			       : refuse_block(why, path, n);
	if (strstr(name, "PRIVATE KEY"))
		rc = refuse(why, path, "it holds a private key: a CA file has certificates only");
	else if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0)
		rc = add_certificate(store, der, len) < 0 ? refuse_block(why, path, n) : 1;
	else if (strcmp(name, PEM_STRING_X509_TRUSTED) != 0)
		rc = fault_set(why, ERR_CONFIG, "CA file %s: block %u is a %.40s, no certificate",
			       path, n, name);
	else
		rc = refuse(why, path,
			    "a TRUSTED CERTIFICATE is not taken: convert it with openssl x509");
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_clear_free(der, (size_t)len);
	return rc;
}

static int read_blocks(SSL_CTX *ctx, const char *text, size_t n, const char *path,
		       struct fault *why)
{
	BIO *bio = BIO_new_mem_buf(text, (int)n);
	unsigned blocks = 0;
	int rc = 1;

	if (!bio)
		return fault_set(why, ERR_NOMEM, "no memory for TLS");
	while (rc == 1) {
		ERR_clear_error();
		rc = read_block(bio, SSL_CTX_get_cert_store(ctx), path, blocks + 1, why);
		blocks += rc == 1;
	}
	ERR_clear_error();
	BIO_free(bio);
	return rc == 0 && !blocks ? explain_none(text, path, why) : rc;
}

int tls_trust_load(SSL_CTX *ctx, const char *ca_file, struct fault *why)
{
	struct fault inner = { 0 };
	char *text = mem_alloc(&mem_heap, TLS_TRUST_FILE_MAX);

	if (!text)
		return fault_set(why, ERR_NOMEM, "no memory for the CA file");
	int rc = file_read(text, TLS_TRUST_FILE_MAX, ca_file, 0, NULL, &inner);
	if (rc < 0)
		rc = fault_set(why, ERR_CONFIG, "CA file %s", inner.why);
	else
		rc = read_blocks(ctx, text, (size_t)rc, ca_file, why);
	explicit_bzero(text, TLS_TRUST_FILE_MAX); /* it may have been a key */
	mem_free(&mem_heap, text);
	return rc;
}
