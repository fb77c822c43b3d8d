/*
 * ssh_fingerprint -- host key fingerprints as people write them: the base64 of a
 * SHA-256, as OpenSSH and chisel show it.  MD5 fingerprints are refused.
 */
#ifndef LIB_PROTO_SSH_SSH_FINGERPRINT_H
#define LIB_PROTO_SSH_SSH_FINGERPRINT_H

#include "lib/proto/ssh/ssh.h"

#define SSH_FINGERPRINT_TEXT 45 /* with padding and NUL */

void ssh_fingerprint_write(const uint8_t digest[SSH_FINGERPRINT_LEN],
			   char to[SSH_FINGERPRINT_TEXT]);
/* True when `text` (padded or not, "SHA256:" allowed) names this digest;
 * compared in constant time. */
bool ssh_fingerprint_is(const char *text, const uint8_t digest[SSH_FINGERPRINT_LEN]);
/* 0, or ERR_USAGE with the reason when text is no SHA-256 fingerprint. */
MUST_USE int ssh_fingerprint_check(const char *text, struct fault *why);

#endif
