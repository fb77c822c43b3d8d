/*
 * What a peer may try: the receiving engine must end with the right error, or
 * carry on, and stay within its bounds.  The hostile side is an engine whose
 * doors into lib/proto/ssh/ssh_engine.h are used to say anything.
 */
#include "lib/proto/ssh/ssh_engine.h"
#include "tests/support/famine.h"
#include "tests/unit/lib/proto/ssh/pair.h"

#define U32(n) "\0\0\0" n

static void say(struct pair_end *e, const void *bytes, size_t n)
{
	check(ssh_send_now(e->ssh, span_of(bytes, n), (struct span){ 0 }) == 0);
}

/* The client has channel 0 open, which is the server's 0, too. */
static void ready_channel(struct pair *p, const struct ssh_config *c, const struct ssh_config *s)
{
	pair_start(p, c, s);
	check(p->c.ready && p->s.ready);
	check(ssh_channel_open(p->c.ssh, "chisel", span_str("localhost:80")) == 0);
	pair_run(p);
	check(p->c.events[SSH_EVENT_CHANNEL_OPENED] == 1 && p->s.channel == 0);
}

#define SAY(text) text, sizeof(text) - 1

static const struct {
	const char *name, *first;
	size_t first_n;
	const char *then;
	size_t then_n;
	int times; /* of `then` */
	int want;
	const char *why; /* part of the sentence */
	unsigned unexpected;
} rows[] = {
	{ "data for an unknown channel", SAY("\x5e" U32("\x09") U32("\x01") "x"), NULL, 0, 0,
	  ERR_PROTO, "channel 9", 0 },
	{ "data for channel 2^32-1", SAY("\x5e\xff\xff\xff\xff" U32("\x01") "x"), NULL, 0, 0,
	  ERR_PROTO, "not open", 0 },
	{ "data cut short", SAY("\x5e" U32("\0") U32("\x02") "x"), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "data with a tail", SAY("\x5e" U32("\0") U32("\x01") "xy"), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "data of 4 GiB",
	  SAY("\x5e" U32("\0") "\xff\xff\xff\xff"
			       "x"),
	  NULL, 0, 0, ERR_PROTO, "malformed", 0 },
	{ "only a message number", SAY("\x5e"), NULL, 0, 0, ERR_PROTO, "cut short", 0 },
	{ "data after eof", SAY("\x60" U32("\0")), SAY("\x5e" U32("\0") U32("\x01") "x"), 1,
	  ERR_PROTO, "after the end", 0 },
	{ "eof twice", SAY("\x60" U32("\0")), SAY("\x60" U32("\0")), 1, 0, "", 0 },
	{ "some empty data", SAY("\x5e" U32("\0") U32("\0")), SAY("\x5e" U32("\0") U32("\0")), 900,
	  0, "", 0 },
	{ "endless empty data", SAY("\x5e" U32("\0") U32("\0")), SAY("\x5e" U32("\0") U32("\0")),
	  1001, ERR_LIMIT, "without any use", 0 },
	{ "endless empty extended data", SAY("\x5f" U32("\0") U32("\x01") U32("\0")),
	  SAY("\x5f" U32("\0") U32("\x01") U32("\0")), 1001, ERR_LIMIT, "without any use", 0 },
	{ "extended data", SAY("\x5f" U32("\0") U32("\x01") U32("\x02") "no"),
	  SAY("\x5f" U32("\0") U32("\x01") U32("\x02") "no"), 5000, 0, "", 0 },
	{ "endless ignore", SAY("\x02" U32("\0")), SAY("\x02" U32("\0")), 1001, ERR_LIMIT,
	  "without any use", 0 },
	{ "endless debug", SAY("\x04\0"), SAY("\x04\0"), 1001, ERR_LIMIT, "without any use", 0 },
	{ "adjust by nothing", SAY("\x5d" U32("\0") U32("\0")), SAY("\x5d" U32("\0") U32("\0")),
	  1001, ERR_LIMIT, "without any use", 0 },
	{ "adjust by one", SAY("\x5d" U32("\0") U32("\x01")), SAY("\x5d" U32("\0") U32("\x01")),
	  1001, ERR_LIMIT, "small_adjust", 0 },
	{ "adjust by enough", SAY("\x5d" U32("\0") "\0\0\x01\0"),
	  SAY("\x5d" U32("\0") "\0\0\x01\0"), 5000, 0, "", 0 },
	{ "adjust beyond 2^32", SAY("\x5d" U32("\0") "\xff\xff\xff\xff"), NULL, 0, 0, ERR_PROTO,
	  "beyond 2^32-1", 0 },
	{ "adjust in two steps", SAY("\x5d" U32("\0") "\x80\0\0\0"),
	  SAY("\x5d" U32("\0") "\x80\0\0\0"), 1, ERR_PROTO, "beyond 2^32-1", 0 },
	{ "success nobody waits for", SAY("\x63" U32("\0")), SAY("\x63" U32("\0")), 900, 0, "",
	  901 },
	{ "endless success", SAY("\x63" U32("\0")), SAY("\x63" U32("\0")), 1001, ERR_LIMIT,
	  "unexpected_reply", 1001 },
	{ "endless failure", SAY("\x64" U32("\0")), SAY("\x64" U32("\0")), 1001, ERR_LIMIT,
	  "unexpected_reply", 1001 },
	{ "endless global success", SAY("\x51"), SAY("\x51"), 1001, ERR_LIMIT,
	  "unexpected_reply", 1001 },
	{ "endless global failure", SAY("\x52"), SAY("\x52"), 1001, ERR_LIMIT,
	  "unexpected_reply", 1001 },
	{ "endless pings", SAY("\x50" U32("\x04") "ping\x01"),
	  SAY("\x50" U32("\x04") "ping\x01"), 201, ERR_LIMIT, "(request)", 0 },
	{ "success for an unknown channel", SAY("\x63" U32("\x07")), NULL, 0, 0, ERR_PROTO,
	  "not open", 0 },
	{ "confirmed twice", SAY("\x5b" U32("\0") U32("\0") U32("\x01") U32("\x01")), NULL, 0, 0,
	  ERR_PROTO, "not open", 0 },
	{ "refused after confirmed", SAY("\x5c" U32("\0") U32("\x01") U32("\0") U32("\0")), NULL, 0,
	  0, ERR_PROTO, "not open", 0 },
	{ "closed twice", SAY("\x61" U32("\0")), SAY("\x61" U32("\0")), 1, ERR_PROTO, "not open",
	  0 },
	{ "data after close", SAY("\x61" U32("\0")), SAY("\x5e" U32("\0") U32("\x01") "x"), 1,
	  ERR_PROTO, "not open", 0 },
	{ "open with packets of 0", SAY("\x5a" U32("\x01") "x" U32("\x05") U32("\x05") U32("\0")),
	  NULL, 0, 0, ERR_PROTO, "malformed", 0 },
	{ "open with packets of 255",
	  SAY("\x5a" U32("\x01") "x" U32("\x05") U32("\x05") U32("\xff")), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "open cut short", SAY("\x5a" U32("\x01") "x" U32("\x05")), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "request cut short", SAY("\x62" U32("\0") U32("\x04") "exec"), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "global request cut short", SAY("\x50" U32("\x09") "x"), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "unknown message", SAY("\xc8hello"), SAY("\x65"), 1, 0, "", 0 },
	{ "endless unknown messages", SAY("\xc0"), SAY("\xc0"), 1001, ERR_LIMIT, "without any use",
	  0 },
	{ "ext_info", SAY("\x07" U32("\0")), NULL, 0, 0, 0, "", 0 },
	{ "newkeys alone", SAY("\x15"), NULL, 0, 0, ERR_PROTO, "out of place", 0 },
	{ "kexinit cut short",
	  SAY("\x14"
	      "0123456789abcdef"),
	  NULL, 0, 0, ERR_PROTO, "cut short", 0 },
	{ "ecdh reply alone", SAY("\x1f"), NULL, 0, 0, ERR_PROTO, "outside a key exchange", 0 },
	{ "success again", SAY("\x34"), NULL, 0, 0, ERR_PROTO, "after authentication", 0 },
	{ "service request to a client", SAY("\x05" U32("\0")), NULL, 0, 0, ERR_PROTO,
	  "after authentication", 0 },
	{ "a banner", SAY("\x35" U32("\x02") "hi" U32("\0")), NULL, 0, 0, 0, "", 0 },
	{ "endless banners", SAY("\x35"), SAY("\x35"), 20, ERR_LIMIT, "banners", 0 },
	{ "no message at all", SAY(""), NULL, 0, 0, ERR_PROTO, "padding", 0 },
	{ "adjust cut short", SAY("\x5d" U32("\0") "\0"), NULL, 0, 0, ERR_PROTO, "malformed", 0 },
	{ "extended data cut short", SAY("\x5f" U32("\0") U32("\x01")), NULL, 0, 0, ERR_PROTO,
	  "malformed", 0 },
	{ "extended data over the window", SAY("\x5f" U32("\0") U32("\x01") U32("\x02") "no"),
	  SAY("\x5f" U32("\0") U32("\x01") "\0\0\x80\x01"
					   "no"),
	  1, ERR_PROTO, "malformed", 0 },
	{ "a channel request", SAY("\x62" U32("\0") U32("\x04") "exec\x01"),
	  SAY("\x62" U32("\0") U32("\x04") "exec\0"), 100, 0, "", 0 },
	{ "half a disconnect", SAY("\x01\0"), NULL, 0, 0, ERR_CLOSED, "disconnected", 0 },
};

