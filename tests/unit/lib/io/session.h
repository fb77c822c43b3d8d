/*
 * session -- two carriers joined by a TCP connection on one loop: what the tests
 * of chisel_conn and channel_pipe share.
 */
#ifndef TESTS_UNIT_LIB_IO_SESSION_H
#define TESTS_UNIT_LIB_IO_SESSION_H

#include <openssl/rand.h>

#include "lib/io/chisel_conn.h"
#include "tests/support/certs.h"
#include "tests/unit/lib/io/rig.h"

struct node {
	struct chisel_conn *carrier; /* NULL once it is parted, closed or gone */
	int ready, lost, gone, disconnected, phases;
	int code;                /* of on_lost */
	int turn;                /* which on_lost of all it was */
	char why[FAULT_WHY_MAX], goodbye[64];
	bool hold_key;           /* HOST_KEY is answered by the test */
	bool linger;             /* on_lost parts instead of closing */
	/* Optional: channel events. */
	void (*on_channel)(struct node *n, const struct ssh_event *ev);
	void *user;
};

static inline struct ssh *node_ssh(struct node *n)
{
	return chisel_stack_ssh(chisel_conn_stack(n->carrier));
}

static inline void node_event(void *user, const struct ssh_event *ev)
{
	struct node *n = user;

	check(!n->lost && !n->gone);
	if (ev->kind == SSH_EVENT_HOST_KEY && !n->hold_key) {
		ssh_host_key_trust(node_ssh(n), true);
	} else if (ev->kind == SSH_EVENT_AUTH) {
		ssh_auth_answer(node_ssh(n), true);
	} else if (ev->kind == SSH_EVENT_READY) {
		n->ready++;
	} else if (ev->kind == SSH_EVENT_DISCONNECTED) {
		n->disconnected++;
		snprintf(n->goodbye, sizeof(n->goodbye), "%.*s", (int)ev->payload.n,
			 (const char *)ev->payload.p);
	} else if (n->on_channel) {
		n->on_channel(n, ev);
	}
}

static inline void node_phase(void *user, enum chisel_stack_phase phase)
{
	struct node *n = user;

	(void)phase;
	check(!n->lost && !n->gone);
	n->phases++;
}

static inline void node_lost(void *user, const struct fault *why)
{
	struct node *n = user;

	static int turns;

	check(!n->gone);
	n->lost++;
	n->turn = ++turns;
	n->code = why->code;
	memcpy(n->why, why->why, sizeof(n->why));
	if (n->linger)
		chisel_conn_shutdown(n->carrier, SSH_DISCONNECT_BY_APPLICATION, "");
	else
		chisel_conn_close(n->carrier);
	n->carrier = NULL;
}

static inline void node_gone(void *user)
{
	struct node *n = user;

	n->gone++;
	n->carrier = NULL;
}

static const struct chisel_conn_handler node_handler = {
	.on_event = node_event,
	.on_phase = node_phase,
	.on_lost = node_lost,
	.on_gone = node_gone,
};

static inline void node_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	must(RAND_bytes(p, (int)n) == 1);
}

static inline SSL_CTX *node_context(bool server)
{
	static SSL_CTX *ctx[2];

	if (!ctx[0]) {
		struct cert ca, leaf;

		certs_make_ca(&ca, "nodes");
		certs_make_leaf(&leaf, &ca, "DNS:gateway", -CERTS_DAY, CERTS_DAY);
		ctx[0] = certs_client_ctx(&ca);
		ctx[1] = certs_server_ctx(&leaf);
		certs_fini(&ca);
		certs_fini(&leaf);
	}
	return ctx[server];
}

static inline struct chisel_stack_options node_options(bool server, bool tls, uint32_t window)
{
	static EVP_PKEY *key;

	if (!key)
		key = EVP_PKEY_new_raw_private_key(
			EVP_PKEY_ED25519, NULL,
			(const uint8_t *)"a host key for all nodes of tests", 32);
	return (struct chisel_stack_options){
		.tls_ctx = tls ? node_context(server) : NULL,
		.tls = { .server = server, .verify_name = server ? NULL : "gateway" },
		.ws = { .server = server, .host = "gateway", .path = "/", .random = node_random },
		.ssh = { .role = server ? SSH_SERVER : SSH_CLIENT,
			 .version = "SSH-2.0-node",
			 .mem = &mem_heap,
			 .random = node_random,
			 .window = window,
			 .user = "u",
			 .password = "pw",
			 .host_keys = &key,
			 .host_keys_n = 1 },
	};
}

static inline void node_start(struct node *n, struct loop *l, int fd, bool server, bool tls,
			      uint32_t window)
{
	const struct chisel_stack_options o = node_options(server, tls, window);
	struct fault why = { 0 };

	if (!check(chisel_conn_new(&n->carrier, l, fd, &o, &node_handler, n, &why) == 0))
		puts(why.why);
}

/* pair[0] is the client. */
static inline void nodes_start(struct node *pair, struct loop *l, bool tls, uint32_t window)
{
	int fd[2];

	tcp_pair(fd);
	node_start(&pair[0], l, fd[0], false, tls, window);
	node_start(&pair[1], l, fd[1], true, tls, window);
	until(l, pair[0].ready && pair[1].ready);
}

static inline void nodes_end(struct node *pair, struct loop *l)
{
	for (int i = 0; i < 2; i++)
		if (pair[i].carrier && !pair[i].gone)
			chisel_conn_close(pair[i].carrier);
	until(l, pair[0].gone && pair[1].gone);
	check(pair[0].gone == 1 && pair[1].gone == 1);
	check(pair[0].lost <= 1 && pair[1].lost <= 1);
}

#endif
