/*
 * probe -- "is the status server alive, is the agent ready?", asked by a
 * short-lived process of the same container over the loopback.
 */
#ifndef STATUS_SERVER_PROBE_H
#define STATUS_SERVER_PROBE_H

#include "lib/app/config/config.h"

#define PROBE_TEXT_MAX 600

/* GET /health (live) or /ready.  True when the answer is 200; `text` is one
 * sentence.  Waits 2 s for each step at most. */
bool probe_ask(const struct config *c, bool ready, char text[PROBE_TEXT_MAX]);

#endif
