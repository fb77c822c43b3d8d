#include "tests/torture/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/io/loop/loop.h"
#include "tests/devplane/gateway.h"
#include "tests/support/certs.h"

enum { VISIT_BYTES = 100000, PIECE = 16384 };
#define VISIT_NS (5 * 1000000000ull)
#define LOOK_NS 500000ull

struct echo {
	struct world *world;
	struct sock *sock;
	uint8_t bytes[PIECE];
	bool ends;
};

struct world {
	pthread_t thread;
	struct loop *loop;
	struct gateway *gateway;
	struct listener *service;
	SSL_CTX *server_ctx, *client_ctx;
	uint16_t service_port, door_port;
	struct loop_wake order, end, arm;
	struct fail_plan plan;
	bool armed, failed;
	struct timer look; /* keeps `quiet` up to date */
	bool quiet;

	enum visit visit;
	struct sock *visitor;
	struct timer patience;
	size_t got;
	bool whole, wrong;
};

static uint8_t sent[VISIT_BYTES];

/* ---- the service ---- */

static void echo_data(struct sock *s, void *user, struct mspan data)
{
	struct echo *e = user;

	if (!data.n) {
		e->ends = true;
		sock_shutdown_write(s);
		sock_close(s, false);
		return;
	}
	memcpy(e->bytes, data.p, data.n);
	sock_send(s, &(struct iovec){ e->bytes, data.n }, 1);
}

static void echo_sent(struct sock *s, void *user)
{
	(void)user;
	sock_recv(s, PIECE);
}

static void echo_error(struct sock *s, void *user, int sys)
{
	(void)user;
	(void)sys;
	sock_close(s, false);
}

static void echo_closed(void *user)
{
	free(user);
}

static const struct sock_handler echo_handler = {
	.on_data = echo_data,
	.on_sent = echo_sent,
	.on_error = echo_error,
	.on_closed = echo_closed,
};

static void on_service(void *user, int fd)
{
	struct world *w = user;
	struct echo *e = calloc(1, sizeof(*e));

	must(e);
	e->world = w;
	must(sock_new(&e->sock, w->loop, fd, &echo_handler, e, NULL) == 0);
	sock_recv(e->sock, PIECE);
}

/* ---- the visitor ---- */

static void leave(struct world *w)
{
	timer_clear(w->loop, &w->patience);
	sock_close(w->visitor, false);
}

static void visitor_connected(struct sock *s, void *user, int sys)
{
	struct world *w = user;

	if (sys) {
		leave(w);
		return;
	}
	sock_send(s, &(struct iovec){ sent, sizeof(sent) }, 1);
	sock_shutdown_write(s);
	sock_recv(s, PIECE);
}

static void visitor_data(struct sock *s, void *user, struct mspan data)
{
	struct world *w = user;

	if (!data.n) {
		w->whole = w->got == sizeof(sent);
		leave(w);
		return;
	}
	if (w->got + data.n > sizeof(sent) || memcmp(sent + w->got, data.p, data.n) != 0) {
		w->wrong = true;
		leave(w);
		return;
	}
	w->got += data.n;
	sock_recv(s, PIECE);
}

static void visitor_error(struct sock *s, void *user, int sys)
{
	(void)s;
	(void)sys;
	leave(user);
}

static void visitor_closed(void *user)
{
	struct world *w = user;
	const enum visit v = w->wrong ? VISIT_WRONG : w->whole ? VISIT_WHOLE : VISIT_CUT;

	w->visitor = NULL;
	__atomic_store_n(&w->visit, v, __ATOMIC_RELEASE);
}

static const struct sock_handler visitor_handler = {
	.on_connected = visitor_connected,
	.on_data = visitor_data,
	.on_error = visitor_error,
	.on_closed = visitor_closed,
};

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void on_order(struct loop_wake *k)
{
	struct world *w = (struct world *)((char *)k - offsetof(struct world, order));
	const struct sockaddr_in to = loopback(w->door_port);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(fd >= 0 && !w->visitor);
	w->got = 0;
	w->whole = w->wrong = false;
	must(sock_new(&w->visitor, w->loop, fd, &visitor_handler, w, NULL) == 0);
	timer_set(w->loop, &w->patience, loop_now(w->loop) + VISIT_NS);
	sock_connect(w->visitor, (const struct sockaddr *)&to, sizeof(to));
}

static void on_patience(struct timer *t)
{
	leave((struct world *)((char *)t - offsetof(struct world, patience)));
}

/* ---- life ---- */

