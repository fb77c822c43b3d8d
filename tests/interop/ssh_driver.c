/*
 * ssh_driver -- our SSH engine on a plain TCP socket, in either role, so that
 * OpenSSH and libssh2 can be its peers.  A test program: one connection at a
 * time, no defence against a crowd.
 *
 *   ssh-driver client HOST PORT [options]    echoes --bytes through direct-tcpip
 *   ssh-driver server [options]              echoes on every channel
 *
 * One JSON line on stdout per event; a failure is one sentence and exit code 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/proto/ssh/ssh.h"
#include "lib/proto/ssh/ssh_fingerprint.h"

#define ECHO_MAX (8u << 20) /* above any window that the engine grants */

struct options {
	const char *host, *port, *user, *password, *kex, *host_key, *ciphers, *key_kind,
		*target_host;
	uint64_t rekey_bytes, bytes;
	uint16_t target_port;
};

struct link {
	int fd;
	struct ssh *ssh;
	size_t offset; /* of the pending packet, already in the socket */
	bool ended;    /* the peer said goodbye or closed */
};

/* What the client's one channel has done so far. */
struct errand {
	struct link *link;
	const struct options *options;
	uint32_t channel;
	uint64_t sent, got;
	bool opened, wrong, done, eof_sent;
	char fingerprint[45]; /* of the host key, once it came */
};

