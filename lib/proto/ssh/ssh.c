/*
 * ssh -- the public functions of the SSH engine: configuration, feed, next,
 * pending, deadlines, disconnect. Messages are handled in ssh_transport.c,
 * ssh_auth.c and ssh_mux.c.
 */
#include "lib/proto/ssh/ssh.h"

#include <openssl/crypto.h>

#include "lib/base/units.h"
#include "lib/proto/ssh/ssh_engine.h"

enum {
	TRIM_NS = 1000 * 1000 * 1000,
	CHANNELS_MOST = 1 << 20,
	HEADROOM_MOST = 4096,
};

/* --- life --- */

static void set_defaults(struct ssh_config *c)
{
	if (!c->kex)
		c->kex = SSH_KEX_DEFAULT_LIST;
	if (!c->host_key_algos)
		c->host_key_algos = SSH_HOSTKEY_DEFAULT_LIST;
	if (!c->ciphers)
		c->ciphers = ssh_cipher_default_list();
	if (!c->rekey_packets)
		c->rekey_packets = 1ull << 31;
	if (!c->rekey_ns)
		c->rekey_ns = 3600 * NS_PER_S;
	if (!c->channels_max)
		c->channels_max = 1024;
	if (!c->window && !c->manual_windows)
		c->window = 2 << 20;
	if (!c->tx_max)
		c->tx_max = 512 << 10;
	if (c->tx_max < SSH_TX_LEAST)
		c->tx_max = SSH_TX_LEAST;
}

static int check_names(const char *list, bool (*is_known)(struct span), const char *what,
		       struct fault *why)
{
	struct span rest = span_str(list), name;
	char text[64];

	while (ssh_list_next(&rest, &name))
		if (!is_known(name))
			return fault_set(why, ERR_USAGE, "unknown %s %s", what,
					 ssh_text(text, sizeof(text), name));
	return 0;
}

static bool is_kex(struct span name)
{
	return ssh_kex_find(name) != NULL;
}

static bool is_host_key(struct span name)
{
	return ssh_hostkey_find(name) != NULL;
}

static bool is_cipher(struct span name)
{
	return ssh_cipher_find(name) != NULL;
}

static int check_config(const struct ssh_config *c, struct fault *why)
{
	if (!c->version || strncmp(c->version, "SSH-", 4) != 0 ||
	    strlen(c->version) > SSH_IDENT_MAX - 2)
		return fault_set(why, ERR_USAGE, "an SSH version string starts with SSH-");
	if (!c->random)
		return fault_set(why, ERR_USAGE, "SSH needs a source of entropy");
	if (c->channels_max > CHANNELS_MOST || c->tx_headroom > HEADROOM_MOST)
		return fault_set(why, ERR_USAGE, "an SSH limit is out of range");
	if (c->role == SSH_SERVER && c->host_keys_n == 0)
		return fault_set(why, ERR_USAGE, "an SSH server needs a host key");
	if (strlen(c->kex) + strlen(c->host_key_algos) + 2 * strlen(c->ciphers) >
	    SSH_KEXINIT_MAX - 512)
		return fault_set(why, ERR_USAGE, "the lists of SSH algorithms are too long");
	int rc = check_names(c->kex, is_kex, "key exchange", why);
	if (rc == 0)
		rc = check_names(c->host_key_algos, is_host_key, "host key type", why);
	if (rc == 0)
		rc = check_names(c->ciphers, is_cipher, "cipher", why);
	return rc;
}

/* Does a key of ours sign in the way `name` says? */
static bool has_key_for(const struct ssh_config *c, struct span name)
{
	const struct ssh_hostkey_kind *kind = ssh_hostkey_find(name);

	for (size_t i = 0; i < c->host_keys_n; i++)
		if (ssh_hostkey_fits(kind, c->host_keys[i]))
			return true;
	return c->role == SSH_CLIENT;
}

/* Copies the texts of the configuration into one block; a server's list of
 * host key types keeps those it has keys for. */
