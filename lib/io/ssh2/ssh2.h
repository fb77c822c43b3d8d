/*
 * ssh2 -- a connected socket that carries an SSH connection of libssh2's to a
 * plain SSH server: authenticates, asks for reverse forwards (tcpip-forward,
 * RFC 4254, 7.1) and carries their channels.
 *
 * libssh2 never sees the socket: it reads from the bytes that the loop
 * received and writes to a buffer that the loop sends, so no call of it
 * blocks.  What is not here: dialling, retries, who the channels are for; and
 * chisel, which libssh2 can't speak (lib/io/chisel_conn.h carries that).
 *
 * What libssh2 decides by itself, and why it matters:
 *  - a forwarded-tcpip channel is confirmed when it arrives, so that refusing
 *    one means closing it; one for an address that was not asked for is refused
 *    and we are not told;
 *  - a channel's window is 2 MiB, and can't be made smaller.  So the memory of
 *    a connection is bounded as a whole (memory_max, held_max), and where slow
 *    readers fill half of it the channel that holds most is cut;
 *  - a key re-exchange happens only when the server starts it.
 */
#ifndef LIB_IO_SSH2_SSH2_H
#define LIB_IO_SSH2_SSH2_H

#include "lib/io/channels.h"
#include "lib/io/loop/loop.h"
#include "lib/proto/proxy.h"

#define SSH2_LISTENS_MAX 512
#define SSH2_KEY_MAX	 (64 * 1024) /* bytes of a private key file */

struct ssh2;

enum ssh2_phase { SSH2_PROXY, SSH2_KEX, SSH2_AUTH, SSH2_LISTENING, SSH2_READY };

struct ssh2_handler {
	/* The host key's SHA-256: false refuses it (ERR_TRUST). */
	bool (*on_host_key)(void *user, const uint8_t fingerprint[SSH_FINGERPRINT_LEN]);
	void (*on_phase)(void *user, enum ssh2_phase phase);
	/* CHANNEL_OPEN (tag: index of the listen), _DATA, _WRITABLE, _EOF, _CLOSED
	 * for ssh2_channels(), and GLOBAL_REPLY for ssh2_ping(). */
	void (*on_event)(void *user, const struct ssh_event *ev);
	/* A channel goes: its reader is too far behind, and memory is short.  What was
	 * handed out of it may not be given back any more. */
	void (*on_cut)(void *user, uint32_t channel, size_t unread);
	/* The connection is lost and why; called once.  After it only ssh2_close()
	 * or ssh2_shutdown(). */
	void (*on_lost)(void *user, const struct fault *why);
	/* After ssh2_close() or ssh2_shutdown(): all is gone.  The last call. */
	void (*on_gone)(void *user);
};

struct ssh2_listen {
	const char *host;
	uint16_t port;
};

struct ssh2_options {
	const struct proxy_options *proxy; /* NULL: directly */
	/* Copied, and wiped once they were used. */
	const char *user, *password; /* password "": none */
	struct span key;	     /* private key, as in its file; n = 0: none */
	const char *passphrase;	     /* of the key; NULL: none */
	/* The hosts stay the caller's for the life of the connection. */
	const struct ssh2_listen *listens;
	size_t listens_n;
	uint32_t channels_max;
	size_t tx_max; /* sealed bytes that may wait */
	/* Of what comes: how much libssh2 may hold, LIMIT_SSH2_MEMORY at most; and how
	 * much may be handed out and not be taken yet, beyond one read of each channel. */
	size_t memory_max, held_max;
};

/* Takes fd in success and failure.  ERR_NOMEM, ERR_SYS, ERR_USAGE. */
MUST_USE int ssh2_new(struct ssh2 **out, struct loop *l, int fd, const struct ssh2_options *options,
		      const struct ssh2_handler *handler, void *user, struct fault *why);
/* To be called after driving the channels: moves what can move. */
void ssh2_flush(struct ssh2 *s);
/* Ends at once.  Only on_gone follows. */
void ssh2_close(struct ssh2 *s);
/* Disconnects and ends when the peer has closed too, or after a second. */
void ssh2_shutdown(struct ssh2 *s, enum ssh_disconnect_reason reason, const char *text);

/* Asks for an answer: a channel of a type that no server has, which RFC 4254,
 * 5.1 makes it refuse.  (libssh2's keepalive never takes the answer out of its
 * queue.)  GLOBAL_REPLY with tag follows.  ERR_FULL: one is under way. */
MUST_USE int ssh2_ping(struct ssh2 *s, uint64_t tag);

/* Gives the listens back (RFC 4254, 7.1: cancel-tcpip-forward); channels that are open go
 * on.  Moves with the next ssh2_flush(). */
void ssh2_unlisten(struct ssh2 *s);

struct channels ssh2_channels(struct ssh2 *s);
/* What the server did without any use, as far as libssh2 tells: IGNORE and DEBUG.
 * Over the budget (LIMIT_GLITCHES) the connection ends with ERR_LIMIT. */
const struct glitches *ssh2_glitches(const struct ssh2 *s);
uint64_t ssh2_heard_ns(const struct ssh2 *s); /* loop_now() of the last byte received */
/* What was negotiated; "" before. */
struct ssh2_names {
	const char *kex, *host_key, *cipher;
};
struct ssh2_names ssh2_names(struct ssh2 *s);

#endif
