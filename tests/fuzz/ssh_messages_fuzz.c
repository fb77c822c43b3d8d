/* Messages of an authenticated peer, in any order, between calls of our own:
 * channels, windows, requests, re-keys.  The engine is put into that state
 * without ciphers, so an input is what the peer says.
 * Input: {role} and steps of {what, length (2)} message. */
#include "lib/proto/ssh/ssh_engine.h"

enum { STEP = 3, CHANNELS = 8 };

static uint64_t seed;
static uint8_t data[40000];

static void fixed(void *ctx, void *p, size_t n)
{
	(void)ctx;
	memset(p, (int)seed++ | 1, n);
}

/* What the caller knows about its channels. */
struct caller {
	struct ssh *ssh;
	uint64_t held[CHANNELS];
	bool live[CHANNELS], shut[CHANNELS];
};

static void on_event(struct caller *c, const struct ssh_event *ev)
{
	const uint32_t id = ev->channel;

	must(id < CHANNELS);
	switch (ev->kind) {
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply)
			ssh_global_answer(c->ssh, true, span_str("pong"));
		break;
	case SSH_EVENT_CHANNEL_OPEN:
		must(!c->live[id]);
		if (ev->name.n % 4 == 3) {
			ssh_channel_reject(c->ssh, id, SSH_OPEN_CONNECT_FAILED, "no");
			break;
		}
		ssh_channel_accept(c->ssh, id);
		c->live[id] = true;
		c->shut[id] = false;
		c->held[id] = 0;
		break;
	case SSH_EVENT_CHANNEL_DATA:
		must(c->live[id] && ev->payload.n > 0);
		c->held[id] += ev->payload.n;
		must(c->held[id] <= 3 * 65536);
		break;
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_CHANNEL_EOF:
		must(c->live[id]);
		break;
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_CLOSED:
		must(c->live[id]);
		c->live[id] = false;
		break;
	case SSH_EVENT_HOST_KEY:
	case SSH_EVENT_AUTH:
	case SSH_EVENT_NONE:
	case SSH_EVENT_READY:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_REKEYED:
	case SSH_EVENT_DISCONNECTED:
		break;
	}
}

static int draw(struct caller *c)
{
	struct ssh_event ev;
	int rc;

	while ((rc = ssh_next(c->ssh, &ev)) == 1)
		on_event(c, &ev);
	return rc;
}

static int open_channel(struct caller *c)
{
	const int id = ssh_channel_open(c->ssh, "chisel", span_str("x:1"));

	if (id < 0)
		return id == ERR_FULL ? 0 : id;
	must(id < CHANNELS && !c->live[id]);
	c->live[id] = true;
	c->shut[id] = false;
	c->held[id] = 0;
	return 0;
}

/* A call of our own; an enum err of the engine, or >= 0. */
static int act(struct caller *c, uint8_t what)
{
	const uint32_t id = what >> 4 & (CHANNELS - 1);
	struct ssh *s = c->ssh;
	int rc = 0;

	if ((what & 15) == 1)
		return open_channel(c);
	if ((what & 15) == 2)
		ssh_rekey(s);
	if ((what & 15) == 3)
		rc = ssh_global_request(s, "ping", true, span_str(""), what);
	if ((what & 15) == 4)
		while (ssh_pending(s).n)
			ssh_sent(s);
	if (!c->live[id])
		return rc == ERR_FULL ? 0 : rc;
	switch (what & 15) {
	case 5:
		if (!c->shut[id]) {
			const size_t room = ssh_channel_writable(s, id);
			rc = ssh_channel_write(s, id, data, sizeof(data));
			must(rc < 0 || (size_t)rc >= min_size(room, sizeof(data)));
		}
		break;
	case 6:
		ssh_channel_credit(s, id, c->held[id]);
		c->held[id] = 0;
		break;
	case 7:
		ssh_channel_eof(s, id);
		c->shut[id] = true;
		break;
	case 8:
		ssh_channel_close(s, id);
		break;
	case 9:
		if (ssh_channel_writable(s, id) == 0)
			ssh_channel_want_write(s, id);
		break;
	}
	return rc == ERR_FULL ? 0 : rc;
}

static int hear(struct caller *c, struct span message)
{
	struct ssh_tx tx;
	int rc = 0;

	ssh_tx_init(&tx, &mem_heap, 14);
	must(ssh_tx_seal(&tx, message, (struct span){ 0 }) == 0);
	const struct mspan out = ssh_tx_front(&tx);
	for (size_t at = 0; at < out.n && rc >= 0;) {
		rc = ssh_feed(c->ssh, out.p + at, out.n - at, 2);
		at += rc > 0 ? (size_t)rc : 0;
		const int drawn = draw(c);
		rc = drawn < 0 ? drawn : rc;
	}
	ssh_tx_fini(&tx);
	return rc;
}

static struct ssh *open_engine(bool server)
{
	static EVP_PKEY *key;
	static const uint8_t raw[32] = "key";
	struct ssh *s = NULL;

	if (!key)
		key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
	const struct ssh_config config = { .role = server ? SSH_SERVER : SSH_CLIENT,
					   .version = "SSH-2.0-fuzz",
					   .mem = &mem_heap,
					   .random = fixed,
					   .tx_headroom = 14,
					   .tx_max = 100000,
					   .rekey_bytes = 1 << 20,
					   .ciphers = "aes128-gcm@openssh.com",
					   .channels_max = CHANNELS,
					   .window = 65536,
					   .host_keys = &key,
					   .host_keys_n = 1 };
	must(ssh_new(&s, &config, 1, NULL) == 0);
	mem_free(&mem_heap, s->kex.init);
	s->kex.init = NULL;
	s->kex.stage = SSH_KEX_NONE;
	s->kex.keyed = true;
	s->phase = SSH_PHASE_OPEN;
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n == 0)
		return 0;
	struct caller c = { .ssh = open_engine(p[0] & 1) };
	int rc = 0;

	seed = 1;
	for (size_t at = 1; rc >= 0 && n - at >= STEP;) {
		const uint8_t what = p[at];
		const size_t len = min_size((size_t)get_be(p + at + 1, 2), n - at - STEP);
		rc = act(&c, what);
		if (rc >= 0 && len)
			rc = hear(&c, span_of(p + at + STEP, min_size(len, SSH_PAYLOAD_MAX)));
		if (rc >= 0)
			rc = draw(&c);
		must(ssh_pending_bytes(c.ssh) <= 100000 + LIMIT_SSH_CONTROL_ROOM);
		at += STEP + len;
	}
	must(rc >= 0 || ssh_fault(c.ssh)->code == (enum err)rc);
	ssh_free(c.ssh);
	return 0;
}
