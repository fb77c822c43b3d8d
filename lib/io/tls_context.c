/*
 * tls_context -- TLS policy (versions, ciphers, security level) and the operator's
 * files in one SSL_CTX.  Connections are lib/proto/tls.h's.
 */
#include "lib/io/tls_context.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "lib/io/tls_trust.h"

/* Both lists: forward secrecy and AEAD only, AES-128-GCM first as the fastest. */
static const char tls13_suites[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
				   "TLS_CHACHA20_POLY1305_SHA256";
static const char tls12_ciphers[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
				    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
				    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/* OpenSSL would ask for a passphrase on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)user;
	return 0;
}

/* OpenSSL's own words for a missing file are worse than the system's. */
static int check_readable(const char *what, const char *path, struct fault *why)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	return fault_set(why, ERR_CONFIG, "%s %s: %s", what, path, strerror(errno));
}

static int load_trust(SSL_CTX *ctx, const char *ca_file, struct fault *why)
{
	if (!ca_file) {
		if (SSL_CTX_set_default_verify_paths(ctx) != 1)
			return fault_set(why, ERR_CRYPTO, "the system's trust store cannot be set");
		return 0;
	}
	return tls_trust_load(ctx, ca_file, why);
}

static int load_identity(SSL_CTX *ctx, const char *cert_file, const char *key_file,
			 struct fault *why)
{
	int rc = check_readable("certificate file", cert_file, why);
	if (rc == 0)
		rc = check_readable("key file", key_file, why);
	if (rc < 0)
		return rc;
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
		return fault_set(why, ERR_CONFIG, "certificate file %s: no PEM certificate in it",
				 cert_file);
	/* A key of the certificate's kind is compared at once, one of another kind
	 * only by check_private_key. */
	const bool loaded = SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) == 1;
	if (loaded && SSL_CTX_check_private_key(ctx) == 1)
		return 0;
	if (loaded || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
		return fault_set(why, ERR_CONFIG,
				 "key file %s: the key does not belong to the certificate in %s",
				 key_file, cert_file);
	return fault_set(why, ERR_CONFIG,
			 "key file %s: no PEM private key without a passphrase in it", key_file);
}

static int set_policy(SSL_CTX *ctx, const struct tls_context_options *o, struct fault *why)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);

	/* 112 bits, also where no openssl.cnf of a distribution's says so: no RSA
	 * below 2048 bits, no SHA-1 in a chain. */
	SSL_CTX_set_security_level(ctx, 2);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	SSL_CTX_set_verify(ctx, o->server || o->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
			   NULL);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, tls13_suites) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, tls12_ciphers) != 1)
		return fault_set(why, ERR_CRYPTO, "OpenSSL refuses our choice of ciphers");
	return 0;
}

static int fill(SSL_CTX *ctx, const struct tls_context_options *o, struct fault *why)
{
	int rc = set_policy(ctx, o, why);

	if (rc == 0 && !o->server && !o->skip_verify)
		rc = load_trust(ctx, o->ca_file, why);
	if (rc < 0)
		return rc;
	if (!o->cert_file != !o->key_file)
		return fault_set(why, ERR_CONFIG, "a certificate file needs a key file (%s)",
				 o->cert_file ? o->cert_file : o->key_file);
	if (o->cert_file)
		return load_identity(ctx, o->cert_file, o->key_file, why);
	if (o->server)
		return fault_set(why, ERR_CONFIG,
				 "a TLS server needs a certificate and a key file");
	return 0;
}

int tls_context_new(SSL_CTX **out, const struct tls_context_options *options, struct fault *why)
{
	*out = NULL;
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
	if (!ctx)
		return fault_set(why, ERR_NOMEM, "no memory for TLS");
	const int rc = fill(ctx, options, why);
	ERR_clear_error();
	if (rc < 0)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	return rc;
}
