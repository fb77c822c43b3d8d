/*
 * advice -- what an operator can do about a registration that failed, and whether it may pass by
 * itself.  Pure; the texts stand in advice.def.
 */
#ifndef CONTROL_AGENT_PLANE_ADVICE_H
#define CONTROL_AGENT_PLANE_ADVICE_H

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

/* For an answer with `status` (0: none, or none that could be read) that ended in `code`.
 * api_path is the path of pipeops.api_url, of which people write too much. */
const char *advice_text(int status, enum err code, const char *api_path);

/* Whether the same request may be taken later: a status that says so, no answer, or one that
 * is not the control plane's own (an empty one, HTML). */
bool advice_passes(int status, struct span body);

#endif
