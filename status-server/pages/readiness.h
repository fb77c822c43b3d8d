/*
 * readiness -- whether the agent does its work now, and what it lacks.
 *
 * Ready: registered at the control plane, and the tunnel is up, or down by
 * policy (idle, not asked for, disabled).  Pure.
 */
#ifndef STATUS_SERVER_PAGES_READINESS_H
#define STATUS_SERVER_PAGES_READINESS_H

#include "status-server/pod_view.h"

#define READINESS_WHY_MAX 512

struct readiness {
	bool ready;
	bool registered;
	const char *tunnel; /* "up", "idle", "disabled", a state's or a presence's name */
	char lacks[COMPONENTS][READINESS_WHY_MAX]; /* a sentence, or "" */
};

void readiness_judge(struct readiness *out, const struct pod_view *v, bool tunnel_enabled);

/* The last good heartbeat is younger than 30 s, control lives and is
 * registered: what the README calls connected. */
bool readiness_is_connected(const struct pod_view *v);
/* The tunnel container lives and its forwards are agreed. */
bool readiness_is_tunnel_up(const struct pod_view *v);

#endif
