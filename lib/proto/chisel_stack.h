/*
 * stack -- (proxy |) tls | ws | ssh joined: bytes of a TCP connection in, SSH
 * events out, and back.  One SSH packet is one WebSocket message.
 *
 * The SSH engine itself is driven through chisel_stack_ssh(): its channel, request
 * and disconnect calls.  After any of them, call chisel_stack_pending().
 */
#ifndef LIB_PROTO_CHISEL_STACK_H
#define LIB_PROTO_CHISEL_STACK_H

#include "lib/proto/proxy.h"
#include "lib/proto/ssh/ssh.h"
#include "lib/proto/tls.h"
#include "lib/proto/ws/ws.h"

struct stack;

enum chisel_stack_phase {
	CHISEL_STACK_PROXY,
	CHISEL_STACK_TLS,
	CHISEL_STACK_UPGRADE,
	CHISEL_STACK_SSH,
	CHISEL_STACK_READY
};

struct chisel_stack_options {
	const struct proxy_options *proxy; /* NULL: directly */
	SSL_CTX *tls_ctx;		   /* NULL: plain ws:// */
	struct tls_options tls;
	struct ws_options ws;  /* protocol: NULL means chisel's */
	struct ssh_config ssh; /* tx_headroom is set by the stack */
};

MUST_USE int chisel_stack_new(struct stack **out, const struct chisel_stack_options *options,
			      const struct mem *mem, uint64_t now_ns, struct fault *why);
void chisel_stack_free(struct stack *s); /* accepts NULL */

/* Takes in[0..n), which is read, and changed, by the calls of chisel_stack_next() that
 * follow: it must stay until one of them returns 0 (what an unanswered event
 * holds up is then copied, up to 1 MiB).  The sticky enum err, else 0. */
MUST_USE int chisel_stack_feed(struct stack *s, uint8_t *in, size_t n, uint64_t now_ns);
/* The peer ended the TCP stream: returns the enum err that means here. */
int chisel_stack_feed_end(struct stack *s);
MUST_USE int chisel_stack_next(struct stack *s, struct ssh_event *ev); /* 1, 0 or enum err */
/* Bytes for the TCP connection, in one piece, up to about 256 KiB; they stay
 * where they are until chisel_stack_sent(). */
struct span chisel_stack_pending(struct stack *s);
void chisel_stack_sent(struct stack *s, size_t n);
uint64_t chisel_stack_deadline(const struct stack *s);
MUST_USE int chisel_stack_tick(struct stack *s, uint64_t now_ns);

/* Gives back memory that waits for a next use; for a quiet moment. */
void chisel_stack_trim(struct stack *s);

struct ssh *chisel_stack_ssh(struct stack *s);
enum chisel_stack_phase chisel_stack_phase(const struct stack *s);
/* The first fault of any of the three, TLS first. */
const struct fault *chisel_stack_fault(const struct stack *s);
const struct tls *chisel_stack_tls(const struct stack *s); /* NULL when plain */
int chisel_stack_upgrade_status(const struct stack *s);	   /* ws_refused_status */
unsigned chisel_stack_retry_after_s(const struct stack *s);
/* What the peer did without any use so far, on any floor. */
void chisel_stack_glitches(const struct stack *s, uint64_t counts[GLITCH_KINDS]);
/* Ends every layer that is open: SSH disconnect, WebSocket close,
 * TLS close_notify.  What is pending after it should still be sent. */
void chisel_stack_close(struct stack *s, enum ssh_disconnect_reason reason, const char *text);

#endif
