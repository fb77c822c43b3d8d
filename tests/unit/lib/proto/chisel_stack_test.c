#include "lib/proto/chisel_stack.h"

#include <openssl/ec.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/proto/chisel.h"
#include "lib/proto/http/http1.h"
#include "tests/support/cases.h"
#include "tests/support/certs.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

#define SECOND 1000000000ull
#define GOOD_ANSWER "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
		    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

static struct cert ca, leaf;
static SSL_CTX *client_ctx, *server_ctx;
static EVP_PKEY *host_keys[1];

static void make_keys(void)
{
	static const uint8_t seed[32] = "0123456789abcdef0123456789abcde";

	certs_make_ca(&ca, "test CA");
	certs_make_leaf(&leaf, &ca, "DNS:good.example", -CERTS_DAY, CERTS_DAY);
	client_ctx = certs_client_ctx(&ca);
	server_ctx = certs_server_ctx(&leaf);
	host_keys[0] = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
}

static void free_keys(void)
{
	certs_fini(&ca);
	certs_fini(&leaf);
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(server_ctx);
	EVP_PKEY_free(host_keys[0]);
}

/* Counter mode entropy, but the nonce of RFC 6455, 1.3 for its 16 bytes. */
static void fill_random(void *ctx, void *p, size_t n)
{
	uint64_t *seed = ctx;
	uint8_t *to = p;

	if (n == 16) {
		memcpy(p, "the sample nonce", 16);
		return;
	}
	while (n--) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		*to++ = (uint8_t)(*seed >> 56);
	}
}

/* One end: answers what must be answered, sends `to_send` bytes on the first
 * channel, counts and hashes what comes. */
struct end {
	struct stack *s;
	uint64_t seed;
	int rc;
	bool late;            /* host key and password are answered by the test */
	bool host_key, auth, ready, config, opened, disconnected;
	unsigned phases;      /* bit per phase that was seen */
	uint32_t channel;
	size_t to_send, sent;
	uint64_t got, hash;
	size_t pending_max;
};

struct pair {
	struct end c, s;
	size_t chop; /* bytes moved at once; 0: all */
	uint64_t now;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + i / 4099);
}

static void send_more(struct end *e)
{
	uint8_t data[40000];

	while (e->opened && e->sent < e->to_send) {
		const size_t n = min_size(sizeof(data), e->to_send - e->sent);
		for (size_t i = 0; i < n; i++)
			data[i] = byte_at(e->sent + i);
		const int rc = ssh_channel_write(chisel_stack_ssh(e->s), e->channel, data, n);
		check(rc >= 0);
		if (rc <= 0)
			return;
		e->sent += (size_t)rc;
	}
}

static void on_event(struct end *e, const struct ssh_event *ev)
{
	struct ssh *ssh = chisel_stack_ssh(e->s);

	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		e->host_key = true;
		if (!e->late)
			ssh_host_key_trust(ssh, true);
		break;
	case SSH_EVENT_AUTH:
		e->auth = true;
		if (!e->late)
			ssh_auth_answer(ssh, span_is(ev->user, "u") && span_is(ev->password, "pw"));
		break;
	case SSH_EVENT_READY:
		e->ready = true;
		break;
	case SSH_EVENT_GLOBAL_REQUEST:
		e->config = span_is(ev->name, CHISEL_REQUEST_CONFIG);
		if (ev->want_reply)
			ssh_global_answer(ssh, true, span_of(NULL, 0));
		break;
	case SSH_EVENT_GLOBAL_REPLY:
		e->config = ev->ok;
		break;
	case SSH_EVENT_CHANNEL_OPEN:
		check(span_is(ev->name, CHISEL_CHANNEL));
		ssh_channel_accept(ssh, ev->channel);
		e->channel = ev->channel;
		e->opened = true;
		break;
	case SSH_EVENT_CHANNEL_OPENED:
		e->opened = true;
		break;
	case SSH_EVENT_CHANNEL_DATA:
		for (size_t i = 0; i < ev->payload.n; i++)
			if (ev->payload.p[i] != byte_at((size_t)e->got + i))
				check(!"channel data is not what was sent");
		e->got += ev->payload.n;
		ssh_channel_credit(ssh, ev->channel, ev->payload.n);
		break;
	case SSH_EVENT_DISCONNECTED:
		e->disconnected = true;
		break;
	case SSH_EVENT_NONE:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
	case SSH_EVENT_REKEYED:
		break;
	}
}