static void on_look(struct timer *t)
{
	struct world *w = (struct world *)((char *)t - offsetof(struct world, look));
	const bool quiet = loop_counts(w->loop).socks == 0 && gateway_sessions(w->gateway) == 0;

	if (quiet)
		loop_trim(w->loop);
	__atomic_store_n(&w->failed, fail_has_fired(), __ATOMIC_RELEASE);
	__atomic_store_n(&w->quiet, quiet, __ATOMIC_RELEASE);
	timer_set(w->loop, t, loop_now(w->loop) + LOOK_NS);
}

static void on_arm(struct loop_wake *k)
{
	struct world *w = (struct world *)((char *)k - offsetof(struct world, arm));

	if (w->plan.kind == FAIL_NOTHING)
		fail_disarm();
	else
		fail_arm(&w->plan);
	__atomic_store_n(&w->failed, false, __ATOMIC_RELEASE);
	__atomic_store_n(&w->armed, true, __ATOMIC_RELEASE);
}

static void on_end(struct loop_wake *k)
{
	struct world *w = (struct world *)((char *)k - offsetof(struct world, end));

	loop_stop(w->loop);
}

static int listen_at(uint16_t *port)
{
	struct sockaddr_in at = loopback(0);
	socklen_t n = sizeof(at);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 64) == 0);
	must(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static void make_contexts(struct world *w)
{
	struct cert ca, leaf;

	certs_make_ca(&ca, "torture");
	certs_make_leaf(&leaf, &ca, "DNS:localhost", -CERTS_DAY, CERTS_DAY);
	w->server_ctx = certs_server_ctx(&leaf);
	w->client_ctx = certs_client_ctx(&ca);
	certs_fini(&ca);
	certs_fini(&leaf);
}

/* The loop belongs to the thread that makes it. */
static void *world_main(void *arg)
{
	struct world *w = arg;
	struct loop *l;

	must(loop_new(&l, LOOP_EPOLL, NULL) == 0);
	const struct gateway_options o = { .tls_ctx = w->server_ctx, .user = "u", .password = "p",
					   .bind = "127.0.0.1" };
	w->loop = l;
	must(gateway_new(&w->gateway, l, &o, NULL) == 0);
	must(listener_new(&w->service, l, listen_at(&w->service_port), on_service, w, NULL) == 0);
	close(listen_at(&w->door_port));
	w->look.fire = on_look;
	timer_set(l, &w->look, loop_now(l));
	__atomic_store_n(&w->visit, VISIT_CUT, __ATOMIC_RELEASE); /* is there */
	must(loop_run(l, NULL) == 0);
	gateway_stop(w->gateway);
	listener_close(w->service);
	loop_free(l);
	gateway_free(w->gateway);
	return NULL;
}

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	must(w);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
	make_contexts(w);
	w->order.call = on_order;
	w->end.call = on_end;
	w->arm.call = on_arm;
	w->patience.fire = on_patience;
	must(pthread_create(&w->thread, NULL, world_main, w) == 0);
	while (world_visited(w) == VISIT_UNDER_WAY)
		usleep(1000);
	return w;
}

void world_free(struct world *w)
{
	loop_wake(w->loop, &w->end);
	pthread_join(w->thread, NULL);
	SSL_CTX_free(w->server_ctx);
	SSL_CTX_free(w->client_ctx);
	free(w);
}

uint16_t world_gateway_port(const struct world *w)
{
	return gateway_port(w->gateway);
}

uint16_t world_service_port(const struct world *w)
{
	return w->service_port;
}

uint16_t world_door_port(const struct world *w)
{
	return w->door_port;
}

SSL_CTX *world_client_ctx(struct world *w)
{
	return w->client_ctx;
}

void world_visit(struct world *w)
{
	__atomic_store_n(&w->visit, VISIT_UNDER_WAY, __ATOMIC_RELEASE);
	loop_wake(w->loop, &w->order);
}

enum visit world_visited(const struct world *w)
{
	return __atomic_load_n(&w->visit, __ATOMIC_ACQUIRE);
}

void world_fail(struct world *w, const struct fail_plan *plan)
{
	w->plan = *plan;
	__atomic_store_n(&w->armed, false, __ATOMIC_RELEASE);
	loop_wake(w->loop, &w->arm);
	while (!__atomic_load_n(&w->armed, __ATOMIC_ACQUIRE))
		usleep(100);
}

bool world_has_failed(const struct world *w)
{
	return __atomic_load_n(&w->failed, __ATOMIC_ACQUIRE);
}

bool world_is_quiet(const struct world *w)
{
	return __atomic_load_n(&w->quiet, __ATOMIC_ACQUIRE);
}
