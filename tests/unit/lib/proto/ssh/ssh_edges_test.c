/*
 * The edges of the engine's face: calls on one that has ended, configurations
 * that can't be, answers that are cut short, and what the caller does early.
 */
#include "lib/proto/ssh/ssh_engine.h"
#include "tests/unit/lib/proto/ssh/pair.h"

#define SAY(text) text, sizeof(text) - 1

static void say(struct pair_end *e, const void *bytes, size_t n)
{
	check(ssh_send_now(e->ssh, span_of(bytes, n), (struct span){ 0 }) == 0);
}

static void start(struct pair *p)
{
	const struct ssh_config c = pair_client_config(p, &mem_heap);
	const struct ssh_config s = pair_server_config(p, &mem_heap);

	pair_start(p, &c, &s);
	check(p->c.ready && p->s.ready);
}

/* Everything may still be called, and nothing is said any more. */
static void call_all(struct ssh *s, int code)
{
	struct ssh_event ev;
	uint8_t byte[1] = { 0 };

	while (ssh_pending(s).n)
		ssh_sent(s);
	check(ssh_channel_open(s, "x", span_str("")) == code);
	check(ssh_global_request(s, "ping", true, span_str(""), 1) == code);
	ssh_channel_accept(s, 0);
	ssh_channel_reject(s, 0, SSH_OPEN_CONNECT_FAILED, "no");
	check(ssh_channel_write(s, 0, byte, 1) == (ssh_fault(s)->code ? code : 0));
	check(ssh_channel_writable(s, 0) == 0);
	ssh_channel_want_write(s, 0);
	ssh_channel_credit(s, 0, 1);
	ssh_channel_grow(s, 0, 1);
	ssh_channel_eof(s, 0);
	ssh_channel_close(s, 0);
	ssh_global_answer(s, true, span_str(""));
	ssh_host_key_trust(s, true);
	ssh_auth_answer(s, true);
	ssh_rekey(s);
	ssh_disconnect(s, SSH_DISCONNECT_BY_APPLICATION, "again");
	check(ssh_deadline(s) == UINT64_MAX);
	check(ssh_next(s, &ev) == (ssh_fault(s)->code ? code : 0));
	check(ssh_pending(s).n == 0);
}

static void test_after_the_end(void)
{
	struct pair p = { 0 };

	start(&p);
	check(ssh_channel_open(p.c.ssh, "chisel", span_str("x")) == 0);
	pair_run(&p);
	say(&p.s, SAY("\x5e\0\0\0\x09")); /* a channel that is none */
	pair_run(&p);
	check(p.c.rc == ERR_PROTO);
	call_all(p.c.ssh, ERR_PROTO);
	pair_fini(&p);

	p = (struct pair){ 0 };
	start(&p);
	ssh_disconnect(p.c.ssh, SSH_DISCONNECT_BY_APPLICATION, "bye");
	call_all(p.c.ssh, ERR_CLOSED);
	check(ssh_tick(p.c.ssh, p.now + 1) == 0);
	pair_fini(&p);
}

static void test_configurations(void)
{
	static char many[4096];
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	struct fault why = { 0 };
	struct ssh *s = NULL;

	memset(many, ',', sizeof(many) - 1);
	c.channels_max = UINT32_MAX;
	check(ssh_new(&s, &c, 1, &why) == ERR_USAGE && strstr(why.why, "out of range"));
	c = pair_client_config(&p, &mem_heap);
	c.ciphers = many;
	why = (struct fault){ 0 };
	check(ssh_new(&s, &c, 1, &why) == ERR_USAGE && strstr(why.why, "too long"));
	c = pair_client_config(&p, &mem_heap);
	c.tx_max = 1; /* raised to what a packet needs */
	check(ssh_new(&s, &c, 1, &why) == 0 && s->config.tx_max > 1);
	ssh_free(s);
}

static void test_long_credentials(void)
{
	static char user[4000];
	struct pair p = { 0 };
	struct ssh_config c = pair_client_config(&p, &mem_heap);
	const struct ssh_config s = pair_server_config(&p, &mem_heap);

	memset(user, 'u', sizeof(user) - 1);
	c.user = user;
	check(pair_init(&p, &c, &s) == 0);
	pair_run(&p);
	check(p.c.rc == ERR_CONFIG && strstr(ssh_fault(p.c.ssh)->why, "too long"));
	pair_fini(&p);
}