static void draw(struct end *e)
{
	struct ssh_event ev;
	int rc;

	while ((rc = chisel_stack_next(e->s, &ev)) == 1)
		on_event(e, &ev);
	if (rc < 0 && e->rc == 0)
		e->rc = rc;
	e->phases |= 1u << chisel_stack_phase(e->s);
	if (e->rc == 0)
		send_more(e);
}

/* The bytes are gone once chisel_stack_next() said 0: reading them later crashes. */
static void feed(struct end *e, const void *bytes, size_t n, uint64_t now)
{
	struct fence in;

	fence_init(&in, bytes, n);
	const int rc = chisel_stack_feed(e->s, in.p, n, now);
	if (rc < 0 && e->rc == 0)
		e->rc = rc;
	draw(e);
	fence_fini(&in);
}

static bool move(struct pair *p, struct end *from, struct end *to)
{
	const struct span out = chisel_stack_pending(from->s);
	const size_t n = p->chop ? min_size(p->chop, out.n) : out.n;

	if (out.n > from->pending_max)
		from->pending_max = out.n;
	if (!n)
		return false;
	feed(to, out.p, n, p->now);
	/* What was handed out stays where it is, whatever happened meanwhile. */
	check(chisel_stack_pending(from->s).p == out.p);
	chisel_stack_sent(from->s, n);
	draw(from);
	return true;
}

static void run(struct pair *p)
{
	for (;;) {
		const bool there = move(p, &p->c, &p->s), back = move(p, &p->s, &p->c);
		if (!there && !back)
			return;
	}
}

static struct chisel_stack_options client_options(struct end *e, bool tls)
{
	return (struct chisel_stack_options){
		.tls_ctx = tls ? client_ctx : NULL,
		.tls = { .verify_name = "good.example" },
		.ws = { .host = "good.example",
			.path = "/",
			.random = fill_random,
			.random_ctx = &e->seed },
		.ssh = { .role = SSH_CLIENT,
			 .version = CHISEL_CLIENT_VERSION,
			 .any_version = true,
			 .mem = &mem_heap,
			 .random = fill_random,
			 .random_ctx = &e->seed,
			 .user = "u",
			 .password = "pw" },
	};
}

static struct chisel_stack_options server_options(struct end *e, bool tls)
{
	return (struct chisel_stack_options){
		.tls_ctx = tls ? server_ctx : NULL,
		.tls = { .server = true },
		.ws = { .server = true, .random = fill_random, .random_ctx = &e->seed },
		.ssh = { .role = SSH_SERVER, .version = CHISEL_SERVER_VERSION, .any_version = true,
			 .mem = &mem_heap, .random = fill_random, .random_ctx = &e->seed,
			 .host_keys = host_keys, .host_keys_n = 1 },
	};
}

static void start_client(struct end *e, bool tls)
{
	*e = (struct end){ .seed = 1 };
	const struct chisel_stack_options o = client_options(e, tls);
	check(chisel_stack_new(&e->s, &o, &mem_heap, 0, NULL) == 0);
}

static void start_server(struct end *e, bool tls)
{
	*e = (struct end){ .seed = 2 };
	const struct chisel_stack_options o = server_options(e, tls);
	check(chisel_stack_new(&e->s, &o, &mem_heap, 0, NULL) == 0);
}

static void pair_init(struct pair *p, bool tls, size_t chop)
{
	*p = (struct pair){ .chop = chop };
	start_client(&p->c, tls);
	start_server(&p->s, tls);
}

static void pair_fini(struct pair *p)
{
	chisel_stack_free(p->c.s);
	chisel_stack_free(p->s.s);
}

/* ---- a whole life ---- */

