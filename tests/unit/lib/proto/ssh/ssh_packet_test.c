#include "lib/proto/ssh/ssh_packet.h"

#include "tests/support/cases.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

static const char *const names[] = { NULL, "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
				     "chacha20-poly1305@openssh.com" };

static const uint8_t key[SSH_CIPHER_KEY_MAX] = "a key of 64 bytes, the most of any cipher";
static const uint8_t iv[SSH_CIPHER_IV_LEN] = "an iv of 12";

static void both(struct ssh_tx *tx, struct ssh_rx *rx, const char *name, const struct mem *mem)
{
	ssh_tx_init(tx, mem, 14);
	ssh_rx_init(rx, mem);
	if (!name)
		return;
	const struct ssh_cipher_kind *kind = ssh_cipher_find(span_str(name));
	struct ssh_cipher c;
	check(ssh_cipher_init(&c, kind, key, iv, true) == 0);
	ssh_tx_rekey(tx, &c, true);
	check(ssh_cipher_init(&c, kind, key, iv, false) == 0);
	ssh_rx_rekey(rx, &c, true);
}

/* A stream of packets of many sizes; returns its length. */
static size_t stream(struct ssh_tx *tx, uint8_t *to, size_t packets)
{
	static uint8_t body[SSH_DATA_MAX];
	size_t n = 0;

	for (size_t i = 0; i < packets; i++) {
		const uint8_t head[3] = { (uint8_t)(i + 1), 2, 3 };
		memset(body, (int)i, sizeof(body));
		check(ssh_tx_seal(tx, span_of(head, 1 + i % 3), span_of(body, i * i * 7)) == 0);
		const struct mspan out = ssh_tx_front(tx);
		check(out.n == tx->waiting);
		memset(out.p - 14, 0xee, 14); /* the headroom is the caller's */
		memcpy(to + n, out.p, out.n);
		n += out.n;
		ssh_tx_pop(tx);
		check(ssh_tx_front(tx).n == 0 && tx->held == 0);
	}
	return n;
}

static void expect(struct mspan payload, size_t i)
{
	check(payload.n == 1 + i % 3 + i * i * 7);
	check(payload.p[0] == i + 1);
	size_t wrong = 0;
	for (size_t at = 1 + i % 3; at < payload.n; at++)
		wrong += payload.p[at] != (uint8_t)i;
	check(wrong == 0);
}

/* Feeds in pieces that end at each of the given places; counts payloads. */
static size_t feed(struct ssh_rx *rx, const uint8_t *in, size_t n, size_t first, size_t step)
{
	size_t got = 0, from = 0;

	for (size_t to = first; from < n; to = min_size(n, to + step)) {
		struct fence f;
		fence_init(&f, in + from, to - from);
		for (size_t at = 0; at < f.n;) {
			size_t taken;
			struct mspan payload;
			struct fault why = { 0 };
			const int rc = ssh_rx_feed(rx, f.p + at, f.n - at, &taken, &payload, &why);
			if (!check(rc >= 0))
				return got;
			if (rc == 1)
				expect(payload, got++);
			at += taken;
		}
		fence_fini(&f);
		from = to;
	}
	return got;
}

static void test_chop(void)
{
	enum { PACKETS = 8 };
	static uint8_t wire[65536];
	for (size_t which = 0; which < array_len(names); which++) {
		struct ssh_tx tx;
		struct ssh_rx rx;
		both(&tx, &rx, names[which], &mem_heap);
		const size_t n = stream(&tx, wire, PACKETS);
		ssh_tx_fini(&tx);
		ssh_rx_fini(&rx);
		for (size_t cut = 0; cut <= n + 1; cut++) { /* n: whole; n + 1: by bytes */
			both(&tx, &rx, names[which], &mem_heap);
			check(feed(&rx, wire, n, cut > n ? 1 : cut, cut > n ? 1 : n) == PACKETS);
			check(rx.seq == PACKETS && rx.packets == PACKETS);
			ssh_tx_fini(&tx);
			ssh_rx_fini(&rx);
		}
	}
}

/* Lengths that no packet has, in the clear and under AES-GCM, whose length
 * field is in the clear, too. */
