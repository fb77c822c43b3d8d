/*
 * tls_trust -- the CA file of an operator, loaded into a TLS context.
 *
 * Every block counts: a file with one broken certificate among good ones is
 * refused with the number of that block, not loaded in part.
 */
#ifndef LIB_IO_TLS_TRUST_H
#define LIB_IO_TLS_TRUST_H

#include <openssl/ssl.h>

#include "lib/base/fault.h"

#define TLS_TRUST_FILE_MAX (2 * 1024 * 1024) /* the bundles of distributions have 0.25 MiB */

/* Adds all its certificates to the trusted ones of `ctx`.  ERR_CONFIG with what
 * is wrong with the file in words, ERR_NOMEM. */
MUST_USE int tls_trust_load(SSL_CTX *ctx, const char *ca_file, struct fault *why);

#endif
