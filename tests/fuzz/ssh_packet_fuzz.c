/* The packet layer under each cipher: any bytes in any cuts, and a sealed
 * packet with one bit changed.  Input: {cipher, cut, bit (2)} bytes. */
#include "lib/proto/ssh/ssh_packet.h"

enum { HEAD = 4 };

static const char *const names[] = { NULL, "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
				     "chacha20-poly1305@openssh.com" };

static void start(struct ssh_tx *tx, struct ssh_rx *rx, const char *name)
{
	static const uint8_t key[SSH_CIPHER_KEY_MAX] = "key", iv[SSH_CIPHER_IV_LEN] = "iv";
	struct ssh_cipher c;

	ssh_tx_init(tx, &mem_heap, 14);
	ssh_rx_init(rx, &mem_heap);
	if (!name)
		return;
	must(ssh_cipher_init(&c, ssh_cipher_find(span_str(name)), key, iv, true) == 0);
	ssh_tx_rekey(tx, &c, true);
	must(ssh_cipher_init(&c, ssh_cipher_find(span_str(name)), key, iv, false) == 0);
	ssh_rx_rekey(rx, &c, true);
}

/* Feeds in cuts; returns 1 with the first payload, 0, or an enum err. */
static int feed(struct ssh_rx *rx, uint8_t *p, size_t n, size_t cut, struct mspan *payload)
{
	int rc = 0;

	for (size_t at = 0; at < n && rc == 0;) {
		size_t taken;
		struct fault why = { 0 };
		const size_t most = min_size(cut, n - at);
		rc = ssh_rx_feed(rx, p + at, most, &taken, payload, &why);
		must(rc < 0 || taken <= most);
		must(rc >= 0 || (why.code == (enum err)rc && why.why[0]));
		must(rc != 0 || taken == most);
		at += rc < 0 ? most : taken;
	}
	return rc;
}

static void any_bytes(const char *name, const uint8_t *p, size_t n, size_t cut)
{
	uint8_t *copy = memcpy(malloc(n + 1), p, n);
	struct ssh_tx tx;
	struct ssh_rx rx;
	struct mspan payload;

	start(&tx, &rx, name);
	const int rc = feed(&rx, copy, n, cut, &payload);
	must(rc != 1 || !name); /* nobody guesses a tag */
	ssh_tx_fini(&tx);
	ssh_rx_fini(&rx);
	free(copy);
}

static void changed_bit(const char *name, const uint8_t *p, size_t n, size_t cut, size_t bit)
{
	struct ssh_tx tx;
	struct ssh_rx rx;
	struct mspan payload;
	const uint8_t head = 1;

	start(&tx, &rx, name);
	must(ssh_tx_seal(&tx, span_of(&head, 1), span_of(p, min_size(n, SSH_DATA_MAX))) == 0);
	const struct mspan out = ssh_tx_front(&tx);
	const bool change = bit / 8 < out.n;
	if (change)
		out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	const int rc = feed(&rx, out.p, out.n, cut, &payload);
	must(change || rc == 1);
	must(!change || !name || rc != 1);
	if (!change)
		must(payload.n == 1 + min_size(n, SSH_DATA_MAX) &&
		     memcmp(payload.p + 1, p, payload.n - 1) == 0);
	ssh_tx_fini(&tx);
	ssh_rx_fini(&rx);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < HEAD)
		return 0;
	const char *name = names[p[0] % array_len(names)];
	const size_t cut = p[1] ? p[1] : SIZE_MAX;

	any_bytes(name, p + HEAD, n - HEAD, cut);
	changed_bit(name, p + HEAD, n - HEAD, cut, (size_t)get_be(p + 2, 2));
	return 0;
}
