/*
 * fake_loop -- lib/io/loop/loop.h and lib/io/dial.h without a kernel: a program's
 * part runs on a clock, sockets and connections that its test holds in its
 * hands.  To be linked before the library; the real loop then stays out.
 *
 * It keeps the contract of the two headers and insists (must) that the part
 * does: one send at a time, no callback inside a call, nothing after a close.
 */
#ifndef TESTS_SUPPORT_FAKES_FAKE_LOOP_H
#define TESTS_SUPPORT_FAKES_FAKE_LOOP_H

#include "lib/io/dial.h"
#include "lib/io/loop/loop.h"

/* There is one loop; its clock starts at a second. */
struct loop *fake_loop(void);
size_t fake_timers(void);
/* Moves the clock and fires what is due. */
void fake_pass(uint64_t ns);

/* ---- sockets, oldest first ---- */
size_t fake_socks(void);
struct sock *fake_sock(size_t i);    /* NULL when there is none */
/* The peer of s sends p[0..n): what the part has asked for arrives, in memory of
 * its own that ends there.  How much that was; 0 with n = 0 is the end. */
size_t fake_give(struct sock *s, const uint8_t *p, size_t n);
/* The kernel took what was to be sent. */
void fake_take(struct sock *s);
void fake_fail(struct sock *s, int sys);
/* Tells of the sockets that were closed. */
void fake_reap(void);

/* ---- connections asked for, oldest first ---- */
size_t fake_dials(void);
const char *fake_dial_host(size_t i);
uint16_t fake_dial_port(size_t i);
/* The i-th comes about, or fails with `sys`. */
void fake_dial_end(size_t i, int sys);
void fake_dial_resolved(size_t i); /* its name is looked up */
/* From now on dial_start() finds no memory; an address is one of before. */
void fake_dials_are(bool refused, bool remembered);

#endif
