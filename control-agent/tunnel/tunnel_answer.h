/*
 * tunnel_answer -- which tunnel the control plane asks for, from its response
 * to GET /api/v1/tunnel/status.
 *
 * Pure.  Both published shapes are read (tunnel_url, or tunnel_server_addr with
 * fingerprint and credentials).  Nothing of an answer is trusted: a forward is
 * only ever one of the configuration's, by name; where it leads to is never
 * taken from the network.
 */
#ifndef CONTROL_AGENT_TUNNEL_TUNNEL_ANSWER_H
#define CONTROL_AGENT_TUNNEL_TUNNEL_ANSWER_H

#include "lib/app/config/config.h"
#include "lib/base/bytes.h"
#include "shm/bus.h"

#define TUNNEL_POLL_MIN_S      1
#define TUNNEL_POLL_MAX_S      300
#define TUNNEL_POLL_DEFAULT_S  5
#define TUNNEL_CREDENTIALS_MAX 383 /* "user:pass", user < 128, pass < 256 */

struct tunnel_answer {
	struct bus_desired desired; /* gen and cred_gen are 0; forwards are sorted */
	char credentials[TUNNEL_CREDENTIALS_MAX + 1]; /* "user:pass", a secret; "" for none */
	uint32_t poll_s;			      /* 0: not said */
	unsigned refused;      /* forwards that name none of the configuration's */
	char refused_name[64]; /* the first of them */
};

/* 0 and *out is whole: desired.op says up or down (404, an empty body, idle,
 * any status that is not ready, required or active: down).  Otherwise the answer
 * is not usable and changes nothing: ERR_AUTH, ERR_REFUSED (other HTTP status, or
 * no forward of it is configured; out->refused is written also then), ERR_PROTO,
 * ERR_LIMIT, ERR_CONFIG (a plain URL). */
MUST_USE int tunnel_answer_read(struct tunnel_answer *out, const struct config *config, int status,
				struct span body, struct fault *why);

/* Whether both mean the same to the tunnel: generations apart. */
bool tunnel_answer_is_same(const struct bus_desired *a, const struct bus_desired *b);

/* Path and query of the poll, agent_id percent-encoded. */
void tunnel_answer_path(char to[512], const char *agent_id);

#endif
