/*
 * facts -- what this machine and this cluster are, as far as it is known.
 *
 * Nothing is invented: what can't be found out is empty or 0, and is left out of
 * every request.  Facts of the Kubernetes API (version, nodes, pods, the node's
 * address and labels) are not read by this build.
 */
#ifndef CONTROL_AGENT_KUBE_FACTS_H
#define CONTROL_AGENT_KUBE_FACTS_H

#include "control-agent/identity/identity.h"
#include "lib/app/config/config.h"

struct facts {
	char hostname[256]; /* the node's name where it is known, else this host's */
	char service_token[sizeof(((struct identity *)0)->cluster_token)]; /* a secret */
	bool in_cluster;	    /* the token is the mounted ServiceAccount's */
	struct fault token_trouble; /* why there is no mounted token; code 0: there is, or none is
				       wanted */
	uint64_t cpu_cores, memory_gb, disk_gb; /* of the machine; whole ones, rounded up */
	const char *os;
};

/* Reads them all anew: the kubelet replaces the token about every hour. */
void facts_read(struct facts *out, const struct config *config, const struct identity *state);

/* "agent-<hostname>-<6 hex digits>": the same for the same machine and host
 * name, so that an agent whose state can't be kept is still itself. */
void facts_agent_id(char to[128], const char *hostname);

#endif
