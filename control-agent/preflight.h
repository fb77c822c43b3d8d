/*
 * preflight -- what can be known to be wrong before anything is sent: no token,
 * an URL that can't be meant, settings that ask for what this build can't do.
 */
#ifndef CONTROL_AGENT_PREFLIGHT_H
#define CONTROL_AGENT_PREFLIGHT_H

#include "lib/app/config/config.h"

/* ERR_CONFIG: one sentence that names the setting and says what to do. */
MUST_USE int preflight(const struct config *c, struct fault *why);

#endif
