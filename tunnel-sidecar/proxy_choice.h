/*
 * proxy_choice -- which proxy is used for a tunnel server, and why; logged once.
 */
#ifndef TUNNEL_SIDECAR_PROXY_CHOICE_H
#define TUNNEL_SIDECAR_PROXY_CHOICE_H

#include "tunnel-sidecar/session.h"

/* Sets t->proxy: `given` (--proxy) where there is one, else what the environment
 * names for t->url (lib/proto/proxy_env.h).  Logged when it is not what was said
 * last, never with credentials.  ERR_USAGE, ERR_CONFIG. */
MUST_USE int proxy_choice_find(struct session_target *t, const char *given, struct fault *why);

/* The ports of all proxies that the environment names: how many, or ERR_CONFIG. */
enum { PROXY_WAY_PORTS = 3 };
MUST_USE int proxy_choice_ports(uint16_t ports[PROXY_WAY_PORTS], struct fault *why);

#endif
