#include "lib/proto/tls.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/certs.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"
#include "tests/support/library_famine.h"

/* Made once: keys take their time. */
static struct cert ca, good, expired, early, other, nameless, between, far;
static SSL_CTX *trusting, *distrusting, *serving;

static void make_certs(void)
{
	certs_make_ca(&ca, "test CA");
	certs_make_leaf(&good, &ca, "DNS:good.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1",
			-CERTS_DAY, CERTS_DAY);
	certs_make_leaf(&expired, &ca, "DNS:good.example", -3 * CERTS_DAY, -CERTS_DAY);
	certs_make_leaf(&early, &ca, "DNS:good.example", CERTS_DAY, 2 * CERTS_DAY);
	certs_make_leaf(&other, &ca, "DNS:a.example,DNS:b.example,IP:10.0.0.1", -CERTS_DAY,
			CERTS_DAY);
	certs_make_leaf(&nameless, &ca, NULL, -CERTS_DAY, CERTS_DAY);
	certs_make_intermediate(&between, &ca, "test\x1b intermediate");
	certs_make_leaf(&far, &between, "DNS:good.example", -CERTS_DAY, CERTS_DAY);
	trusting = certs_client_ctx(&ca);
	distrusting = certs_client_ctx(NULL);
	serving = certs_server_ctx(&good);
}

static void free_certs(void)
{
	struct cert *const all[] = { &ca,    &good,     &expired, &early,
				      &other, &nameless, &between, &far };

	for (size_t i = 0; i < array_len(all); i++)
		certs_fini(all[i]);
	SSL_CTX_free(trusting);
	SSL_CTX_free(distrusting);
	SSL_CTX_free(serving);
}

/* One engine; what it decrypted is hashed and counted. */
struct end {
	struct tls *t;
	int rc;
	bool open, closed;
	uint64_t got, hash;
	size_t pieces;
};

struct pair {
	struct end c, s;
	size_t chop; /* bytes moved at once; 0: all */
};

