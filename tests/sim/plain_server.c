#include "tests/sim/plain_server.h"

#include <openssl/rand.h>

#include "lib/io/chisel_conn.h"
#include "lib/proto/ssh/ssh_engine.h"

int RAND_bytes(unsigned char *p, int n)
{
	memset(p, 7, (size_t)n);
	memcpy(p, "the sample nonce", min_size((size_t)n, 16)); /* RFC 6455, 1.3 */
	return 1;
}

bool plain_is_server(size_t dial)
{
	return strcmp(fake_dial_host(dial), PLAIN_SERVER.host) == 0 &&
	       fake_dial_port(dial) == PLAIN_SERVER.port;
}

struct sock *plain_connection(const struct session *s)
{
	for (size_t i = 0; s->link.self && i < fake_socks(); i++)
		if (sock_fd(fake_sock(i)) == chisel_conn_fd(link_chisel_conn(s->link.self)))
			return fake_sock(i);
	return NULL;
}

void plain_give(struct session *s, struct span bytes)
{
	struct sock *x;

	while (bytes.n && (x = plain_connection(s))) {
		const size_t some = fake_give(x, bytes.p, bytes.n);

		if (!some)
			return;
		bytes = span_of(bytes.p + some, bytes.n - some);
	}
}

void plain_say_frame(struct session *s, struct span payload)
{
	static uint8_t frame[SSH_PAYLOAD_MAX + 64];
	size_t head = 2;

	frame[0] = 0x82;
	frame[1] = (uint8_t)payload.n;
	if (payload.n > 125) {
		frame[1] = 126;
		put_be(frame + 2, 2, payload.n);
		head = 4;
	}
	must(head + payload.n <= sizeof(frame) && payload.n < 65536);
	memcpy(frame + head, payload.p, payload.n);
	plain_give(s, span_of(frame, head + payload.n));
}

void plain_say(struct session *s, struct span message)
{
	struct ssh_tx tx;

	if (!message.n)
		return;
	ssh_tx_init(&tx, &mem_heap, 14);
	must(ssh_tx_seal(&tx, message, (struct span){ 0 }) == 0);
	const struct mspan out = ssh_tx_front(&tx);
	plain_say_frame(s, span_of(out.p, out.n));
	ssh_tx_fini(&tx);
}

static void upgrade(struct session *s)
{
	static const char answer[] =
		"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

	plain_give(s, span_of(answer, sizeof(answer) - 1));
}

void plain_skip_key_exchange(struct session *s)
{
	if (!s->link.self || chisel_stack_phase(chisel_conn_stack(
				     link_chisel_conn(s->link.self))) != CHISEL_STACK_SSH)
		return;
	struct ssh *ssh = chisel_stack_ssh(chisel_conn_stack(link_chisel_conn(s->link.self)));
	if (ssh->phase != SSH_PHASE_IDENT || ssh->fault.code)
		return;
	mem_free(&mem_heap, ssh->kex.init);
	ssh->kex.init = NULL;
	ssh->kex.stage = SSH_KEX_NONE;
	ssh->kex.keyed = true;
	ssh->config.rekey_bytes = 1 << 30; /* else it is the cipher's */
	ssh->kex.done_ns = loop_now(fake_loop());
	ssh->phase = SSH_PHASE_AUTH;
	must(ssh_auth_start(ssh) == 0);
	chisel_conn_flush(link_chisel_conn(s->link.self));
}

static void authenticate(struct session *s)
{
	static const uint8_t accept[] = "\x06\0\0\0\x0cssh-userauth", success[] = "\x34";

	plain_say(s, span_of(accept, sizeof(accept) - 1));
	plain_say(s, span_of(success, 1));
}

void plain_bring_to(struct session *s, enum bus_state state)
{
	static const uint8_t agreed[] = "\x51";

	if (s->state == BUS_STATE_BACKOFF && s->state != state)
		fake_pass(61 * 1000000000ull);
	for (size_t i = 0; s->state != state && i < fake_dials(); i++)
		if (plain_is_server(i)) {
			fake_dial_end(i, 0);
			break;
		}
	if (s->state == BUS_STATE_UPGRADING && s->state != state)
		upgrade(s);
	if (s->state == BUS_STATE_SSH && s->state != state) {
		plain_skip_key_exchange(s);
		authenticate(s);
	}
	if (s->state == BUS_STATE_CONFIGURING && s->state != state)
		plain_say(s, span_of(agreed, 1));
}

void plain_bring_up(struct session *s)
{
	plain_bring_to(s, BUS_STATE_UP);
}