static const struct {
	uint32_t len;
	bool clear, gcm; /* allowed? */
} lengths[] = {
	{ 0, false, false },	      { 1, false, false },	    { 4, false, false },
	{ 5, false, false },	      { 11, false, false },	    { 12, true, false },
	{ 16, false, true },	      { 20, true, false },	    { 35000, false, false },
	{ 34996, true, false },	      { 35008, false, true },	    { 262140, true, false },
	{ 262144, false, true },      { 262145, false, false },	    { 262148, false, false },
	{ 262160, false, false },     { 0x80000000, false, false }, { 0xfffffffc, false, false },
	{ 0xffffffff, false, false },
};

static void test_impossible_lengths(void)
{
	for (size_t i = 0; i < array_len(lengths); i++)
		for (size_t which = 0; which < 3; which++) {
			struct ssh_tx tx;
			struct ssh_rx rx;
			uint8_t head[4];
			struct fence f;
			size_t taken;
			struct mspan payload;
			struct fault why = { 0 };
			both(&tx, &rx, names[which], &mem_heap);
			put_be(head, 4, lengths[i].len);
			fence_init(&f, head, 4);
			const int rc = ssh_rx_feed(&rx, f.p, 4, &taken, &payload, &why);
			const bool ok = which ? lengths[i].gcm : lengths[i].clear;
			check(rc == (ok ? 0 : ERR_PROTO));
			check((why.code != 0) == !ok);
			check(rx.part.cap <= 1024); /* nothing is taken for a promise */
			fence_fini(&f);
			ssh_tx_fini(&tx);
			ssh_rx_fini(&rx);
		}
}

static void test_padding(void)
{
	for (unsigned pad = 0; pad < 256; pad++) {
		struct ssh_rx rx;
		uint8_t packet[32] = { 0, 0, 0, 28, (uint8_t)pad };
		size_t taken;
		struct mspan payload;
		struct fault why = { 0 };
		ssh_rx_init(&rx, &mem_heap);
		const int rc = ssh_rx_feed(&rx, packet, sizeof(packet), &taken, &payload, &why);
		check(rc == (pad >= 4 && pad <= 26 ? 1 : ERR_PROTO));
		if (rc == 1)
			check(payload.n == 27 - pad && payload.p == packet + 5);
		ssh_rx_fini(&rx);
	}
}

/* What we send keeps RFC 4253, 6: whole blocks, 4 to 255 bytes of padding. */
static void test_sent_form(void)
{
	for (size_t n = 1; n < 100; n++) {
		struct ssh_tx tx;
		static const uint8_t zeros[100];
		ssh_tx_init(&tx, &mem_heap, 14);
		check(ssh_tx_seal(&tx, span_of(zeros, n), (struct span){ 0 }) == 0);
		const struct mspan out = ssh_tx_front(&tx);
		check(out.n % 8 == 0 && out.n >= 16 && get_be(out.p, 4) == out.n - 4);
		check(out.p[4] >= 4 && out.n == 5 + n + out.p[4]);
		check(tx.held <= ssh_tx_cost(&tx, n));
		ssh_tx_fini(&tx);
	}
}

static void test_queue_takes_and_gives_memory(void)
{
	struct famine f;
	struct ssh_tx tx;
	static const uint8_t body[SSH_DATA_MAX];
	const uint8_t head = 94;

	famine_init(&f, 0);
	ssh_tx_init(&tx, &f.mem, 14);
	for (int i = 0; i < 9; i++)
		check(ssh_tx_seal(&tx, span_of(&head, 1), span_of(body, sizeof(body))) == 0);
	check(f.live == 5); /* two in a block */
	for (int i = 0; i < 9; i++) {
		check(ssh_tx_front(&tx).n == 32784);
		ssh_tx_pop(&tx);
	}
	const size_t requests = f.requests;
	for (int i = 0; i < 100; i++) {
		check(ssh_tx_seal(&tx, span_of(&head, 1), span_of(body, sizeof(body))) == 0);
		check(ssh_tx_seal(&tx, span_of(&head, 1), span_of(body, 100)) == 0);
		ssh_tx_pop(&tx);
		ssh_tx_pop(&tx);
	}
	check(f.requests == requests); /* the stream runs on what is there */
	check(!ssh_tx_is_trim(&tx));
	ssh_tx_trim(&tx);
	check(ssh_tx_is_trim(&tx) && f.live == 0);

	famine_init(&f, 1);
	check(ssh_tx_seal(&tx, span_of(&head, 1), span_of(body, 5)) == ERR_NOMEM);
	check(ssh_tx_front(&tx).n == 0 && tx.seq == 209);
	ssh_tx_fini(&tx);
	check(f.live == 0);
}

