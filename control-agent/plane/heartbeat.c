#include "control-agent/plane/heartbeat.h"

#include <stdio.h>

#include "control-agent/plane/request.h"

enum { LOOK_MAX = 4096 }; /* of an answer, where "not registered" may stand */

void heartbeat_path(char to[160], const char *cluster_id)
{
	/* An id has letters, digits and ._:- only (identity_is_id): nothing to encode. */
	snprintf(to, 160, "/api/v1/clusters/agent/%s/heartbeat", cluster_id);
}

int heartbeat_request_write(struct buf *to, const struct heartbeat_request *r)
{
	struct json_object *o = json_object_new_object(), *metadata = json_object_new_object();
	char now[32];

	request_time(now, r->now_s);
	const bool named = metadata && request_text(metadata, "version", r->version);
	const bool placed = request_take(o, "metadata", metadata);
	const bool good = o && named && placed && request_text(o, "cluster_id", r->cluster_id) &&
			  request_text(o, "agent_id", r->agent_id) &&
			  request_text(o, "status", "active") &&
			  request_text(o, "tunnel_status", r->tunnel_status) &&
			  request_text(o, "timestamp", now);

	return request_finish_take(to, o, good);
}

static bool holds(struct span body, const char *words)
{
	char text[LOOK_MAX + 1];
	const size_t n = min_size(body.n, LOOK_MAX);

	for (size_t i = 0; i < n; i++)
		text[i] = body.p[i] ? (char)body.p[i] : ' ';
	text[n] = '\0';
	return strcasestr(text, words);
}

int heartbeat_answer_read(int status, struct span body, struct fault *why)
{
	if (status >= 200 && status < 300)
		return 0;
	if (status == 404 || status == 410 || holds(body, "not registered") ||
	    holds(body, "cluster not found"))
		return 1;
	if (status == 401 || status == 403)
		return fault_set(why, ERR_AUTH, "the control plane refused the token (HTTP %d)",
				 status);
	return fault_set(why, ERR_REFUSED, "the control plane answered HTTP %d", status);
}
