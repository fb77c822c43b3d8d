/*
 * ssh_fingerprint.c turns the SHA-256 of a host key into the text that people
 * compare, and compares such a text.  Pure functions; it computes no digest.
 */
#include "lib/proto/ssh/ssh_fingerprint.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

void ssh_fingerprint_write(const uint8_t digest[SSH_FINGERPRINT_LEN], char to[SSH_FINGERPRINT_TEXT])
{
	EVP_EncodeBlock((unsigned char *)to, digest, SSH_FINGERPRINT_LEN);
}

/* The 43 characters without prefix and padding. */
static int strip(struct span *s)
{
	if (s->n > 7 && strncasecmp((const char *)s->p, "SHA256:", 7) == 0)
		*s = span_of(s->p + 7, s->n - 7);
	if (s->n == 44 && s->p[43] == '=')
		s->n = 43;
	return s->n == 43 ? 0 : ERR_USAGE;
}

bool ssh_fingerprint_is(const char *text, const uint8_t digest[SSH_FINGERPRINT_LEN])
{
	char want[SSH_FINGERPRINT_TEXT];
	struct span s = span_str(text);

	ssh_fingerprint_write(digest, want);
	return strip(&s) == 0 && CRYPTO_memcmp(s.p, want, 43) == 0;
}

int ssh_fingerprint_check(const char *text, struct fault *why)
{
	struct span s = span_str(text);
	bool good = strip(&s) == 0;

	for (size_t i = 0; good && i < s.n; i++)
		good = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		       (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '+' || s.p[i] == '/';
	if (good)
		return 0;
	return fault_set(
		why, ERR_USAGE,
		"the fingerprint must be the base64 of a SHA-256, 44 characters that end in '=' "
		"(MD5 fingerprints are not accepted)");
}
