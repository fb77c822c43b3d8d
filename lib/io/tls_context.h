/*
 * tls_context -- files and trust stores to an SSL_CTX for lib/proto/tls.
 *
 * TLS 1.2 and later, AES-128-GCM first, chain and name verified, partial
 * wildcards and common names refused.
 */
#ifndef LIB_IO_TLS_CONTEXT_H
#define LIB_IO_TLS_CONTEXT_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "lib/base/fault.h"

struct tls_context_options {
	bool server;
	const char *ca_file;   /* client: PEM bundle; NULL = the system's */
	bool skip_verify;      /* client: chain and name are not checked */
	const char *cert_file; /* PEM chain; needed as server, optional as client (mutual TLS) */
	const char *key_file;
};

/* The caller frees *out with SSL_CTX_free().  ERR_CONFIG names the file and
 * what is wrong with it. */
MUST_USE int tls_context_new(SSL_CTX **out, const struct tls_context_options *options,
			     struct fault *why);

#endif