static int copy_strings(struct ssh *s)
{
	struct ssh_config *c = &s->config;
	const size_t n[] = { strlen(c->version) + 1, strlen(c->kex) + 1, strlen(c->ciphers) + 1,
			     strlen(c->host_key_algos) + 2 };

	s->strings = mem_alloc(c->mem, n[0] + n[1] + n[2] + n[3]);
	if (!s->strings)
		return ERR_NOMEM;
	char *to = s->strings;
	c->version = memcpy(to, c->version, n[0]);
	c->kex = memcpy(to += n[0], c->kex, n[1]);
	c->ciphers = memcpy(to += n[1], c->ciphers, n[2]);

	struct span rest = span_str(c->host_key_algos), name;
	char *keys = to += n[2];
	while (ssh_list_next(&rest, &name)) {
		if (!has_key_for(c, name))
			continue;
		memcpy(to, name.p, name.n);
		to += name.n;
		*to++ = ',';
	}
	to[to > keys ? -1 : 0] = '\0';
	c->host_key_algos = keys;
	return 0;
}

static int start(struct ssh *s, struct fault *why)
{
	if (copy_strings(s) < 0 || ssh_auth_init(s) < 0)
		return fault_set(why, ERR_NOMEM, "no memory for an SSH connection");
	if (!*s->config.host_key_algos)
		return fault_set(why, ERR_USAGE, "no host key is of a type that is allowed");
	s->offer = (struct ssh_offer){
		.kex = s->config.kex,
		.host_keys = s->config.host_key_algos,
		.ciphers = s->config.ciphers,
		.is_server = s->config.role == SSH_SERVER,
		.strict_marker = !s->config.no_strict_kex,
	};
	const int rc = ssh_transport_start(s);
	if (rc < 0 && why)
		*why = s->fault;
	return rc;
}

