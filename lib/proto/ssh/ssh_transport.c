/*
 * The transport of one SSH connection (RFC 4253): identification lines, key
 * exchange with its rules of order, and the messages below number 50.
 */
#include <openssl/crypto.h>

#include "lib/proto/ssh/ssh_engine.h"

static bool is_server(const struct ssh *s)
{
	return s->config.role == SSH_SERVER;
}

/* --- identification --- */

static bool may_wait_for_peer(const struct ssh *s)
{
	struct span list = span_str(s->config.ciphers), first;

	return !is_server(s) && ssh_list_next(&list, &first) &&
	       ssh_cipher_find(first)->needs_strict;
}

static int send_kexinit(struct ssh *s)
{
	uint8_t cookie[SSH_KEXINIT_COOKIE], bytes[SSH_KEXINIT_MAX];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));

	s->config.random(s->config.random_ctx, cookie, sizeof(cookie));
	ssh_kexinit_write(&w, &s->offer, cookie);
	must(!w.full); /* ssh_new has looked at the lists */
	s->kex.init = mem_alloc(s->config.mem, w.n);
	if (!s->kex.init)
		return fault_set(&s->fault, ERR_NOMEM, "no memory for a key exchange");
	memcpy(s->kex.init, w.p, w.n);
	s->kex.init_n = w.n;
	s->kex.stage = SSH_KEX_SENT;
	s->kex.deadline = 0;
	return ssh_send_now(s, ssh_written(&w), (struct span){ 0 });
}

int ssh_transport_start(struct ssh *s)
{
	uint8_t line[SSH_IDENT_MAX];
	struct ssh_writer w = ssh_writer_of(line, sizeof(line));

	ssh_put_bytes(&w, span_str(s->config.version));
	ssh_put_bytes(&w, span_str("\r\n"));
	s->config.random(s->config.random_ctx, s->tx.pad, sizeof(s->tx.pad));
	if (ssh_tx_raw(&s->tx, ssh_written(&w)) < 0)
		return fault_set(&s->fault, ERR_NOMEM, "no memory for an SSH connection");
	/* A client that prefers chacha20 first hears whether the server can be
	 * strict: without that, chacha20 is not to be offered. */
	return may_wait_for_peer(s) ? 0 : send_kexinit(s);
}

void ssh_transport_fini(struct ssh *s)
{
	struct ssh_exchange *x = &s->kex;

	ssh_ecdh_fini(&x->ecdh);
	(void)ssh_hash_fini(&x->hash, NULL);
	ssh_cipher_fini(&x->rx);
	ssh_cipher_fini(&x->tx);
	mem_free(s->config.mem, x->init);
	x->init = NULL;
}

static int take_ident(struct ssh *s, struct span line)
{
	const bool any = s->config.any_version;
	char text[80];

	if (memchr(line.p, '\0', line.n))
		return fault_set(&s->fault, ERR_PROTO, "the peer's identification has a NUL");
	/* RFC 4253, 5.1: 1.99 is a server that also speaks the old protocol */
	if (!any && !(line.n >= 8 && memcmp(line.p, "SSH-2.0-", 8) == 0) &&
	    !(line.n >= 9 && memcmp(line.p, "SSH-1.99-", 9) == 0))
		return fault_set(&s->fault, ERR_PROTO, "the peer speaks %s, not SSH 2.0",
				 ssh_text(text, sizeof(text), line));
	if (any && !memchr(line.p + 4, '-', line.n - 4))
		return fault_set(&s->fault, ERR_PROTO, "the peer's identification is malformed");
	memcpy(s->ident, line.p, line.n);
	s->ident_n = line.n;
	ssh_text(s->names.peer_version, sizeof(s->names.peer_version), line);
	s->phase = SSH_PHASE_KEX;
	return 0;
}

/* One line without its end.  Others than SSH-... may come from a server. */
static int take_line(struct ssh *s, struct span line)
{
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	if (line.n >= 4 && memcmp(line.p, "SSH-", 4) == 0)
		return take_ident(s, line);
	if (++s->lines > LIMIT_SSH_BANNER_LINES)
		return fault_set(&s->fault, ERR_LIMIT, "the server talks before it says SSH");
	return 0;
}

