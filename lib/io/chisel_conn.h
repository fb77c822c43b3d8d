/*
 * chisel_conn -- a connected socket that carries a protocol stack (lib/proto/chisel_stack):
 * moves bytes between them, runs the stack's deadlines, hands out SSH events.
 *
 * It does not dial, and does not know what the channels are for.
 */
#ifndef LIB_IO_CHISEL_CONN_H
#define LIB_IO_CHISEL_CONN_H

#include "lib/io/channels.h"
#include "lib/io/loop/loop.h"
#include "lib/proto/chisel_stack.h"

struct chisel_conn;

struct chisel_conn_handler {
	/* One SSH event; may drive chisel_conn_stack(), close or shut it down. */
	void (*on_event)(void *user, const struct ssh_event *ev);
	/* The stack moved on to another phase (chisel_stack_phase). */
	void (*on_phase)(void *user, enum chisel_stack_phase phase);
	/* The connection is lost and why; called once.  After it only
	 * chisel_conn_close(), or chisel_conn_shutdown() to let the stack's last words (a
	 * DISCONNECT, a TLS alert) leave. */
	void (*on_lost)(void *user, const struct fault *why);
	/* After chisel_conn_close() or chisel_conn_shutdown(): socket and memory are gone.  The
	 * last call. */
	void (*on_gone)(void *user);
};

/* Takes fd in success and failure.  ERR_NOMEM, ERR_SYS, errors of chisel_stack_new. */
MUST_USE int chisel_conn_new(struct chisel_conn **out, struct loop *l, int fd,
			     const struct chisel_stack_options *options,
			     const struct chisel_conn_handler *handler, void *user,
			     struct fault *why);
/* To be called after driving the stack: sends what is pending. */
void chisel_conn_flush(struct chisel_conn *c);
/* Ends at once.  Only on_gone follows. */
void chisel_conn_close(struct chisel_conn *c);
/* Disconnects and ends when the peer has closed too, or after a second.  Only
 * on_gone follows. */
void chisel_conn_shutdown(struct chisel_conn *c, enum ssh_disconnect_reason reason,
			  const char *text);

struct stack *chisel_conn_stack(struct chisel_conn *c);
/* Those of its engine; not to be used after chisel_conn_close() or chisel_conn_shutdown(). */
struct channels chisel_conn_channels(struct chisel_conn *c);
int chisel_conn_fd(const struct chisel_conn *c);
/* loop_now() of the last byte received. */
uint64_t chisel_conn_heard_ns(const struct chisel_conn *c);

#endif
