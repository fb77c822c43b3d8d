/*
 * ssh_engine -- how the parts of the engine send a message, hold it back during
 * a key exchange, and fail.
 */
#include "lib/proto/ssh/ssh_engine.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

bool ssh_is_holding(const struct ssh *s)
{
	return s->kex.stage != SSH_KEX_NONE && s->kex.stage != SSH_KEX_NEWKEYS;
}

int ssh_send_now(struct ssh *s, struct span head, struct span body)
{
	if (s->tx.held + ssh_tx_cost(&s->tx, head.n + body.n) >
	    s->config.tx_max + LIMIT_SSH_CONTROL_ROOM)
		return fault_set(&s->fault, ERR_LIMIT, "the peer asks, but reads no answers");
	const int rc = ssh_tx_seal(&s->tx, head, body);
	if (rc == ERR_NOMEM)
		return fault_set(&s->fault, rc, "no memory for a packet to send");
	if (rc < 0)
		return fault_set(&s->fault, rc, "cannot seal a packet");
	s->stats.packets_out++;
	return 0;
}

static int hold(struct ssh *s, struct span head, struct span body)
{
	uint8_t n[4];
	put_be(n, sizeof(n), head.n + body.n);

	const struct span parts[] = { span_of(n, sizeof(n)), head, body };
	for (size_t i = 0; i < array_len(parts); i++) {
		const int rc = buf_append(&s->held, parts[i].p, parts[i].n);
		if (rc == ERR_LIMIT)
			return fault_set(&s->fault, rc,
					 "too much has to wait for the end of a key exchange");
		if (rc < 0)
			return fault_set(&s->fault, rc, "no memory during a key exchange");
	}
	return 0;
}

int ssh_send(struct ssh *s, struct span head, struct span body)
{
	if (!ssh_is_live(s))
		return s->fault.code;
	return ssh_is_holding(s) ? hold(s, head, body) : ssh_send_now(s, head, body);
}

int ssh_send_held(struct ssh *s)
{
	int rc = 0;

	while (rc == 0 && buf_len(&s->held)) {
		const struct mspan b = buf_bytes(&s->held);
		const size_t n = (size_t)get_be(b.p, 4);
		rc = ssh_send_now(s, span_of(b.p + 4, n), (struct span){ 0 });
		OPENSSL_cleanse(b.p, 4 + n); /* it may have been a password */
		buf_consume(&s->held, 4 + n);
	}
	return rc;
}

int ssh_say_goodbye(struct ssh *s, uint32_t reason, const char *text)
{
	uint8_t bytes[SSH_HEAD_MAX];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));

	s->said_goodbye = true;
	ssh_put_u8(&w, SSH_MSG_DISCONNECT);
	ssh_put_u32(&w, reason);
	ssh_put_string(&w, span_of(text, min_size(strlen(text), 256)));
	ssh_put_str(&w, "");
	return ssh_tx_seal(&s->tx, ssh_written(&w), (struct span){ 0 });
}

/* What a peer is told; the sentence in the fault is for our operator. */
static bool goodbye_for(enum err code, uint32_t *reason, const char **text)
{
	switch (code) {
	case ERR_LIMIT:
		*reason = SSH_DISCONNECT_PROTOCOL_ERROR;
		*text = "over a limit";
		return true;
	case ERR_PROTO:
		*reason = SSH_DISCONNECT_PROTOCOL_ERROR;
		*text = "protocol error";
		return true;
	case ERR_ALGO:
		*reason = SSH_DISCONNECT_KEY_EXCHANGE_FAILED;
		*text = "no common algorithm";
		return true;
	case ERR_TRUST:
		*reason = SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE;
		*text = "host key not accepted";
		return true;
	case ERR_AUTH:
		*reason = SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE;
		*text = "authentication failed";
		return true;
	case ERR_TIMEOUT:
		*reason = SSH_DISCONNECT_CONNECTION_LOST;
		*text = "too slow";
		return true;
	case ERR_NOMEM:
	case ERR_SYS:
	case ERR_CLOSED:
	case ERR_REFUSED:
	case ERR_CRYPTO:
	case ERR_CONFIG:
	case ERR_USAGE:
	case ERR_NAME:
	case ERR_LISTEN:
	case ERR_FULL:
		break;
	}
	return false;
}

int ssh_sticky(struct ssh *s, int rc)
{
	uint32_t reason;
	const char *text;

	if (rc >= 0)
		return rc;
	(void)fault_set(&s->fault, (enum err)rc, "%s", err_name(rc));
	if (!s->said_goodbye && goodbye_for(s->fault.code, &reason, &text))
		(void)ssh_say_goodbye(s, reason, text);
	s->said_goodbye = true;
	ssh_auth_wipe(s);
	ERR_clear_error();
	return s->fault.code;
}

int ssh_glitch(struct ssh *s, enum glitch_kind kind, unsigned cost)
{
	if (glitch_charge(&s->stats.glitches, kind, cost))
		return 0;
	return fault_set(&s->fault, ERR_LIMIT, "the peer sends messages without any use (%s)",
			 glitch_name(kind));
}

int ssh_malformed(struct ssh *s, const char *message)
{
	return fault_set(&s->fault, ERR_PROTO, "%s is malformed", message);
}