static void live(bool tls, size_t chop, size_t bytes)
{
	static const char config[] = "{\"Version\":\"1\",\"Remotes\":[]}";
	struct pair p;

	pair_init(&p, tls, chop);
	check(chisel_stack_phase(p.c.s) == (tls ? CHISEL_STACK_TLS : CHISEL_STACK_UPGRADE));
	check((chisel_stack_tls(p.c.s) != NULL) == tls);
	run(&p);
	check(p.c.rc == 0 && p.s.rc == 0);
	check(p.c.ready && p.s.ready && p.c.host_key && p.s.auth);
	check(chisel_stack_phase(p.c.s) == CHISEL_STACK_READY &&
	      chisel_stack_phase(p.s.s) == CHISEL_STACK_READY);
	check(ssh_global_request(chisel_stack_ssh(p.c.s), CHISEL_REQUEST_CONFIG, true,
				 span_str(config), 1) >= 0);
	run(&p);
	check(p.c.config && p.s.config);

	const int channel =
		ssh_channel_open(chisel_stack_ssh(p.s.s), CHISEL_CHANNEL, span_str("localhost:80"));
	check(channel >= 0);
	p.s.channel = (uint32_t)channel;
	p.c.to_send = p.s.to_send = bytes;
	run(&p);
	check(p.c.got == bytes && p.s.got == bytes);
	check(p.c.pending_max < 400 * 1024 && p.s.pending_max < 400 * 1024);

	chisel_stack_close(p.c.s, SSH_DISCONNECT_BY_APPLICATION, "bye");
	run(&p);
	check(p.s.disconnected && p.s.rc == ERR_CLOSED);
	check(strstr(chisel_stack_fault(p.s.s)->why, "bye") != NULL);
	check(chisel_stack_pending(p.c.s).n == 0);
	pair_fini(&p);
}

static void test_life(void)
{
	live(true, 0, 3000000);
	live(false, 0, 3000000);
}

static void test_life_chopped(void)
{
	live(true, 1, 3000);
	live(false, 1, 3000);
	live(true, 7, 40000);
	live(false, 13, 40000);
	live(true, 1000, 300000);
	live(false, 65536, 300000);
}

/* ---- the wire ---- */

/* Each packet is one masked, final, binary frame; the first one is the
 * identification line. */
static void test_one_packet_is_one_message(void)
{
	struct end e;
	struct ws_frame f;
	uint8_t wire[65536];
	size_t frames = 0;

	start_client(&e, false);
	chisel_stack_sent(e.s, chisel_stack_pending(e.s).n);
	feed(&e, GOOD_ANSWER, sizeof(GOOD_ANSWER) - 1, 0);
	check(chisel_stack_phase(e.s) == CHISEL_STACK_SSH);
	const struct span out = chisel_stack_pending(e.s);
	memcpy(wire, out.p, out.n);
	for (size_t at = 0; at < out.n; frames++) {
		const int head = ws_frame_read(&f, wire + at, out.n - at, NULL);
		check(head > 0 && f.fin && f.masked && f.op == WS_OP_BINARY);
		if (head <= 0)
			break;
		uint8_t *payload = wire + at + head;
		ws_frame_mask(&f, 0, payload, (size_t)f.payload);
		if (frames == 0)
			check(span_is(span_of(payload, (size_t)f.payload),
				      CHISEL_CLIENT_VERSION "\r\n"));
		else
			check(get_be(payload, 4) == f.payload - 4); /* one whole SSH packet */
		at += (size_t)head + (size_t)f.payload;
	}
	check(frames == 2); /* and KEXINIT */
	chisel_stack_free(e.s);
}

static void test_pings_are_answered_first(void)
{
	struct pair p;
	struct ws_frame f;

	pair_init(&p, false, 0);
	run(&p);
	check(ssh_global_request(chisel_stack_ssh(p.c.s), "ping", true, span_of(NULL, 0), 1) >= 0);
	feed(&p.c, "\x89\x01x", 3, 0);
	const struct span out = chisel_stack_pending(p.c.s);
	check(ws_frame_read(&f, out.p, out.n, NULL) == 6 && f.op == WS_OP_PONG);
	check(out.n > 7); /* the request follows it */
	pair_fini(&p);
}

/* ---- endings ---- */

