/*
 * tls -- OpenSSL as an engine: a BIO of ours reads what was fed and writes what
 * waits, so OpenSSL never sees a socket.  Verdicts on certificates are OpenSSL's;
 * the sentences about them are ours (tls_fault.c).
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/proto/tls_private.h"

enum {
	TX_MAX = 512 * 1024,
	TX_EXTRA = 64 * 1024, /* room for what OpenSSL writes of its own accord */
	PLAIN = 64 * 1024,    /* one piece of plaintext handed out */
	READ_AHEAD = 128 * 1024,
	RECORD = 16 * 1024,
};

/* ---- the BIO: reads what was fed, writes what waits ---- */

static int bio_read(BIO *bio, char *to, int n)
{
	struct tls *t = BIO_get_data(bio);
	const size_t got = min_size((size_t)n, t->in.n);

	BIO_clear_retry_flags(bio);
	if (!got) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(to, t->in.p, got);
	t->in = span_of(t->in.p + got, t->in.n - got);
	return (int)got;
}

static int bio_write(BIO *bio, const char *from, int n)
{
	struct tls *t = BIO_get_data(bio);
	const int rc = buf_append(&t->tx, from, (size_t)n);

	BIO_clear_retry_flags(bio);
	if (rc == 0)
		return n;
	if (rc == ERR_NOMEM)
		fault_set(&t->fault, ERR_NOMEM, "no memory for TLS");
	else
		BIO_set_retry_write(bio);
	return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *p)
{
	(void)bio;
	(void)number;
	(void)p;
	return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

/* Made once, before any connection: a program has one thread that runs these. */
static BIO_METHOD *bio_method(void)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "tls engine");
		if (method) {
			BIO_meth_set_read(method, bio_read);
			BIO_meth_set_write(method, bio_write);
			BIO_meth_set_ctrl(method, bio_ctrl);
		}
	}
	return method;
}

/* ---- set-up ---- */

static bool is_address(const char *name)
{
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);

	ASN1_OCTET_STRING_free(ip);
	return ip != NULL;
}

static int set_name(struct tls *t, const struct tls_options *o)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	const char *sni = o->sni;

	if (o->verify_name) {
		memcpy(t->name, o->verify_name,
		       min_size(strlen(o->verify_name), sizeof(t->name) - 1));
		SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		const bool address = is_address(o->verify_name);
		if (!(address ? X509_VERIFY_PARAM_set1_ip_asc(param, o->verify_name)
			      : SSL_set1_host(t->ssl, o->verify_name)))
			return ERR_CRYPTO;
		if (!sni && !address)
			sni = o->verify_name;
	}
	if (sni && *sni && !is_address(sni) && !SSL_set_tlsext_host_name(t->ssl, sni))
		return ERR_CRYPTO;
	return 0;
}

/* "h2,http/1.1" as length-prefixed names. */
static int set_alpn(struct tls *t, const char *names)
{
	uint8_t wire[128];
	size_t at = 0;

	while (*names) {
		const size_t n = strcspn(names, ",");
		if (!n || n > 64 || at + n + 1 > sizeof(wire))
			return ERR_USAGE;
		wire[at++] = (uint8_t)n;
		memcpy(wire + at, names, n);
		at += n;
		names += n + (names[n] == ',');
	}
	return SSL_set_alpn_protos(t->ssl, wire, (unsigned)at) ? ERR_CRYPTO : 0;
}

