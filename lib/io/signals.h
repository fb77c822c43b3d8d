/*
 * signals -- SIGTERM, SIGINT, SIGHUP, SIGUSR2 as calls of the loop (signalfd).
 */
#ifndef LIB_IO_SIGNALS_H
#define LIB_IO_SIGNALS_H

#include "lib/io/loop/loop.h"

struct signals;
typedef void signals_fn(void *user, int signo);

/* Blocks the four for this process and those it starts threads for; SIGPIPE
 * is ignored.  Call before any thread is started.  ERR_SYS. */
MUST_USE int signals_new(struct signals **out, struct loop *l, signals_fn *on_signal, void *user,
			 struct fault *why);
void signals_free(struct signals *s); /* accepts NULL */

#endif