static void test_messages(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		ready_channel(&p, &c, &s);
		say(&p.s, rows[i].first, rows[i].first_n);
		pair_run(&p);
		for (int n = 0; n < rows[i].times && p.c.rc == 0; n++) {
			say(&p.s, rows[i].then, rows[i].then_n);
			(void)pair_move(&p.s, &p.c);
			pair_feed(&p, &p.c);
			(void)pair_move(&p.c, &p.s);
			pair_feed(&p, &p.s);
		}
		check_row(rows[i].name, p.c.rc == rows[i].want);
		check_row(rows[i].name, strstr(ssh_fault(p.c.ssh)->why, rows[i].why) != NULL);
		check_row(rows[i].name,
			  ssh_stats(p.c.ssh)->unexpected_replies == rows[i].unexpected);
		if (rows[i].want == 0) { /* it works as before */
			say(&p.s, SAY("\x50" U32("\x04") "ping\x01"));
			pair_run(&p);
			check_row(rows[i].name, p.c.events[SSH_EVENT_GLOBAL_REQUEST] == 1);
		} else if (rows[i].want != ERR_CLOSED) {
			pair_run(&p); /* and says goodbye */
			check_row(rows[i].name, p.s.disconnected);
		}
		pair_fini(&p);
	}
}

/* --- CVE-2023-48795 --- */

