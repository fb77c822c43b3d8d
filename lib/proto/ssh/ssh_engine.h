/*
 * ssh_engine -- what the parts of one SSH connection share: its state, how a
 * part sends a message, how it fails.  For lib/proto/ssh only.
 *
 *	ssh.c            the public life: feed, next, pending, tick
 *	ssh_engine.c     sending, waiting for a key exchange, failing
 *	ssh_transport.c  identification, key exchange, transport messages
 *	ssh_auth.c       service and user authentication
 *	ssh_mux.c        channels and global requests; see ssh_channel.h
 *
 * Inside, a function that fails has written s->fault; ssh_sticky() at the
 * public function then sends DISCONNECT to the peer, once.
 */
#ifndef LIB_PROTO_SSH_SSH_ENGINE_H
#define LIB_PROTO_SSH_SSH_ENGINE_H

#include "lib/base/limits.h"
#include "lib/proto/ssh/ssh.h"
#include "lib/proto/ssh/ssh_kexinit.h"
#include "lib/proto/ssh/ssh_packet.h"

enum {
	SSH_IDENT_MAX = 255, /* with CR LF; RFC 4253, 4.2 */
	SSH_HEAD_MAX = 512,  /* a message but for its body */
	SSH_TX_LEAST = 4096, /* of tx_max: with less, no data would ever fit */
};

enum ssh_phase {
	SSH_PHASE_IDENT, /* the peer's identification line has not come */
	SSH_PHASE_KEX,	 /* the first key exchange */
	SSH_PHASE_AUTH,
	SSH_PHASE_OPEN,
	SSH_PHASE_GONE, /* one of the two has sent DISCONNECT */
};

enum ssh_kex_stage {
	SSH_KEX_NONE,
	SSH_KEX_SENT,	 /* our KEXINIT is out, the peer's has not come */
	SSH_KEX_METHOD,	 /* both are; an ECDH message comes next */
	SSH_KEX_TRUST,	 /* client: the caller looks at the host key */
	SSH_KEX_NEWKEYS, /* our NEWKEYS is out, the peer's comes next */
};

struct ssh_exchange {
	enum ssh_kex_stage stage;
	bool keyed;  /* a first exchange has ended */
	bool strict; /* agreed in the first one, for good */
	struct ssh_agreed agreed;
	struct ssh_ecdh ecdh;
	struct ssh_hash hash; /* of the exchange, as far as it is known */
	uint8_t *init;	      /* our KEXINIT, until the peer's has come */
	size_t init_n;
	struct ssh_cipher rx, tx; /* from NEWKEYS on */
	uint8_t session_id[SSH_HASH_LEN], host_key_print[SSH_FINGERPRINT_LEN];
	uint64_t deadline; /* of a re-key; 0 while the clock has not been seen */
	uint64_t done_ns;
};

struct ssh_auth {
	char *secrets; /* user, NUL, password, NUL; wiped when no longer needed */
	size_t secrets_n;
	bool password_sent, service_ok, waiting; /* waiting: for ssh_auth_answer() */
	unsigned tries, banners;
};

struct ssh_channel;

struct ssh_queue {
	uint32_t head, tail;
};

struct ssh_mux {
	struct ssh_channel *table;
	uint32_t table_n, open_n, free_head;
	struct ssh_queue fresh, bulk; /* channels with an event of their own; ssh_scheduler.c */
	uint32_t waiting_n;	      /* of those: with something to send */
	size_t promised;	      /* bytes of turns that were given and not yet used */
	uint64_t replies[LIMIT_SSH_REPLIES]; /* tags, a ring */
	uint32_t replies_at, replies_n, answers_due;
};

