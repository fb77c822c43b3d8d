/*
 * origin -- a small HTTP server in a thread that does what a script says, for
 * the tests of http_client: one row per request it gets, in order.
 */
#ifndef TESTS_UNIT_LIB_HTTP_ORIGIN_H
#define TESTS_UNIT_LIB_HTTP_ORIGIN_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cases.h"

enum after {
	KEEP,
	CLOSE,
	CUT,   /* TLS: without close_notify */
	HOLD,  /* until the peer goes */
	DRIP,  /* one byte of the answer per millisecond, the last one for ever */
	HASTY, /* answers to the first bytes, whatever they are, then closes */
};

struct act {
	const char *answer;
	enum after after;
};

struct origin {
	const struct act *acts;
	SSL_CTX *tls;
	pthread_t thread;
	int fd;
	uint16_t port;
	/* Read after origin_stop(): */
	int connections, requests;
	char last[16384]; /* the last request, whole */
};

struct peer {
	int fd;
	SSL *ssl;
};

static inline ssize_t peer_read(struct peer *p, void *to, size_t n)
{
	return p->ssl ? SSL_read(p->ssl, to, (int)n) : recv(p->fd, to, n, 0);
}

static inline bool peer_write(struct peer *p, const char *from, size_t n)
{
	while (n) {
		const ssize_t rc = p->ssl ? SSL_write(p->ssl, from, (int)n)
					  : send(p->fd, from, n, MSG_NOSIGNAL);
		if (rc <= 0)
			return false;
		from += rc;
		n -= (size_t)rc;
	}
	return true;
}

/* Reads one request into o->last; false at the end of the connection. */
static inline bool origin_request(struct origin *o, struct peer *p, bool hasty)
{
	size_t n = 0, want = 0;

	while (n < sizeof(o->last) - 1) {
		const ssize_t rc = peer_read(p, o->last + n, sizeof(o->last) - 1 - n);
		if (rc <= 0)
			return false;
		n += (size_t)rc;
		o->last[n] = '\0';
		const char *head = strstr(o->last, "\r\n\r\n"),
			   *length = strstr(o->last, "Content-Length: ");
		if (head && !want)
			want = (size_t)(head + 4 - o->last) +
			       (length && length < head ? strtoul(length + 16, NULL, 10) : 0);
		if (hasty || (want && n >= want))
			return true;
	}
	return false;
}

/* One connection; returns false when the script is over. */
static inline bool origin_serve(struct origin *o, struct peer *p)
{
	char byte;

	for (;;) {
		const struct act *a = &o->acts[o->requests];

		if (!a->answer)
			return false;
		if (!origin_request(o, p, a->after == HASTY))
			return true;
		o->requests++;
		if (a->after != DRIP) {
			(void)!peer_write(p, a->answer, strlen(a->answer));
		} else {
			for (size_t i = 0; peer_write(p, &a->answer[i], 1);
			     i = a->answer[i + 1] ? i + 1 : i)
				usleep(1000);
			return true;
		}
		if (a->after == HOLD)
			while (peer_read(p, &byte, 1) > 0)
				continue;
		if (a->after != CUT && a->after != KEEP && p->ssl)
			SSL_shutdown(p->ssl);
		if (a->after != KEEP)
			return true;
	}
}

static inline void *origin_main(void *arg)
{
	struct origin *o = arg;

	for (;;) {
		struct peer p = { .fd = accept4(o->fd, NULL, NULL, SOCK_CLOEXEC) };
		if (p.fd < 0)
			return NULL; /* origin_stop() has shut it */
		const int on = 1; /* an answer is not to wait for the ACK of TLS's tickets */
		(void)setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		o->connections++;
		bool good = true;
		if (o->tls) {
			p.ssl = SSL_new(o->tls);
			SSL_set_fd(p.ssl, p.fd);
			good = SSL_accept(p.ssl) == 1;
		}
		if (good)
			(void)origin_serve(o, &p);
		SSL_free(p.ssl);
		close(p.fd);
	}
}

/* acts ends with a row whose answer is NULL. */
static inline void origin_start(struct origin *o, const struct act *acts, SSL_CTX *tls)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	*o = (struct origin){ .acts = acts, .tls = tls };
	o->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(o->fd >= 0 && bind(o->fd, (struct sockaddr *)&at, n) == 0 && listen(o->fd, 8) == 0);
	must(getsockname(o->fd, (struct sockaddr *)&at, &n) == 0);
	o->port = ntohs(at.sin_port);
	must(pthread_create(&o->thread, NULL, origin_main, o) == 0);
}

/* The client's connections must be gone. */
static inline void origin_stop(struct origin *o)
{
	shutdown(o->fd, SHUT_RDWR);
	pthread_join(o->thread, NULL);
	close(o->fd);
}

/* A certificate for localhost and 127.0.0.1 that signs itself: the server's
 * context, and in *trusts a client's that trusts it. */
static inline SSL_CTX *origin_tls(SSL_CTX **trusts)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	must(key && x && ctx);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"origin", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
						    "DNS:localhost,IP:127.0.0.1");
	must(names && X509_add_ext(x, names, -1));
	X509_EXTENSION_free(names);
	must(X509_sign(x, key, EVP_sha256()) > 0);
	must(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
	*trusts = SSL_CTX_new(TLS_client_method());
	must(*trusts && X509_STORE_add_cert(SSL_CTX_get_cert_store(*trusts), x) == 1);
	SSL_CTX_set_verify(*trusts, SSL_VERIFY_PEER, NULL);
	X509_free(x);
	EVP_PKEY_free(key);
	return ctx;
}

#endif
