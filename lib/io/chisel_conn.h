/*
 * carrier -- a connected socket that carries a protocol stack (lib/proto/stack):
 * moves bytes between them, runs the stack's deadlines, hands out SSH events.
 *
 * It knows neither who dialled nor what the channels are for.
 */
#ifndef LIB_IO_CHISEL_CONN_H
#define LIB_IO_CHISEL_CONN_H

#include "lib/io/loop/loop.h"
#include "lib/proto/chisel_stack.h"

struct carrier;

struct carrier_handler {
	/* One SSH event; may drive carrier_stack(), close or part. */
	void (*on_event)(void *user, const struct ssh_event *ev);
	/* The stack moved on to another phase (stack_phase). */
	void (*on_phase)(void *user, enum stack_phase phase);
	/* The connection is lost and why; called once.  After it only
	 * carrier_close(), or carrier_part() to let the stack's last words (a
	 * DISCONNECT, a TLS alert) leave. */
	void (*on_lost)(void *user, const struct fault *why);
	/* After carrier_close() or carrier_part(): socket and memory are gone.  The
	 * last call. */
	void (*on_gone)(void *user);
};

/* Takes fd in success and failure.  ERR_NOMEM, ERR_SYS, errors of stack_new. */
MUST_USE int carrier_new(struct carrier **out, struct loop *l, int fd,
			 const struct stack_options *options, const struct carrier_handler *handler,
			 void *user, struct fault *why);
/* To be called after driving the stack: sends what is pending. */
void carrier_kick(struct carrier *c);
/* Ends at once.  Only on_gone follows. */
void carrier_close(struct carrier *c);
/* Says goodbye and ends when the peer has ended too, or after a second.  Only
 * on_gone follows. */
void carrier_part(struct carrier *c, enum ssh_disconnect_reason reason, const char *text);

struct stack *carrier_stack(struct carrier *c);
int carrier_fd(const struct carrier *c);
/* loop_now() of the last byte received. */
uint64_t carrier_heard_ns(const struct carrier *c);

#endif