int ssh_transport_ident(struct ssh *s, const uint8_t *in, size_t n)
{
	const uint8_t *end = memchr(in, '\n', n);
	const size_t took = end ? (size_t)(end - in) + 1 : n;
	int rc = buf_append(&s->line, in, took);

	s->line_bytes += took;
	if (rc == ERR_LIMIT || s->line_bytes > LIMIT_SSH_BANNER)
		return fault_set(&s->fault, ERR_LIMIT, "the server talks before it says SSH");
	if (rc < 0)
		return fault_set(&s->fault, rc, "no memory for an identification line");
	const struct mspan line = buf_bytes(&s->line);
	const bool is_ident = memcmp(line.p, "SSH-", min_size(line.n, 4)) == 0;
	if (is_ident && line.n > SSH_IDENT_MAX)
		return fault_set(&s->fault, ERR_PROTO, "the peer's identification has no end");
	if (!is_ident && is_server(s))
		return fault_set(&s->fault, ERR_PROTO, "the peer does not speak SSH");
	if (!end)
		return (int)took;
	rc = take_line(s, span_of(line.p, line.n - 1));
	buf_consume(&s->line, line.n);
	return rc < 0 ? rc : (int)took;
}

/* --- key exchange --- */

int ssh_transport_rekey(struct ssh *s)
{
	return s->kex.stage == SSH_KEX_NONE ? send_kexinit(s) : 0;
}

int ssh_transport_rekey_if_due(struct ssh *s)
{
	if (s->phase != SSH_PHASE_OPEN || s->kex.stage != SSH_KEX_NONE || !ssh_is_live(s))
		return 0;
	const uint64_t set = s->config.rekey_bytes;
	const uint64_t tx_max = set ? set : s->tx.cipher.kind->rekey_bytes;
	const uint64_t rx_max = set ? set : s->rx.cipher.kind->rekey_bytes;
	const bool worn = s->tx.bytes >= tx_max || s->rx.bytes >= rx_max ||
			  s->tx.packets >= s->config.rekey_packets ||
			  s->rx.packets >= s->config.rekey_packets;

	return worn ? send_kexinit(s) : 0;
}

/* The hash of an exchange starts with what both have said so far. */
static void start_hash(struct ssh *s, struct span peer_init)
{
	struct ssh_exchange *x = &s->kex;
	const struct span ours = span_str(s->config.version);
	const struct span theirs = span_of(s->ident, s->ident_n);
	const struct span init = span_of(x->init, x->init_n);
	const bool server = is_server(s);

	ssh_hash_init(&x->hash);
	ssh_hash_string(&x->hash, server ? theirs : ours);
	ssh_hash_string(&x->hash, server ? ours : theirs);
	ssh_hash_string(&x->hash, server ? peer_init : init);
	ssh_hash_string(&x->hash, server ? init : peer_init);
	mem_free(s->config.mem, x->init);
	x->init = NULL;
}

static int make_ecdh(struct ssh *s)
{
	if (ssh_ecdh_init(&s->kex.ecdh, s->kex.agreed.kex, s->config.random, s->config.random_ctx) <
	    0)
		return fault_set(&s->fault, ERR_CRYPTO, "cannot make a key for the exchange");
	return 0;
}

static int send_ecdh_init(struct ssh *s)
{
	uint8_t bytes[8 + SSH_ECDH_PUBLIC_MAX];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	const int rc = make_ecdh(s);

	if (rc < 0)
		return rc;
	ssh_put_u8(&w, SSH_MSG_KEX_ECDH_INIT);
	ssh_put_string(&w, span_of(s->kex.ecdh.public, s->kex.ecdh.public_n));
	return ssh_send_now(s, ssh_written(&w), (struct span){ 0 });
}

/* A list without the ciphers that need strict key exchange, in place. */
static void drop_strict_ciphers(struct ssh *s)
{
	char *to = s->strings + (s->config.ciphers - s->strings);
	char *const list = to;
	struct span rest = span_str(list), name;

	while (ssh_list_next(&rest, &name)) {
		if (ssh_cipher_find(name)->needs_strict)
			continue;
		if (to > list)
			*to++ = ',';
		memmove(to, name.p, name.n);
		to += name.n;
	}
	*to = '\0';
}

/* Our KEXINIT answers the peer's when it is not out already. */
static int answer_kexinit(struct ssh *s, struct span peer)
{
	if (s->kex.stage == SSH_KEX_SENT)
		return 0;
	const bool strict = s->kex.strict ||
			    (s->offer.strict_marker && ssh_kexinit_is_strict(peer, !is_server(s)));
	if (!s->kex.keyed && !strict)
		drop_strict_ciphers(s);
	if (!*s->config.ciphers)
		return fault_set(&s->fault, ERR_ALGO,
				 "chacha20-poly1305 needs strict key exchange, which the peer "
				 "does not do");
	return send_kexinit(s);
}