static const struct {
	const char *name, *bytes;
	size_t n;
	bool harmless; /* without strict key exchange: RFC 4253 allows it */
} injections[] = {
	{ "ignore", SAY("\x02" U32("\0")), true },
	{ "unimplemented", SAY("\x03" U32("\0")), true },
	{ "debug", SAY("\x04\0" U32("\0") U32("\0")), true },
	{ "ext_info", SAY("\x07" U32("\0")), false },
	{ "service accept", SAY("\x06" U32("\x0c") "ssh-userauth"), false },
	{ "userauth success", SAY("\x34"), false },
	{ "global request", SAY("\x50" U32("\x04") "ping\0"), false },
	{ "unknown", SAY("\x0a"), false },
};

/* A packet in the clear, as somebody on the path can make it. */
static void inject(struct pair_end *to, const void *bytes, size_t n)
{
	struct ssh_tx tx;

	ssh_tx_init(&tx, &mem_heap, 14);
	check(ssh_tx_seal(&tx, span_of(bytes, n), (struct span){ 0 }) == 0);
	pair_put(to, ssh_tx_front(&tx).p, ssh_tx_front(&tx).n);
	ssh_tx_fini(&tx);
}

/* Packet by packet; before packet `at` towards `to`, the injection. */
static void run_injected(struct pair *p, struct pair_end *to, unsigned at, size_t which)
{
	struct pair_end *from = to == &p->c ? &p->s : &p->c;
	unsigned count = 0;

	for (bool moved = true; moved;) {
		moved = pair_move(to, from);
		pair_feed(p, from);
		const struct mspan out = ssh_pending(from->ssh);
		if (out.n == 0)
			continue;
		if (count++ == at)
			inject(to, injections[which].bytes, injections[which].n);
		pair_put(to, out.p, out.n);
		ssh_sent(from->ssh);
		pair_feed(p, to);
		moved = true;
	}
}

static void test_injection_into_the_first_key_exchange(void)
{
	/* 0 is the identification; 1 KEXINIT, 2 the ECDH message, 3 NEWKEYS */
	for (size_t i = 0; i < array_len(injections) * 2 * 2 * 3; i++) {
		const size_t which = i % array_len(injections);
		const size_t rest = i / array_len(injections);
		const bool strict = rest % 2, to_client = rest / 2 % 2;
		const unsigned at = 1 + (unsigned)rest / 4;
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		c.no_strict_kex = !strict;
		check(pair_init(&p, &c, &s) == 0);
		struct pair_end *victim = to_client ? &p.c : &p.s;
		run_injected(&p, victim, at, which);
		const bool ok = !strict && injections[which].harmless;
		check_row(injections[which].name, victim->rc == (ok ? 0 : ERR_PROTO));
		check_row(injections[which].name, victim->ready == ok);
		pair_fini(&p);
	}
}