int tls_new(struct tls **out, SSL_CTX *ctx, const struct tls_options *options,
	    const struct mem *mem, uint64_t now_ns, struct fault *why)
{
	struct tls *t = mem_alloc_zeroed(mem, sizeof(*t));
	BIO *bio = NULL;

	(void)now_ns;
	if (!t)
		return fault_set(why, ERR_NOMEM, "no memory for TLS");
	t->mem = mem;
	t->bare = true;
	buf_init(&t->tx, mem, (options->tx_max ? options->tx_max : TX_MAX) + TX_EXTRA);
	buf_init(&t->flight, mem, t->tx.max);
	t->tx.keep = t->flight.keep = true;
	t->plain = mem_alloc(mem, PLAIN);
	if (!t->plain) {
		tls_free(t);
		return fault_set(why, ERR_NOMEM, "no memory for TLS");
	}
	ERR_clear_error();
	t->ssl = SSL_new(ctx);
	if (t->ssl && bio_method())
		bio = BIO_new(bio_method());
	if (!bio || set_name(t, options) < 0 || (options->alpn && set_alpn(t, options->alpn) < 0)) {
		BIO_free(bio);
		tls_free(t);
		return fault_set(why, ERR_CRYPTO, "OpenSSL can't set a TLS connection up");
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	SSL_set_verify(t->ssl, SSL_get_verify_mode(t->ssl), tls_note_verdict);
	SSL_set_cert_cb(t->ssl, options->server ? NULL : tls_note_request, t);
	SSL_set_mode(t->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_set_read_ahead(t->ssl, 1);
	SSL_set_default_read_buffer_len(t->ssl, READ_AHEAD);
	/* These return nothing, but OpenSSL 3.2 and later allocate in them; a connection
	 * without what was refused is neither open nor failed for ever. */
	ERR_clear_error();
	if (options->server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	if (ERR_peek_error()) {
		tls_free(t);
		return fault_set(why, ERR_NOMEM, "no memory for TLS");
	}
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	buf_fini(&t->tx);
	buf_fini(&t->flight);
	mem_free(t->mem, t->plain);
	mem_free(t->mem, t);
}

void tls_trim(struct tls *t)
{
	buf_trim(&t->tx);
	buf_trim(&t->flight);
}

/* What OpenSSL says after a call that did not do all: 0 to wait, or the fault. */
static int judge(struct tls *t, int rc)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return t->fault.code;
	case SSL_ERROR_WANT_WRITE:
		/* Only answers of OpenSSL's own can find no room. */
		return fault_set(&t->fault, ERR_LIMIT,
				 "the peer asks TLS for answers and does not read them");
	case SSL_ERROR_ZERO_RETURN:
		t->closed = true;
		return 0;
	default:
		return tls_fail(t);
	}
}

/* ---- the six words ---- */

static int shake_hands(struct tls *t)
{
	if (t->open)
		return 0;
	ERR_clear_error();
	const int rc = SSL_do_handshake(t->ssl);
	if (rc == 1) {
		t->open = true;
		return 0;
	}
	return judge(t, rc);
}

int tls_feed(struct tls *t, const uint8_t *in, size_t n, uint64_t now_ns)
{
	(void)now_ns;
	if (t->fault.code)
		return t->fault.code;
	n = min_size(n, READ_AHEAD);
	t->in = span_of(in, n);
	t->bare = t->bare && !n;
	int rc = shake_hands(t);
	if (rc < 0)
		return rc;
	/* OpenSSL's read-ahead buffer takes all of it: what SSL_read leaves must not
	 * point into the caller's bytes. */
	while (t->in.n && t->open && !t->closed) {
		uint8_t probe;

		ERR_clear_error();
		const struct span before = t->in;
		rc = SSL_peek(t->ssl, &probe, 1);
		if (rc > 0)
			break;
		rc = judge(t, rc);
		if (rc < 0)
			return rc;
		if (before.n == t->in.n)
			break;
	}
	const size_t taken = n - t->in.n;
	t->in = span_of(NULL, 0);
	return (int)taken;
}

/* As many records as fit: what is above sees fewer, longer pieces.  Bytes that
 * came before a failure are handed out, the failure is the next call's. */
static int read_plain(struct tls *t)
{
	size_t n = 0;

	while (PLAIN - n >= RECORD) {
		ERR_clear_error();
		const int rc = SSL_read(t->ssl, t->plain + n, (int)(PLAIN - n));
		if (rc <= 0) {
			const int verdict = judge(t, rc);
			return verdict < 0 && !n ? verdict : (int)n;
		}
		n += (size_t)rc;
	}
	return (int)n;
}

int tls_next(struct tls *t, struct tls_event *ev)
{
	*ev = (struct tls_event){ .kind = TLS_EVENT_NONE };
	if (t->open && !t->open_told) {
		t->open_told = true;
		ev->kind = TLS_EVENT_OPEN;
		return 1;
	}
	if (t->fault.code)
		return t->fault.code;
	if (t->open && !t->closed) {
		const int n = read_plain(t);
		if (n < 0)
			return n;
		if (n > 0) {
			ev->kind = TLS_EVENT_DATA;
			ev->data = (struct mspan){ t->plain, (size_t)n };
			return 1;
		}
	}
	if (t->closed && !t->closed_told) {
		t->closed_told = true;
		ev->kind = TLS_EVENT_CLOSED;
		return 1;
	}
	return 0;
}

int tls_write(struct tls *t, const uint8_t *p, size_t n)
{
	size_t done = 0;

	if (t->fault.code)
		return t->fault.code;
	while (t->open && done < n && buf_room(&t->tx) > TX_EXTRA + RECORD) {
		ERR_clear_error();
		const int rc = SSL_write(t->ssl, p + done, (int)min_size(n - done, RECORD));
		if (rc <= 0) {
			const int verdict = judge(t, rc);
			if (verdict < 0)
				return verdict;
			break;
		}
		done += (size_t)rc;
	}
	return (int)done;
}

struct span tls_pending(struct tls *t)
{
	/* A client speaks first; OpenSSL does when it is asked to. */
	if (!t->open && !t->fault.code && t->bare)
		(void)shake_hands(t);
	if (!buf_len(&t->flight)) {
		const struct buf empty = t->flight;

		t->flight = t->tx;
		t->tx = empty;
	}
	const struct mspan b = buf_bytes(&t->flight);
	return span_of(b.p, b.n);
}

void tls_sent(struct tls *t, size_t n)
{
	buf_consume(&t->flight, n);
}

void tls_close(struct tls *t)
{
	if (!t->open || t->fault.code)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
}

const struct fault *tls_fault(const struct tls *t)
{
	return &t->fault;
}

const char *tls_version(const struct tls *t)
{
	return t->open ? SSL_get_version(t->ssl) : "";
}

const char *tls_cipher(const struct tls *t)
{
	return t->open ? SSL_get_cipher_name(t->ssl) : "";
}

struct span tls_alpn(const struct tls *t)
{
	const unsigned char *p = NULL;
	unsigned n = 0;

	if (t->open)
		SSL_get0_alpn_selected(t->ssl, &p, &n);
	return span_of(p, n);
}
