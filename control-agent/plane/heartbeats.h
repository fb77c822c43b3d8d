/*
 * heartbeats -- sends a heartbeat and says what came of it.  The request's text stands in
 * heartbeat.h; when to send is the owner's affair.
 */
#ifndef CONTROL_AGENT_PLANE_HEARTBEATS_H
#define CONTROL_AGENT_PLANE_HEARTBEATS_H

#include "control-agent/identity/identity.h"
#include "control-agent/plane/trouble.h"
#include "control-agent/tunnel/tunnel_view.h"

struct heartbeats {
	struct loop *loop;
	const struct config *config;
	const struct control_plane *plane;
	struct http_client *client; /* the registration's: one request at a time */
	struct trouble *trouble;
	struct publish *publish;
	struct tunnel_view *view;
	const struct identity *identity; /* all kept by the owner */
	/* Before the next one wait_ns shall go by, from now. */
	void (*on_done)(void *user, uint64_t wait_ns);
	/* The control plane does not know this cluster any more. */
	void (*on_lost)(void *user, int status);
	void *user;
	uint64_t sent_ns; /* heartbeats.c's: when the last one went */
};

/* A must: no request is under way.  One hook is called, later or at once. */
void heartbeats_send(struct heartbeats *h);

#endif
