/*
 * ssh2_private -- what ssh2.c (socket, life), ssh2_connect.c (up to the last
 * forward that was asked for) and ssh2_channels.c (from then on) share.  For
 * nobody else.
 */
#ifndef LIB_IO_SSH2_SSH2_PRIVATE_H
#define LIB_IO_SSH2_SSH2_PRIVATE_H

#include "lib/base/buf.h"
#include "lib/io/conn_end.h"
#include "lib/io/ssh2/ssh2.h"
#include "lib/io/ssh2/ssh2_gate.h"
#include "lib/io/ssh2/ssh2_memory.h"

#include <libssh2.h> /* last: its macros have the names of our enumerators, and their values */

/* The ways to authenticate, in the order in which they are tried. */
enum ssh2_auth {
	SSH2_AUTH_LIST,
	SSH2_AUTH_KEY,
	SSH2_AUTH_PASSWORD,
	SSH2_AUTH_KEYBOARD,
	SSH2_AUTH_END
};

struct ssh2_slot {
	LIBSSH2_CHANNEL *channel; /* NULL: free */
	void *user;
	size_t held; /* handed out, credit not yet given back */
	bool accepted;
	bool want;		/* CHANNEL_WRITABLE is owed */
	bool eof_told;		/* the peer's end of file was handed out */
	bool eof_due, eof_sent; /* ours */
	bool closing;		/* libssh2_channel_free() is under way */
	bool told;		/* CHANNEL_CLOSED was handed out already */
};

struct ssh2 {
	struct loop *loop;
	struct conn_end end;
	const struct ssh2_handler *handler;
	void *user;
	struct timer timer;
	struct proxy *proxy;
	size_t proxy_flight; /* bytes of proxy_pending() that are with the kernel */

	LIBSSH2_SESSION *session;
	struct ssh2_memory memory;
	enum ssh2_phase phase;
	struct mspan rx;       /* the loop's bytes that libssh2 has not read yet */
	struct buf tx, flight; /* waiting, and with the kernel */
	size_t tx_max;
	struct ssh2_gate gate; /* nothing passes to libssh2 before the host key is judged */
	size_t heard;	       /* bytes received before the authentication was done */
	uint64_t heard_ns;

	/* connecting */
	char *login, *password, *passphrase;
	struct buf key; /* with a NUL behind it: libssh2 looks for one when it signs */
	enum ssh2_auth auth;
	bool has_kbd;		    /* the server takes keyboard-interactive */
	bool has_key, has_password; /* … and these */
	char methods[128];	    /* what it takes, for the sentence */
	struct ssh2_listen listens[SSH2_LISTENS_MAX];
	LIBSSH2_LISTENER *listeners[SSH2_LISTENS_MAX];
	size_t listens_n, granted;

	/* serving */
	struct ssh2_slot *slots;
	uint32_t slots_n;
	size_t held, held_max; /* of all slots */
	bool unlistening;
	bool pinging;
	uint64_t ping_tag;
	LIBSSH2_CHANNEL *stray; /* a server opened our ping's channel: to be freed */
	struct glitches glitches;

	char goodbye[160]; /* the server's DISCONNECT, escaped */
	bool said_goodbye;
	struct fault fault; /* found in a call of the owner's: told from the loop */
	bool pumping;
	bool dead; /* libssh2's reads and writes fail from now on */
};

/* Whether events may still be handed out. */
static inline bool ssh2_lives(const struct ssh2 *s)
{
	return conn_end_is_open(&s->end);
}

/* Notes the failure; the loop tells the owner.  Returns the code. */
int ssh2_fail(struct ssh2 *s, enum err code, const char *what);
/* The same for what libssh2 said last. */
int ssh2_fail_library(struct ssh2 *s, int code, const char *what);
void ssh2_enter(struct ssh2 *s, enum ssh2_phase phase);

/* ssh2_connect.c: sets the session up; wipes what was for logging in. */
MUST_USE int ssh2_prepare(struct ssh2 *s, struct fault *why);
void ssh2_forget(struct ssh2 *s);
/* Goes on until it must wait for bytes: 0; 1 once READY; < 0 after ssh2_fail(). */
MUST_USE int ssh2_connect(struct ssh2 *s);

/* ssh2_channels.c: hands out all that has come, until there is no more. */
void ssh2_serve(struct ssh2 *s);

#endif