int ssh_new(struct ssh **out, const struct ssh_config *config, uint64_t now_ns, struct fault *why)
{
	struct ssh_config c = *config;

	set_defaults(&c);
	int rc = check_config(&c, why);
	if (rc < 0)
		return rc;
	struct ssh *s = mem_alloc_zeroed(c.mem, sizeof(*s));
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for an SSH connection");
	s->config = c;
	s->tx_bound = c.tx_max;
	s->born_ns = s->now_ns = now_ns;
	glitch_init(&s->stats.glitches, LIMIT_GLITCHES, LIMIT_NS(GLITCH_REFILL), now_ns);
	s->names = (struct ssh_names){ .kex = "", .host_key = "", .cipher = "" };
	ssh_rx_init(&s->rx, c.mem);
	ssh_tx_init(&s->tx, c.mem, c.tx_headroom);
	buf_init(&s->line, c.mem, LIMIT_SSH_BANNER);
	buf_init(&s->held, c.mem, LIMIT_SSH_CONTROL_ROOM);
	ssh_mux_init(s);
	rc = start(s, why);
	if (rc < 0) {
		ssh_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void ssh_free(struct ssh *s)
{
	if (!s)
		return;
	const struct mem *mem = s->config.mem;

	ssh_transport_fini(s);
	ssh_auth_wipe(s);
	ssh_mux_fini(s);
	ssh_rx_fini(&s->rx);
	ssh_tx_fini(&s->tx);
	buf_fini(&s->line);
	if (buf_len(&s->held))
		OPENSSL_cleanse(buf_bytes(&s->held).p, buf_len(&s->held));
	buf_fini(&s->held);
	mem_free(mem, s->strings);
	OPENSSL_cleanse(s, sizeof(*s));
	mem_free(mem, s);
}

/* --- bytes and events --- */

static uint64_t rekey_patience(const struct ssh *s)
{
	return s->config.handshake_ns ? s->config.handshake_ns : LIMIT_NS(SSH_REKEY);
}

static bool is_rekeying(const struct ssh *s)
{
	return s->kex.keyed && s->kex.stage != SSH_KEX_NONE;
}

/* Time passes: what was waiting for a fresh look at the clock gets it. */
static void see_clock(struct ssh *s, uint64_t now_ns)
{
	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	glitch_refill(&s->stats.glitches, s->now_ns);
	if (is_rekeying(s) && s->kex.deadline == 0)
		s->kex.deadline = s->now_ns + rekey_patience(s);
	if (s->trim_ns == 0 && (s->rx.part.cap || !ssh_tx_is_trim(&s->tx))) {
		s->trim_ns = s->now_ns + TRIM_NS;
		s->trim_mark = (uint64_t)s->rx.seq + s->tx.seq;
	}
}

/* Messages 1 to 49 are the transport's, 50 to 79 authentication's, the rest
 * channels' (RFC 4250, 4.1). */
static int handle(struct ssh *s, struct mspan packet)
{
	s->stats.packets_in++;
	if (packet.n == 0)
		return fault_set(&s->fault, ERR_PROTO, "a packet without a message");
	const uint8_t type = packet.p[0];

	if (type > SSH_MSG_KEX_LAST && s->kex.stage >= SSH_KEX_METHOD)
		return fault_set(&s->fault, ERR_PROTO, "message %u within a key exchange", type);
	if (type > SSH_MSG_KEX_LAST && !s->kex.keyed)
		return fault_set(&s->fault, ERR_PROTO, "message %u before any key exchange", type);
	if (type < SSH_MSG_USERAUTH_REQUEST)
		return ssh_transport_message(s, type, packet);
	if (type < SSH_MSG_GLOBAL_REQUEST)
		return ssh_auth_message(s, type, packet);
	if (s->phase != SSH_PHASE_OPEN)
		return fault_set(&s->fault, ERR_PROTO, "message %u before authentication", type);
	return ssh_mux_message(s, type, packet);
}

/* Must the caller say something before more can be read? */
static bool is_waiting(const struct ssh *s)
{
	return s->slot.kind != SSH_EVENT_NONE || s->kex.stage == SSH_KEX_TRUST || s->auth.waiting;
}

static int feed(struct ssh *s, uint8_t *in, size_t n)
{
	size_t used = 0;

	if (s->phase == SSH_PHASE_GONE)
		return (int)n; /* disconnected: the rest is ignored */
	while (used < n && !is_waiting(s)) {
		if (s->phase == SSH_PHASE_IDENT) {
			const int took = ssh_transport_ident(s, in + used, n - used);
			if (took < 0)
				return took;
			used += (size_t)took;
			continue;
		}
		size_t took;
		struct mspan packet;
		int rc = ssh_rx_feed(&s->rx, in + used, n - used, &took, &packet, &s->fault);
		if (rc < 0)
			return rc;
		used += took;
		if (rc == 1)
			rc = handle(s, packet);
		if (rc == 0)
			rc = ssh_transport_rekey_if_due(s);
		if (rc < 0)
			return rc;
	}
	return (int)used;
}

int ssh_feed(struct ssh *s, uint8_t *in, size_t n, uint64_t now_ns)
{
	if (s->fault.code)
		return s->fault.code;
	see_clock(s, now_ns);
	const int rc = feed(s, in, min_size(n, INT32_MAX));
	return ssh_sticky(s, rc);
}

int ssh_next(struct ssh *s, struct ssh_event *ev)
{
	*ev = (struct ssh_event){ 0 };
	if (s->slot.kind == SSH_EVENT_NONE) {
		if (s->fault.code)
			return s->fault.code;
		return s->phase == SSH_PHASE_OPEN && ssh_mux_next(s, ev);
	}
	*ev = s->slot;
	s->slot.kind = SSH_EVENT_NONE;
	if (ev->kind == SSH_EVENT_CHANNEL_CLOSED || ev->kind == SSH_EVENT_CHANNEL_REFUSED)
		ssh_mux_release(s, ev->channel);
	if (ev->kind == SSH_EVENT_DISCONNECTED) {
		char text[160];
		s->phase = SSH_PHASE_GONE;
		s->said_goodbye = true;
		(void)fault_set(
			&s->fault, ERR_CLOSED, "the peer disconnected: %s",
			ssh_text(text, sizeof(text), span_of(ev->payload.p, ev->payload.n)));
	}
	return 1;
}

struct mspan ssh_pending(struct ssh *s)
{
	return ssh_tx_front(&s->tx);
}

void ssh_sent(struct ssh *s)
{
	ssh_tx_pop(&s->tx);
}

size_t ssh_pending_bytes(const struct ssh *s)
{
	return s->tx.waiting;
}

/* --- time --- */

static uint64_t handshake_deadline(const struct ssh *s)
{
	return s->born_ns +
	       (s->config.handshake_ns ? s->config.handshake_ns : LIMIT_NS(SSH_HANDSHAKE));
}

uint64_t ssh_deadline(const struct ssh *s)
{
	uint64_t at = UINT64_MAX;

	if (!ssh_is_live(s))
		return at;
	if (s->phase != SSH_PHASE_OPEN)
		at = handshake_deadline(s);
	else if (s->kex.stage == SSH_KEX_NONE)
		at = s->kex.done_ns + s->config.rekey_ns;
	if (is_rekeying(s)) /* begun by a call that does not say the time: tick at once */
		at = min_u64(at, s->kex.deadline ? s->kex.deadline : s->now_ns);
	if (s->trim_ns)
		at = min_u64(at, s->trim_ns);
	return at;
}

void ssh_trim(struct ssh *s)
{
	s->trim_ns = 0;
	if (s->slot.kind == SSH_EVENT_NONE) /* else its payload may lie there */
		ssh_rx_trim(&s->rx);
	ssh_tx_trim(&s->tx);
	ssh_mux_trim(s);
}

/* Memory that no packet has needed for a while goes back. */
static void trim(struct ssh *s)
{
	const uint64_t mark = (uint64_t)s->rx.seq + s->tx.seq;

	if (mark == s->trim_mark) {
		ssh_trim(s);
		return;
	}
	s->trim_mark = mark;
	s->trim_ns = s->now_ns + TRIM_NS;
}

static int tick(struct ssh *s)
{
	if (s->phase != SSH_PHASE_OPEN && s->now_ns >= handshake_deadline(s))
		return fault_set(&s->fault, ERR_TIMEOUT, "the SSH handshake took too long");
	if (is_rekeying(s) && s->now_ns >= s->kex.deadline)
		return fault_set(&s->fault, ERR_TIMEOUT, "a key re-exchange took too long");
	if (s->trim_ns && s->now_ns >= s->trim_ns)
		trim(s);
	if (s->phase == SSH_PHASE_OPEN && s->now_ns >= s->kex.done_ns + s->config.rekey_ns)
		return ssh_transport_rekey(s);
	return 0;
}

int ssh_tick(struct ssh *s, uint64_t now_ns)
{
	if (s->fault.code)
		return s->fault.code;
	if (s->phase == SSH_PHASE_GONE)
		return 0;
	see_clock(s, now_ns);
	const int rc = ssh_sticky(s, tick(s));
	see_clock(s, now_ns);
	return rc;
}

/* --- the rest of the public face --- */

const struct fault *ssh_fault(const struct ssh *s)
{
	return &s->fault;
}

const struct ssh_names *ssh_names(const struct ssh *s)
{
	return &s->names;
}

const struct ssh_stats *ssh_stats(const struct ssh *s)
{
	return &s->stats;
}

void ssh_host_key_trust(struct ssh *s, bool trusted)
{
	if (ssh_is_live(s))
		(void)ssh_sticky(s, ssh_transport_trust(s, trusted));
}

void ssh_auth_answer(struct ssh *s, bool accepted)
{
	if (ssh_is_live(s))
		(void)ssh_sticky(s, ssh_auth_decide(s, accepted));
}

void ssh_rekey(struct ssh *s)
{
	if (ssh_is_live(s) && s->kex.keyed)
		(void)ssh_sticky(s, ssh_transport_rekey(s));
}

void ssh_charge(struct ssh *s, enum glitch_kind kind, unsigned cost)
{
	if (ssh_is_live(s))
		(void)ssh_sticky(s, ssh_glitch(s, kind, cost));
}

void ssh_disconnect(struct ssh *s, enum ssh_disconnect_reason reason, const char *text)
{
	if (!ssh_is_live(s) || s->said_goodbye)
		return;
	const int rc = ssh_say_goodbye(s, reason, text);

	s->phase = SSH_PHASE_GONE;
	s->slot.kind = SSH_EVENT_NONE;
	ssh_auth_wipe(s);
	if (rc < 0)
		(void)fault_set(&s->fault, (enum err)rc, "cannot send the disconnect message");
}
