/*
 * The server: listening sockets, who comes in and who ends for it, the memory of responses that
 * slow clients have not taken, and the end of it all.  A connection's life is server_conn.c.
 */
#include "lib/http/server.h"

#include <unistd.h>

#include "lib/base/units.h"
#include "lib/http/server_listen.h"
#include "lib/http/server_private.h"

static const uint64_t usual_timeout_ns[SERVER_CONN_STATES] = {
	[SERVER_CONN_IDLE] = LIMIT_HTTP_IDLE_MS * NS_PER_MS,
	[SERVER_CONN_HEAD] = LIMIT_HTTP_REQUEST_MS * NS_PER_MS,
	[SERVER_CONN_QUEUED] = LIMIT_HTTP_QUEUED_MS * NS_PER_MS,
	[SERVER_CONN_EXCHANGE] = 0, /* the owner's matter */
	[SERVER_CONN_SENDING] = LIMIT_HTTP_SEND_MS * NS_PER_MS,
	[SERVER_CONN_LINGER] = LIMIT_HTTP_LINGER_MS * NS_PER_MS,
};

static struct server_conn *conn_of(struct server_seat *seat)
{
	return owner_of(seat, struct server_conn, seat);
}

/* What was sent last on an idle or lingering connection may still be on its way, and a reset would
 * overtake it. */
static void end_for_another(struct server_seat *seat)
{
	server_conn_end(conn_of(seat),
			seat->state != SERVER_CONN_IDLE && seat->state != SERVER_CONN_LINGER);
}

static void on_accept(void *user, int fd)
{
	struct http_server *s = user;
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);
	struct server_peer from;
	struct server_seat *victim;

	if (getpeername(fd, (struct sockaddr *)&at, &n) < 0) { /* it has gone meanwhile */
		close(fd);
		return;
	}
	server_peer_read(&from, &at);
	if (!server_admission_ask(&s->admission, &from, loop_now(s->loop), &victim)) {
		close(fd);
		return;
	}
	if (victim)
		end_for_another(victim);
	server_conn_new(s, fd, &from);
}

/* The connection that has been sending the same large body for longest, if long enough to be cut
 * for another's. */
static struct server_conn *find_slowest(const struct http_server *s, const struct server_conn *but)
{
	const uint64_t now = loop_now(s->loop);
	struct server_conn *found = NULL;

	for (struct server_seat *seat = s->admission.first; seat; seat = seat->next) {
		struct server_conn *c = conn_of(seat);

		if (c != but && c->holds &&
		    now - seat->since_ns >= LIMIT_HTTP_SLOW_MS * NS_PER_MS &&
		    (!found || seat->since_ns < found->seat.since_ns))
			found = c;
	}
	return found;
}

bool server_hold(struct http_server *s, struct http_exchange *x, size_t n)
{
	if (n <= LIMIT_HTTP_SMALL_BODY)
		return true;
	while (s->held + n > LIMIT_HTTP_HELD) {
		struct server_conn *slowest = find_slowest(s, x->conn);

		if (!slowest)
			return false;
		server_conn_end(slowest, true);
	}
	x->held = n;
	x->conn->holds += n;
	s->held += n;
	return true;
}

static void on_drained(struct timer *t)
{
	struct http_server *s = owner_of(t, struct http_server, drained_soon);

	s->drained(s->drained_user);
}

static void set_timeouts(struct http_server *s, const struct http_server_options *o)
{
	const uint64_t wanted[SERVER_CONN_STATES] = { [SERVER_CONN_IDLE] = o->idle_ns,
						      [SERVER_CONN_HEAD] = o->head_ns,
						      [SERVER_CONN_SENDING] = o->send_ns };

	for (size_t i = 0; i < SERVER_CONN_STATES; i++)
		s->timeout_ns[i] = wanted[i] ? wanted[i] : usual_timeout_ns[i];
}

static int start_listening(struct http_server *s, const struct http_server_options *o,
			   struct fault *why)
{
	struct server_listen where;
	int fds[SERVER_LISTEN_MAX];
	int rc = server_listen_read(&where, o->bind, o->port, why);
	const int n = rc < 0 ? rc : server_listen_open(&where, fds, &s->port, o->busy_ns, why);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) /* listener_new() takes each, also when it fails */
		if (rc < 0)
			close(fds[i]);
		else
			rc = listener_new(&s->listeners[i], s->loop, fds[i], on_accept, s, why);
	return rc;
}

int http_server_new(struct http_server **out, struct loop *l,
		    const struct http_server_options *options, struct fault *why)
{
	*out = NULL;
	struct http_server *s = mem_alloc_zeroed(&mem_heap, sizeof(*s));
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for the HTTP server");
	s->loop = l;
	s->on_request = options->on_request;
	s->user = options->user;
	s->drained_soon.fire = on_drained;
	set_timeouts(s, options);
	const int rc = start_listening(s, options, why);
	if (rc < 0) {
		http_server_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void stop_listening(struct http_server *s)
{
	for (size_t i = 0; i < array_len(s->listeners); i++) {
		listener_close(s->listeners[i]);
		s->listeners[i] = NULL;
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	stop_listening(s);
	s->drained = NULL;
	while (s->admission.first)
		server_conn_end(conn_of(s->admission.first), false);
	timer_clear(s->loop, &s->drained_soon);
	mem_free(&mem_heap, s);
}

void http_server_drain(struct http_server *s, void (*done)(void *user), void *user)
{
	stop_listening(s);
	s->drained = done;
	s->drained_user = user;
	for (struct server_seat *seat = s->admission.first, *next; seat; seat = next) {
		next = seat->next;
		if (seat->state == SERVER_CONN_IDLE || seat->state == SERVER_CONN_HEAD ||
		    seat->state == SERVER_CONN_QUEUED)
			server_conn_end(conn_of(seat), false);
	}
	if (s->admission.count == 0)
		timer_set(s->loop, &s->drained_soon, loop_now(s->loop));
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

size_t http_server_connections(const struct http_server *s)
{
	return s->admission.count;
}
