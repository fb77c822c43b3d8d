/*
 * client -- the `client` verb: one tunnel from the command line, no control
 * plane, no bus.
 */
#ifndef TUNNEL_SIDECAR_CLIENT_H
#define TUNNEL_SIDECAR_CLIENT_H

/* argv[0] is "client".  Returns the exit code. */
int client_main(int argc, char *const argv[]);

#endif