/* Any byte of the exchange changed on the path is found out. */
static void test_changed_exchange(void)
{
	for (unsigned packet = 1; packet <= 2; packet++)
		for (size_t at = 5; at < 240; at += 5) {
			struct pair p = { 0 };
			struct ssh_config c = pair_client_config(&p, &mem_heap);
			struct ssh_config s = pair_server_config(&p, &mem_heap);
			check(pair_init(&p, &c, &s) == 0);
			for (unsigned i = 0; i <= packet; i++) {
				(void)pair_move(&p.c, &p.s);
				pair_feed(&p, &p.s);
				const struct mspan out = ssh_pending(p.s.ssh);
				if (i == packet && at < out.n - 8)
					out.p[at] ^= 1;
				pair_put(&p.c, out.p, out.n);
				const bool padding = at >= out.n - out.p[4];
				ssh_sent(p.s.ssh);
				pair_feed(&p, &p.c);
				if (i == packet && (padding || at >= out.n - 8))
					p.c.ready = true; /* nothing that counts */
			}
			if (!p.c.ready) {
				pair_run(&p);
				check(!p.c.ready && p.c.rc < 0 && p.c.rc != ERR_CRYPTO);
				check(p.c.events[SSH_EVENT_HOST_KEY] == 0);
			}
			pair_fini(&p);
		}
}

static void test_another_host_key_at_rekey(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	ready_channel(&p, &c, &s);
	p.keys[0] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	ssh_rekey(p.s.ssh);
	pair_run(&p);
	check(p.c.rc == ERR_TRUST && strstr(ssh_fault(p.c.ssh)->why, "changed its host key"));
	EVP_PKEY_free(p.keys[0]);
	pair_fini(&p);
}

static void test_messages_within_a_rekey(void)
{
	static const struct {
		const char *name, *bytes;
		size_t n;
		int want;
	} inside[] = {
		{ "data", SAY("\x5e" U32("\0") U32("\x01") "x"), ERR_PROTO },
		{ "ping", SAY("\x50" U32("\x04") "ping\0"), ERR_PROTO },
		{ "service", SAY("\x05" U32("\x0c") "ssh-userauth"), ERR_PROTO },
		{ "kexinit", SAY("\x14"), ERR_PROTO },
		{ "unknown", SAY("\x0a"), ERR_PROTO },
		{ "reply", SAY("\x1f"), ERR_PROTO },
		{ "empty init", SAY("\x1e"), ERR_PROTO },
		{ "ignore", SAY("\x02" U32("\0")), 0 },
	};
	for (size_t i = 0; i < array_len(inside); i++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		ready_channel(&p, &c, &s);
		ssh_rekey(p.c.ssh);
		say(&p.c, inside[i].bytes, inside[i].n);
		pair_run(&p);
		check_row(inside[i].name, p.s.rc == inside[i].want);
		check_row(inside[i].name,
			  (p.s.events[SSH_EVENT_REKEYED] == 1) == (inside[i].want == 0));
		pair_fini(&p);
	}
}

static void test_rekey_for_its_own_sake(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	ready_channel(&p, &c, &s);
	for (int i = 0; i < 150 && p.s.rc == 0; i++) {
		ssh_rekey(p.c.ssh);
		pair_run(&p);
	}
	check(p.s.rc == ERR_LIMIT && p.s.events[SSH_EVENT_REKEYED] >= 90);
	pair_fini(&p);
}

/* --- windows and floods --- */

static void test_window_overrun(void)
{
	static uint8_t body[SSH_DATA_MAX + 1];
	for (int big = 0; big < 2; big++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		uint8_t head[9] = { SSH_MSG_CHANNEL_DATA };
		const size_t n = SSH_DATA_MAX + (size_t)big;
		ready_channel(&p, &c, &s);
		p.s.hold_credit = true;
		put_be(head + 5, 4, n);
		unsigned sent = 0;
		for (; sent < 100 && p.s.rc == 0; sent++) {
			check(ssh_send_now(p.c.ssh, span_of(head, 9), span_of(body, n)) == 0);
			(void)pair_move(&p.c, &p.s);
			pair_feed(&p, &p.s);
		}
		check(p.s.rc == ERR_PROTO && sent == (big ? 1u : 65u));
		check(p.s.got == (big ? 0u : 2u << 20));
		pair_fini(&p);
	}
}

/* A channel that we have closed takes what was on its way, within its window. */
static void test_what_was_on_its_way(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	ready_channel(&p, &c, &s);
	ssh_channel_close(p.s.ssh, 0);
	say(&p.c, SAY("\x5e" U32("\0") U32("\x01") "x"));
	say(&p.c, SAY("\x5d" U32("\0") U32("\x09")));
	say(&p.c, SAY("\x62" U32("\0") U32("\x04") "exec\x01"));
	say(&p.c, SAY("\x60" U32("\0")));
	(void)pair_move(&p.c, &p.s);
	pair_feed(&p, &p.s);
	check(p.s.rc == 0 && p.s.got == 0 && p.s.events[SSH_EVENT_CHANNEL_REQUEST] == 0);
	check(ssh_channels_open(p.s.ssh) == 1);
	pair_run(&p);
	check(p.s.events[SSH_EVENT_CHANNEL_CLOSED] == 1 && p.s.rc == 0 && p.c.rc == 0);
	pair_fini(&p);
}

