/*
 * ssh_cipher -- seals and opens packets with AES-GCM or ChaCha20-Poly1305, both
 * from OpenSSL. Lengths, padding and sequence numbers come from ssh_packet.c.
 */
#include "lib/proto/ssh/ssh_cipher.h"

#include <openssl/crypto.h>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define GIB	(1ull << 30)
#define AES_128 "aes128-gcm@openssh.com"
#define AES_256 "aes256-gcm@openssh.com"
#define CHACHA	"chacha20-poly1305@openssh.com"

enum { CHACHA_KEY = 32, CHACHA_IV = 16, CHACHA_BLOCKS_AT = 0, CHACHA_NONCE_AT = 8 };

static const struct ssh_cipher_kind kinds[] = {
	{ AES_128, "AES-128-GCM", 16, 16, false, 32 * GIB },
	{ AES_256, "AES-256-GCM", 32, 16, false, 32 * GIB },
	{ CHACHA, "ChaCha20", 64, 8, true, 1 * GIB },
};

const struct ssh_cipher_kind *ssh_cipher_find(struct span name)
{
	for (size_t i = 0; i < array_len(kinds); i++)
		if (span_is(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

static bool cpu_has_aes(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
	return getauxval(AT_HWCAP) & HWCAP_AES;
#else
	return false;
#endif
}

const char *ssh_cipher_default_list(void)
{
	return cpu_has_aes() ? AES_128 "," AES_256 "," CHACHA : CHACHA "," AES_128 "," AES_256;
}

void ssh_cipher_fini(struct ssh_cipher *c)
{
	EVP_CIPHER_CTX_free(c->body);
	EVP_CIPHER_CTX_free(c->length);
	EVP_MAC_CTX_free(c->mac);
	*c = (struct ssh_cipher){ 0 };
}

static EVP_CIPHER_CTX *keyed(const char *name, const uint8_t *key, bool seal)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *ctx = cipher ? EVP_CIPHER_CTX_new() : NULL;

	if (ctx && EVP_CipherInit_ex2(ctx, cipher, key, NULL, seal, NULL) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
	}
	EVP_CIPHER_free(cipher);
	return ctx;
}

/* The first half of the key is for content, the second for lengths. */
static bool chacha_init(struct ssh_cipher *c, const uint8_t *key, bool seal)
{
	c->body = keyed(c->kind->evp, key, seal);
	c->length = keyed(c->kind->evp, key + CHACHA_KEY, seal);
	EVP_MAC *poly = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	c->mac = poly ? EVP_MAC_CTX_new(poly) : NULL;
	EVP_MAC_free(poly);
	return c->body && c->length && c->mac;
}

/* RFC 5647, 7.1: the IV is a fixed part and a counter that steps by itself. */
static bool gcm_init(struct ssh_cipher *c, const uint8_t *key, const uint8_t *iv, bool seal)
{
	uint8_t copy[SSH_CIPHER_IV_LEN];

	memcpy(copy, iv, sizeof(copy));
	c->body = keyed(c->kind->evp, key, seal);
	return c->body && EVP_CIPHER_CTX_ctrl(c->body, EVP_CTRL_GCM_SET_IV_FIXED, -1, copy) == 1;
}

int ssh_cipher_init(struct ssh_cipher *c, const struct ssh_cipher_kind *kind, const uint8_t *key,
		    const uint8_t iv[SSH_CIPHER_IV_LEN], bool seal)
{
	*c = (struct ssh_cipher){ .kind = kind };
	if (kind->needs_strict ? chacha_init(c, key, seal) : gcm_init(c, key, iv, seal))
		return 0;
	ssh_cipher_fini(c);
	return ERR_CRYPTO;
}

static bool update(EVP_CIPHER_CTX *ctx, uint8_t *to, const uint8_t *from, size_t n)
{
	int out;

	return n == 0 || EVP_CipherUpdate(ctx, to, &out, from, (int)n) == 1;
}

/* The nonce is the sequence number; blocks count from `block`. */
static bool chacha_seek(EVP_CIPHER_CTX *ctx, uint32_t seq, uint8_t block)
{
	uint8_t iv[CHACHA_IV] = { [CHACHA_BLOCKS_AT] = block };

	put_be(iv + CHACHA_NONCE_AT, 8, seq);
	return EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL) == 1;
}

/* Block 0 of the content key's stream is the one-time poly1305 key; content
 * starts at block 1. */
static bool chacha_tag(struct ssh_cipher *c, uint32_t seq, const uint8_t *p, size_t n,
		       uint8_t tag[SSH_CIPHER_TAG_LEN])
{
	uint8_t key[CHACHA_KEY] = { 0 };
	size_t out;
	const bool ok = chacha_seek(c->body, seq, 0) && update(c->body, key, key, sizeof(key)) &&
			EVP_MAC_init(c->mac, key, sizeof(key), NULL) == 1 &&
			EVP_MAC_update(c->mac, p, n) == 1 &&
			EVP_MAC_final(c->mac, tag, &out, SSH_CIPHER_TAG_LEN) == 1;

	OPENSSL_cleanse(key, sizeof(key));
	return ok;
}

static bool chacha_seal(struct ssh_cipher *c, uint32_t seq, uint8_t *to, const struct span *parts,
			size_t parts_n)
{
	uint8_t *at = to + SSH_CIPHER_LENGTH_LEN;

	if (!chacha_seek(c->length, seq, 0) || !update(c->length, to, to, SSH_CIPHER_LENGTH_LEN) ||
	    !chacha_seek(c->body, seq, 1))
		return false;
	for (size_t i = 0; i < parts_n; at += parts[i++].n)
		if (!update(c->body, at, parts[i].p, parts[i].n))
			return false;
	return chacha_tag(c, seq, to, (size_t)(at - to), at);
}

static bool gcm_start(struct ssh_cipher *c, const uint8_t *length)
{
	uint8_t last;

	return EVP_CIPHER_CTX_ctrl(c->body, EVP_CTRL_GCM_IV_GEN, 1, &last) == 1 &&
	       update(c->body, NULL, length, SSH_CIPHER_LENGTH_LEN);
}

static bool gcm_seal(struct ssh_cipher *c, uint8_t *to, const struct span *parts, size_t parts_n)
{
	uint8_t *at = to + SSH_CIPHER_LENGTH_LEN;
	int out;

	if (!gcm_start(c, to))
		return false;
	for (size_t i = 0; i < parts_n; at += parts[i++].n)
		if (!update(c->body, at, parts[i].p, parts[i].n))
			return false;
	return EVP_CipherFinal_ex(c->body, at, &out) == 1 &&
	       EVP_CIPHER_CTX_ctrl(c->body, EVP_CTRL_AEAD_GET_TAG, SSH_CIPHER_TAG_LEN, at) == 1;
}

int ssh_cipher_seal(struct ssh_cipher *c, uint32_t seq, uint8_t *to, const struct span *parts,
		    size_t parts_n)
{
	size_t len = 0;
	for (size_t i = 0; i < parts_n; i++)
		len += parts[i].n;
	put_be(to, SSH_CIPHER_LENGTH_LEN, len);

	if (!c->kind) {
		uint8_t *at = to + SSH_CIPHER_LENGTH_LEN;
		for (size_t i = 0; i < parts_n; at += parts[i++].n)
			if (parts[i].n)
				memcpy(at, parts[i].p, parts[i].n);
		return 0;
	}
	const bool ok = c->kind->needs_strict ? chacha_seal(c, seq, to, parts, parts_n)
					      : gcm_seal(c, to, parts, parts_n);
	return ok ? 0 : ERR_CRYPTO;
}

int ssh_cipher_length(struct ssh_cipher *c, uint32_t seq, const uint8_t *head, uint32_t *len)
{
	uint8_t plain[SSH_CIPHER_LENGTH_LEN];

	memcpy(plain, head, sizeof(plain));
	if (c->length &&
	    (!chacha_seek(c->length, seq, 0) || !update(c->length, plain, plain, sizeof(plain))))
		return ERR_CRYPTO;
	*len = (uint32_t)get_be(plain, sizeof(plain));
	return 0;
}

static int chacha_open(struct ssh_cipher *c, uint32_t seq, uint8_t *packet, uint32_t len)
{
	uint8_t tag[SSH_CIPHER_TAG_LEN];
	uint8_t *body = packet + SSH_CIPHER_LENGTH_LEN;

	if (!chacha_tag(c, seq, packet, SSH_CIPHER_LENGTH_LEN + (size_t)len, tag))
		return ERR_CRYPTO;
	if (CRYPTO_memcmp(tag, body + len, sizeof(tag)) != 0)
		return ERR_PROTO;
	if (!chacha_seek(c->body, seq, 1) || !update(c->body, body, body, len))
		return ERR_CRYPTO;
	return 0;
}

static int gcm_open(struct ssh_cipher *c, uint8_t *packet, uint32_t len)
{
	uint8_t *body = packet + SSH_CIPHER_LENGTH_LEN;
	int out;

	if (!gcm_start(c, packet) || !update(c->body, body, body, len) ||
	    EVP_CIPHER_CTX_ctrl(c->body, EVP_CTRL_AEAD_SET_TAG, SSH_CIPHER_TAG_LEN, body + len) !=
		    1)
		return ERR_CRYPTO;
	return EVP_CipherFinal_ex(c->body, body + len, &out) == 1 ? 0 : ERR_PROTO;
}

int ssh_cipher_open(struct ssh_cipher *c, uint32_t seq, uint8_t *packet, uint32_t len)
{
	if (!c->kind)
		return 0;
	return c->kind->needs_strict ? chacha_open(c, seq, packet, len) : gcm_open(c, packet, len);
}
