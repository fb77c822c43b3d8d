/*
 * ssh2_connect -- an ssh2 connection from its first byte to its forwards: what
 * is offered, key exchange, the host key's judgement, authentication, listens.
 * Moves no bytes of channels (ssh2_channels.c) and owns no socket (ssh2.c).
 */
#include <stdio.h>

#include "lib/base/escape.h"
#include "lib/base/limits.h"
#include "lib/io/ssh2/ssh2_private.h"

/* What is offered, best first.  Left out on purpose: ChaCha20-Poly1305 and the
 * encrypt-then-MAC forms, whose packets can be dropped unseen where one side
 * lacks strict key exchange (CVE-2023-48795; libssh2 has it from 1.11.1);
 * AES-GCM, whose last block libssh2 1.11.0 and 1.11.1 decrypt with an unchecked
 * length before the host key is judged (CVE-2026-66033); CBC, SHA-1 and group
 * exchange.  libssh2 1.10 lacks RSA with SHA-2. */
static const struct {
	int method;
	const char *names[12];
} offers[] = {
	{ LIBSSH2_METHOD_KEX,
	  { "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
	    "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "ext-info-c",
	    "kex-strict-c-v00@openssh.com" } },
	{ LIBSSH2_METHOD_HOSTKEY,
	  { "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	    "rsa-sha2-512", "rsa-sha2-256" } },
	{ LIBSSH2_METHOD_CRYPT_CS, { "aes128-ctr", "aes192-ctr", "aes256-ctr" } },
	{ LIBSSH2_METHOD_CRYPT_SC, { "aes128-ctr", "aes192-ctr", "aes256-ctr" } },
	{ LIBSSH2_METHOD_MAC_CS, { "hmac-sha2-256", "hmac-sha2-512" } },
	{ LIBSSH2_METHOD_MAC_SC, { "hmac-sha2-256", "hmac-sha2-512" } },
	{ LIBSSH2_METHOD_COMP_CS, { "none" } },
	{ LIBSSH2_METHOD_COMP_SC, { "none" } },
};

/* ---- what is offered ---- */

static bool has_name(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Only what this libssh2 has: it strips the rest by copying a text over itself. */
static int offer(struct ssh2 *s, int method, const char *const *wanted)
{
	const char **have = NULL;
	char list[512];
	size_t at = 0;
	const int n = libssh2_session_supported_algs(s->session, method, &have);

	if (n < 0)
		return n;
	for (; *wanted; wanted++)
		if (has_name(have, n, *wanted))
			at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? "," : "",
					       *wanted);
	libssh2_free(s->session, (void *)have);
	must(at < sizeof(list));
	return at ? libssh2_session_method_pref(s->session, method, list)
		  : LIBSSH2_ERROR_METHOD_NOT_SUPPORTED;
}

int ssh2_prepare(struct ssh2 *s, struct fault *why)
{
	for (size_t i = 0; i < array_len(offers); i++) {
		const int rc = offer(s, offers[i].method, offers[i].names);

		if (rc < 0)
			return fault_set(
				why, rc == LIBSSH2_ERROR_ALLOC ? ERR_NOMEM : ERR_CRYPTO,
				"this libssh2 (%s) has none of the algorithms that are offered",
				libssh2_version(0));
	}
	return 0;
}

/* ---- key exchange ---- */

static int step_kex(struct ssh2 *s)
{
	const int rc = libssh2_session_handshake(s->session, sock_fd(s->end.sock));

	if (s->fault.code) /* of the gate */
		return s->fault.code;
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (rc == LIBSSH2_ERROR_KEX_FAILURE && !s->said_goodbye)
		return ssh2_fail(s, ERR_ALGO, "nothing in common with the SSH server to negotiate");
	if (rc == LIBSSH2_ERROR_BANNER_RECV && !s->memory.refused)
		return ssh2_fail(s, ERR_PROTO,
				 "the peer does not speak SSH: is this the port of an SSH server?");
	if (rc < 0)
		return ssh2_fail_library(s, rc, "SSH key exchange");
	const char *hash = libssh2_hostkey_hash(s->session, LIBSSH2_HOSTKEY_HASH_SHA256);
	if (!hash)
		return ssh2_fail(s, ERR_PROTO, "the SSH server showed no host key");
	if (!s->handler->on_host_key(s->user, (const uint8_t *)hash))
		return ssh2_fail(s, ERR_TRUST, "the server's host key is not the expected one");
	ssh2_enter(s, SSH2_AUTH);
	return 1;
}

/* ---- authentication ---- */

static void wipe(char **text)
{
	if (*text) {
		explicit_bzero(*text, strlen(*text));
		mem_free(&mem_heap, *text);
	}
	*text = NULL;
}

void ssh2_forget(struct ssh2 *s)
{
	wipe(&s->login);
	wipe(&s->password);
	wipe(&s->passphrase);
	if (s->key.p)
		explicit_bzero(s->key.p, s->key.cap);
	buf_fini(&s->key);
}

static int step_list(struct ssh2 *s)
{
	const char *list = libssh2_userauth_list(s->session, s->login, (unsigned)strlen(s->login));

	if (!list && libssh2_userauth_authenticated(s->session))
		return 1; /* nothing was asked for */
	if (!list) {
		const int rc = libssh2_session_last_errno(s->session);

		return rc == LIBSSH2_ERROR_EAGAIN ? 0
						  : ssh2_fail_library(s, rc, "SSH authentication");
	}
	escape_text(s->methods, sizeof(s->methods), span_str(list));
	s->has_key = strstr(list, "publickey") && buf_len(&s->key) > 1;
	s->has_password = strstr(list, "password") && s->password[0];
	s->has_kbd = strstr(list, "keyboard-interactive") && s->password[0];
	s->auth = SSH2_AUTH_KEY;
	return 2;
}

/* The password answers what is not to be shown. */
static void on_prompt(const char *name, int name_n, const char *instruction, int instruction_n,
		      int n, const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts,
		      LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses, void **abstract)
{
	struct ssh2 *s = *abstract;
	const size_t len = strlen(s->password);

	(void)name;
	(void)name_n;
	(void)instruction;
	(void)instruction_n;
	for (int i = 0; i < n; i++) {
		responses[i].text = prompts[i].echo ? NULL : ssh2_memory_take(&s->memory, len + 1);
		responses[i].length = responses[i].text ? (unsigned)len : 0;
		if (responses[i].text)
			memcpy(responses[i].text, s->password, len + 1);
	}
}

static int step_key(struct ssh2 *s)
{
	const struct mspan key = buf_bytes(&s->key);
	s->memory.plain = true;
	const int rc = libssh2_userauth_publickey_frommemory(s->session, s->login, strlen(s->login),
							     NULL, 0, (const char *)key.p,
							     key.n - 1, s->passphrase);
	s->memory.plain = false;

	/* It says "unverified" also where the server went away. */
	if (rc == 0 || rc == LIBSSH2_ERROR_EAGAIN || rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED ||
	    rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED || rc == LIBSSH2_ERROR_ALLOC ||
	    rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_RECV ||
	    rc == LIBSSH2_ERROR_SOCKET_SEND)
		return rc;
	return ssh2_fail(
		s, ERR_CONFIG,
		"the private key can't be used: a wrong passphrase, or no key of a kind that "
		"libssh2 reads");
}

static int refuse(struct ssh2 *s)
{
	char user[64];

	escape_text(user, sizeof(user), span_str(s->login));
	if (s->said_goodbye)
		return fault_set(&s->fault, ERR_AUTH, "the server refused our credentials: %s",
				 s->goodbye);
	return fault_set(&s->fault, ERR_AUTH,
			 "the server refused user \"%s\" with what we have (it takes: %s)", user,
			 s->methods);
}

static int step_auth(struct ssh2 *s)
{
	const unsigned n = (unsigned)strlen(s->login);
	int rc = LIBSSH2_ERROR_AUTHENTICATION_FAILED;

	switch (s->auth) {
	case SSH2_AUTH_LIST:
		return step_list(s);
	case SSH2_AUTH_KEY:
		if (s->has_key)
			rc = step_key(s);
		break;
	case SSH2_AUTH_PASSWORD:
		if (s->has_password)
			rc = libssh2_userauth_password_ex(s->session, s->login, n, s->password,
							  (unsigned)strlen(s->password), NULL);
		break;
	case SSH2_AUTH_KEYBOARD:
		if (s->has_kbd)
			rc = libssh2_userauth_keyboard_interactive_ex(s->session, s->login, n,
								      on_prompt);
		break;
	case SSH2_AUTH_END:
		return refuse(s);
	}
	if (s->fault.code)
		return s->fault.code;
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	if (rc == 0)
		return 1;
	if (s->said_goodbye)
		return refuse(s);
	if (rc != LIBSSH2_ERROR_AUTHENTICATION_FAILED && rc != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED &&
	    rc != LIBSSH2_ERROR_PASSWORD_EXPIRED)
		return ssh2_fail_library(s, rc, "SSH authentication");
	s->auth++;
	return 2;
}

/* ---- forwards ---- */

static int step_listen(struct ssh2 *s)
{
	const struct ssh2_listen *l = &s->listens[s->granted];

	if (s->granted == s->listens_n) {
		ssh2_enter(s, SSH2_READY);
		return 1;
	}
	s->listeners[s->granted] = libssh2_channel_forward_listen_ex(s->session, l->host, l->port,
								     NULL, LIMIT_SSH2_LISTEN_QUEUE);
	if (s->listeners[s->granted]) {
		s->granted++;
		return 2;
	}
	const int rc = libssh2_session_last_errno(s->session);
	if (rc == LIBSSH2_ERROR_EAGAIN)
		return 0;
	/* SSH has no words for why (RFC 4254, 7.1). */
	if (rc == LIBSSH2_ERROR_REQUEST_DENIED)
		return fault_set(
			&s->fault, ERR_LISTEN,
			"the server can't listen on %s port %u: in use there, or forwarding is not "
			"allowed",
			l->host, l->port);
	return ssh2_fail_library(s, rc, "asking for a forward");
}

int ssh2_connect(struct ssh2 *s)
{
	while (ssh2_lives(s)) {
		int rc = 0;

		if (s->phase == SSH2_KEX) {
			rc = step_kex(s);
		} else if (s->phase == SSH2_AUTH) {
			rc = step_auth(s);
			if (rc == 1) {
				ssh2_forget(s);
				ssh2_enter(s, SSH2_LISTENING);
			}
		} else if (s->phase == SSH2_LISTENING) {
			rc = step_listen(s);
		} else {
			return 1;
		}
		if (rc <= 0)
			return rc;
	}
	return 0;
}