struct ssh {
	struct ssh_config config; /* strings are copies of ours */
	char *strings;
	struct ssh_offer offer;
	uint64_t now_ns, born_ns;
	enum ssh_phase phase;
	struct fault fault;
	bool said_goodbye;
	struct ssh_event slot; /* of the last packet; feed waits until it is drawn */
	struct ssh_rx rx;
	struct ssh_tx tx;
	size_t tx_bound; /* of sealed data that waits, <= config.tx_max */
	struct buf line; /* the peer's identification line so far */
	unsigned lines;
	size_t line_bytes;
	uint8_t ident[SSH_IDENT_MAX];
	size_t ident_n;
	struct ssh_exchange kex;
	struct ssh_auth auth;
	struct ssh_mux mux;
	struct buf held;  /* {length, message} that wait for the end of a key exchange */
	uint64_t trim_ns; /* when to look whether memory is in use; 0 = never */
	uint64_t trim_mark;
	struct ssh_stats stats;
	struct ssh_names names;
};

/* --- sending and failing --- */

/* Sends head and body as one message: now, or after the key exchange. */
MUST_USE int ssh_send(struct ssh *s, struct span head, struct span body);
/* Messages of the key exchange itself, and DISCONNECT. */
MUST_USE int ssh_send_now(struct ssh *s, struct span head, struct span body);
/* What ssh_send() held back. */
MUST_USE int ssh_send_held(struct ssh *s);
/* May nothing but key exchange be sent now? */
bool ssh_is_holding(const struct ssh *s);
/* Queues DISCONNECT; a failure may be passed over, we are gone anyway. */
int ssh_say_goodbye(struct ssh *s, uint32_t reason, const char *text);
/* Sends DISCONNECT after a failure rc and returns the code that stays. */
int ssh_sticky(struct ssh *s, int rc);
/* The peer did something that is allowed but useless: ERR_LIMIT when it does
 * so all the time. */
MUST_USE int ssh_glitch(struct ssh *s, enum glitch_kind kind, unsigned cost);
MUST_USE int ssh_malformed(struct ssh *s, const char *message);
/* The event's payload: `part` lies in `packet`. */
static inline struct mspan ssh_part(struct mspan packet, struct span part)
{
	return part.n ? (struct mspan){ packet.p + (part.p - packet.p), part.n }
		      : (struct mspan){ 0 };
}
/* Is the connection there to be used? */
static inline bool ssh_is_live(const struct ssh *s)
{
	return s->fault.code == 0 && s->phase != SSH_PHASE_GONE;
}

/* --- the parts --- */

MUST_USE int ssh_transport_start(struct ssh *s);
void ssh_transport_fini(struct ssh *s);
/* Takes bytes of the identification; returns how many. */
MUST_USE int ssh_transport_ident(struct ssh *s, const uint8_t *in, size_t n);
/* Answers a message that is none of ours with UNIMPLEMENTED. */
MUST_USE int ssh_transport_unknown(struct ssh *s);
MUST_USE int ssh_transport_message(struct ssh *s, uint8_t type, struct mspan packet);
/* Starts a key exchange unless one is under way. */
MUST_USE int ssh_transport_rekey(struct ssh *s);
/* Starts a re-key when the current keys have reached their byte or packet limit. */
MUST_USE int ssh_transport_rekey_if_due(struct ssh *s);
MUST_USE int ssh_transport_trust(struct ssh *s, bool trusted);

MUST_USE int ssh_auth_init(struct ssh *s);
void ssh_auth_wipe(struct ssh *s);
MUST_USE int ssh_auth_start(struct ssh *s);
MUST_USE int ssh_auth_message(struct ssh *s, uint8_t type, struct mspan packet);
MUST_USE int ssh_auth_decide(struct ssh *s, bool accepted);

void ssh_mux_init(struct ssh *s);
void ssh_mux_fini(struct ssh *s);
MUST_USE int ssh_mux_message(struct ssh *s, uint8_t type, struct mspan packet);
/* An event that no packet brought: WRITABLE, or a late CLOSED. */
bool ssh_mux_next(struct ssh *s, struct ssh_event *ev);
/* The caller has seen that the channel is gone. */
void ssh_mux_release(struct ssh *s, uint32_t channel);
/* Gives back the table while no channel is there. */
void ssh_mux_trim(struct ssh *s);

#endif
