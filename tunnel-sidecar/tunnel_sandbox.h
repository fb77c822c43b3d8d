/*
 * tunnel_sandbox_enter -- what the sandbox leaves to this program: which files, which ports.
 *
 * Called once everything that is opened for good is open, and before the first
 * thread: the sandbox binds those that start later.
 */
#ifndef TUNNEL_SIDECAR_TUNNEL_SANDBOX_H
#define TUNNEL_SIDECAR_TUNNEL_SANDBOX_H

#include "lib/app/config/config.h"
#include "lib/io/loop/loop.h"
#include "lib/proto/chisel.h"
#include "tunnel-sidecar/publish.h"

/* Those of all remotes, and of servers and proxies. */
#define CONFINE_PORTS_MAX (CHISEL_REMOTES_MAX + 64)

struct tunnel_sandbox_ports {
	uint16_t port[CONFINE_PORTS_MAX];
	size_t n;
};
/* Once however often it is added.  More than fit is a programmer error: forwards, server
 * ports and proxies do. */
void tunnel_sandbox_add(struct tunnel_sandbox_ports *p, uint16_t port);
/* tunnel.server_ports: "443,80"; adds nothing for "", which means any.  ERR_CONFIG. */
MUST_USE int tunnel_sandbox_server_ports(struct tunnel_sandbox_ports *p, const char *list,
					 struct fault *why);
/* Whether a tunnel server's port is in that list. */
bool tunnel_sandbox_allows(const char *list, uint16_t port);

struct tunnel_sandbox_options {
	const char *mode; /* as sandbox_options.mode */
	const struct loop *loop;
	struct publish *publish;
	const char *bus_dir, *handoff_dir; /* NULL: not read */
	bool has_system_trust;
	const struct tunnel_sandbox_ports *ports;
	const char *any_port; /* as sandbox_options.any_port */
};

/* Enters, logs it and publishes it.  ERR_CONFIG: it was required. */
MUST_USE int tunnel_sandbox_enter(const struct tunnel_sandbox_options *o, struct fault *why);

#endif
