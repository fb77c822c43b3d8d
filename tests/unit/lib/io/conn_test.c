#include "lib/io/conn.h"

#include <signal.h>

#include "tests/unit/lib/http/origin.h"
#include "tests/unit/lib/io/rig.h"

enum { BIG = 3 * 1024 * 1024 };

static SSL_CTX *server_tls, *good_ca, *other_ca;
static char *big; /* what the origin sends */

struct owner {
	struct conn *k;
	size_t take; /* bytes that it takes of each piece; 0: none */
	size_t got;
	int opened, ended, code;
	bool whole, wrong;
	bool abort_at_open, abort_at_data;
	char alpn[16], why[FAULT_WHY_MAX];
};

static void on_open(void *user)
{
	struct owner *o = user;
	const struct span alpn = conn_alpn(o->k);

	o->opened++;
	snprintf(o->alpn, sizeof(o->alpn), "%.*s", (int)alpn.n, (const char *)alpn.p);
	if (o->abort_at_open)
		conn_abort(o->k);
	else
		check(conn_send(o->k, span_str("GET\r\n\r\n"), NULL) == 0);
}

static size_t on_data(void *user, struct span data)
{
	struct owner *o = user;
	const size_t n = min_size(o->take, data.n);

	if (o->abort_at_data)
		conn_abort(o->k);
	o->wrong |= o->got + n > BIG || memcmp(data.p, big + o->got, n) != 0;
	o->got += n;
	return n;
}

static void on_sent(void *user)
{
	(void)user;
}

static void on_end(void *user, const struct fault *why, bool whole)
{
	struct owner *o = user;

	o->ended++;
	o->whole = whole;
	o->code = why->code;
	snprintf(o->why, sizeof(o->why), "%s", why->why);
}

static const struct conn_handler handler = { on_open, on_data, on_sent, on_end };

static void owner_start(struct owner *o, struct loop *l, uint16_t port, SSL_CTX *ca)
{
	const struct conn_options options = {
		.host = "127.0.0.1",
		.port = port,
		.tls_ctx = ca,
		.alpn = ca ? "h2,http/1.1" : NULL,
		.timeout_ns = 10000000000,
	};

	must(conn_new(&o->k, l, &options, &handler, o, NULL) == 0);
}

/* An owner that stops is given nothing, however much the peer has sent; then it
 * gets each byte once, and the end after the last one. */
static void back_pressure(struct loop *l)
{
	const struct act acts[] = { { big, CLOSE }, { NULL, KEEP } };

	for (int tls = 0; tls < 2; tls++) {
		struct owner o = { .take = 0 };
		struct origin origin;

		origin_start(&origin, acts, tls ? server_tls : NULL);
		owner_start(&o, l, origin.port, tls ? good_ca : NULL);
		until(l, o.opened);
		for (int i = 0; i < 20; i++)
			step(l);
		check(o.got == 0 && !o.ended);
		o.take = 5000;
		conn_resume(o.k);
		for (int i = 0; i < 20; i++)
			step(l);
		check(o.got == 5000); /* one resume, one piece */
		for (int i = 0; i < 100000 && !o.ended; i++) {
			conn_resume(o.k);
			step(l);
			o.take = i % 7 ? 40000 : 3;
		}
		check(o.got == BIG && !o.wrong);
		check(o.ended == 1 && o.whole && o.code == ERR_CLOSED);
		conn_resume(o.k); /* nothing follows */
		step(l);
		check(o.ended == 1);
		conn_close(o.k);
		until(l, loop_counts(l).socks == 0);
		check(loop_counts(l).timers == 0);
		origin_stop(&origin);
	}
}

static int choose(SSL *s, const unsigned char **out, unsigned char *n, const unsigned char *in,
		  unsigned in_n, void *user)
{
	(void)s;
	return SSL_select_next_proto((unsigned char **)out, n, user, (unsigned)strlen(user), in,
				     in_n) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_NOACK;
}

