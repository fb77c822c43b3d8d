/*
 * tls_private -- what tls.c (the engine) and tls_fault.c (failures in words)
 * share.  For nobody else.
 */
#ifndef LIB_PROTO_TLS_PRIVATE_H
#define LIB_PROTO_TLS_PRIVATE_H

#include "lib/base/buf.h"
#include "lib/proto/tls.h"

struct tls {
	const struct mem *mem;
	SSL *ssl;
	struct fault fault;
	struct span in;	   /* fed and not yet read by OpenSSL */
	struct buf tx;	   /* written by OpenSSL */
	struct buf flight; /* handed out by tls_pending(): stays where it is until sent */
	uint8_t *plain;
	char name[256]; /* verified name, for the words of a failure */
	/* Of a certificate that was refused: whom it is for, who issued it, how many came. */
	char other_names[120], issuer[80];
	int chain_n;
	bool asked; /* the server wants a certificate of ours */
	bool open, open_told, closed, closed_told, bare; /* bare: nothing came yet */
};

/* OpenSSL's callbacks, which only take notes: a certificate was judged (verdicts
 * stay OpenSSL's); the server asks for a certificate. */
int tls_note_verdict(int good, X509_STORE_CTX *store);
int tls_note_request(SSL *ssl, void *tls);

/* Faults the engine with OpenSSL's newest failure in words; returns its code.
 * The client: ERR_TRUST for a certificate, ERR_AUTH where the server wants one of
 * ours or refuses it. */
int tls_fail(struct tls *t);

#endif
