/*
 * ssh2_gate -- reads along in an SSH server's first, unencrypted packets and
 * stops them when the host key is not the expected one.  It parses nothing
 * behind NEWKEYS and changes no byte.
 */
#include "lib/io/ssh2/ssh2_gate.h"

#include <string.h>

#include <openssl/evp.h>

enum {
	HEAD = 6,	    /* packet length, padding length, type */
	IDENT_MAX = 255,    /* with its end: RFC 4253, 4.2 */
	PACKET_MAX = 35000, /* RFC 4253, 6.1 */
	MSG_DISCONNECT = 1, /* and up to MSG_DEBUG */
	MSG_DEBUG = 4,
	MSG_KEXINIT = 20,
	MSG_NEWKEYS = 21,
	MSG_ECDH_REPLY = 31,
};

/* Adds bytes of `in` to the head until it has `want`; true once it has. */
static bool gather(struct ssh2_gate *g, struct span *in, size_t want)
{
	while (g->head_n < want && in->n) {
		g->head[g->head_n++] = in->p[0];
		*in = span_of(in->p + 1, in->n - 1);
	}
	return g->head_n == want;
}

static void skip(struct ssh2_gate *g, struct span *in, size_t n)
{
	*in = span_of(in->p + n, in->n - n);
	g->left -= n;
}

/* A line's first four bytes say whether it is the identification (RFC 4253, 4.2).  libssh2 must
 * see the same lines: it ends one where its buffer of 256 bytes (8192 in 1.11) is full, takes what
 * follows for packets, and from 1.11 on passes over a carriage return in front of a line. */
static int read_ident(struct ssh2_gate *g, struct span *in, struct fault *why)
{
	const uint8_t c = in->p[0];

	if (++g->line_n > IDENT_MAX || c == '\0' || (g->is_return && c != '\n'))
		return fault_set(
			why, ERR_PROTO,
			"the peer sent no line of an SSH server: is this the port of one?");
	*in = span_of(in->p + 1, in->n - 1);
	g->is_return = c == '\r';
	if (c == '\n') {
		if (g->head_n == 4 && memcmp(g->head, "SSH-", 4) == 0)
			g->state = SSH2_GATE_HEAD;
		g->head_n = g->line_n = 0;
	} else if (g->head_n < 4) {
		g->head[g->head_n++] = c;
	}
	return 0;
}

/* In a first key exchange (RFC 4253, 7.1).  Requests, channels and answers to a login are
 * messages that libssh2 would act on, or keep for later, before anybody has proved itself. */
static bool has_place(uint8_t type)
{
	return (type >= MSG_DISCONNECT && type <= MSG_DEBUG) || type == MSG_KEXINIT ||
	       type == MSG_NEWKEYS || type == MSG_ECDH_REPLY;
}

static int read_head(struct ssh2_gate *g, struct span *in, struct fault *why)
{
	if (!gather(g, in, HEAD))
		return 0;
	const size_t length = (size_t)get_be(g->head, 4);

	g->head_n = 0;
	if (length < 2 || length > PACKET_MAX)
		return fault_set(why, ERR_PROTO, "the SSH server sent a packet of %zu bytes",
				 length);
	if (!has_place(g->head[5]))
		return fault_set(why, ERR_PROTO,
				 "the SSH server sent a message of type %u before its keys",
				 g->head[5]);
	g->left = length - 2;
	g->state = SSH2_GATE_REST;
	/* Each reply: the client may skip the first one (RFC 4253, 7: a wrong guess). */
	if (g->head[5] == MSG_ECDH_REPLY)
		g->state = SSH2_GATE_LENGTH;
	if (g->head[5] != MSG_NEWKEYS)
		return 0;
	if (!g->trusted)
		return fault_set(why, ERR_TRUST,
				 "the SSH server takes keys into use without a host key");
	g->state = SSH2_GATE_OPEN;
	return 0;
}

static int read_length(struct ssh2_gate *g, struct span *in, struct fault *why)
{
	if (g->left < 4)
		return fault_set(why, ERR_PROTO, "the SSH server's key exchange is cut short");
	if (!gather(g, in, 4))
		return 0;
	g->left -= 4;
	g->head_n = 0;
	g->key_n = (size_t)get_be(g->head, 4);
	g->key_at = 0;
	if (g->key_n > g->left || g->key_n > sizeof(g->key))
		return fault_set(why, ERR_PROTO, "the SSH server's host key has %zu bytes",
				 g->key_n);
	g->state = SSH2_GATE_KEY;
	return 0;
}

static int read_key(struct ssh2_gate *g, struct span *in, ssh2_gate_trust_fn *trust, void *user,
		    struct fault *why)
{
	const size_t n = min_size(in->n, g->key_n - g->key_at);
	uint8_t hash[32];

	memcpy(g->key + g->key_at, in->p, n);
	g->key_at += n;
	skip(g, in, n);
	if (g->key_at < g->key_n)
		return 0;
	if (EVP_Digest(g->key, g->key_n, hash, NULL, EVP_sha256(), NULL) != 1)
		return fault_set(why, ERR_CRYPTO, "SHA-256 of the host key failed");
	if (!trust(user, hash))
		return fault_set(why, ERR_TRUST, "the server's host key is not the expected one");
	g->trusted = true;
	g->state = SSH2_GATE_REST;
	return 0;
}

static void read_rest(struct ssh2_gate *g, struct span *in)
{
	skip(g, in, min_size(in->n, g->left));
	if (!g->left)
		g->state = SSH2_GATE_HEAD;
}

static int step(struct ssh2_gate *g, struct span *in, ssh2_gate_trust_fn *trust, void *user,
		struct fault *why)
{
	switch (g->state) {
	case SSH2_GATE_IDENT:
		return read_ident(g, in, why);
	case SSH2_GATE_HEAD:
		return read_head(g, in, why);
	case SSH2_GATE_LENGTH:
		return read_length(g, in, why);
	case SSH2_GATE_KEY:
		return read_key(g, in, trust, user, why);
	case SSH2_GATE_REST:
		read_rest(g, in);
		return 0;
	case SSH2_GATE_OPEN:
		break;
	}
	*in = span_of(in->p + in->n, 0);
	return 0;
}

int ssh2_gate_feed(struct ssh2_gate *g, struct span in, ssh2_gate_trust_fn *trust, void *user,
		   struct fault *why)
{
	const size_t n = in.n;

	while (in.n) {
		const int rc = step(g, &in, trust, user, why);

		if (rc < 0)
			return rc;
	}
	return (int)n;
}