static void alpn(struct loop *l)
{
	static const struct {
		const char *server, *want;
	} rows[] = {
		{ "\x02h2\x08http/1.1", "h2" },
		{ "\x08http/1.1", "http/1.1" },
		{ "\x03xyz", "" },
	};
	const struct act acts[] = { { "x", CLOSE }, { NULL, KEEP } };

	for (size_t i = 0; i < array_len(rows); i++) {
		struct owner o = { .take = SIZE_MAX };
		struct origin origin;

		big[0] = 'x';
		SSL_CTX_set_alpn_select_cb(server_tls, choose, (void *)(uintptr_t)rows[i].server);
		origin_start(&origin, acts, server_tls);
		owner_start(&o, l, origin.port, good_ca);
		until(l, o.ended);
		check_row(rows[i].want, strcmp(o.alpn, rows[i].want) == 0);
		conn_close(o.k);
		until(l, loop_counts(l).socks == 0);
		origin_stop(&origin);
	}
	SSL_CTX_set_alpn_select_cb(server_tls, NULL, NULL);
}

/* Neither a peer that is silent instead of TLS nor a proxy that never answers is
 * waited for beyond the deadline. */
static void deadline(struct loop *l)
{
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in at;
		const int fd = listen_somewhere(4, &at);
		const struct proxy_url proxy = { .kind = PROXY_HTTP,
						 .host = "127.0.0.1",
						 .port = ntohs(at.sin_port) };
		const struct conn_options options = { .host = "127.0.0.1",
						      .port = ntohs(at.sin_port),
						      .tls_ctx = i ? NULL : good_ca,
						      .proxy = i ? &proxy : NULL,
						      .timeout_ns = 50000000 };
		struct owner o = { 0 };

		must(conn_new(&o.k, l, &options, &handler, &o, NULL) == 0);
		until(l, o.ended);
		check(o.code == ERR_TIMEOUT && strstr(o.why, "not done within 50 ms"));
		check(!o.opened && !o.whole);
		conn_close(o.k);
		until(l, loop_counts(l).socks == 0);
		check(loop_counts(l).timers == 0);
		close(fd);
	}
}

/* Dropped at each point of its life, also from inside its callbacks. */
static void dropped(struct loop *l)
{
	const struct act acts[] = { { big, CLOSE }, { NULL, KEEP } };
	enum { AT_ONCE, AT_OPEN, IN_DATA, PAUSED, UNTRUSTED, POINTS };

	for (int i = 0; i < 4 * POINTS; i++) {
		const int point = i / 4;
		const bool tls = i & 1, gently = i & 2;
		struct owner o = { .abort_at_open = point == AT_OPEN,
				   .abort_at_data = point == IN_DATA };
		struct origin origin;

		if (point == UNTRUSTED && !tls)
			continue;
		origin_start(&origin, acts, tls ? server_tls : NULL);
		owner_start(&o, l, origin.port,
			    !tls ? NULL : point == UNTRUSTED ? other_ca : good_ca);
		if (point == PAUSED)
			until(l, o.opened);
		for (int n = 0; n < (point == PAUSED ? 10 : 0); n++)
			step(l);
		if (point == UNTRUSTED)
			until(l, o.ended);
		if (point == AT_ONCE || point == PAUSED || point == UNTRUSTED)
			(gently ? conn_close : conn_abort)(o.k);
		if (point == AT_OPEN)
			until(l, o.opened);
		until(l, loop_counts(l).socks == 0 && (point != IN_DATA || o.opened));
		check(o.ended == (point == UNTRUSTED));
		check(loop_counts(l).timers == 0);
		origin_stop(&origin);
	}
	conn_close(NULL);
	conn_abort(NULL);
}

static void test_back_pressure(void) { on_both(back_pressure); }
static void test_alpn(void) { on_both(alpn); }
static void test_deadline(void) { on_both(deadline); }
static void test_dropped(void) { on_both(dropped); }

int main(void)
{
	static const struct test_case cases[] = {
		{ "back pressure", test_back_pressure },
		{ "ALPN", test_alpn },
		{ "deadline until it is open", test_deadline },
		{ "dropped", test_dropped },
	};

	signal(SIGPIPE, SIG_IGN); /* the origin's OpenSSL writes to closed sockets */
	big = malloc(BIG + 1);
	must(big);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)('!' + (i * 7 + i / 251) % 90);
	big[BIG] = '\0';
	SSL_CTX *unused = origin_tls(&other_ca);
	SSL_CTX_free(unused);
	server_tls = origin_tls(&good_ca);
	const int bad = run_cases("conn", cases, array_len(cases));
	SSL_CTX_free(server_tls);
	SSL_CTX_free(good_ca);
	SSL_CTX_free(other_ca);
	free(big);
	return bad;
}
