/*
 * plane -- what the development control plane answers, and what it remembers.
 *
 *	POST /api/v1/clusters/agent/register          bearer token; 200 {cluster_id, …}
 *	POST /api/v1/clusters/agent/<id>/heartbeat    204; 404 for another cluster
 *	GET  /api/v1/tunnel/status?agent_id=…         ready, with the gateway's URL and ports
 *
 * For tests, without a token:
 *
 *	GET  /dev/state      JSON: counts, last bodies, allocated ports, sessions
 *	POST /dev/register   ?status=N and a body: from now the answer to registrations;
 *	POST /dev/heartbeat    status=0 closes the connection without an answer;
 *	POST /dev/answer       no query and no body: back to the real answer
 *	                     (/dev/answer is the tunnel status)
 *	POST /dev/ports      allocates other ports
 *	POST /dev/forget     forgets the cluster: heartbeats get 404 until it registers
 */
#ifndef TESTS_DEVPLANE_PLANE_H
#define TESTS_DEVPLANE_PLANE_H

#include "tests/devplane/gateway.h"
#include "tests/devplane/https.h"

struct plane;

enum plane_what { PLANE_REGISTER, PLANE_HEARTBEAT, PLANE_TUNNEL, PLANE_WHATS };

struct plane_options {
	const struct gateway *gateway;
	bool gateway_tls;
	const char *token, *user, *password;
	const char *forwards; /* names, comma separated; NULL: the registered ones */
	unsigned poll_s;
};

struct plane *plane_new(const struct plane_options *options); /* texts are kept by the caller */
void plane_free(struct plane *p);
https_serve_fn plane_serve; /* user is the plane */
/* From now on this is the answer, whatever is asked. */
void plane_set(struct plane *p, enum plane_what what, int status, struct span body);
/* A port of 127.0.0.1 that nobody listens on, below those that connects draw from. */
uint16_t plane_free_port(void);

#endif
