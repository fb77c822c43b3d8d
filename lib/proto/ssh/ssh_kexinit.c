/*
 * ssh_kexinit -- a KEXINIT message written from an offer and judged against it
 * (RFC 4253, 7.1), with strict key exchange.
 */
#include "lib/proto/ssh/ssh_kexinit.h"

#define STRICT_CLIENT "kex-strict-c-v00@openssh.com"
#define STRICT_SERVER "kex-strict-s-v00@openssh.com"

/* Never used, since every cipher of ours authenticates, but some peers want
 * a list to choose from before they notice. */
#define MACS "hmac-sha2-256-etm@openssh.com,hmac-sha2-256"

enum list {
	KEX,
	HOST_KEY,
	CIPHER_C,
	CIPHER_S,
	MAC_C,
	MAC_S,
	COMPRESS_C,
	COMPRESS_S,
	LANG_C,
	LANG_S,
	LISTS
};

struct message {
	struct span lists[LISTS];
	bool guess;
};

void ssh_kexinit_write(struct ssh_writer *w, const struct ssh_offer *mine,
		       const uint8_t cookie[SSH_KEXINIT_COOKIE])
{
	const char *marker = !mine->strict_marker ? ""
			     : mine->is_server	  ? "," STRICT_SERVER
						  : "," STRICT_CLIENT;

	ssh_put_u8(w, SSH_MSG_KEXINIT);
	ssh_put_bytes(w, span_of(cookie, SSH_KEXINIT_COOKIE));
	ssh_put_u32(w, (uint32_t)(strlen(mine->kex) + strlen(marker)));
	ssh_put_bytes(w, span_str(mine->kex));
	ssh_put_bytes(w, span_str(marker));
	ssh_put_str(w, mine->host_keys);
	for (int i = 0; i < 2; i++)
		ssh_put_str(w, mine->ciphers);
	for (int i = 0; i < 2; i++)
		ssh_put_str(w, MACS);
	for (int i = 0; i < 2; i++)
		ssh_put_str(w, "none");
	for (int i = 0; i < 2; i++)
		ssh_put_str(w, "");
	ssh_put_u8(w, 0); /* no guessed packet follows */
	ssh_put_u32(w, 0);
}

static bool parse(struct message *m, struct span payload)
{
	struct ssh_reader r = ssh_reader_of(payload);

	(void)ssh_get_u8(&r);
	(void)ssh_get_bytes(&r, SSH_KEXINIT_COOKIE);
	for (int i = 0; i < LISTS; i++)
		m->lists[i] = ssh_get_string(&r);
	m->guess = ssh_get_bool(&r);
	(void)ssh_get_u32(&r);
	return !r.bad;
}

bool ssh_kexinit_is_strict(struct span payload, bool from_server)
{
	struct message m;

	return parse(&m, payload) &&
	       ssh_list_has(m.lists[KEX], span_str(from_server ? STRICT_SERVER : STRICT_CLIENT));
}

/* The first of the client's names that the server has, too. */
static struct span choose(struct span mine, struct span theirs, bool is_server)
{
	struct span client = is_server ? theirs : mine;
	const struct span server = is_server ? mine : theirs;
	struct span name;

	while (ssh_list_next(&client, &name))
		if (name.n && ssh_list_has(server, name))
			return name;
	return (struct span){ 0 };
}

static int nothing(struct fault *why, const char *what, struct span theirs)
{
	char text[160];

	return fault_set(why, ERR_ALGO, "no common %s: the peer offers %s", what,
			 ssh_text(text, sizeof(text), theirs));
}

static struct span first_name(struct span list)
{
	struct span name = { 0 };

	(void)ssh_list_next(&list, &name);
	return name;
}

static int choose_cipher(const struct ssh_cipher_kind **out, const struct ssh_offer *mine,
			 struct span theirs, bool strict, struct fault *why)
{
	*out = ssh_cipher_find(choose(span_str(mine->ciphers), theirs, mine->is_server));
	if (!*out)
		return nothing(why, "cipher", theirs);
	if ((*out)->needs_strict && !strict)
		return fault_set(why, ERR_ALGO,
				 "%s would be used, but the peer cannot do strict key exchange",
				 (*out)->name);
	return 0;
}

int ssh_kexinit_read(struct ssh_agreed *out, const struct ssh_offer *mine, struct span payload,
		     struct fault *why)
{
	struct message m;
	if (!parse(&m, payload))
		return fault_set(why, ERR_PROTO, "KEXINIT is cut short");

	const struct span kex = choose(span_str(mine->kex), m.lists[KEX], mine->is_server);
	const struct span key =
		choose(span_str(mine->host_keys), m.lists[HOST_KEY], mine->is_server);
	*out = (struct ssh_agreed){
		.kex = ssh_kex_find(kex),
		.host_key = ssh_hostkey_find(key),
		.strict = mine->strict ||
			  (mine->strict_marker && ssh_kexinit_is_strict(payload, !mine->is_server)),
		.skip_guess = m.guess && !(span_eq(first_name(m.lists[KEX]),
						   first_name(span_str(mine->kex))) &&
					   span_eq(first_name(m.lists[HOST_KEY]),
						   first_name(span_str(mine->host_keys)))),
	};
	if (!out->kex)
		return nothing(why, "key exchange", m.lists[KEX]);
	if (!out->host_key)
		return nothing(why, "host key type", m.lists[HOST_KEY]);
	int rc = choose_cipher(&out->to_server, mine, m.lists[CIPHER_C], out->strict, why);
	if (rc == 0)
		rc = choose_cipher(&out->to_client, mine, m.lists[CIPHER_S], out->strict, why);
	if (rc < 0)
		return rc;
	for (int i = COMPRESS_C; i <= COMPRESS_S; i++)
		if (!ssh_list_has(m.lists[i], span_str("none")))
			return nothing(why, "compression", m.lists[i]);
	return 0;
}
