#include "tests/unit/lib/io/session.h"

static void part(struct node *n, const char *text)
{
	chisel_conn_shutdown(n->carrier, SSH_DISCONNECT_BY_APPLICATION, text);
	n->carrier = NULL;
}

static void goodbye_leaves(struct loop *l, bool tls)
{
	for (int i = 0; i < 2; i++) {
		struct node n[2] = { 0 };

		nodes_start(n, l, tls, 0);
		check(n[0].phases >= 1 && n[0].phases <= 2 + tls);
		part(&n[i], "see you");
		until(l, n[i].gone && n[!i].lost);
		check(n[!i].disconnected == 1);
		check(strcmp(n[!i].goodbye, "see you") == 0);
		check(n[!i].code == ERR_CLOSED);
		check(n[i].lost == 0);
		nodes_end(n, l);
	}
}

static void body_goodbye(struct loop *l)
{
	goodbye_leaves(l, false);
	goodbye_leaves(l, true);
}

/* The peer says nothing but data, and is left in the middle of it. */
static void on_talk(struct node *n, const struct ssh_event *ev)
{
	static uint8_t much[300000];

	if (ev->kind == SSH_EVENT_CHANNEL_OPEN) {
		ssh_channel_accept(node_ssh(n), ev->channel);
	} else if (ev->kind == SSH_EVENT_CHANNEL_OPENED || ev->kind == SSH_EVENT_CHANNEL_WRITABLE) {
		const int rc = ssh_channel_write(node_ssh(n), ev->channel, much, sizeof(much));
		check(rc > 0);
		ssh_channel_want_write(node_ssh(n), ev->channel);
	} else if (ev->kind == SSH_EVENT_CHANNEL_DATA) {
		part(n, "enough");
	}
}

static void body_goodbye_amid_data(struct loop *l)
{
	for (int i = 0; i < 10; i++) {
		struct node n[2] = { { .on_channel = on_talk }, { .on_channel = on_talk } };

		nodes_start(n, l, i % 2, 0);
		check(ssh_channel_open(node_ssh(&n[0]), "t", span_of(NULL, 0)) >= 0);
		chisel_conn_flush(n[0].carrier);
		until(l, n[1].gone && n[0].lost);
		check(n[0].disconnected == 1);
		check(strcmp(n[0].goodbye, "enough") == 0);
		nodes_end(n, l);
	}
}

static void body_both_part(struct loop *l)
{
	struct node n[2] = { 0 };

	nodes_start(n, l, false, 0);
	part(&n[0], "I");
	part(&n[1], "no, I");
	until(l, n[0].gone && n[1].gone);
	check(n[0].lost == 0 && n[1].lost == 0);
	nodes_end(n, l);
}

static void on_flood(struct node *n, const struct ssh_event *ev)
{
	static uint8_t much[500000];

	if (ev->kind == SSH_EVENT_CHANNEL_OPEN)
		ssh_channel_accept(node_ssh(n), ev->channel);
	else if (ev->kind == SSH_EVENT_CHANNEL_OPENED)
		check(ssh_channel_write(node_ssh(n), ev->channel, much, sizeof(much)) > 0);
}

/* The kernel may have the stack's bytes: they stay until it has let go. */
static void body_close_while_sending(struct loop *l)
{
	for (int i = 0; i < 2; i++) {
		struct node n[2] = { { .on_channel = on_flood }, { .on_channel = on_flood } };

		nodes_start(n, l, i, 0);
		const int c = ssh_channel_open(node_ssh(&n[0]), "t", span_of(NULL, 0));
		chisel_conn_flush(n[0].carrier);
		until(l, ssh_channel_writable(node_ssh(&n[0]), (uint32_t)c) > 0);
		on_flood(&n[0], &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_OPENED,
						     .channel = (uint32_t)c });
		chisel_conn_flush(n[0].carrier);
		chisel_conn_close(n[0].carrier);
		chisel_conn_close(n[0].carrier);
		chisel_conn_flush(n[0].carrier);
		check(n[0].gone == 0);
		until(l, n[0].gone && n[1].lost);
		check(n[1].code == ERR_CLOSED && *n[1].why);
		check(n[0].lost == 0);
		nodes_end(n, l);
	}
}

