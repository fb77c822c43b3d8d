/*
 * gateway -- the development chisel gateway: our own engine in the server's
 * role.  A test program's part, not a product: no limits for a hostile crowd.
 */
#ifndef TESTS_DEVPLANE_GATEWAY_H
#define TESTS_DEVPLANE_GATEWAY_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"

struct gateway;

struct gateway_options {
	SSL_CTX *tls_ctx;            /* NULL: plain */
	const char *user, *password; /* both "": anybody */
	const char *bind;            /* numeric IPv4 address of gateway and forwards */
	uint16_t port;               /* 0: any */
	uint64_t rekey_bytes;        /* 0: the engine's default */
};

MUST_USE int gateway_new(struct gateway **out, struct loop *l,
			 const struct gateway_options *options, struct fault *why);
void gateway_stop(struct gateway *g); /* says goodbye to all; then loop_free() */
void gateway_free(struct gateway *g); /* after loop_free(); accepts NULL */
uint16_t gateway_port(const struct gateway *g);
const char *gateway_fingerprint(const struct gateway *g); /* base64 of SHA-256 */
size_t gateway_sessions(const struct gateway *g);         /* with agreed forwards */

#endif