static void test_a_key_has_an_end(void)
{
	struct ssh_tx tx;
	struct ssh_rx rx;
	const uint8_t head = 94;
	size_t taken;
	struct mspan payload;
	struct fault why = { 0 };

	both(&tx, &rx, names[1], &mem_heap);
	check(ssh_tx_seal(&tx, span_of(&head, 1), (struct span){ 0 }) == 0);
	rx.packets = UINT32_MAX;
	const struct mspan out = ssh_tx_front(&tx);
	check(ssh_rx_feed(&rx, out.p, out.n, &taken, &payload, &why) == ERR_PROTO);
	tx.packets = UINT32_MAX;
	check(ssh_tx_seal(&tx, span_of(&head, 1), (struct span){ 0 }) == ERR_LIMIT);
	ssh_tx_fini(&tx);
	ssh_rx_fini(&rx);
}

static void test_famine_while_a_packet_comes(void)
{
	struct famine f;
	struct ssh_rx rx;
	uint8_t byte = 0;
	size_t taken;
	struct mspan payload;
	struct fault why = { 0 };

	famine_init(&f, 1);
	ssh_rx_init(&rx, &f.mem);
	check(ssh_rx_feed(&rx, &byte, 1, &taken, &payload, &why) == ERR_NOMEM);
	ssh_rx_fini(&rx);
	check(f.live == 0);
}

/* A request may be larger than a block of data: alone, before and behind others. */
static void test_a_large_request(void)
{
	static uint8_t body[SSH_REQUEST_MAX], in[SSH_REQUEST_MAX + 4096];
	static const size_t rows[][4] = {
		{ SSH_REQUEST_MAX },	     { 7, SSH_REQUEST_MAX },
		{ 7, SSH_REQUEST_MAX, 9 },   { 70000, 66000, 9, 80000 },
		{ SSH_DATA_MAX, 70000, SSH_DATA_MAX },
	};

	for (size_t i = 0; i < 2 * array_len(rows); i++) {
		const size_t *row = rows[i / 2];
		const bool at_once = i % 2; /* all wait, or each is sent before the next */
		struct ssh_tx tx;
		struct ssh_rx rx;

		both(&tx, &rx, names[1 + i % 3], &mem_heap);
		for (size_t k = 0, sent = 0; k < 4 && row[k]; k++) {
			const uint8_t head[1] = { (uint8_t)(k + 1) };

			check(ssh_tx_seal(&tx, span_of(head, 1), span_of(body, row[k])) == 0);
			for (; (k == 3 || !row[k + 1] || !at_once) && tx.held; sent++) {
				const struct mspan out = ssh_tx_front(&tx);
				size_t taken;
				struct mspan payload = { 0 };

				must(out.n <= sizeof(in));
				memcpy(in, out.p, out.n);
				check(ssh_rx_feed(&rx, in, out.n, &taken, &payload, NULL) == 1);
				check(taken == out.n && payload.n == 1 + row[sent]);
				check(payload.p[0] == sent + 1);
				ssh_tx_pop(&tx);
			}
		}
		check(tx.held == 0);
		ssh_tx_trim(&tx);
		check(ssh_tx_is_trim(&tx));
		ssh_tx_fini(&tx);
		ssh_rx_fini(&rx);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "chop", test_chop },
		{ "impossible lengths", test_impossible_lengths },
		{ "padding", test_padding },
		{ "sent form", test_sent_form },
		{ "queue", test_queue_takes_and_gives_memory },
		{ "a large request", test_a_large_request },
		{ "end of a key", test_a_key_has_an_end },
		{ "famine", test_famine_while_a_packet_comes },
	};
	return run_cases("ssh_packet", cases, array_len(cases));
}