static uint64_t mix(uint64_t h, const uint8_t *p, size_t n)
{
	while (n--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

static void draw(struct end *e)
{
	struct tls_event ev;
	int rc;

	while ((rc = tls_next(e->t, &ev)) == 1) {
		if (ev.kind == TLS_EVENT_OPEN)
			e->open = true;
		if (ev.kind == TLS_EVENT_CLOSED)
			e->closed = true;
		if (ev.kind == TLS_EVENT_DATA) {
			e->got += ev.data.n;
			e->hash = mix(e->hash, ev.data.p, ev.data.n);
			e->pieces++;
			memset(ev.data.p, 0xee, ev.data.n); /* changeable: it is the caller's */
		}
	}
	if (rc < 0 && e->rc == 0)
		e->rc = rc;
}

static void feed(struct end *e, const void *bytes, size_t n)
{
	struct fence in;
	size_t at = 0;

	fence_init(&in, bytes, n);
	while (at < n && e->rc == 0) {
		const int rc = tls_feed(e->t, in.p + at, n - at, 0);
		if (rc > 0)
			at += (size_t)rc;
		draw(e);
	}
	fence_fini(&in);
}

/* false: nothing moved. */
static bool move(struct pair *p, struct end *from, struct end *to)
{
	const struct span out = tls_pending(from->t);
	const size_t n = p->chop ? min_size(p->chop, out.n) : out.n;

	if (!n)
		return false;
	feed(to, out.p, n);
	tls_sent(from->t, n);
	return true;
}

static void run(struct pair *p)
{
	for (;;) {
		const bool there = move(p, &p->c, &p->s), back = move(p, &p->s, &p->c);
		if (!there && !back)
			break;
	}
	draw(&p->c);
	draw(&p->s);
}

static void pair_init(struct pair *p, SSL_CTX *client_ctx, SSL_CTX *server_ctx,
		      const struct tls_options *client)
{
	const struct tls_options c =
		client ? *client : (struct tls_options){ .verify_name = "good.example" };
	const struct tls_options s = { .server = true, .tx_max = c.tx_max };

	*p = (struct pair){ 0 };
	check(tls_new(&p->c.t, client_ctx, &c, &mem_heap, 0, NULL) == 0);
	check(tls_new(&p->s.t, server_ctx, &s, &mem_heap, 0, NULL) == 0);
}

static void pair_fini(struct pair *p)
{
	tls_free(p->c.t);
	tls_free(p->s.t);
}

/* ---- trust ---- */

static const struct trust_row {
	const char *name;
	const struct cert *leaf;
	bool distrust;
	const char *verify;
	const char *says; /* NULL: trusted */
} rows[] = {
	{ "name", &good, false, "good.example", NULL },
	{ "name in other case", &good, false, "GOOD.Example", NULL },
	{ "wildcard", &good, false, "x.wild.example", NULL },
	{ "IPv4 address", &good, false, "127.0.0.1", NULL },
	{ "IPv6 address", &good, false, "::1", NULL },
	{ "wildcard spans one label", &good, false, "x.y.wild.example",
	  "other names: good.example" },
	{ "other address", &good, false, "127.0.0.2",
	  "is for other names: good.example, *.wild.example, "
	  "127.0.0.1, an IPv6 address" },
	{ "other name", &other, false, "good.example",
	  "certificate of good.example is for other names: "
	  "a.example, b.example, 10.0.0.1" },
	{ "no common names", &nameless, false, "leaf", "other names: no name at all" },
	{ "expired", &expired, false, "good.example", "expired" },
	{ "not yet valid", &early, false, "good.example", "not yet valid" },
	{ "unknown CA", &good, true, "good.example",
	  "the server sent 1 certificate, and that of the issuer \"test CA\" is neither" },
	{ "chain without its intermediate", &far, false, "good.example",
	  "the server sent 1 certificate, and that of the issuer \"test\\x1b intermediate\" is "
	  "neither among them nor in the CA file" },
};

static void test_trust(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		const struct trust_row *r = &rows[i];
		SSL_CTX *server = certs_server_ctx(r->leaf);
		const struct tls_options o = { .verify_name = r->verify };
		struct pair p;

		pair_init(&p, r->distrust ? distrusting : trusting, server, &o);
		run(&p);
		if (!r->says) {
			check_row(r->name, p.c.rc == 0 && p.c.open && p.s.open);
		} else {
			check_row(r->name, p.c.rc == ERR_TRUST && !p.c.open);
			check_row(r->name, tls_fault(p.c.t)->code == ERR_TRUST);
			check_row(r->name, strstr(tls_fault(p.c.t)->why, r->says) != NULL);
			/* Our alert reached the server. */
			check_row(r->name, p.s.rc == ERR_PROTO &&
						   strstr(tls_fault(p.s.t)->why, "alert") != NULL);
			check_row(r->name,
				  tls_feed(p.c.t, (const uint8_t *)"x", 1, 0) == ERR_TRUST);
			check_row(r->name, tls_write(p.c.t, (const uint8_t *)"x", 1) == ERR_TRUST);
		}
		pair_fini(&p);
		SSL_CTX_free(server);
	}
}

static void test_verification_off(void)
{
	const struct tls_options o = { .sni = "" };
	SSL_CTX *open = certs_client_ctx(NULL);
	struct pair p;

	SSL_CTX_set_verify(open, SSL_VERIFY_NONE, NULL);
	pair_init(&p, open, serving, &o);
	run(&p);
	check(p.c.open && p.s.open && p.c.rc == 0);
	pair_fini(&p);
	SSL_CTX_free(open);
}

static char seen_sni[64];

static int note_sni(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	(void)arg;
	BIO_snprintf(seen_sni, sizeof(seen_sni), "%s", name ? name : "none");
	return SSL_TLSEXT_ERR_OK;
}

static void test_sni(void)
{
	static const struct {
		const char *verify, *sni, *want;
	} sni_rows[] = {
		{ "good.example", NULL, "good.example" },
		{ "127.0.0.1", NULL, "none" },
		{ "good.example", "", "none" },
		{ "good.example", "front.example", "front.example" },
		{ "good.example", "127.0.0.1", "none" }, /* RFC 6066, 3: no addresses */
	};
	SSL_CTX *server = certs_server_ctx(&good);

	SSL_CTX_set_tlsext_servername_callback(server, note_sni);
	for (size_t i = 0; i < array_len(sni_rows); i++) {
		const struct tls_options o = { .verify_name = sni_rows[i].verify,
					       .sni = sni_rows[i].sni };
		struct pair p;
		pair_init(&p, trusting, server, &o);
		run(&p);
		check_row(sni_rows[i].want, p.c.open && strcmp(seen_sni, sni_rows[i].want) == 0);
		pair_fini(&p);
	}
	SSL_CTX_free(server);
}

static int choose_second(SSL *ssl, const unsigned char **out, unsigned char *out_n,
			 const unsigned char *in, unsigned in_n, void *arg)
{
	(void)ssl;
	(void)arg;
	check(in_n == 12 && memcmp(in, "\x02h2\x08http/1.1", 12) == 0);
	*out = in + 4;
	*out_n = 8;
	return SSL_TLSEXT_ERR_OK;
}

static void test_alpn(void)
{
	const struct tls_options o = { .verify_name = "good.example", .alpn = "h2,http/1.1" };
	const struct tls_options bad = { .verify_name = "good.example", .alpn = "h2,,x" };
	SSL_CTX *server = certs_server_ctx(&good);
	struct fault why = { 0 };
	struct pair p;
	struct tls *t;

	SSL_CTX_set_alpn_select_cb(server, choose_second, NULL);
	pair_init(&p, trusting, server, &o);
	check(tls_alpn(p.c.t).n == 0);
	run(&p);
	check(p.c.open && span_is(tls_alpn(p.c.t), "http/1.1"));
	pair_fini(&p);
	SSL_CTX_free(server);
	check(tls_new(&t, trusting, &bad, &mem_heap, 0, &why) < 0 && why.why[0]);
}

/* ---- data ---- */

static void send_all(struct pair *p, struct end *from, const uint8_t *data, size_t n)
{
	size_t at = 0;

	while (at < n && p->c.rc == 0 && p->s.rc == 0) {
		const int rc = tls_write(from->t, data + at, n - at);
		check(rc >= 0);
		if (rc < 0)
			return;
		at += (size_t)rc;
		run(p);
	}
}

static void exchange(int version, size_t chop, size_t n)
{
	struct pair p;
	uint8_t *data = malloc(n);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	SSL_CTX_set_max_proto_version(serving, version);
	pair_init(&p, trusting, serving, NULL);
	p.chop = chop;
	check(tls_version(p.c.t)[0] == '\0' && tls_cipher(p.c.t)[0] == '\0');
	check(tls_write(p.c.t, data, n) == 0); /* not before OPEN */
	run(&p);
	check(p.c.open && p.s.open);
	check(strcmp(tls_version(p.c.t), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3") == 0);
	check(tls_cipher(p.c.t)[0] != '\0');
	send_all(&p, &p.c, data, n);
	send_all(&p, &p.s, data, n);
	check(p.s.got == n && p.c.got == n);
	check(p.s.hash == mix(0, data, n) && p.c.hash == mix(0, data, n));
	tls_close(p.c.t);
	run(&p);
	check(p.s.closed && !p.c.closed && p.s.rc == 0);
	tls_close(p.s.t);
	run(&p);
	check(p.c.closed && p.c.rc == 0);
	check(tls_feed(p.c.t, (const uint8_t *)"x", 1, 0) >= 0);
	pair_fini(&p);
	free(data);
	SSL_CTX_set_max_proto_version(serving, 0);
}

static void test_data_both_ways(void)
{
	exchange(TLS1_3_VERSION, 0, 1000000);
	exchange(TLS1_2_VERSION, 0, 1000000);
}

static void test_chop(void)
{
	exchange(TLS1_3_VERSION, 1, 2000);
	exchange(TLS1_2_VERSION, 1, 2000);
	exchange(TLS1_3_VERSION, 3, 40000);
	exchange(TLS1_3_VERSION, 1000, 100000);
	exchange(TLS1_3_VERSION, 16389, 200000);
}

static void test_pending_stays_while_more_is_written(void)
{
	static uint8_t data[100000];
	struct pair p;

	pair_init(&p, trusting, serving, NULL);
	run(&p);
	check(tls_write(p.c.t, data, 1000) == 1000);
	const struct span flight = tls_pending(p.c.t);
	uint8_t *copy = malloc(flight.n);
	memcpy(copy, flight.p, flight.n);
	check(tls_write(p.c.t, data, sizeof(data)) == (int)sizeof(data));
	check(tls_pending(p.c.t).p == flight.p && tls_pending(p.c.t).n == flight.n);
	check(memcmp(copy, flight.p, flight.n) == 0);
	free(copy);
	run(&p);
	check(p.s.got == sizeof(data) + 1000);
	pair_fini(&p);
}

static void test_tx_is_bounded(void)
{
	enum { MAX = 100000 };
	const struct tls_options o = { .verify_name = "good.example", .tx_max = MAX };
	static uint8_t data[10 * MAX];
	struct pair p;
	size_t taken = 0;
	int rc;

	pair_init(&p, trusting, serving, &o);
	run(&p);
	while ((rc = tls_write(p.c.t, data, sizeof(data))) > 0)
		taken += (size_t)rc;
	check(rc == 0 && taken > 0 && taken <= MAX);
	check(tls_pending(p.c.t).n <= MAX);
	run(&p);
	check(p.s.got == taken);
	check(tls_write(p.c.t, data, 5) == 5);
	pair_fini(&p);
}

/* Several records come as one piece. */
static void test_pieces_are_long(void)
{
	static uint8_t data[4 * 16384];
	struct pair p;

	pair_init(&p, trusting, serving, NULL);
	run(&p);
	check(tls_write(p.c.t, data, sizeof(data)) == (int)sizeof(data));
	run(&p);
	check(p.s.got == sizeof(data) && p.s.pieces <= 2);
	pair_fini(&p);
}

/* ---- hostile peers ---- */

static void test_no_TLS_at_all(void)
{
	static const char *const greetings[] = {
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2p1\r\n",
		"220 mail.example ESMTP\r\n",
		"<html><body>hello</body></html>",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	};

	for (size_t i = 0; i < array_len(greetings); i++) {
		struct pair p;
		pair_init(&p, trusting, serving, NULL);
		check(tls_pending(p.c.t).n > 0);
		feed(&p.c, greetings[i], i == 4 ? 10 : strlen(greetings[i]));
		check_row(greetings[i], p.c.rc == ERR_PROTO);
		check_row(greetings[i],
			  strstr(tls_fault(p.c.t)->why, "does not speak TLS on this port") != NULL);
		pair_fini(&p);
	}
}

static void test_plain_request_to_a_server(void)
{
	struct pair p;

	pair_init(&p, trusting, serving, NULL);
	feed(&p.s, "GET / HTTP/1.1\r\n\r\n", 18);
	check(p.s.rc == ERR_PROTO && strstr(tls_fault(p.s.t)->why, "does not speak TLS") != NULL);
	pair_fini(&p);
}

static void test_alert_in_words(void)
{
	struct pair p;

	/* fatal handshake_failure, in the clear */
	pair_init(&p, trusting, serving, NULL);
	check(tls_pending(p.c.t).n > 0);
	feed(&p.c, "\x15\x03\x03\x00\x02\x02\x28", 7);
	check(p.c.rc == ERR_PROTO && strstr(tls_fault(p.c.t)->why, "alert") &&
	      strstr(tls_fault(p.c.t)->why, "handshake failure"));
	pair_fini(&p);
}

static void test_a_changed_byte_is_noticed(void)
{
	for (size_t at = 0; at < 60; at++) {
		struct pair p;
		uint8_t wire[200];

		pair_init(&p, trusting, serving, NULL);
		run(&p);
		check(tls_write(p.c.t, (const uint8_t *)"0123456789012345678901234567890123456789",
				40) == 40);
		const struct span out = tls_pending(p.c.t);
		check(out.n <= sizeof(wire) && out.n > at);
		memcpy(wire, out.p, out.n);
		wire[at] ^= 1;
		feed(&p.s, wire, out.n);
		/* A longer length just waits for more; everything else is caught. */
		check(p.s.got == 0 && (p.s.rc == ERR_PROTO || at == 3 || at == 4));
		pair_fini(&p);
	}
}

static void test_versions_in_common(void)
{
	SSL_CTX *old = certs_server_ctx(&good);
	SSL_CTX *new = certs_client_ctx(&ca);
	struct pair p;

	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	SSL_CTX_set_min_proto_version(new, TLS1_3_VERSION);
	pair_init(&p, new, old, NULL);
	run(&p);
	check(p.c.rc == ERR_PROTO && p.s.rc == ERR_PROTO);
	check(tls_fault(p.c.t)->why[0] && strstr(tls_fault(p.c.t)->why, "protocol version"));
	pair_fini(&p);
	SSL_CTX_free(old);
	SSL_CTX_free(new);
}

/* ---- certificates of ours ---- */

static const struct identity_row {
	const char *name;
	int version;
	const struct cert *ours; /* NULL: none */
	enum err want;		 /* 0: it is taken */
	const char *says;
} identity_rows[] = {
	{ "none, TLS 1.3", TLS1_3_VERSION, NULL, ERR_AUTH,
	  "wants a TLS certificate of its clients and none is configured" },
	{ "none, TLS 1.2", TLS1_2_VERSION, NULL, ERR_AUTH,
	  "wants a TLS certificate of its clients and none is configured" },
	{ "of an unknown CA, TLS 1.3", TLS1_3_VERSION, &far, ERR_AUTH,
	  "refused our TLS certificate" },
	{ "of an unknown CA, TLS 1.2", TLS1_2_VERSION, &far, ERR_AUTH,
	  "refused our TLS certificate" },
	{ "expired", TLS1_3_VERSION, &expired, ERR_AUTH, "refused our TLS certificate" },
	{ "good", TLS1_3_VERSION, &good, 0, "" },
};

static void test_certificates_of_ours(void)
{
	for (size_t i = 0; i < array_len(identity_rows); i++) {
		const struct identity_row *r = &identity_rows[i];
		SSL_CTX *server = certs_server_ctx(&good), *client = certs_client_ctx(&ca);
		struct pair p;

		must(SSL_CTX_set_max_proto_version(server, r->version) == 1);
		SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		must(X509_STORE_add_cert(SSL_CTX_get_cert_store(server), ca.x509) == 1);
		if (r->ours)
			must(SSL_CTX_use_certificate(client, r->ours->x509) == 1 &&
			     SSL_CTX_use_PrivateKey(client, r->ours->key) == 1);
		pair_init(&p, client, server, NULL);
		run(&p);
		check_row(r->name, p.c.rc == (int)r->want);
		check_row(r->name, strstr(tls_fault(p.c.t)->why, r->says) != NULL);
		pair_fini(&p);
		SSL_CTX_free(server);
		SSL_CTX_free(client);
	}
}

/* ---- famine ---- */

static void test_famine(void)
{
	int rc = ERR_NOMEM;

	for (size_t refuse = 1; rc == ERR_NOMEM && refuse < 30; refuse++) {
		struct famine f;
		struct pair p = { 0 };
		const struct tls_options o = { .verify_name = "good.example" },
					 s = { .server = true };
		famine_init(&f, refuse);

		rc = tls_new(&p.c.t, trusting, &o, &f.mem, 0, NULL);
		check(tls_new(&p.s.t, serving, &s, &mem_heap, 0, NULL) == 0);
		if (rc == 0) {
			run(&p);
			const int wrote = tls_write(p.c.t, (const uint8_t *)"x", 1);
			check(wrote == 1 || p.c.rc < 0 || wrote == ERR_NOMEM);
			draw(&p.c);
			rc = p.c.rc;
		}
		check(rc == 0 || rc == ERR_NOMEM);
		pair_fini(&p);
		check(f.live == 0);
	}
	check(rc == 0);
}

/* ---- famine in OpenSSL ---- */

static struct {
	bool on;
	size_t requests, refuse_at;
} library;

static bool refuses(void)
{
	return library.on && ++library.requests == library.refuse_at;
}

static bool client_hears(struct pair *p)
{
	library.on = true;
	const bool moved = move(p, &p->s, &p->c);
	library.on = false;
	return moved;
}

/* The client's n-th allocation inside OpenSSL is refused: the code it ends with. */
static int starve_library(size_t nth)
{
	const struct tls_options o = { .verify_name = "good.example" }, s = { .server = true };
	struct pair p = { 0 };
	struct fault why = { 0 };

	check(tls_new(&p.s.t, serving, &s, &mem_heap, 0, NULL) == 0);
	library.requests = 0;
	library.refuse_at = nth;
	library.on = true;
	p.c.rc = tls_new(&p.c.t, trusting, &o, &mem_heap, 0, &why);
	library.on = false;
	if (p.c.rc == 0) {
		for (bool moved = true; p.c.rc == 0 && moved;) {
			const bool said = move(&p, &p.c, &p.s);

			moved = client_hears(&p) || said;
		}
		why = *tls_fault(p.c.t);
	}
	check(p.c.rc < 0 ? why.code == (enum err)p.c.rc && why.why[0] : p.c.open);
	check(!strstr(why.why, "alert")); /* nobody else's fault */
	const int rc = p.c.rc;
	pair_fini(&p);
	return rc;
}

static void test_library_famine(void)
{
	unsigned said_so = 0;

	for (size_t nth = 1;; nth += nth < 40 ? 1 : 7) {
		const int rc = starve_library(nth);

		if (library.requests < nth)
			break;
		said_so += rc == ERR_NOMEM;
	}
	check(said_so > 20); /* not all: OpenSSL does not always remember why */
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "trust", test_trust },
		{ "verification off", test_verification_off },
		{ "certificates of ours", test_certificates_of_ours },
		{ "SNI", test_sni },
		{ "ALPN", test_alpn },
		{ "data both ways", test_data_both_ways },
		{ "chop", test_chop },
		{ "pending stays", test_pending_stays_while_more_is_written },
		{ "tx bound", test_tx_is_bounded },
		{ "long pieces", test_pieces_are_long },
		{ "no TLS at all", test_no_TLS_at_all },
		{ "plain request", test_plain_request_to_a_server },
		{ "alert", test_alert_in_words },
		{ "changed byte", test_a_changed_byte_is_noticed },
		{ "versions", test_versions_in_common },
		{ "famine", test_famine },
		{ "famine in OpenSSL", test_library_famine },
	};

	library_famine_start(refuses);
	make_certs();
	const int rc = run_cases("tls", cases, array_len(cases));
	free_certs();
	return rc;
}