static const struct ending_row {
	const char *name;
	const char *wire;
	size_t n;
	enum err err;
	const char *says;
	int status;
} endings[] = {
	{ "text message", GOOD_ANSWER "\x81\x01x", sizeof(GOOD_ANSWER) + 2, ERR_PROTO,
	  "text message", 0 },
	{ "close", GOOD_ANSWER "\x88\x06\x03\xe9gone", sizeof(GOOD_ANSWER) + 7, ERR_CLOSED,
	  "closed the WebSocket (code 1001: gone)", 0 },
	{ "close with an escape", GOOD_ANSWER "\x88\x03\x03\xe9\x1b", sizeof(GOOD_ANSWER) + 4,
	  ERR_CLOSED, "(code 1001: \\x1b)", 0 },
	{ "masked frame", GOOD_ANSWER "\x82\x81keysx", sizeof(GOOD_ANSWER) + 6, ERR_PROTO, "masked",
	  0 },
	{ "not SSH", GOOD_ANSWER "\x82\x06hello\n", sizeof(GOOD_ANSWER) + 7, 0, NULL, 0 },
	{ "404", "HTTP/1.1 404 Not Found\r\n\r\n", 26, ERR_REFUSED, "404 Not Found", 404 },
	{ "redirect", "HTTP/1.1 301 M\r\nLocation: https://b/\r\n\r\n", 40, ERR_REFUSED,
	  "https://b", 301 },
	{ "no HTTP", "\x15\x03\x01\r\n", 5, ERR_PROTO, "HTTP", 0 },
};

static void test_endings(void)
{
	for (size_t i = 0; i < array_len(endings); i++) {
		const struct ending_row *r = &endings[i];
		struct end e;

		start_client(&e, false);
		chisel_stack_sent(e.s, chisel_stack_pending(e.s).n);
		feed(&e, r->wire, r->n, 0);
		check_row(r->name, e.rc == (int)r->err);
		check_row(r->name, chisel_stack_fault(e.s)->code == r->err);
		check_row(r->name,
			  !r->says || strstr(chisel_stack_fault(e.s)->why, r->says) != NULL);
		check_row(r->name, chisel_stack_upgrade_status(e.s) == r->status);
		if (r->err) { /* sticky, and harmless to go on with */
			struct ssh_event ev;
			check_row(r->name,
				  chisel_stack_feed(e.s, (uint8_t[]){ 1 }, 1, 0) == (int)r->err);
			check_row(r->name, chisel_stack_next(e.s, &ev) == (int)r->err);
			check_row(r->name, chisel_stack_feed_end(e.s) == (int)r->err);
			check_row(r->name, chisel_stack_tick(e.s, SECOND) == (int)r->err);
			check_row(r->name, chisel_stack_deadline(e.s) == UINT64_MAX);
		}
		chisel_stack_close(e.s, SSH_DISCONNECT_BY_APPLICATION, "");
		chisel_stack_sent(e.s, chisel_stack_pending(e.s).n);
		chisel_stack_free(e.s);
	}
}

/* The TCP stream ends at each phase. */
static void test_end_of_stream(void)
{
	static const char *const says[] = {
		[CHISEL_STACK_TLS] = "during the TLS handshake",
		[CHISEL_STACK_UPGRADE] = "during the WebSocket upgrade",
		[CHISEL_STACK_SSH] = "during the SSH handshake",
		[CHISEL_STACK_READY] = "the peer closed the connection",
	};

	for (int phase = CHISEL_STACK_TLS; phase <= CHISEL_STACK_READY; phase++) {
		struct pair p;
		pair_init(&p, true, 0);
		for (int i = 0; i < 100 && (int)chisel_stack_phase(p.c.s) < phase; i++) {
			move(&p, &p.c, &p.s);
			if ((int)chisel_stack_phase(p.c.s) < phase)
				move(&p, &p.s, &p.c);
		}
		check((int)chisel_stack_phase(p.c.s) == phase);
		check(chisel_stack_feed_end(p.c.s) == ERR_CLOSED);
		check_row(says[phase], strstr(chisel_stack_fault(p.c.s)->why, says[phase]) != NULL);
		draw(&p.c);
		check(p.c.rc == ERR_CLOSED);
		pair_fini(&p);
	}
}

static void test_phases_come_in_order(void)
{
	struct pair p;

	pair_init(&p, true, 1);
	p.c.phases = 1u << CHISEL_STACK_TLS;
	run(&p);
	check(p.c.phases == (1u << CHISEL_STACK_TLS | 1u << CHISEL_STACK_UPGRADE |
			     1u << CHISEL_STACK_SSH | 1u << CHISEL_STACK_READY));
	pair_fini(&p);
}