static _Noreturn void die(const char *sentence)
{
	fprintf(stderr, "ssh-driver: %s\n", sentence);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void entropy(void *ctx, void *p, size_t n)
{
	(void)ctx;
	if (RAND_bytes(p, (int)n) != 1)
		die("no entropy");
}

/* Bytes that differ by place; the period is prime, so shifts show. */
static uint8_t pattern(uint64_t at)
{
	static uint8_t table[65521];
	if (!table[0]) {
		uint64_t x = 88172645463325252u;
		for (size_t i = 0; i < sizeof(table); i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			table[i] = (uint8_t)(x | !i);
		}
	}
	return table[at % sizeof(table)];
}

static void print_names(const struct ssh *s, const char *fingerprint)
{
	const struct ssh_names *n = ssh_names(s);
	char peer[sizeof(n->peer_version)] = "";
	for (size_t i = 0; i < sizeof(peer); i++)
		peer[i] = n->peer_version[i] == '"' || n->peer_version[i] == '\\'
				  ? '?'
				  : n->peer_version[i];
	printf("{\"event\":\"negotiated\",\"kex\":\"%s\",\"host_key\":\"%s\",\"cipher\":\"%s\","
	       "\"strict\":%s,"
	       "\"peer\":\"%s\",\"fingerprint\":\"%s\"}\n",
	       n->kex, n->host_key, n->cipher, n->strict ? "true" : "false", peer, fingerprint);
	fflush(stdout);
}

static void link_fail(const struct link *l)
{
	const struct fault *f = ssh_fault(l->ssh);
	printf("{\"event\":\"failed\",\"reason\":\"%s\"}\n", err_name(f->code));
	fflush(stdout);
	fprintf(stderr, "ssh-driver: %s\n", f->why);
}

static struct ssh_config config_of(const struct options *o, enum ssh_role role)
{
	return (struct ssh_config){
		.role = role,
		.version = "SSH-2.0-ssh_driver",
		.mem = &mem_heap,
		.random = entropy,
		.kex = o->kex,
		.host_key_algos = o->host_key,
		.ciphers = o->ciphers,
		.rekey_bytes = o->rekey_bytes,
		.user = o->user,
		.password = o->password,
	};
}

/* Sends what waits, as far as the socket takes it. */
static int link_flush(struct link *l)
{
	for (struct mspan out; (out = ssh_pending(l->ssh)).n;) {
		ssize_t n = send(l->fd, out.p + l->offset, out.n - l->offset,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		l->offset += (size_t)n;
		if (l->offset < out.n)
			return 0;
		l->offset = 0;
		ssh_sent(l->ssh);
	}
	return 0;
}

typedef void event_fn(void *owner, struct link *l, struct ssh_event *ev);

static int link_events(struct link *l, event_fn *on_event, void *owner)
{
	struct ssh_event ev;
	int n;
	while ((n = ssh_next(l->ssh, &ev)) > 0) {
		if (ev.kind == SSH_EVENT_DISCONNECTED)
			l->ended = true;
		on_event(owner, l, &ev);
	}
	return n;
}

static int link_read(struct link *l, event_fn *on_event, void *owner)
{
	static uint8_t in[1 << 16];
	ssize_t n = recv(l->fd, in, sizeof(in), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		l->ended = true;
		return 0;
	}
	for (size_t at = 0; at < (size_t)n;) {
		int taken = ssh_feed(l->ssh, in + at, (size_t)n - at, now_ns());
		if (taken < 0)
			return taken;
		at += (size_t)taken;
		int r = link_events(l, on_event, owner);
		if (r < 0)
			return r;
	}
	return 0;
}

/* One turn: waits for the socket or the engine's deadline, moves bytes. */
static int link_step(struct link *l, event_fn *on_event, void *owner)
{
	uint64_t deadline = ssh_deadline(l->ssh), now = now_ns();
	int wait_ms = 1000;
	if (deadline <= now)
		wait_ms = 0;
	else if (deadline - now < 1000000000u)
		wait_ms = (int)((deadline - now) / 1000000u) + 1;
	struct pollfd p = { .fd = l->fd,
			    .events = (short)(POLLIN | (ssh_pending(l->ssh).n ? POLLOUT : 0)) };
	poll(&p, 1, wait_ms);
	int r = 0;
	if (p.revents & (POLLIN | POLLHUP | POLLERR))
		r = link_read(l, on_event, owner);
	if (r >= 0)
		r = ssh_tick(l->ssh, now_ns());
	if (r >= 0)
		r = link_events(l, on_event, owner);
	if (link_flush(l) < 0)
		l->ended = true;
	return r;
}

/* Client. */

static void errand_open(struct errand *e)
{
	const struct options *o = e->options;
	uint8_t extra[300], *p = extra;
	const char *hosts[] = { o->target_host, "127.0.0.1" };
	const uint32_t ports[] = { o->target_port, 1 };
	for (size_t i = 0; i < array_len(hosts); i++) {
		size_t n = min_size(strlen(hosts[i]), 100);
		put_be(p, 4, n);
		memcpy(p + 4, hosts[i], n);
		put_be(p + 4 + n, 4, ports[i]);
		p += 8 + n;
	}
	int id =
		ssh_channel_open(e->link->ssh, "direct-tcpip", span_of(extra, (size_t)(p - extra)));
	if (id < 0)
		die("no channel");
	e->channel = (uint32_t)id;
}

static void errand_write(struct errand *e)
{
	static uint8_t out[1 << 15];
	struct ssh *s = e->link->ssh;
	while (e->opened && e->sent < e->options->bytes) {
		size_t n = (size_t)min_u64(sizeof(out), e->options->bytes - e->sent);
		for (size_t i = 0; i < n; i++)
			out[i] = pattern(e->sent + i);
		int taken = ssh_channel_write(s, e->channel, out, n);
		if (taken < 0)
			return; /* the engine is faulted: the next step says so */
		e->sent += (uint64_t)taken;
		if ((size_t)taken < n)
			return;
	}
	if (e->opened && !e->eof_sent) {
		e->eof_sent = true;
		ssh_channel_eof(s, e->channel);
	}
}

static void errand_read(struct errand *e, struct mspan data)
{
	for (size_t i = 0; i < data.n; i++)
		e->wrong |= data.p[i] != pattern(e->got + i);
	e->got += data.n;
	ssh_channel_credit(e->link->ssh, e->channel, data.n);
}

static void client_event(void *owner, struct link *l, struct ssh_event *ev)
{
	struct errand *e = owner;
	switch (ev->kind) {
	case SSH_EVENT_HOST_KEY:
		ssh_fingerprint_write(ev->fingerprint, e->fingerprint);
		ssh_host_key_trust(l->ssh, true);
		break;
	case SSH_EVENT_READY:
		errand_open(e);
		break;
	case SSH_EVENT_CHANNEL_OPENED:
		e->opened = true;
		errand_write(e);
		break;
	case SSH_EVENT_CHANNEL_REFUSED:
		die("the peer refused the channel");
	case SSH_EVENT_CHANNEL_DATA:
		errand_read(e, ev->payload);
		break;
	case SSH_EVENT_CHANNEL_WRITABLE:
		errand_write(e);
		break;
	case SSH_EVENT_CHANNEL_EOF:
		ssh_channel_close(l->ssh, e->channel);
		break;
	case SSH_EVENT_CHANNEL_CLOSED:
		e->done = true;
		ssh_disconnect(l->ssh, SSH_DISCONNECT_BY_APPLICATION, "done");
		break;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply)
			ssh_global_answer(l->ssh, false, span_of(NULL, 0));
		break;
	case SSH_EVENT_NONE:
	case SSH_EVENT_AUTH:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_CHANNEL_OPEN:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_REKEYED:
	case SSH_EVENT_DISCONNECTED:
		break;
	}
}

static int dial(const char *host, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
		die("HOST is a numeric IPv4 address");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("cannot connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

static int run_client(const struct options *o)
{
	struct fault why = { 0 };
	struct link l = { .fd = dial(o->host, o->port) };
	struct errand e = { .link = &l, .options = o };
	struct ssh_config c = config_of(o, SSH_CLIENT);
	if (ssh_new(&l.ssh, &c, now_ns(), &why) < 0)
		die(why.why);
	int r = 0;
	while (r >= 0 && !l.ended && !(e.done && !ssh_pending(l.ssh).n))
		r = link_step(&l, client_event, &e);
	if (e.fingerprint[0])
		print_names(l.ssh, e.fingerprint);
	if (r < 0)
		link_fail(&l);
	else if (!e.done)
		fputs("ssh-driver: the peer ended the connection\n", stderr);
	bool good = e.done && !e.wrong && e.got == o->bytes;
	if (e.done)
		printf("{\"event\":\"echoed\",\"bytes\":%" PRIu64
		       ",\"equal\":%s,\"rekeys\":%" PRIu64 "}\n",
		       e.got, good ? "true" : "false", ssh_stats(l.ssh)->rekeys);
	ssh_free(l.ssh);
	close(l.fd);
	return good ? 0 : 1;
}

/* Server. */

struct echo {
	uint32_t channel;
	struct buf out;
	bool eof;
};

static void echo_write(struct link *l, struct echo *e)
{
	while (buf_len(&e->out)) {
		struct mspan out = buf_bytes(&e->out);
		int taken = ssh_channel_write(l->ssh, e->channel, out.p, out.n);
		if (taken <= 0)
			return;
		buf_consume(&e->out, (size_t)taken);
		ssh_channel_credit(l->ssh, e->channel, (size_t)taken);
	}
	if (e->eof) {
		ssh_channel_eof(l->ssh, e->channel);
		ssh_channel_close(l->ssh, e->channel);
	}
}

static void echo_open(struct link *l, uint32_t channel)
{
	struct echo *e = calloc(1, sizeof(*e));
	if (!e)
		die("no memory");
	e->channel = channel;
	buf_init(&e->out, &mem_heap, ECHO_MAX);
	ssh_channel_set_user(l->ssh, channel, e);
	ssh_channel_accept(l->ssh, channel);
}

static void server_channel_event(struct link *l, struct ssh_event *ev)
{
	struct echo *e = ssh_channel_user(l->ssh, ev->channel);
	if (ev->kind == SSH_EVENT_CHANNEL_DATA &&
	    buf_append(&e->out, ev->payload.p, ev->payload.n) < 0)
		die("the peer sent more than its window");
	if (ev->kind == SSH_EVENT_CHANNEL_EOF)
		e->eof = true;
	echo_write(l, e);
}

static void server_event(void *owner, struct link *l, struct ssh_event *ev)
{
	const struct options *o = owner;
	struct echo *e;
	switch (ev->kind) {
	case SSH_EVENT_AUTH:
		ssh_auth_answer(l->ssh, ev->password.p && span_is(ev->user, o->user) &&
						span_is(ev->password, o->password));
		break;
	case SSH_EVENT_READY:
		print_names(l->ssh, "");
		break;
	case SSH_EVENT_GLOBAL_REQUEST:
		if (ev->want_reply)
			ssh_global_answer(l->ssh, false, span_of(NULL, 0));
		break;
	case SSH_EVENT_CHANNEL_OPEN:
		if (span_is(ev->name, "direct-tcpip") || span_is(ev->name, "session"))
			echo_open(l, ev->channel);
		else
			ssh_channel_reject(l->ssh, ev->channel, SSH_OPEN_UNKNOWN_CHANNEL_TYPE,
					   "no");
		break;
	case SSH_EVENT_CHANNEL_DATA:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_EOF:
		server_channel_event(l, ev);
		break;
	case SSH_EVENT_CHANNEL_CLOSED:
		e = ssh_channel_user(l->ssh, ev->channel);
		buf_fini(&e->out);
		free(e);
		break;
	case SSH_EVENT_NONE:
	case SSH_EVENT_HOST_KEY:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_REKEYED:
	case SSH_EVENT_DISCONNECTED:
		break;
	}
}

static EVP_PKEY *host_key(const char *kind)
{
	EVP_PKEY *key = NULL;
	if (strcmp(kind, "ed25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else if (strcmp(kind, "ecdsa") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	else if (strcmp(kind, "rsa") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	if (!key)
		die("--key is ed25519, ecdsa or rsa");
	return key;
}

static int listen_on_loopback(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		die("cannot listen");
	printf("{\"event\":\"ready\",\"port\":%u}\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

static void serve(const struct options *o, EVP_PKEY *key, int fd)
{
	struct fault why = { 0 };
	struct link l = { .fd = fd };
	struct ssh_config c = config_of(o, SSH_SERVER);
	c.host_keys = &key;
	c.host_keys_n = 1;
	if (ssh_new(&l.ssh, &c, now_ns(), &why) < 0)
		die(why.why);
	int r = 0;
	while (r >= 0 && !l.ended)
		r = link_step(&l, server_event, (void *)o);
	if (r < 0)
		link_fail(&l);
	printf("{\"event\":\"session_ended\",\"rekeys\":%" PRIu64 "}\n", ssh_stats(l.ssh)->rekeys);
	fflush(stdout);
	ssh_free(l.ssh);
	close(fd);
}

static int run_server(const struct options *o)
{
	EVP_PKEY *key = host_key(o->key_kind);
	int listener = listen_on_loopback();
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			die("cannot accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		serve(o, key, fd);
	}
}

static const struct option flags[] = {
	{ "user", required_argument, NULL, 'u' },   { "password", required_argument, NULL, 'p' },
	{ "kex", required_argument, NULL, 'x' },    { "host-key", required_argument, NULL, 'h' },
	{ "cipher", required_argument, NULL, 'c' }, { "rekey", required_argument, NULL, 'r' },
	{ "bytes", required_argument, NULL, 'b' },  { "target-port", required_argument, NULL, 't' },
	{ "key", required_argument, NULL, 'k' },    { NULL, 0, NULL, 0 },
};

int main(int argc, char *argv[])
{
	struct options o = { .user = "user",
			     .password = "secret",
			     .key_kind = "ed25519",
			     .target_host = "127.0.0.1" };
	for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
		switch (c) {
		case 'u': o.user = optarg; break;
		case 'p': o.password = optarg; break;
		case 'x': o.kex = optarg; break;
		case 'h': o.host_key = optarg; break;
		case 'c': o.ciphers = optarg; break;
		case 'r': o.rekey_bytes = strtoull(optarg, NULL, 10); break;
		case 'b': o.bytes = strtoull(optarg, NULL, 10); break;
		case 't': o.target_port = (uint16_t)strtoul(optarg, NULL, 10); break;
		case 'k': o.key_kind = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind == 1 && strcmp(argv[optind], "server") == 0)
		return run_server(&o);
	if (argc - optind == 3 && strcmp(argv[optind], "client") == 0) {
		o.host = argv[optind + 1];
		o.port = argv[optind + 2];
		return run_client(&o);
	}
	fputs("usage: ssh-driver client HOST PORT [options] | server [options]\n", stderr);
	return 2;
}
