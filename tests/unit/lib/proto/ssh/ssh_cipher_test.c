#include "lib/proto/ssh/ssh_cipher.h"

#include "tests/support/cases.h"

enum { TEXT_MAX = 600 };

static const char *const names[] = { "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
				     "chacha20-poly1305@openssh.com" };

static void fill(uint8_t *p, size_t n, uint8_t from)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(from + i * 7);
}

/* The AEAD of a GCM packet, computed the long way: a fresh context, the whole
 * IV, one update.  `n`-th packet: RFC 5647, 7.1, the last 8 bytes count. */
static void gcm_by_hand(const char *cipher, const uint8_t *key, const uint8_t *iv, uint64_t n,
			const uint8_t *text, int text_n, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	EVP_CIPHER *c = EVP_CIPHER_fetch(NULL, cipher, NULL);
	uint8_t nonce[12];
	int len;

	memcpy(nonce, iv, 12);
	put_be(nonce + 4, 8, get_be(iv + 4, 8) + n);
	put_be(out, 4, (uint64_t)text_n);
	check(EVP_EncryptInit_ex2(ctx, c, key, nonce, NULL) == 1);
	check(EVP_EncryptUpdate(ctx, NULL, &len, out, 4) == 1);
	check(EVP_EncryptUpdate(ctx, out + 4, &len, text, text_n) == 1);
	check(EVP_EncryptFinal_ex(ctx, out + 4 + text_n, &len) == 1);
	check(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + 4 + text_n) == 1);
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(c);
}

static void test_gcm_is_rfc_5647(void)
{
	uint8_t key[SSH_CIPHER_KEY_MAX], iv[12], text[TEXT_MAX];
	fill(key, sizeof(key), 1);
	memset(iv, 0xff, sizeof(iv)); /* the counter passes its end */
	fill(text, sizeof(text), 9);
	for (size_t which = 0; which < 2; which++) {
		struct ssh_cipher c;
		check(ssh_cipher_init(&c, ssh_cipher_find(span_str(names[which])), key, iv, true) ==
		      0);
		for (uint64_t n = 0; n < 5; n++) {
			uint8_t want[TEXT_MAX + 20], got[TEXT_MAX + 20];
			const size_t size = 16 + 96 * (size_t)n;
			const struct span parts[] = { span_of(text, 1), span_of(text + 1, 9),
						      span_of(text + 10, size - 10) };
			gcm_by_hand(which ? "AES-256-GCM" : "AES-128-GCM", key, iv, n, text,
				    (int)size, want);
			check(ssh_cipher_seal(&c, 77, got, parts, array_len(parts)) == 0);
			check(memcmp(got, want, size + 20) == 0);
		}
		ssh_cipher_fini(&c);
	}
}

/* One keystream of RFC 8439's cipher with the 64-bit nonce of the original. */
static void chacha(const uint8_t *key, uint32_t seq, uint8_t block, const uint8_t *in, int n,
		   uint8_t *out)
{
	uint8_t iv[16] = { block };
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len;

	put_be(iv + 8, 8, seq);
	check(EVP_EncryptInit_ex2(ctx, EVP_chacha20(), key, iv, NULL) == 1);
	check(EVP_EncryptUpdate(ctx, out, &len, in, n) == 1);
	EVP_CIPHER_CTX_free(ctx);
}

static void add_17(uint32_t h[17], const uint32_t c[17])
{
	uint32_t u = 0;

	for (int j = 0; j < 17; j++) {
		u += h[j] + c[j];
		h[j] = u & 255;
		u >>= 8;
	}
}

/* What is above 2^130 comes back as five times itself. */
static void fold_17(uint32_t h[17], const uint32_t x[17])
{
	uint32_t u = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (int j = 0; j < 16; j++) {
			u += pass ? h[j] : x[j];
			h[j] = u & 255;
			u >>= 8;
		}
		u += pass ? h[16] : x[16];
		h[16] = pass ? u : u & 3;
		u = 5 * (u >> 2);
	}
}

/* Poly1305 as in RFC 8439, 2.5, by school arithmetic on bytes. */
static void poly1305(const uint8_t key[32], const uint8_t *m, size_t n, uint8_t tag[16])
{
	static const uint32_t minus_p[17] = { 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 252 };
	uint32_t r[17] = { 0 }, h[17] = { 0 };

	for (int i = 0; i < 16; i++)
		r[i] = key[i] & (i % 4 == 3 ? 15 : i > 0 && i % 4 == 0 ? 252 : 255);
	for (size_t at = 0; at < n; at += 16) {
		const size_t k = min_size(16, n - at);
		uint32_t c[17] = { 0 }, x[17] = { 0 };
		for (size_t i = 0; i < k; i++)
			c[i] = m[at + i];
		c[k] = 1;
		add_17(h, c);
		for (int i = 0; i < 17; i++)
			for (int j = 0; j < 17; j++)
				x[i] += h[j] * (j <= i ? r[i - j] : 320 * r[i + 17 - j]);
		fold_17(h, x);
	}
	uint32_t less[17], pad[17] = { 0 };
	memcpy(less, h, sizeof(less));
	add_17(less, minus_p);
	const bool above = !(less[16] & 128); /* h was 2^130 - 5 or more */
	for (int i = 0; i < 16; i++)
		pad[i] = key[16 + i];
	add_17(above ? less : h, pad);
	for (int i = 0; i < 16; i++)
		tag[i] = (uint8_t)(above ? less : h)[i];
}