static int on_kexinit(struct ssh *s, struct mspan packet)
{
	struct ssh_exchange *x = &s->kex;
	const struct span peer = span_of(packet.p, packet.n);

	if (x->stage > SSH_KEX_SENT)
		return fault_set(&s->fault, ERR_PROTO, "KEXINIT within a key exchange");
	/* Both directions count: a peer re-keys for what we sent, too. */
	const bool idle = x->keyed && x->stage == SSH_KEX_NONE &&
			  s->rx.bytes + s->tx.bytes < LIMIT_REKEY_BYTES;
	if (idle && ssh_glitch(s, GLITCH_IDLE_REKEY, LIMIT_IDLE_REKEY_COST) < 0)
		return s->fault.code;
	int rc = answer_kexinit(s, peer);
	if (rc == 0)
		rc = ssh_kexinit_read(&x->agreed, &s->offer, peer, &s->fault);
	if (rc < 0)
		return rc;
	if (!x->keyed)
		x->strict = s->offer.strict = s->names.strict = x->agreed.strict;
	/* Strict: nothing may have come before it, or numbers can be shifted. */
	if (!x->keyed && x->strict && s->rx.seq != 1)
		return fault_set(&s->fault, ERR_PROTO, "strict key exchange: %u packets came first",
				 (unsigned)s->rx.seq - 1);
	s->names.kex = x->agreed.kex->name;
	s->names.host_key = x->agreed.host_key->name;
	s->names.cipher = x->agreed.to_server->name;
	s->offer.strict_marker = false;
	start_hash(s, peer);
	x->stage = SSH_KEX_METHOD;
	return is_server(s) ? 0 : send_ecdh_init(s);
}

/* The four keys of RFC 4253, 7.2, into ciphers that wait for NEWKEYS. */
static int make_ciphers(struct ssh *s, struct span secret, const uint8_t hash[SSH_HASH_LEN])
{
	struct ssh_exchange *x = &s->kex;
	uint8_t key[SSH_CIPHER_KEY_MAX], iv[SSH_CIPHER_IV_LEN];
	int rc = 0;

	if (!x->keyed)
		memcpy(x->session_id, hash, SSH_HASH_LEN);
	for (int to_client = 0; to_client < 2 && rc == 0; to_client++) {
		const bool seal = is_server(s) == (to_client == 1);
		const struct ssh_cipher_kind *kind =
			to_client ? x->agreed.to_client : x->agreed.to_server;
		rc = ssh_kex_derive(secret, hash, to_client ? 'B' : 'A', x->session_id, iv,
				    sizeof(iv));
		if (rc == 0)
			rc = ssh_kex_derive(secret, hash, to_client ? 'D' : 'C', x->session_id, key,
					    kind->key_len);
		if (rc == 0)
			rc = ssh_cipher_init(seal ? &x->tx : &x->rx, kind, key, iv, seal);
	}
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(iv, sizeof(iv));
	return rc < 0 ? fault_set(&s->fault, ERR_CRYPTO, "cannot make keys") : 0;
}

/* Agrees on the secret and ends the hash. */
static int conclude(struct ssh *s, struct span host_key, struct span peer_public,
		    uint8_t hash[SSH_HASH_LEN])
{
	struct ssh_exchange *x = &s->kex;
	const struct span mine = span_of(x->ecdh.public, x->ecdh.public_n);
	uint8_t secret[SSH_SECRET_LEN];
	int rc = ssh_ecdh_agree(&x->ecdh, peer_public, secret);

	if (rc < 0)
		return fault_set(&s->fault, (enum err)rc, "the peer's %s value is not valid",
				 x->agreed.kex->name);
	ssh_hash_string(&x->hash, host_key);
	ssh_hash_string(&x->hash, is_server(s) ? peer_public : mine);
	ssh_hash_string(&x->hash, is_server(s) ? mine : peer_public);
	ssh_hash_mpint(&x->hash, span_of(secret, sizeof(secret)));
	if (ssh_hash_fini(&x->hash, hash) < 0)
		rc = fault_set(&s->fault, ERR_CRYPTO, "cannot hash the key exchange");
	else
		rc = make_ciphers(s, span_of(secret, sizeof(secret)), hash);
	OPENSSL_cleanse(secret, sizeof(secret));
	ssh_ecdh_fini(&x->ecdh);
	return rc;
}

