/*
 * tunnel_poll -- asks the control plane every few seconds what the tunnel
 * should be, and passes a changed state on: credentials through the handoff
 * directory, all else over the bus.
 *
 * An answer that can't be had or used changes nothing.
 */
#ifndef CONTROL_AGENT_TUNNEL_TUNNEL_POLL_H
#define CONTROL_AGENT_TUNNEL_TUNNEL_POLL_H

#include "control-agent/plane/control_plane.h"
#include "control-agent/publish.h"
#include "control-agent/tunnel/tunnel_view.h"

struct tunnel_poll;

struct tunnel_poll_options {
	struct loop *loop;
	const struct config *config;
	const struct control_plane *plane;
	struct publish *publish;
	struct tunnel_view *view;
	const char *agent_id; /* all kept by the caller */
};

/* Starts at once.  With tunnel.enabled false: says "down" and never polls.
 * ERR_NOMEM, ERR_SYS (the handoff directory). */
MUST_USE int tunnel_poll_new(struct tunnel_poll **out, const struct tunnel_poll_options *options,
			     struct fault *why);
/* Before loop_free(); the tunnel goes on as it is.  Accepts NULL. */
void tunnel_poll_free(struct tunnel_poll *p);

#endif
