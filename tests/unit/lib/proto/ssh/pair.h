/*
 * pair -- a client and a server engine with a wire of memory between them.
 *
 * Deterministic: entropy is a counter behind a mixer (but for what OpenSSL
 * draws itself), time stands still unless a test moves it.  The server
 * accepts user "u" with password "pw", every channel, and credits at once.
 */
#ifndef TESTS_UNIT_LIB_PROTO_SSH_PAIR_H
#define TESTS_UNIT_LIB_PROTO_SSH_PAIR_H

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/proto/ssh/ssh.h"
#include "tests/support/cases.h"
#include "tests/support/fence.h"

enum { PAIR_CHANNELS = 16, PAIR_KEYS = 3, PAIR_WIRE = 512 * 1024 };

struct pair_end {
	struct ssh *ssh;
	int rc;	       /* the first enum err of any call */
	size_t chop;   /* feed at most so many bytes at once; 0 = packets whole */
	uint8_t *wire; /* fed but not taken yet */
	size_t wire_n;
	bool ready, disconnected, hold_credit, hold_answers, hold_offers;
	bool fenced; /* feed from memory that ends at an unreadable page */
	unsigned events[SSH_EVENT_DISCONNECTED + 1];
	uint32_t channel; /* of the last channel event */
	uint32_t code;
	bool ok;
	uint64_t tag;
	char text[256]; /* payload of the last event that is not data, cut */
	char name[64];
	uint64_t got, hash; /* of channel data, all channels */
	uint64_t digest;    /* of every event, for the chop drill */
	uint8_t fingerprint[SSH_FINGERPRINT_LEN];
};

struct pair {
	struct pair_end c, s;
	uint64_t now, seed, server_seed;
	EVP_PKEY *keys[PAIR_KEYS];
	bool distrust;
};

static inline uint64_t pair_mix(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--)
		h = (h ^ *b++) * 0x100000001b3ull;
	return h;
}

static inline void pair_random(void *ctx, void *p, size_t n)
{
	uint64_t *seed = ctx;
	uint8_t *to = p;

	while (n--) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		*to++ = (uint8_t)(*seed >> 56);
	}
}

enum pair_key { PAIR_ED25519, PAIR_P256, PAIR_RSA };

/* Made once: RSA takes its time. */
static inline EVP_PKEY *pair_key(enum pair_key which)
{
	static EVP_PKEY *keys[PAIR_KEYS];
	static const uint8_t seed[32] = "0123456789abcdef0123456789abcde";

	if (!keys[which])
		keys[which] = which == PAIR_ED25519 ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519,
										   NULL, seed, 32)
			      : which == PAIR_P256  ? EVP_EC_gen("P-256")
						    : EVP_RSA_gen(2048);
	return keys[which];
}

static inline struct ssh_config pair_client_config(struct pair *p, const struct mem *mem)
{
	return (struct ssh_config){ .role = SSH_CLIENT,
				    .version = "SSH-chisel-v3-client",
				    .any_version = true,
				    .mem = mem,
				    .random = pair_random,
				    .random_ctx = &p->seed,
				    .tx_headroom = 14,
				    .ciphers = "aes128-gcm@openssh.com",
				    .user = "u",
				    .password = "pw" };
}

static inline struct ssh_config pair_server_config(struct pair *p, const struct mem *mem)
{
	for (int i = 0; i < PAIR_KEYS; i++)
		p->keys[i] = i == PAIR_RSA ? p->keys[i] : pair_key((enum pair_key)i);
	return (struct ssh_config){ .role = SSH_SERVER,
				    .version = "SSH-chisel-v3-server",
				    .any_version = true,
				    .mem = mem,
				    .random = pair_random,
				    .random_ctx = &p->server_seed,
				    .tx_headroom = 14,
				    .host_keys = p->keys,
				    .host_keys_n = 2 };
}

static inline void pair_note(struct pair_end *e, int rc)
{
	if (rc < 0 && e->rc == 0)
		e->rc = rc;
}

/* 0, or an enum err; the pair can be ended in either case. */
static inline int pair_init(struct pair *p, const struct ssh_config *client,
			    const struct ssh_config *server)
{
	struct fault why = { 0 };

	p->now = 1000000000;
	p->c.wire = malloc(PAIR_WIRE);
	p->s.wire = malloc(PAIR_WIRE);
	pair_note(&p->c, ssh_new(&p->c.ssh, client, p->now, &why));
	pair_note(&p->s, ssh_new(&p->s.ssh, server, p->now, &why));
	return p->c.rc ? p->c.rc : p->s.rc;
}

static inline void pair_fini(struct pair *p)
{
	ssh_free(p->c.ssh);
	ssh_free(p->s.ssh);
	free(p->c.wire);
	free(p->s.wire);
	p->c = p->s = (struct pair_end){ 0 };
}

