/* Everything a server can say from its first byte on.  Entropy is fixed, so a
 * recorded session is a seed that gets through key exchange and
 * authentication.  Input: {cut} bytes. */
#include <stdlib.h>

#include "lib/proto/ssh/ssh.h"

static uint64_t seed;

static void fixed(void *ctx, void *p, size_t n)
{
	uint8_t *to = p;

	(void)ctx;
	while (n--) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		*to++ = (uint8_t)(seed >> 56);
	}
}

static void answer(struct ssh *s, const struct ssh_event *ev)
{
	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		ssh_host_key_trust(s, true);
		break;
	case SSH_EVENT_READY:
		must(ssh_channel_open(s, "chisel", span_str("x:1")) == 0);
		must(ssh_global_request(s, "ping", true, span_str(""), 1) == 0);
		break;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply)
			ssh_global_answer(s, true, span_str("pong"));
		break;
	case SSH_EVENT_CHANNEL_OPEN:
		ssh_channel_accept(s, ev->channel);
		break;
	case SSH_EVENT_CHANNEL_DATA:
		ssh_channel_credit(s, ev->channel, ev->payload.n);
		break;
	case SSH_EVENT_CHANNEL_EOF:
		ssh_channel_close(s, ev->channel);
		break;
	case SSH_EVENT_AUTH:
	case SSH_EVENT_NONE:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_CHANNEL_CLOSED:
	case SSH_EVENT_REKEYED:
	case SSH_EVENT_DISCONNECTED:
		break;
	}
}

static int draw(struct ssh *s)
{
	struct ssh_event ev;
	int rc;

	while ((rc = ssh_next(s, &ev)) == 1)
		answer(s, &ev);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct ssh_config config = { .role = SSH_CLIENT,
					   .version = "SSH-chisel-v3-client",
					   .any_version = true,
					   .mem = &mem_heap,
					   .random = fixed,
					   .tx_headroom = 14,
					   .ciphers = "aes128-gcm@openssh.com",
					   .host_key_algos = "ssh-ed25519",
					   .user = "u",
					   .password = "pw" };
	struct ssh *s = NULL;
	int rc;

	if (n == 0)
		return 0;
	seed = 0;
	must(ssh_new(&s, &config, 1, NULL) == 0);
	uint8_t *copy = memcpy(malloc(n), p, n);
	for (size_t at = 1; at < n;) {
		const size_t most = min_size(p[0] ? p[0] : n, n - at);
		rc = ssh_feed(s, copy + at, most, 2);
		must(rc >= 0 ? (size_t)rc <= most : ssh_fault(s)->code == (enum err)rc);
		at += rc > 0 ? (size_t)rc : 0;
		const int drawn = draw(s);
		if (rc < 0 || drawn < 0) {
			must(ssh_feed(s, copy, 1, 3) < 0); /* errors stay */
			break;
		}
	}
	while (ssh_pending(s).n) {
		memset(ssh_pending(s).p - 14, 0, 14);
		ssh_sent(s);
	}
	must(ssh_pending_bytes(s) == 0);
	ssh_free(s);
	free(copy);
	return 0;
}
