/*
 * agent -- the order of life: state, facts, registration (mandatory), then
 * heartbeats and the tunnel poll, until the program is asked to end.
 *
 *	starting → registering → running ⇄ renewing
 *	                └─→ failed ←──────────┘
 *
 * Never touches a tunnel that is up: when this program ends, for whatever
 * reason, the last desired state stays on the bus.
 */
#ifndef CONTROL_AGENT_AGENT_H
#define CONTROL_AGENT_AGENT_H

#include "control-agent/publish.h"
#include "lib/app/config/config.h"

struct agent;

enum agent_state {
#define AGENT_STATE(id, name, phase, event) AGENT_##id,
#include "control-agent/states.def"
#undef AGENT_STATE
	AGENT_STATES_N
};

struct agent_options {
	struct loop *loop;
	const struct config *config;
	struct publish *publish; /* all kept by the caller */
};

/* Registration starts with the loop.  ERR_CONFIG, ERR_NOMEM, ERR_SYS. */
MUST_USE int agent_new(struct agent **out, const struct agent_options *options, struct fault *why);
/* Before loop_free().  Accepts NULL. */
void agent_free(struct agent *a);

/* After loop_run(): enum exit_code, and the sentence for any but EXIT_DONE. */
int agent_exit_code(const struct agent *a);
const struct fault *agent_fault(const struct agent *a);

#endif