static int send_newkeys(struct ssh *s)
{
	const uint8_t type = SSH_MSG_NEWKEYS;
	const int rc = ssh_send_now(s, span_of(&type, 1), (struct span){ 0 });

	if (rc < 0)
		return rc;
	ssh_tx_rekey(&s->tx, &s->kex.tx, s->kex.strict);
	s->config.random(s->config.random_ctx, s->tx.pad, sizeof(s->tx.pad));
	s->kex.stage = SSH_KEX_NEWKEYS;
	return ssh_send_held(s);
}

static EVP_PKEY *key_for(const struct ssh *s)
{
	for (size_t i = 0; i < s->config.host_keys_n; i++)
		if (ssh_hostkey_fits(s->kex.agreed.host_key, s->config.host_keys[i]))
			return s->config.host_keys[i];
	return NULL;
}

/* Server: the client's half has come; answer with ours and the signature. */
static int on_ecdh_init(struct ssh *s, struct mspan packet)
{
	struct ssh_reader r = ssh_reader_of(span_of(packet.p + 1, packet.n - 1));
	const struct span theirs = ssh_get_string(&r);
	uint8_t blob[SSH_HOSTKEY_BLOB_MAX], signature[SSH_SIGNATURE_MAX], hash[SSH_HASH_LEN];
	uint8_t bytes[sizeof(blob) + sizeof(signature) + SSH_ECDH_PUBLIC_MAX + 32];
	uint8_t mine[SSH_ECDH_PUBLIC_MAX];
	struct ssh_writer b = ssh_writer_of(blob, sizeof(blob));
	struct ssh_writer g = ssh_writer_of(signature, sizeof(signature));
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	EVP_PKEY *key = key_for(s);

	if (r.bad || r.n)
		return ssh_malformed(s, "ECDH_INIT");
	int rc = make_ecdh(s);
	if (rc < 0)
		return rc;
	const size_t mine_n = s->kex.ecdh.public_n;
	memcpy(mine, s->kex.ecdh.public, mine_n);
	/* It fitted when it was offered; to look again takes memory of OpenSSL. */
	if (!key || ssh_hostkey_blob(s->kex.agreed.host_key, key, &b) < 0)
		return fault_set(&s->fault, ERR_CRYPTO, "cannot write the host key");
	if ((rc = conclude(s, ssh_written(&b), theirs, hash)) < 0)
		return rc;
	if (ssh_hostkey_sign(s->kex.agreed.host_key, key, span_of(hash, sizeof(hash)), &g) < 0)
		return fault_set(&s->fault, ERR_CRYPTO, "cannot sign with the host key");
	ssh_put_u8(&w, SSH_MSG_KEX_ECDH_REPLY);
	ssh_put_string(&w, ssh_written(&b));
	ssh_put_string(&w, span_of(mine, mine_n));
	ssh_put_string(&w, ssh_written(&g));
	must(!w.full);
	rc = ssh_send_now(s, ssh_written(&w), (struct span){ 0 });
	return rc < 0 ? rc : send_newkeys(s);
}

/* Client: is it the key of the first exchange, or else one to be trusted? */
static int judge_host_key(struct ssh *s, struct mspan packet, struct span blob)
{
	uint8_t print[SSH_FINGERPRINT_LEN];

	if (ssh_sha256(blob, print) < 0)
		return fault_set(&s->fault, ERR_CRYPTO, "cannot hash the host key");
	if (s->kex.keyed) {
		if (memcmp(print, s->kex.host_key_print, sizeof(print)) != 0)
			return fault_set(&s->fault, ERR_TRUST,
					 "the server changed its host key in a re-exchange");
		return send_newkeys(s);
	}
	memcpy(s->kex.host_key_print, print, sizeof(print));
	s->slot = (struct ssh_event){ .kind = SSH_EVENT_HOST_KEY };
	const struct mspan at = ssh_part(packet, blob);
	s->slot.host_key = span_of(at.p, at.n);
	s->slot.name = span_str(s->kex.agreed.host_key->name);
	memcpy(s->slot.fingerprint, print, sizeof(print));
	s->kex.stage = SSH_KEX_TRUST;
	return 0;
}

static int on_ecdh_reply(struct ssh *s, struct mspan packet)
{
	struct ssh_reader r = ssh_reader_of(span_of(packet.p + 1, packet.n - 1));
	const struct span blob = ssh_get_string(&r), theirs = ssh_get_string(&r);
	const struct span signature = ssh_get_string(&r);
	uint8_t hash[SSH_HASH_LEN];

	if (r.bad || r.n)
		return ssh_malformed(s, "ECDH_REPLY");
	int rc = conclude(s, blob, theirs, hash);
	if (rc == 0)
		rc = ssh_hostkey_verify(s->kex.agreed.host_key, blob, span_of(hash, sizeof(hash)),
					signature, &s->fault);
	return rc < 0 ? rc : judge_host_key(s, packet, blob);
}

