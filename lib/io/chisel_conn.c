/*
 * chisel_conn.c moves bytes between a socket and a chisel_stack and hands out the
 * stack's events.  How the socket ends is conn_end's.
 */
#include "lib/io/chisel_conn.h"

#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/conn_end.h"

struct chisel_conn {
	struct loop *loop;
	struct conn_end end;
	struct stack *stack;
	const struct chisel_conn_handler *handler;
	void *user;
	struct timer timer;
	enum chisel_stack_phase phase;
	uint64_t heard_ns;
	size_t in_flight; /* bytes of chisel_stack_pending() that are with the kernel */
};

static void fail(struct chisel_conn *c, const struct fault *why)
{
	if (conn_end_lose(&c->end))
		c->handler->on_lost(c->user, why);
}

static void fail_stack(struct chisel_conn *c)
{
	fail(c, chisel_stack_fault(c->stack));
}

static void arm(struct chisel_conn *c)
{
	uint64_t at = chisel_stack_deadline(c->stack);

	/* The stack failed in a call by the owner, which gets the failure from the loop. */
	if (chisel_stack_fault(c->stack)->code)
		at = loop_now(c->loop);
	if (!conn_end_is_open(&c->end) || at == UINT64_MAX)
		timer_clear(c->loop, &c->timer);
	else
		timer_set(c->loop, &c->timer, at);
}

static void flush(struct chisel_conn *c)
{
	if (!conn_end_may_send(&c->end))
		return;
	const struct span out = chisel_stack_pending(c->stack);
	if (!out.n) {
		conn_end_flushed(&c->end);
		return;
	}
	c->in_flight = out.n;
	/* The kernel only reads them. */
	sock_send(c->end.sock, &(struct iovec){ (void *)(uintptr_t)out.p, out.n }, 1);
}

static bool may_tell(const struct chisel_conn *c)
{
	return !c->end.closed && !c->end.graceful;
}

/* Draws every event that waits; false when the connection ended meanwhile. */
static bool draw(struct chisel_conn *c)
{
	struct ssh_event ev;
	int rc;

	while (may_tell(c) && (rc = chisel_stack_next(c->stack, &ev)) != 0) {
		if (rc < 0) {
			fail_stack(c);
			return false;
		}
		const enum chisel_stack_phase phase = chisel_stack_phase(c->stack);
		if (phase != c->phase) {
			c->phase = phase;
			c->handler->on_phase(c->user, phase);
		}
		if (may_tell(c))
			c->handler->on_event(c->user, &ev);
	}
	if (may_tell(c) && chisel_stack_phase(c->stack) != c->phase) {
		c->phase = chisel_stack_phase(c->stack);
		c->handler->on_phase(c->user, c->phase);
	}
	return conn_end_is_open(&c->end);
}

void chisel_conn_flush(struct chisel_conn *c)
{
	if (c->end.closed || c->end.lost)
		return;
	flush(c);
	if (!c->end.closed)
		arm(c);
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct chisel_conn *c = user;

	if (conn_end_received(&c->end, data.n))
		return;
	if (!data.n) {
		c->end.peer_gone = true;
		chisel_stack_feed_end(c->stack);
		if (draw(c))
			fail_stack(c);
		return;
	}
	c->heard_ns = loop_now(c->loop);
	const int rc = chisel_stack_feed(c->stack, data.p, data.n, c->heard_ns);
	if (!draw(c))
		return;
	if (rc < 0) {
		fail_stack(c);
		return;
	}
	sock_recv(s, SOCK_RECV_MAX);
	chisel_conn_flush(c);
}

static void on_sent(struct sock *s, void *user)
{
	struct chisel_conn *c = user;

	(void)s;
	chisel_stack_sent(c->stack, c->in_flight);
	c->in_flight = 0;
	/* Room in the stack may make channels writable. */
	if (c->end.graceful)
		flush(c);
	else if (draw(c))
		chisel_conn_flush(c);
}

static void on_error(struct sock *s, void *user, int sys)
{
	struct chisel_conn *c = user;
	struct fault why = { 0 };

	(void)s;
	c->end.peer_gone = true;
	conn_end_sentence(&why, sys, "peer");
	fail(c, &why);
}

static void on_closed(void *user)
{
	struct chisel_conn *c = user;
	void (*gone)(void *) = c->handler->on_gone;
	void *owner = c->user;

	conn_end_fini(&c->end);
	timer_clear(c->loop, &c->timer);
	chisel_stack_free(c->stack);
	mem_free(&mem_heap, c);
	gone(owner);
}

static void on_timer(struct timer *t)
{
	struct chisel_conn *c = owner_of(t, struct chisel_conn, timer);

	const int rc = chisel_stack_tick(c->stack, loop_now(c->loop));
	if (!draw(c))
		return;
	if (rc < 0) {
		fail_stack(c);
		return;
	}
	chisel_conn_flush(c);
}

static const struct sock_handler sock_handler = {
	.on_data = on_data,
	.on_sent = on_sent,
	.on_error = on_error,
	.on_closed = on_closed,
};

int chisel_conn_new(struct chisel_conn **out, struct loop *l, int fd,
		    const struct chisel_stack_options *options,
		    const struct chisel_conn_handler *handler, void *user, struct fault *why)
{
	struct chisel_conn *c = mem_alloc_zeroed(&mem_heap, sizeof(*c));
	int rc;

	if (!c) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	c->loop = l;
	c->handler = handler;
	c->user = user;
	conn_end_init(&c->end, l);
	c->timer.fire = on_timer;
	c->heard_ns = loop_now(l);
	rc = chisel_stack_new(&c->stack, options, &mem_heap, loop_now(l), why);
	if (rc < 0) {
		close(fd);
		mem_free(&mem_heap, c);
		return rc;
	}
	c->phase = chisel_stack_phase(c->stack);
	rc = sock_new(&c->end.sock, l, fd, &sock_handler, c, why);
	if (rc < 0) {
		chisel_stack_free(c->stack);
		mem_free(&mem_heap, c);
		return rc;
	}
	sock_recv(c->end.sock, SOCK_RECV_MAX);
	chisel_conn_flush(c);
	*out = c;
	return 0;
}

void chisel_conn_close(struct chisel_conn *c)
{
	timer_clear(c->loop, &c->timer);
	conn_end_close(&c->end);
}

void chisel_conn_shutdown(struct chisel_conn *c, enum ssh_disconnect_reason reason,
			  const char *text)
{
	const bool told = c->end.lost; /* then the stack has queued its own last words */

	if (!conn_end_begin(&c->end))
		return;
	timer_clear(c->loop, &c->timer);
	if (!told)
		chisel_stack_close(c->stack, reason, text);
	flush(c);
}

struct stack *chisel_conn_stack(struct chisel_conn *c)
{
	return c->stack;
}

int chisel_conn_fd(const struct chisel_conn *c)
{
	return sock_fd(c->end.sock);
}

uint64_t chisel_conn_heard_ns(const struct chisel_conn *c)
{
	return c->heard_ns;
}