/* Who asks and never reads is cut off, and memory stays bounded. */
static void test_asks_but_never_reads(void)
{
	for (int rekeying = 0; rekeying < 2; rekeying++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		s.tx_max = 10000;
		ready_channel(&p, &c, &s);
		if (rekeying)
			ssh_rekey(p.s.ssh);
		size_t most = 0;
		int i = 0;
		for (; i < 100000 && p.s.rc == 0; i++) {
			p.now += LIMIT_REQUEST_COST * LIMIT_NS(GLITCH_REFILL);
			say(&p.c, SAY("\x50" U32("\x04") "ping\x01"));
			(void)pair_move(&p.c, &p.s);
			pair_feed(&p, &p.s);
			most = ssh_pending_bytes(p.s.ssh) > most ? ssh_pending_bytes(p.s.ssh)
								 : most;
		}
		check(p.s.rc == ERR_LIMIT && i > 1000);
		check(most < 300000);
		pair_fini(&p);
	}
}

static void test_too_many_channels(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	s.channels_max = 5;
	ready_channel(&p, &c, &s);
	for (int i = 0; i < 1000; i++)
		check(ssh_channel_open(p.c.ssh, i % 2 ? "refuse" : "chisel", span_str("")) >= 0);
	pair_run(&p);
	check(ssh_channels_open(p.s.ssh) == 5 && ssh_channels_open(p.c.ssh) == 5);
	check(p.c.events[SSH_EVENT_CHANNEL_REFUSED] == 996 && p.c.rc == 0 && p.s.rc == 0);
	pair_fini(&p);
}

/* What is refused leaves nothing, however often it is tried: the peer pays by
 * time, and the engine holds as much after it as before. */
static void test_refused_opens_leave_nothing(void)
{
	struct famine f;
	famine_init(&f, 0);
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &f.mem);
	ready_channel(&p, &c, &s);
	size_t live = 0;
	for (int i = 0; i < 100000 && p.s.rc == 0; i++) {
		p.now += LIMIT_NS(GLITCH_REFILL) / 2;
		say(&p.c, SAY("\x5a" U32("\x06") "refuse" U32("\x05") U32("\0") "\0\0\x80\0"));
		(void)pair_move(&p.c, &p.s);
		pair_feed(&p, &p.s);
		ssh_charge(p.s.ssh, GLITCH_FORBIDDEN_OPEN, i % 2 == 0);
		while (ssh_pending(p.s.ssh).n)
			ssh_sent(p.s.ssh);
		if (i == 1000)
			live = f.live;
	}
	check(p.s.rc == 0 && ssh_channels_open(p.s.ssh) == 1 && f.live == live);
	check(ssh_stats(p.s.ssh)->glitches.counts[GLITCH_FORBIDDEN_OPEN] == 100000);
	ssh_charge(p.s.ssh, GLITCH_FORBIDDEN_OPEN, LIMIT_GLITCHES + 1);
	check(ssh_fault(p.s.ssh)->code == ERR_LIMIT &&
	      strstr(ssh_fault(p.s.ssh)->why, "forbidden_open") != NULL);
	pair_fini(&p);
}

/* A length beyond 32 bits is no small one: the window takes what it takes. */
static void test_write_of_4_gib(void)
{
	const size_t sizes[] = { 1ull << 32, (1ull << 32) + 1, SIZE_MAX };

	for (size_t i = 0; i < array_len(sizes); i++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		s.window = 100000;
		ready_channel(&p, &c, &s);
		uint8_t *bytes = calloc(1, s.window); /* all that may be read of it */
		check(ssh_channel_write(p.c.ssh, 0, bytes, sizes[i]) == 100000);
		check(ssh_channel_writable(p.c.ssh, 0) == 0);
		pair_run(&p);
		check(p.s.got == 100000 && p.s.rc == 0);
		free(bytes);
		pair_fini(&p);
	}
}

/* Who is asked and does not answer is asked no more than so often. */
static void test_unanswered_requests(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	ready_channel(&p, &c, &s);
	p.s.hold_answers = true;
	for (int i = 0; i < LIMIT_SSH_ANSWERS; i++) {
		p.now += LIMIT_REQUEST_COST * LIMIT_NS(GLITCH_REFILL);
		say(&p.c, SAY("\x50" U32("\x04") "ping\x01"));
		(void)pair_move(&p.c, &p.s);
		pair_feed(&p, &p.s);
	}
	check(p.s.rc == 0 && p.s.events[SSH_EVENT_GLOBAL_REQUEST] == LIMIT_SSH_ANSWERS);
	say(&p.c, SAY("\x50" U32("\x04") "ping\x01"));
	pair_run(&p);
	check(p.s.rc == ERR_LIMIT);
	pair_fini(&p);
}