int ssh_transport_trust(struct ssh *s, bool trusted)
{
	if (s->kex.stage != SSH_KEX_TRUST)
		return 0;
	if (!trusted)
		return fault_set(&s->fault, ERR_TRUST, "server's host key of type %s not accepted",
				 s->kex.agreed.host_key->name);
	return send_newkeys(s);
}

static int on_method(struct ssh *s, uint8_t type, struct mspan packet)
{
	if (s->kex.stage != SSH_KEX_METHOD)
		return fault_set(&s->fault, ERR_PROTO, "message %u outside a key exchange", type);
	if (s->kex.agreed.skip_guess) { /* RFC 4253, 7: a wrong guess is ignored */
		s->kex.agreed.skip_guess = false;
		return 0;
	}
	if (is_server(s) && type == SSH_MSG_KEX_ECDH_INIT)
		return on_ecdh_init(s, packet);
	if (!is_server(s) && type == SSH_MSG_KEX_ECDH_REPLY)
		return on_ecdh_reply(s, packet);
	return fault_set(&s->fault, ERR_PROTO, "message %u in an ECDH key exchange", type);
}

static int on_newkeys(struct ssh *s, struct mspan packet)
{
	struct ssh_exchange *x = &s->kex;
	const bool first = !x->keyed;

	if (packet.n != 1 || x->stage != SSH_KEX_NEWKEYS)
		return fault_set(&s->fault, ERR_PROTO, "NEWKEYS out of place");
	ssh_rx_rekey(&s->rx, &x->rx, x->strict);
	x->stage = SSH_KEX_NONE;
	x->keyed = true;
	x->deadline = 0;
	x->done_ns = s->now_ns;
	if (first) {
		s->phase = SSH_PHASE_AUTH;
		return ssh_auth_start(s);
	}
	s->stats.rekeys++;
	s->slot = (struct ssh_event){ .kind = SSH_EVENT_REKEYED };
	return 0;
}

/* --- other transport messages --- */

static int on_disconnect(struct ssh *s, struct mspan packet)
{
	struct ssh_reader r = ssh_reader_of(span_of(packet.p + 1, packet.n - 1));

	s->slot = (struct ssh_event){ .kind = SSH_EVENT_DISCONNECTED };
	s->slot.code = ssh_get_u32(&r);
	s->slot.payload = ssh_part(packet, ssh_get_string(&r));
	return 0;
}

/* An unknown message is said to be so (RFC 4253, 11.4). */
int ssh_transport_unknown(struct ssh *s)
{
	uint8_t bytes[5];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	const int rc = ssh_glitch(s, GLITCH_UNKNOWN, 1);

	s->stats.ignored++;
	ssh_put_u8(&w, SSH_MSG_UNIMPLEMENTED);
	ssh_put_u32(&w, s->rx.seq - 1);
	return rc < 0 ? rc : ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

static int ignore(struct ssh *s)
{
	s->stats.ignored++;
	return ssh_glitch(s, GLITCH_IGNORED, 1);
}

int ssh_transport_message(struct ssh *s, uint8_t type, struct mspan packet)
{
	const struct ssh_exchange *x = &s->kex;

	if (type == SSH_MSG_DISCONNECT)
		return on_disconnect(s, packet);
	if (type == SSH_MSG_KEXINIT)
		return on_kexinit(s, packet);
	if (type == SSH_MSG_NEWKEYS)
		return on_newkeys(s, packet);
	if (type >= SSH_MSG_KEX_ECDH_INIT)
		return on_method(s, type, packet);
	/* What is left is no part of a key exchange.  Within the first one, strict
	 * or in the clear with EXT_INFO, it is an injection (CVE-2023-48795). */
	if (!x->keyed && (x->strict || type > SSH_MSG_DEBUG))
		return fault_set(&s->fault, ERR_PROTO, "message %u within the first key exchange",
				 type);
	if (type >= SSH_MSG_IGNORE && type <= SSH_MSG_DEBUG)
		return ignore(s);
	if (type == SSH_MSG_EXT_INFO)
		return ignore(s);
	if (x->stage >= SSH_KEX_METHOD)
		return fault_set(&s->fault, ERR_PROTO, "message %u within a key exchange", type);
	if (type == SSH_MSG_SERVICE_REQUEST || type == SSH_MSG_SERVICE_ACCEPT)
		return ssh_auth_message(s, type, packet);
	return ssh_transport_unknown(s);
}
