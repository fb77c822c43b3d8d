/*
 * enrolment -- this agent's place at the control plane: who it is, its registration, and the
 * renewals of it.
 *
 * It owns identity, facts and the connection that registration and heartbeats share, one request
 * at a time.  When to ask is its owner's affair, what to do then too: see the hooks.
 */
#ifndef CONTROL_AGENT_PLANE_ENROLMENT_H
#define CONTROL_AGENT_PLANE_ENROLMENT_H

#include "control-agent/identity/identity.h"
#include "control-agent/plane/trouble.h"

struct enrolment;

struct enrolment_options {
	struct loop *loop;
	const struct config *config;
	struct control_plane *plane;
	struct publish *publish; /* all kept by the caller */
	/* The last thing done in a callback: each may ask again, or free. */
	void (*on_registered)(void *user);
	/* Not now: to be asked again after wait_ns.  Never before a first registration. */
	void (*on_retry)(void *user, uint64_t wait_ns);
	/* For good; an exit code of the program. */
	void (*on_failed)(void *user, int exit_code, const struct fault *why);
	void *user;
};

/* Loads the identity and says on the bus whose this is.  ERR_CONFIG, ERR_NOMEM, ERR_SYS. */
MUST_USE int enrolment_new(struct enrolment **out, const struct enrolment_options *options,
			   struct fault *why);
/* Cancels what is under way, without a hook.  Accepts NULL. */
void enrolment_free(struct enrolment *e);

/* Asks the control plane to register this agent.  A must: no request is under way. */
void enrolment_send(struct enrolment *e);
/* The control plane does not know this cluster any more: the next request is a fresh one. */
void enrolment_forget(struct enrolment *e);
/* Whether the kubelet has replaced the ServiceAccount token since it was sent; looks once a
 * minute. */
bool enrolment_is_token_rotated(struct enrolment *e);

const struct identity *enrolment_identity(const struct enrolment *e);
struct http_client *enrolment_client(struct enrolment *e);
struct trouble *enrolment_trouble(struct enrolment *e);

#endif