static void test_close_over_tls(void)
{
	struct pair p;

	pair_init(&p, true, 0);
	run(&p);
	chisel_stack_close(p.s.s, SSH_DISCONNECT_BY_APPLICATION, "maintenance");
	chisel_stack_close(p.s.s, SSH_DISCONNECT_BY_APPLICATION, "twice is once");
	run(&p);
	check(p.c.disconnected && p.c.rc == ERR_CLOSED);
	check(strstr(chisel_stack_fault(p.c.s)->why, "maintenance") != NULL);
	pair_fini(&p);

	/* Before anything is open there is nothing to say, and nothing breaks. */
	pair_init(&p, true, 0);
	chisel_stack_close(p.c.s, SSH_DISCONNECT_BY_APPLICATION, "early");
	chisel_stack_sent(p.c.s, chisel_stack_pending(p.c.s).n);
	pair_fini(&p);
}

static void test_tls_ends_early(void)
{
	const struct tls_options o = { .server = true };
	struct tls_event ev;
	struct tls *peer;
	struct end e;

	start_client(&e, true);
	check(tls_new(&peer, server_ctx, &o, &mem_heap, 0, NULL) == 0);
	for (int i = 0; i < 4; i++) {
		const struct span out = chisel_stack_pending(e.s);
		check(tls_feed(peer, out.p, out.n, 0) == (int)out.n);
		chisel_stack_sent(e.s, out.n);
		while (tls_next(peer, &ev) == 1)
			if (ev.kind == TLS_EVENT_DATA)
				tls_close(peer);
		feed(&e, tls_pending(peer).p, tls_pending(peer).n, 0);
		tls_sent(peer, tls_pending(peer).n);
	}
	check(e.rc == ERR_CLOSED);
	check(strstr(chisel_stack_fault(e.s)->why, "during the WebSocket upgrade") != NULL);
	tls_free(peer);
	chisel_stack_free(e.s);
}

/* The client's half of the wire to a proxy; what follows is the server's. */
static void through_proxy(bool tls, bool willing)
{
	struct proxy_url url;
	struct pair p = { 0 };

	start_server(&p.s, tls);
	p.c.seed = 1;
	check(proxy_url_read(&url, "http://proxy.example:3128", NULL) == 0);
	const struct proxy_options proxy = { .url = &url, .host = "good.example", .port = 443 };
	struct chisel_stack_options o = client_options(&p.c, tls);
	o.proxy = &proxy;
	check(chisel_stack_new(&p.c.s, &o, &mem_heap, 0, NULL) == 0);
	check(chisel_stack_phase(p.c.s) == CHISEL_STACK_PROXY);
	const struct span out = chisel_stack_pending(p.c.s);
	check(out.n > 30 && memcmp(out.p, "CONNECT good.example:443 HTTP/1.1\r\n", 35) == 0);
	chisel_stack_sent(p.c.s, out.n);
	check(chisel_stack_pending(p.c.s).n == 0);
	if (willing) {
		feed(&p.c, "HTTP/1.1 200 OK\r\n\r\n", 19, 0);
		check(chisel_stack_phase(p.c.s) == (tls ? CHISEL_STACK_TLS : CHISEL_STACK_UPGRADE));
		run(&p);
		check(p.c.ready && p.s.ready);
	} else {
		feed(&p.c, "HTTP/1.1 502 No\r\n\r\n", 19, 0);
		check(p.c.rc == ERR_REFUSED &&
		      strstr(chisel_stack_fault(p.c.s)->why, "proxy") != NULL);
	}
	pair_fini(&p);
}

static void test_proxy(void)
{
	through_proxy(true, true);
	through_proxy(false, true);
	through_proxy(true, false);
}

static void test_untrusted_certificate(void)
{
	struct pair p = { 0 };
	struct chisel_stack_options o;

	start_server(&p.s, true);
	p.c.seed = 1;
	o = client_options(&p.c, true);
	o.tls.verify_name = "other.example";
	check(chisel_stack_new(&p.c.s, &o, &mem_heap, 0, NULL) == 0);
	run(&p);
	check(p.c.rc == ERR_TRUST &&
	      strstr(chisel_stack_fault(p.c.s)->why, "good.example") != NULL);
	pair_fini(&p);
}

