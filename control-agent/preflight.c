/* Looks, and sends nothing. */
#include "control-agent/preflight.h"

#include <string.h>

#include "control-agent/plane/control_plane.h"

/* Refused rather than ignored: who sets one of these relies on it. */
static int refuse_unsupported(const struct config *c, struct fault *why)
{
	if (c->monitoring_enabled)
		return fault_set(
			why, ERR_CONFIG,
			"monitoring.enabled: this build has no installer for the monitoring stack; "
			"set it to false and install the stack by other means");
	if (c->kubeconfig[0])
		return fault_set(
			why, ERR_CONFIG,
			"kubernetes.kubeconfig: this build reads nothing of the cluster and needs "
			"none; leave it empty");
	if (!c->reconnect_enabled)
		return fault_set(
			why, ERR_CONFIG,
			"pipeops.reconnect.enabled: this agent always connects again; remove the "
			"key, or set tunnel.enabled to false for no tunnel");
	return 0;
}

int preflight(const struct config *c, struct fault *why)
{
	struct secret token;
	struct url url;
	int rc = refuse_unsupported(c, why);

	if (rc >= 0)
		rc = control_plane_token(c, &token, why);
	explicit_bzero(&token, sizeof(token));
	return rc < 0 ? rc : control_plane_url(&url, c, why);
}