static void test_poly1305_of_this_test(void)
{
	/* RFC 8439, 2.5.2 */
	static const uint8_t key[32] =
		"\x85\xd6\xbe\x78\x57\x55\x6d\x33\x7f\x44\x52\xfe\x42\xd5\x06\xa8"
		"\x01\x03\x80\x8a\xfb\x0d\xb2\xfd\x4a\xbf\xf6\xaf\x41\x49\xf5\x1b";
	static const uint8_t want[16] =
		"\xa8\x06\x1d\xc1\x30\x51\x36\xc6\xc2\x2b\x8b\xaf\x0c\x01\x27\xa9";
	const char *text = "Cryptographic Forum Research Group";
	uint8_t tag[16];

	poly1305(key, (const uint8_t *)text, strlen(text), tag);
	check(memcmp(tag, want, 16) == 0);
}

/* PROTOCOL.chacha20poly1305, step by step: lengths under the second key,
 * content under the first from block 1, the tag's key is its block 0. */
static void test_chacha_is_as_openssh_says(void)
{
	uint8_t key[64], text[TEXT_MAX];
	fill(key, sizeof(key), 3);
	fill(text, sizeof(text), 5);
	struct ssh_cipher c;
	check(ssh_cipher_init(&c, ssh_cipher_find(span_str(names[2])), key, text, true) == 0);
	static const uint32_t seqs[] = { 0, 1, 255, 65536, UINT32_MAX };
	for (size_t i = 0; i < array_len(seqs); i++) {
		const size_t size = 8 + 120 * i;
		uint8_t want[TEXT_MAX + 20], got[TEXT_MAX + 20], len[4], one_time[32] = { 0 };
		put_be(len, 4, size);
		chacha(key + 32, seqs[i], 0, len, 4, want);
		chacha(key, seqs[i], 1, text, (int)size, want + 4);
		chacha(key, seqs[i], 0, one_time, 32, one_time);
		poly1305(one_time, want, 4 + size, want + 4 + size);
		const struct span parts[] = { span_of(text, 1), span_of(text + 1, size - 1) };
		check(ssh_cipher_seal(&c, seqs[i], got, parts, array_len(parts)) == 0);
		check(memcmp(got, want, size + 20) == 0);
	}
	ssh_cipher_fini(&c);
}

static void test_every_changed_bit_is_seen(void)
{
	uint8_t key[SSH_CIPHER_KEY_MAX], iv[12], text[32], packet[64], copy[64];
	fill(key, sizeof(key), 11);
	fill(iv, sizeof(iv), 12);
	fill(text, sizeof(text), 13);
	for (size_t which = 0; which < 3; which++) {
		const struct ssh_cipher_kind *kind = ssh_cipher_find(span_str(names[which]));
		struct ssh_cipher seal, open;
		const struct span part = span_of(text, sizeof(text));
		uint32_t len;
		check(ssh_cipher_init(&seal, kind, key, iv, true) == 0);
		check(ssh_cipher_seal(&seal, 5, packet, &part, 1) == 0);
		ssh_cipher_fini(&seal);
		for (size_t bit = 0; bit <= (4 + sizeof(text) + 16) * 8; bit++) {
			const bool changed = bit < (4 + sizeof(text) + 16) * 8;
			memcpy(copy, packet, sizeof(copy));
			if (changed)
				copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
			check(ssh_cipher_init(&open, kind, key, iv, false) == 0);
			check(ssh_cipher_length(&open, 5, copy, &len) == 0);
			check_row(names[which], (len != sizeof(text)) == (changed && bit < 32));
			check_row(names[which], ssh_cipher_open(&open, 5, copy, sizeof(text)) ==
							(changed ? ERR_PROTO : 0));
			if (!changed)
				check(memcmp(copy + 4, text, sizeof(text)) == 0);
			ssh_cipher_fini(&open);
		}
	}
}

static void test_names(void)
{
	check(!ssh_cipher_find(span_str("aes128-cbc")));
	check(!ssh_cipher_find(span_str("none")));
	check(!ssh_cipher_find((struct span){ 0 }));
	check(ssh_cipher_find(span_str(names[2]))->needs_strict);
	check(!ssh_cipher_find(span_str(names[0]))->needs_strict);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "aes-gcm", test_gcm_is_rfc_5647 },
		{ "poly1305 of this test", test_poly1305_of_this_test },
		{ "chacha20-poly1305", test_chacha_is_as_openssh_says },
		{ "changed bits", test_every_changed_bit_is_seen },
		{ "names", test_names },
	};
	return run_cases("ssh_cipher", cases, array_len(cases));
}
