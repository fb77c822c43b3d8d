/* A chisel client without TLS: the upgrade, frames and SSH of a hostile server. */
#include "lib/proto/chisel.h"
#include "lib/proto/chisel_stack.h"

static void fill_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	memset(p, 7, n);
	memcpy(p, "the sample nonce", min_size(n, 16)); /* RFC 6455, 1.3 */
}

static void answer(struct stack *s, const struct ssh_event *ev)
{
	if (ev->kind == SSH_EVENT_HOST_KEY)
		ssh_host_key_trust(chisel_stack_ssh(s), true);
	if (ev->kind == SSH_EVENT_GLOBAL_REQUEST && ev->want_reply)
		ssh_global_answer(chisel_stack_ssh(s), true, span_of(NULL, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const uint8_t upgraded[] =
		"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
	const struct chisel_stack_options o = {
		.ws = { .host = "x", .path = "/", .random = fill_random },
		.ssh = { .role = SSH_CLIENT, .version = CHISEL_CLIENT_VERSION, .any_version = true,
			 .mem = &mem_heap, .random = fill_random, .user = "", .password = "" },
	};
	struct ssh_event ev;
	struct stack *s;
	uint8_t copy[4096];
	int rc = 0;

	must(chisel_stack_new(&s, &o, &mem_heap, 0, NULL) == 0);
	if (n && p[0] & 1) { /* half of the inputs start behind the upgrade */
		memcpy(copy, upgraded, sizeof(upgraded) - 1);
		must(chisel_stack_feed(s, copy, sizeof(upgraded) - 1, 0) == 0);
		must(chisel_stack_next(s, &ev) == 0 && chisel_stack_phase(s) == CHISEL_STACK_SSH);
	}
	while (n > 1 && rc >= 0) {
		const size_t piece = min_size(n - 1, p[0] < 64 ? p[0] / 2 + 1u : sizeof(copy));
		memcpy(copy, p + 1, piece);
		rc = chisel_stack_feed(s, copy, piece, 0);
		while (rc >= 0 && (rc = chisel_stack_next(s, &ev)) == 1)
			answer(s, &ev);
		chisel_stack_sent(s, chisel_stack_pending(s).n);
		p += 1 + piece;
		n -= 1 + piece;
	}
	must((rc < 0) == (chisel_stack_fault(s)->code != 0));
	chisel_stack_close(s, SSH_DISCONNECT_BY_APPLICATION, "bye");
	chisel_stack_sent(s, chisel_stack_pending(s).n);
	chisel_stack_free(s);
	return 0;
}
