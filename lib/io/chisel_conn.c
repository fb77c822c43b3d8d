/*
 * chisel_conn -- moves bytes between a connected socket and a chisel_stack, runs
 * the stack's deadlines and hands out its events. It dials nothing and knows no
 * channel.
 */
#include "lib/io/chisel_conn.h"

#include <errno.h>
#include <unistd.h>

#include "lib/base/limits.h"
#include "lib/base/mem.h"

struct carrier {
	struct loop *loop;
	struct sock *sock; /* NULL after on_closed */
	struct stack *stack;
	const struct chisel_conn_handler *handler;
	void *user;
	struct timer timer;
	enum chisel_stack_phase phase;
	uint64_t heard_ns, goodbye_ns;
	size_t in_flight; /* bytes of chisel_stack_pending() that are with the kernel */
	bool lost;	  /* on_lost was called */
	bool peer_gone;	  /* the peer's end of the socket is gone: a goodbye has no hearer */
	bool parting;	  /* flushing a goodbye; silent */
	bool shut;	  /* … which is with the kernel: only the peer's end is awaited */
	bool closing;	  /* sock_close() was called */
};

static void fail(struct carrier *c, const struct fault *why)
{
	if (c->parting) {
		chisel_conn_close(c);
		return;
	}
	if (c->lost || c->closing)
		return;
	c->lost = true;
	c->handler->on_lost(c->user, why);
}

static void fail_stack(struct carrier *c)
{
	fail(c, chisel_stack_fault(c->stack));
}

static void arm(struct carrier *c)
{
	uint64_t at = c->parting ? c->goodbye_ns : chisel_stack_deadline(c->stack);

	/* The stack failed in a call of the owner's, who is told from the loop. */
	if (!c->parting && chisel_stack_fault(c->stack)->code)
		at = loop_now(c->loop);
	if (c->closing || (c->lost && !c->parting) || at == UINT64_MAX)
		timer_clear(c->loop, &c->timer);
	else
		timer_set(c->loop, &c->timer, at);
}

static void flush(struct carrier *c)
{
	if (c->closing || c->shut || sock_is_sending(c->sock))
		return;
	const struct span out = chisel_stack_pending(c->stack);
	if (out.n) {
		c->in_flight = out.n;
		/* The kernel only reads them. */
		sock_send(c->sock, &(struct iovec){ (void *)(uintptr_t)out.p, out.n }, 1);
	} else if (c->parting) {
		/* Closed with bytes of the peer's unread, or still to come, the kernel
		 * resets, and the goodbye may be lost on the peer. */
		c->shut = true;
		sock_shutdown_write(c->sock);
	}
}

/* Draws every event that waits; false when the connection ended meanwhile. */
static bool draw(struct carrier *c)
{
	struct ssh_event ev;
	int rc;

	while (!c->closing && !c->parting && (rc = chisel_stack_next(c->stack, &ev)) != 0) {
		if (rc < 0) {
			fail_stack(c);
			return false;
		}
		const enum chisel_stack_phase phase = chisel_stack_phase(c->stack);
		if (phase != c->phase) {
			c->phase = phase;
			c->handler->on_phase(c->user, phase);
		}
		if (!c->closing && !c->parting)
			c->handler->on_event(c->user, &ev);
	}
	if (!c->closing && !c->parting && chisel_stack_phase(c->stack) != c->phase) {
		c->phase = chisel_stack_phase(c->stack);
		c->handler->on_phase(c->user, c->phase);
	}
	return !c->closing && !c->parting && !c->lost;
}

void chisel_conn_flush(struct carrier *c)
{
	if (c->closing || c->lost)
		return;
	flush(c);
	if (!c->closing)
		arm(c);
}

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct carrier *c = user;

	if (c->parting) {
		if (data.n)
			sock_recv(s, SOCK_RECV_MAX);
		else
			chisel_conn_close(c);
		return;
	}
	if (!data.n) {
		c->peer_gone = true;
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
	struct carrier *c = user;

	(void)s;
	chisel_stack_sent(c->stack, c->in_flight);
	c->in_flight = 0;
	/* Room in the stack may make channels writable. */
	if (c->parting || draw(c))
		chisel_conn_flush(c);
	if (c->parting)
		flush(c);
}

static void on_error(struct sock *s, void *user, int sys)
{
	struct carrier *c = user;
	struct fault why = { 0 };

	(void)s;
	c->peer_gone = true;
	if (sys == ETIMEDOUT) /* TCP_USER_TIMEOUT, or the kernel's own patience */
		fault_set(&why, ERR_TIMEOUT,
			  "the link is dead: bytes sent were never acknowledged");
	else if (sys == ECONNRESET || sys == EPIPE)
		fault_set(&why, ERR_CLOSED, "the peer closed the connection: %s", strerror(sys));
	else
		fault_set_sys(&why, sys, "connection lost");
	why.sys = sys;
	fail(c, &why);
}

static void on_closed(void *user)
{
	struct carrier *c = user;
	void (*gone)(void *) = c->handler->on_gone;
	void *owner = c->user;

	chisel_stack_free(c->stack);
	mem_free(&mem_heap, c);
	gone(owner);
}

static void on_timer(struct timer *t)
{
	struct carrier *c = (struct carrier *)((char *)t - offsetof(struct carrier, timer));

	if (c->parting) {
		chisel_conn_close(c);
		return;
	}
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

int chisel_conn_new(struct carrier **out, struct loop *l, int fd,
		    const struct chisel_stack_options *options,
		    const struct chisel_conn_handler *handler, void *user, struct fault *why)
{
	struct carrier *c = mem_alloc_zeroed(&mem_heap, sizeof(*c));
	int rc;

	if (!c) {
		close(fd);
		return fault_set(why, ERR_NOMEM, "no memory for a connection");
	}
	c->loop = l;
	c->handler = handler;
	c->user = user;
	c->timer.fire = on_timer;
	c->heard_ns = loop_now(l);
	rc = chisel_stack_new(&c->stack, options, &mem_heap, loop_now(l), why);
	if (rc < 0) {
		close(fd);
		mem_free(&mem_heap, c);
		return rc;
	}
	c->phase = chisel_stack_phase(c->stack);
	rc = sock_new(&c->sock, l, fd, &sock_handler, c, why);
	if (rc < 0) {
		chisel_stack_free(c->stack);
		mem_free(&mem_heap, c);
		return rc;
	}
	sock_recv(c->sock, SOCK_RECV_MAX);
	chisel_conn_flush(c);
	*out = c;
	return 0;
}

void chisel_conn_close(struct carrier *c)
{
	if (c->closing)
		return;
	c->closing = true;
	timer_clear(c->loop, &c->timer);
	sock_close(c->sock, false);
}

void chisel_conn_shutdown(struct carrier *c, enum ssh_disconnect_reason reason, const char *text)
{
	if (c->closing || c->parting)
		return;
	if (c->peer_gone) {
		chisel_conn_close(c);
		return;
	}
	c->parting = true;
	c->goodbye_ns = loop_now(c->loop) + LIMIT_NS(GOODBYE);
	if (!c->lost) /* else the stack has queued its own last words */
		chisel_stack_close(c->stack, reason, text);
	arm(c);
	sock_recv(c->sock, SOCK_RECV_MAX); /* may come from a callback that has not asked again */
	flush(c);
}

struct stack *chisel_conn_stack(struct carrier *c)
{
	return c->stack;
}

int chisel_conn_fd(const struct carrier *c)
{
	return sock_fd(c->sock);
}

uint64_t chisel_conn_heard_ns(const struct carrier *c)
{
	return c->heard_ns;
}
