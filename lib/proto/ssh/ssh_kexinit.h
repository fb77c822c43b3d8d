/*
 * ssh_kexinit -- which algorithms both sides will use (RFC 4253, 7.1), and
 * whether key exchange is strict (OpenSSH PROTOCOL, 1.9; CVE-2023-48795).
 *
 * Pure: a KEXINIT payload is written from an offer, and read against it.
 */
#ifndef LIB_PROTO_SSH_SSH_KEXINIT_H
#define LIB_PROTO_SSH_SSH_KEXINIT_H

#include "lib/proto/ssh/ssh_cipher.h"
#include "lib/proto/ssh/ssh_hostkey.h"
#include "lib/proto/ssh/ssh_kex.h"
#include "lib/proto/ssh/ssh_wire.h"

enum { SSH_KEXINIT_COOKIE = 16, SSH_KEXINIT_MAX = 4096 /* of what we write */ };

struct ssh_offer {
	const char *kex, *host_keys, *ciphers; /* comma separated */
	bool is_server;
	bool strict_marker; /* say that we can be strict: first exchange only */
	bool strict;	    /* strict was agreed in the first exchange */
};

struct ssh_agreed {
	const struct ssh_kex_kind *kex;
	const struct ssh_hostkey_kind *host_key;
	const struct ssh_cipher_kind *to_server, *to_client;
	bool strict;	 /* the peer said so and so did we */
	bool skip_guess; /* the peer's guessed packet comes next and is wrong */
};

void ssh_kexinit_write(struct ssh_writer *w, const struct ssh_offer *mine,
		       const uint8_t cookie[SSH_KEXINIT_COOKIE]);
/* ERR_PROTO, or ERR_ALGO with what the peer offers. */
MUST_USE int ssh_kexinit_read(struct ssh_agreed *out, const struct ssh_offer *mine,
			      struct span payload, struct fault *why);
/* Does the peer's KEXINIT say that it can be strict? */
bool ssh_kexinit_is_strict(struct span payload, bool from_server);

#endif