static void test_deadlines(void)
{
	struct end e;

	start_client(&e, true);
	check(chisel_stack_deadline(e.s) == 10 * SECOND);
	check(chisel_stack_tick(e.s, 10 * SECOND - 1) == 0);
	check(chisel_stack_tick(e.s, 10 * SECOND) == ERR_TIMEOUT);
	check(strstr(chisel_stack_fault(e.s)->why, "TLS handshake") != NULL);
	chisel_stack_free(e.s);

	start_client(&e, false);
	check(chisel_stack_tick(e.s, chisel_stack_deadline(e.s)) == ERR_TIMEOUT);
	check(strstr(chisel_stack_fault(e.s)->why, "upgrade") != NULL);
	chisel_stack_free(e.s);

	start_client(&e, false);
	feed(&e, GOOD_ANSWER, sizeof(GOOD_ANSWER) - 1, 0);
	check(chisel_stack_tick(e.s, chisel_stack_deadline(e.s)) == ERR_TIMEOUT);
	chisel_stack_free(e.s);
}

/* ---- answers that come late ---- */

static void late(bool tls, size_t chop)
{
	struct pair p;

	pair_init(&p, tls, chop);
	p.c.late = p.s.late = true;
	run(&p);
	check(p.c.rc == 0 && p.c.host_key && !p.c.ready);
	ssh_host_key_trust(chisel_stack_ssh(p.c.s), true);
	draw(&p.c);
	run(&p);
	for (int i = 0; i < 2; i++) { /* none, then password */
		check(p.s.rc == 0 && p.s.auth && !p.s.ready);
		p.s.auth = false;
		ssh_auth_answer(chisel_stack_ssh(p.s.s), i == 1);
		draw(&p.s);
		run(&p);
		if (p.s.ready)
			break;
	}
	check(p.c.rc == 0 && p.s.rc == 0);
	pair_fini(&p);
}

static void test_late_answers(void)
{
	late(true, 0);
	late(false, 0);
	late(true, 1);
	late(false, 1);
	late(false, 50);
}

/* A peer that goes on and on meanwhile is held to a bound. */
static void test_late_answers_are_bounded(void)
{
	struct pair p;
	uint8_t junk[65540] = { 0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0 };
	int i = 0;

	pair_init(&p, false, 0);
	p.c.late = true;
	run(&p);
	check(p.c.host_key);
	for (; i < 100 && p.c.rc == 0; i++)
		feed(&p.c, junk, sizeof(junk), 0);
	check(p.c.rc == ERR_LIMIT && i > 10 && i < 20);
	pair_fini(&p);
}

/* ---- famine ---- */

static void famine_of(bool server, bool tls)
{
	bool starved = true;

	for (size_t refuse = 1; starved && refuse < 300; refuse++) {
		struct famine f;
		struct pair p = { 0 };
		famine_init(&f, refuse);
		struct end *hungry = server ? &p.s : &p.c, *fed = server ? &p.c : &p.s;

		hungry->seed = 3;
		struct chisel_stack_options o =
			server ? server_options(hungry, tls) : client_options(hungry, tls);
		o.ssh.mem = &f.mem;
		if (server)
			start_client(fed, tls);
		else
			start_server(fed, tls);
		const int rc = chisel_stack_new(&hungry->s, &o, &f.mem, 0, NULL);
		if (rc == 0)
			run(&p);
		starved = f.requests >= refuse;
		check(rc == 0 || rc == ERR_NOMEM);
		check(hungry->rc == 0 || hungry->rc == ERR_NOMEM);
		if (!starved)
			check(hungry->ready && hungry->rc == 0);
		pair_fini(&p);
		check(f.live == 0);
	}
	check(!starved);
}

static void test_famine(void)
{
	famine_of(false, true);
	famine_of(true, true);
	famine_of(false, false);
	famine_of(true, false);
	chisel_stack_free(NULL);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "life", test_life },
		{ "life, chopped", test_life_chopped },
		{ "one packet, one message", test_one_packet_is_one_message },
		{ "pings first", test_pings_are_answered_first },
		{ "endings", test_endings },
		{ "end of stream", test_end_of_stream },
		{ "phases", test_phases_come_in_order },
		{ "close", test_close_over_tls },
		{ "TLS ends early", test_tls_ends_early },
		{ "proxy", test_proxy },
		{ "untrusted", test_untrusted_certificate },
		{ "deadlines", test_deadlines },
		{ "late answers", test_late_answers },
		{ "late answers are bounded", test_late_answers_are_bounded },
		{ "famine", test_famine },
	};

	make_keys();
	const int rc = run_cases("stack", cases, array_len(cases));
	free_keys();
	return rc;
}
