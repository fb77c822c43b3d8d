/*
 * register -- the registration request and what its answer means.
 *
 * Pure: bytes to a request and an answer to a verdict; enrolment.c sends them.
 */
#ifndef CONTROL_AGENT_PLANE_REGISTER_H
#define CONTROL_AGENT_PLANE_REGISTER_H

#include "control-agent/kube/facts.h"
#include "lib/app/config/config.h"
#include "lib/base/buf.h"

#define REGISTER_PATH "/api/v1/clusters/agent/register"

struct register_request {
	const struct config *config;
	const struct facts *facts;
	const char *agent_id;
	const char *cluster_id; /* the one to resume, or "" */
	const char *version;
	int64_t now_s; /* seconds since 1970 */
};

/* Appends the JSON body; what is unknown is left out.  ERR_NOMEM, ERR_LIMIT. */
MUST_USE int register_request_write(struct buf *to, const struct register_request *r);

struct register_answer {
	char cluster_id[64];
	/* For the log line only, "" when not there or of another type: an identity
	 * is not refused over them. */
	char name[256], status[64], workspace_id[64];
	bool workspace_is_number;
	bool has_token;
	bool existed; /* 409 with an id: the cluster was there before */
};

/* 0 when the agent is registered: 200, 201, or 409 with an id.  ERR_AUTH for
 * 401 and 403, ERR_REFUSED for any other status, ERR_PROTO and ERR_LIMIT for a
 * body that can't be used. */
MUST_USE int register_answer_read(struct register_answer *out, int status, struct span body,
				  struct fault *why);

#endif