static inline void pair_answer(struct pair *p, struct pair_end *e, const struct ssh_event *ev)
{
	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		memcpy(e->fingerprint, ev->fingerprint, sizeof(e->fingerprint));
		ssh_host_key_trust(e->ssh, !p->distrust);
		break;
	case SSH_EVENT_AUTH:
		ssh_auth_answer(e->ssh, span_is(ev->user, "u") && span_is(ev->password, "pw"));
		break;
	case SSH_EVENT_READY:
		e->ready = true;
		break;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply && !e->hold_answers)
			ssh_global_answer(e->ssh, !span_is(ev->name, "refuse"), span_str("pong"));
		break;
	case SSH_EVENT_CHANNEL_OPEN:
		if (e->hold_offers)
			break;
		if (span_is(ev->name, "refuse"))
			ssh_channel_reject(e->ssh, ev->channel,
					   SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, "no");
		else
			ssh_channel_accept(e->ssh, ev->channel);
		break;
	case SSH_EVENT_CHANNEL_DATA:
		e->got += ev->payload.n;
		e->hash = pair_mix(e->hash, ev->payload.p, ev->payload.n);
		if (!e->hold_credit)
			ssh_channel_credit(e->ssh, ev->channel, ev->payload.n);
		break;
	case SSH_EVENT_DISCONNECTED:
		e->disconnected = true;
		break;
	case SSH_EVENT_NONE:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
	case SSH_EVENT_REKEYED:
		break;
	}
}

static inline void pair_event(struct pair *p, struct pair_end *e, const struct ssh_event *ev)
{
	const uint32_t facts[] = { (uint32_t)ev->kind, ev->channel, ev->code, ev->ok };

	e->events[ev->kind]++;
	if (ev->kind != SSH_EVENT_CHANNEL_WRITABLE) { /* depends on when, not on what */
		e->digest = pair_mix(e->digest, facts, sizeof(facts));
		e->digest = pair_mix(e->digest, ev->payload.p, ev->payload.n);
		e->digest = pair_mix(e->digest, ev->name.p, ev->name.n);
	}
	if (ev->kind >= SSH_EVENT_CHANNEL_OPEN && ev->kind <= SSH_EVENT_CHANNEL_CLOSED)
		e->channel = ev->channel;
	if (ev->kind != SSH_EVENT_CHANNEL_DATA) {
		e->code = ev->code;
		e->ok = ev->ok;
		e->tag = ev->tag;
		snprintf(e->text, sizeof(e->text), "%.*s", (int)ev->payload.n,
			 ev->payload.n ? (const char *)ev->payload.p : "");
		snprintf(e->name, sizeof(e->name), "%.*s", (int)ev->name.n,
			 ev->name.n ? (const char *)ev->name.p : "");
	}
	pair_answer(p, e, ev);
}

static inline void pair_draw(struct pair *p, struct pair_end *e)
{
	struct ssh_event ev;
	int rc;

	while ((rc = ssh_next(e->ssh, &ev)) == 1)
		pair_event(p, e, &ev);
	pair_note(e, rc);
}

static inline int pair_feed_some(struct pair *p, struct pair_end *e, uint8_t *in, size_t n)
{
	struct fence f = { .p = in };

	if (e->fenced)
		fence_init(&f, in, n);
	const int took = ssh_feed(e->ssh, f.p, n, p->now);
	pair_note(e, took);
	pair_draw(p, e);
	if (e->fenced)
		fence_fini(&f);
	return took;
}

/* Gives what waits on e's wire to e. */
static inline void pair_feed(struct pair *p, struct pair_end *e)
{
	size_t at = 0;

	while (at < e->wire_n && e->rc == 0) {
		const size_t n = min_size(e->chop ? e->chop : e->wire_n, e->wire_n - at);
		const int took = pair_feed_some(p, e, e->wire + at, n);
		if (took < 0)
			break;
		at += (size_t)took;
	}
	memmove(e->wire, e->wire + at, e->wire_n - at);
	e->wire_n -= at;
}

/* The same for an end whose own events the test draws itself. */
static inline void pair_feed_quiet(struct pair *p, struct pair_end *e)
{
	const int took = ssh_feed(e->ssh, e->wire, e->wire_n, p->now);

	pair_note(e, took);
	must(took >= 0);
	memmove(e->wire, e->wire + took, e->wire_n - (size_t)took);
	e->wire_n -= (size_t)took;
}

static inline void pair_put(struct pair_end *to, const void *bytes, size_t n)
{
	must(n <= PAIR_WIRE - to->wire_n);
	memcpy(to->wire + to->wire_n, bytes, n);
	to->wire_n += n;
}

/* Moves sealed packets from one to the other's wire; scribbles over the
 * headroom as a WebSocket engine would. */
static inline bool pair_move(struct pair_end *from, struct pair_end *to)
{
	bool moved = false;

	for (;;) {
		const struct mspan out = ssh_pending(from->ssh);
		if (out.n == 0 || out.n > PAIR_WIRE - to->wire_n)
			return moved;
		memset(out.p - 14, 0xee, 14);
		pair_put(to, out.p, out.n);
		ssh_sent(from->ssh);
		moved = true;
	}
}

/* One step of both; false when nothing moves any more. */
static inline bool pair_step(struct pair *p)
{
	const bool a = pair_move(&p->c, &p->s);
	pair_feed(p, &p->s);
	const bool b = pair_move(&p->s, &p->c);
	pair_feed(p, &p->c);
	pair_draw(p, &p->c);
	pair_draw(p, &p->s);
	return a || b;
}

static inline void pair_run(struct pair *p)
{
	while (pair_step(p))
		;
}

/* A pair that is ready, or not: see p->c.rc, p->s.rc. */
static inline void pair_start(struct pair *p, const struct ssh_config *client,
			      const struct ssh_config *server)
{
	if (pair_init(p, client, server) == 0)
		pair_run(p);
}

#endif
