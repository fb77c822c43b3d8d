/*
 * probe -- `--probe live|ready`: reads this container's own bus segment.
 */
#ifndef TUNNEL_SIDECAR_PROBE_H
#define TUNNEL_SIDECAR_PROBE_H

#include "lib/app/config/config.h"

/* live: the event loop ticks.  ready: the tunnel is up, or down by policy
 * (idle, not wanted, disabled).  One sentence on stdout; returns the exit code:
 * 0 yes, 1 no. */
int probe_main(struct config *config, bool ready);

#endif