/* --- a server's tricks in authentication --- */

static const struct {
	const char *name, *bytes;
	size_t n;
	int want;
	const char *why;
} tricks[] = {
	{ "other service", SAY("\x06" U32("\x05") "other"), ERR_PROTO, "SERVICE_ACCEPT" },
	{ "success at once", SAY("\x34"), ERR_PROTO, "before its service" },
	{ "accepted, then cut",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x33" U32("\x09")),
	  ERR_PROTO, "USERAUTH_FAILURE is malformed" },
	{ "only keys",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x33" U32("\x09") "publickey\0"),
	  ERR_AUTH, "the server takes no password, but publickey" },
	{ "more factors",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x33" U32("\x08") "password\0"
						    "|"
						    "\x33" U32("\x03") "otp\x01"),
	  ERR_AUTH, "the server wants otp besides the password" },
	{ "new password wanted",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x33" U32("\x08") "password\0"
						    "|"
						    "\x3c"),
	  ERR_AUTH, "wants the password changed" },
	{ "new password unasked",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x3c"),
	  ERR_PROTO, "during authentication" },
	{ "accepted twice",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x06" U32("\x0c") "ssh-userauth"),
	  ERR_PROTO, "during authentication" },
	{ "channel", SAY("\x5a" U32("\x01") "x"), ERR_PROTO, "before authentication" },
	{ "none is enough",
	  SAY("\x06" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x34"),
	  0, "" },
};

/* Says each of the messages, which are separated by '|'. */
static void say_all(struct pair_end *e, const char *p, size_t n)
{
	while (n) {
		const char *end = memchr(p, '|', n);
		const size_t one = end ? (size_t)(end - p) : n;
		say(e, p, one);
		p += end ? one + 1 : one;
		n -= end ? one + 1 : one;
	}
}

static void test_tricks_in_authentication(void)
{
	for (size_t i = 0; i < array_len(tricks); i++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		check(pair_init(&p, &c, &s) == 0);
		while (p.c.ssh->phase != SSH_PHASE_AUTH) {
			(void)pair_move(&p.c, &p.s);
			pair_feed(&p, &p.s);
			(void)pair_move(&p.s, &p.c);
			pair_feed(&p, &p.c);
		}
		say_all(&p.s, tricks[i].bytes, tricks[i].n);
		(void)pair_move(&p.s, &p.c);
		pair_feed(&p, &p.c);
		check_row(tricks[i].name, p.c.rc == tricks[i].want);
		check_row(tricks[i].name, strstr(ssh_fault(p.c.ssh)->why, tricks[i].why) != NULL);
		check_row(tricks[i].name, p.c.ready == (tricks[i].want == 0));
		check_row(tricks[i].name, p.c.ssh->auth.secrets == NULL); /* wiped */
		pair_fini(&p);
	}
}

/* --- before authentication --- */