static void test_late_authentication(void)
{
	static const char request[] = "\x32\0\0\0\1u\0\0\0\x0essh-connection\0\0\0\4none";
	struct pair p = { 0 };

	start(&p);
	const uint64_t before = ssh_stats(p.s.ssh)->ignored;
	say(&p.c, SAY(request));
	pair_run(&p);
	check(p.s.rc == 0 && ssh_stats(p.s.ssh)->ignored == before + 1);
	for (int i = 0; i < 1001 && p.s.rc == 0; i++) {
		say(&p.c, SAY(request));
		pair_run(&p);
	}
	check(p.s.rc == ERR_LIMIT);
	pair_fini(&p);
}

static void test_cut_answers(void)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		{ SAY("\x5b\0\0\0\0\0\0") },
		{ SAY("\x5b\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\1") }, /* packets of one byte */
		{ SAY("\x5c\0\0\0\0\0\0\0\1\0\0\0\7x") },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct pair p = { 0 };

		start(&p);
		check(ssh_channel_open(p.c.ssh, "chisel", span_str("x")) == 0);
		say(&p.s, rows[i].bytes, rows[i].n);
		(void)pair_move(&p.s, &p.c);
		pair_feed(&p, &p.c);
		check(p.c.rc == ERR_PROTO && strstr(ssh_fault(p.c.ssh)->why, "malformed"));
		pair_fini(&p);
	}
}

static void test_early_wishes(void)
{
	static char name[600];
	struct pair p = { 0 };
	const uint8_t byte = 'x';

	start(&p);
	memset(name, 'n', sizeof(name) - 1);
	check(ssh_global_request(p.c.ssh, name, true, span_str(""), 1) == ERR_LIMIT);
	const int id = ssh_channel_open(p.c.ssh, "chisel", span_str("x"));
	check(id == 0);
	check(ssh_channel_write(p.c.ssh, 0, &byte, 1) == 0); /* nobody is there yet */
	ssh_channel_want_write(p.c.ssh, 0);
	pair_run(&p);
	check(p.c.events[SSH_EVENT_CHANNEL_OPENED] == 1);
	check(p.c.events[SSH_EVENT_CHANNEL_WRITABLE] == 1);
	check(ssh_channel_write(p.c.ssh, 0, &byte, 1) == 1);
	pair_fini(&p);
}

/* A key re-exchange that one end starts, of which the client hears `heard` packets and then
 * nothing; false when they were all of it.  It is waited for 30 s, and not longer. */
static bool stall_exchange(bool ours, size_t heard)
{
	struct pair p = { 0 };

	start(&p);
	p.now += 600 * 1000000000ull;
	check(ssh_tick(p.c.ssh, p.now) == 0);
	ssh_rekey(ours ? p.c.ssh : p.s.ssh);
	check(ssh_tick(p.c.ssh, p.now) == 0);
	for (bool moved = true; moved;) {
		moved = pair_move(&p.c, &p.s);
		pair_feed(&p, &p.s);
		for (struct mspan out; (out = ssh_pending(p.s.ssh)).n; moved = true) {
			if (heard > 0)
				pair_put(&p.c, out.p, out.n);
			heard -= heard > 0;
			ssh_sent(p.s.ssh);
		}
		pair_feed(&p, &p.c);
	}
	const bool stalled = p.c.events[SSH_EVENT_REKEYED] == 0;
	check(p.c.rc == 0 && p.s.rc == 0);
	if (stalled) {
		check(ssh_tick(p.c.ssh, p.now) == 0);
		check(ssh_deadline(p.c.ssh) <= p.now + 30 * 1000000000ull);
		check(ssh_tick(p.c.ssh, p.now + 30 * 1000000000ull - 1) == 0);
		check(ssh_tick(p.c.ssh, p.now + 30 * 1000000000ull) == ERR_TIMEOUT);
		check(strcmp(ssh_fault(p.c.ssh)->why, "a key re-exchange took too long") == 0);
	}
	pair_fini(&p);
	return stalled;
}

static void test_stalled_exchanges(void)
{
	for (int ours = 0; ours < 2; ours++) {
		size_t heard = ours ? 0 : 1; /* nothing has begun before the server's KEXINIT */

		while (stall_exchange(ours, heard))
			heard++;
		check(heard == 3); /* KEXINIT, the reply, NEWKEYS */
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "after the end", test_after_the_end },
		{ "configurations", test_configurations },
		{ "long credentials", test_long_credentials },
		{ "late authentication", test_late_authentication },
		{ "cut answers", test_cut_answers },
		{ "early wishes", test_early_wishes },
		{ "stalled exchanges", test_stalled_exchanges },
	};

	return run_cases("ssh edges", cases, array_len(cases));
}
