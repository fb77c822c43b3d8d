/*
 * ssh_key -- the private key file for ssh:// gateways, and the file that holds
 * its passphrase.  Read once, before the sandbox closes.
 */
#ifndef TUNNEL_SIDECAR_SSH_KEY_H
#define TUNNEL_SIDECAR_SSH_KEY_H

#include <stddef.h>

#include "lib/base/fault.h"

#define SSH_KEY_TEXT_MAX       (32 * 1024)
#define SSH_KEY_PASSPHRASE_MAX 1024

struct ssh_key {
	char text[SSH_KEY_TEXT_MAX]; /* as in its file */
	size_t n;		     /* 0: there is none */
	char words[SSH_KEY_PASSPHRASE_MAX + 1];
	const char *passphrase; /* words, or NULL: none */
};

/* A NULL name is no file.  ERR_SYS, ERR_CONFIG (empty, too long, no key at all). */
MUST_USE int ssh_key_read(struct ssh_key *out, const char *key_file, const char *passphrase_file,
			  struct fault *why);
void ssh_key_wipe(struct ssh_key *k);

#endif
