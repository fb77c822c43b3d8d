/*
 * tls -- one TLS 1.2 or 1.3 connection on OpenSSL, as a sans-I/O engine.
 *
 * Ciphertext in, plaintext out and back, through a BIO of our own that reads
 * from the fed bytes and writes into the pending ones.  Certificates are
 * loaded elsewhere (lib/io/tls_context): this engine gets a ready SSL_CTX.
 */
#ifndef LIB_PROTO_TLS_H
#define LIB_PROTO_TLS_H

#include <openssl/ssl.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/mem.h"

struct tls;

struct tls_options {
	bool server;
	/* Client: the name or numeric address the certificate must be for; NULL
	 * only when verification is off in the SSL_CTX. */
	const char *verify_name;
	const char *sni;  /* client: NULL = verify_name when it is a name; "" = none */
	const char *alpn; /* client: comma separated, or NULL */
	size_t tx_max;	  /* bytes of ciphertext waiting; 0 = 512 KiB */
};

enum tls_event_kind { TLS_EVENT_NONE, TLS_EVENT_OPEN, TLS_EVENT_DATA, TLS_EVENT_CLOSED };

struct tls_event {
	enum tls_event_kind kind;
	struct mspan data; /* DATA: plaintext, changeable, good until the next tls_next() */
};

MUST_USE int tls_new(struct tls **out, SSL_CTX *ctx, const struct tls_options *options,
		     const struct mem *mem, uint64_t now_ns, struct fault *why);
void tls_free(struct tls *t); /* accepts NULL */
void tls_trim(struct tls *t); /* gives back what empty buffers keep */

/* Takes ciphertext; returns how many bytes were taken (fewer than n while
 * events wait), or an enum err: ERR_TRUST with the certificate's problem in
 * words, ERR_PROTO, ERR_CRYPTO. */
MUST_USE int tls_feed(struct tls *t, const uint8_t *in, size_t n, uint64_t now_ns);
MUST_USE int tls_next(struct tls *t, struct tls_event *ev); /* 1, 0 or enum err */
/* Plaintext to send: returns how many bytes were taken (0 before OPEN or when
 * tx_max ciphertext bytes wait), or an enum err. */
MUST_USE int tls_write(struct tls *t, const uint8_t *p, size_t n);
/* Ciphertext that waits, in one piece.  It stays where it is, whatever else is
 * called, until tls_sent() has covered it. */
struct span tls_pending(struct tls *t);
void tls_sent(struct tls *t, size_t n);
void tls_close(struct tls *t); /* queues close_notify */
const struct fault *tls_fault(const struct tls *t);
const char *tls_version(const struct tls *t); /* "TLSv1.3", "" before OPEN */
const char *tls_cipher(const struct tls *t);
struct span tls_alpn(const struct tls *t);

#endif