static const struct {
	const char *name, *bytes;
	size_t n;
	int times, want;
	const char *why;
} early[] = {
	{ "channel", SAY("\x5a" U32("\x01") "x" U32("\0") U32("\x05") U32("\x05")), 1, ERR_PROTO,
	  "before authentication" },
	{ "global request", SAY("\x50" U32("\x04") "ping\0"), 1, ERR_PROTO,
	  "before authentication" },
	{ "auth without its service", SAY("\x32" U32("\x01") "u"), 1, ERR_PROTO,
	  "during authentication" },
	{ "other service", SAY("\x05" U32("\x0e") "ssh-connection"), 1, ERR_PROTO,
	  "unknown service" },
	{ "unknown auth message", SAY("\x3d"), 1, ERR_PROTO, "during authentication" },
	{ "auth of nothing",
	  SAY("\x05" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x32" U32("\x01") "u" U32("\x09")),
	  1, ERR_PROTO, "USERAUTH_REQUEST is malformed" },
	{ "auth for a shell",
	  SAY("\x05" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x32" U32("\x01") "u" U32("\x05") "shell" U32("\x04") "none"),
	  1, ERR_PROTO, "unknown service" },
	{ "auth by key",
	  SAY("\x05" U32("\x0c") "ssh-userauth"
				 "|"
				 "\x32" U32("\x01") "u" U32("\x0e") "ssh-connection" U32(
					 "\x09") "publickey"),
	  1, 0, "" },
	{ "success from a client", SAY("\x34"), 1, ERR_PROTO, "during authentication" },
};

/* Until the server is ready for authentication, and the client, which has not
 * seen the server's NEWKEYS, has not begun with it. */
static void until_auth(struct pair *p, const struct ssh_config *c, const struct ssh_config *s)
{
	check(pair_init(p, c, s) == 0);
	while (p->c.ssh->kex.stage != SSH_KEX_NEWKEYS) {
		(void)pair_move(&p->c, &p->s);
		pair_feed(p, &p->s);
		const struct mspan out = ssh_pending(p->s.ssh);
		pair_put(&p->c, out.p, out.n);
		ssh_sent(p->s.ssh);
		pair_feed(p, &p->c);
	}
	(void)pair_move(&p->c, &p->s);
	pair_feed(p, &p->s);
	check(p->s.ssh->phase == SSH_PHASE_AUTH);
}

static void test_before_authentication(void)
{
	for (size_t i = 0; i < array_len(early); i++) {
		struct pair p = { 0 };
		struct ssh_config c = pair_client_config(&p, &mem_heap);
		struct ssh_config s = pair_server_config(&p, &mem_heap);
		until_auth(&p, &c, &s);
		for (int n = 0; n < early[i].times; n++)
			say_all(&p.c, early[i].bytes, early[i].n);
		(void)pair_move(&p.c, &p.s);
		pair_feed(&p, &p.s);
		check_row(early[i].name, p.s.rc == early[i].want);
		check_row(early[i].name, strstr(ssh_fault(p.s.ssh)->why, early[i].why) != NULL);
		pair_fini(&p);
	}
}

static void test_guessing_passwords(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	until_auth(&p, &c, &s);
	say(&p.c, SAY("\x05" U32("\x0c") "ssh-userauth"));
	for (int i = 0; i < 20; i++)
		say(&p.c,
		    i % 2 ? "\x32" U32("\x01") "u" U32("\x0e") "ssh-connection" U32(
				    "\x08") "password\0" U32("\x01") "x"
			  : "\x32" U32("\x01") "u" U32("\x0e") "ssh-connection" U32(
				    "\x08") "password\x01" U32("\x01") "x",
		    46);
	(void)pair_move(&p.c, &p.s);
	pair_feed(&p, &p.s);
	check(p.s.rc == ERR_AUTH && p.s.events[SSH_EVENT_AUTH] == 5); /* the others: change */
	check(!p.s.ready);
	pair_fini(&p);
}

/* --- identification --- */

#define LINE_32	  "0123456789012345678901234567890\n"
#define LINES_320 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32 LINE_32
#define TEXT_245                                                                                   \
	"0123456789012345678901234567890123456789012345678901234567890123456789"                   \
	"0123456789012345678901234567890123456789012345678901234567890123456789"                   \
	"0123456789012345678901234567890123456789012345678901234567890123456789"                   \
	"01234567890123456789012345678901234"

static const struct {
	const char *name, *bytes;
	size_t n;
	bool any, server;
	int want;
} idents[] = {
	{ "plain", SAY("SSH-2.0-x\r\n"), false, false, 0 },
	{ "without CR", SAY("SSH-2.0-x\n"), false, false, 0 },
	{ "1.99", SAY("SSH-1.99-x\r\n"), false, false, 0 },
	{ "1.5", SAY("SSH-1.5-x\r\n"), false, false, ERR_PROTO },
	{ "chisel where any is allowed", SAY("SSH-chisel-v3-server\r\n"), true, false, 0 },
	{ "chisel where not", SAY("SSH-chisel-v3-server\r\n"), false, false, ERR_PROTO },
	{ "no second dash", SAY("SSH-chisel\r\n"), true, false, ERR_PROTO },
	{ "NUL", SAY("SSH-2.0-\0x\r\n"), false, false, ERR_PROTO },
	{ "a banner first", SAY("hello\r\n\r\nworld\nSSH-2.0-x\r\n"), false, false, 0 },
	{ "a banner to a server", SAY("GET / HTTP/1.1\r\nSSH-2.0-x\r\n"), false, true, ERR_PROTO },
	{ "a long banner line", SAY(TEXT_245 TEXT_245 TEXT_245 "\nSSH-2.0-x\r\n"), false, false,
	  0 },
	{ "nearly SSH to a server", SAY("SSH\r\n"), false, true, ERR_PROTO },
	{ "50 lines", SAY(LINES_320 LINES_320 LINES_320 LINES_320 LINES_320 "SSH-2.0-x\r\n"), false,
	  false, 0 },
	{ "51 lines",
	  SAY(LINES_320 LINES_320 LINES_320 LINES_320 LINES_320 LINE_32 "SSH-2.0-x\r\n"), false,
	  false, ERR_LIMIT },
	{ "255 bytes", SAY("SSH-2.0-" TEXT_245 "\r\n"), false, false, 0 },
	{ "endless", SAY("SSH-2.0-" TEXT_245 "xyz"), false, false, ERR_PROTO },
};

static void test_identification(void)
{
	for (size_t i = 0; i < array_len(idents); i++)
		for (size_t chop = 0; chop < 2; chop++) {
			struct pair p = { 0 };
			struct ssh_config c = idents[i].server ? pair_server_config(&p, &mem_heap)
							       : pair_client_config(&p, &mem_heap);
			struct ssh_config s = pair_server_config(&p, &mem_heap);
			c.any_version = idents[i].any;
			check(pair_init(&p, &c, &s) == 0);
			p.c.chop = chop;
			pair_put(&p.c, idents[i].bytes, idents[i].n);
			pair_feed(&p, &p.c);
			check_row(idents[i].name, p.c.rc == idents[i].want);
			check_row(idents[i].name, (ssh_names(p.c.ssh)->peer_version[0] != 0) ==
							  (idents[i].want == 0));
			pair_fini(&p);
		}
}

/* RFC 4253, 7: a guessed packet after a KEXINIT whose guess was wrong. */
static void test_wrong_guess(void)
{
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct ssh_config s = pair_server_config(&p, &mem_heap);
	const struct ssh_offer offer = { .kex = "ecdh-sha2-nistp256,curve25519-sha256",
					 .host_keys = "ssh-ed25519",
					 .ciphers = "aes128-gcm@openssh.com",
					 .strict_marker = true };
	uint8_t bytes[SSH_KEXINIT_MAX], init[37] = { SSH_MSG_KEX_ECDH_INIT, 0, 0, 0, 32, 9 };
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	s.kex = "curve25519-sha256";
	check(pair_init(&p, &c, &s) == 0);
	ssh_kexinit_write(&w, &offer, (const uint8_t *)"0123456789abcdef");
	bytes[w.n - 5] = 1; /* first_kex_packet_follows */
	pair_put(&p.s, "SSH-2.0-guess\r\n", 15);
	inject(&p.s, bytes, w.n);
	inject(&p.s, SAY("\x1e" U32("\x03") "bad"));
	pair_feed(&p, &p.s);
	check(p.s.rc == 0);
	while (ssh_pending(p.s.ssh).n)
		ssh_sent(p.s.ssh);
	inject(&p.s, init, sizeof(init));
	pair_feed(&p, &p.s);
	check(p.s.rc == 0 && ssh_pending(p.s.ssh).n > 100); /* its reply */
	pair_fini(&p);
}

/* A packet changed under way is refused, whatever the cipher. */
static void test_changed_packet(void)
{
	static const char *const ciphers[] = { "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
					       "chacha20-poly1305@openssh.com" };
	static const uint8_t more[40000];
	for (size_t i = 0; i < array_len(ciphers); i++)
		for (size_t at = 0; at < 36; at++) {
			struct pair p = { 0 };
			struct ssh_config c = pair_client_config(&p, &mem_heap);
			struct ssh_config s = pair_server_config(&p, &mem_heap);
			c.ciphers = ciphers[i];
			ready_channel(&p, &c, &s);
			check(ssh_channel_write(p.c.ssh, 0, (const uint8_t *)"data", 4) == 4);
			const struct mspan out = ssh_pending(p.c.ssh);
			if (at < out.n) {
				out.p[at] ^= 0x80;
				/* a greater length must have its bytes to be found out */
				check(ssh_channel_write(p.c.ssh, 0, more, sizeof(more)) > 0);
				pair_run(&p);
				check_row(ciphers[i], p.s.rc == ERR_PROTO && p.s.got == 0);
			}
			pair_fini(&p);
		}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "messages", test_messages },
		{ "injection", test_injection_into_the_first_key_exchange },
		{ "changed exchange", test_changed_exchange },
		{ "another host key", test_another_host_key_at_rekey },
		{ "within a re-key", test_messages_within_a_rekey },
		{ "re-key for its own sake", test_rekey_for_its_own_sake },
		{ "window overrun", test_window_overrun },
		{ "on its way", test_what_was_on_its_way },
		{ "asks but never reads", test_asks_but_never_reads },
		{ "too many channels", test_too_many_channels },
		{ "refused opens", test_refused_opens_leave_nothing },
		{ "write of 4 GiB", test_write_of_4_gib },
		{ "unanswered requests", test_unanswered_requests },
		{ "tricks in authentication", test_tricks_in_authentication },
		{ "before authentication", test_before_authentication },
		{ "guessing passwords", test_guessing_passwords },
		{ "identification", test_identification },
		{ "wrong guess", test_wrong_guess },
		{ "changed packet", test_changed_packet },
	};
	return run_cases("ssh_hostile", cases, array_len(cases));
}
