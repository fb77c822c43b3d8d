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
#include "lib/base/fault.h"

struct facts {
	char hostname[256]; /* the node's name where it is known, else this host's */
	char service_token[sizeof(((struct identity *)0)->cluster_token)]; /* a secret */
	bool in_cluster;	    /* the token is the mounted ServiceAccount's */
	struct fault token_trouble; /* why there is no mounted token; code 0: there is, or none is
				       wanted */
	uint64_t cpu_cores, memory_gb, disk_gb; /* of the machine; whole ones, rounded up */
	const char *os;
};

struct facts_places {
	const char *node_name;		 /* what the operator calls this host, or "" */
	const char *service_account_dir; /* where a token is mounted; NULL: none is looked for */
	const char *kept_token;		 /* where none is mounted: the identity's, or "" */
};

/* Reads them all anew: the kubelet replaces the token about every hour. */
void facts_read(struct facts *out, const struct facts_places *from);

/* "agent-<hostname>-<6 hex digits>": the same for the same machine and host
 * name, so that an agent whose state can't be kept is still itself. */
void facts_agent_id(char to[128], const char *hostname);

#endif