/* A peer that is only a socket: what it does at which moment. */
static void alone(struct loop *l, bool reset)
{
	struct node n = { 0 };
	int fd[2];

	tcp_pair(fd);
	node_start(&n, l, fd[0], false, reset, 0);
	step(l);
	if (reset) {
		const struct linger now = { .l_onoff = 1, .l_linger = 0 };
		check(setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	}
	close(fd[1]);
	until(l, n.gone);
	check(n.lost == 1 && n.gone == 1);
	check(n.code == ERR_CLOSED);
	check(strstr(n.why, "the peer closed the connection") != NULL);
}

static void body_peer_ends(struct loop *l)
{
	alone(l, false);
	alone(l, true);
}

static void body_silent_peer(struct loop *l)
{
	struct chisel_stack_options o = node_options(false, false, 0);
	struct node n = { .linger = true };
	struct fault why = { 0 };
	int fd[2];

	o.ws.handshake_ns = 2000000;
	tcp_pair(fd);
	check(chisel_conn_new(&n.carrier, l, fd[0], &o, &node_handler, &n, &why) == 0);
	check(chisel_conn_heard_ns(n.carrier) <= loop_now(l));
	check(chisel_conn_fd(n.carrier) == fd[0]);
	until(l, n.lost);
	check(n.code == ERR_TIMEOUT);
	/* It has parted, and the peer won't end: its patience does. */
	until(l, n.gone);
	check(n.lost == 1 && n.gone == 1);
	close(fd[1]);
}

/* A fault of the stack in a call of the owner's is told from the loop. */
static void body_fault_outside(struct loop *l)
{
	struct node n[2] = { { .hold_key = true, .linger = true }, { 0 } };
	int fd[2];

	tcp_pair(fd);
	node_start(&n[0], l, fd[0], false, false, 0);
	node_start(&n[1], l, fd[1], true, false, 0);
	until(l, *ssh_names(node_ssh(&n[0]))->host_key);
	for (int i = 0; i < 20; i++)
		step(l);
	ssh_host_key_trust(node_ssh(&n[0]), false);
	chisel_conn_flush(n[0].carrier);
	check(n[0].lost == 0);
	until(l, n[0].lost && n[1].lost);
	check(n[0].turn < n[1].turn); /* not first when the peer has gone for it */
	check(n[0].code == ERR_TRUST && n[1].code == ERR_CLOSED);
	check(n[1].disconnected == 1);
	check(strcmp(n[1].goodbye, "host key not accepted") == 0);
	nodes_end(n, l);
}

static void body_refused_options(struct loop *l)
{
	struct chisel_stack_options o = node_options(false, false, 0);
	struct chisel_conn *c;
	struct node n = { 0 };
	struct fault why = { 0 };
	int fd[2];

	o.ssh.version = NULL;
	tcp_pair(fd);
	check(chisel_conn_new(&c, l, fd[0], &o, &node_handler, &n, &why) == ERR_USAGE);
	check(why.code == ERR_USAGE && fcntl(fd[0], F_GETFD) < 0);
	check(n.gone == 0);
	close(fd[1]);
}

#define ON_BOTH(name)                                                                              \
	static void test_##name(void)                                                              \
	{                                                                                          \
		on_both(body_##name);                                                              \
	}
ON_BOTH(goodbye)
ON_BOTH(goodbye_amid_data)
ON_BOTH(both_part)
ON_BOTH(close_while_sending)
ON_BOTH(peer_ends)
ON_BOTH(silent_peer)
ON_BOTH(fault_outside)
ON_BOTH(refused_options)

int main(void)
{
	static const struct test_case cases[] = {
		{ "a goodbye leaves", test_goodbye },
		{ "a goodbye amid the peer's data", test_goodbye_amid_data },
		{ "both say goodbye", test_both_part },
		{ "close while sending", test_close_while_sending },
		{ "the peer ends or resets", test_peer_ends },
		{ "a silent peer", test_silent_peer },
		{ "a fault outside the loop", test_fault_outside },
		{ "options refused", test_refused_options },
	};

	(void)node_context(true);
	return run_cases("chisel_conn", cases, array_len(cases));
}
