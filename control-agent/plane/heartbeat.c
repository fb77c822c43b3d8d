/* The heartbeat's two texts.  heartbeats.c sends them and keeps the time. */
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
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	json_write_open(&j, "metadata", '{');
	request_text(&j, "version", r->version);
	json_write_close(&j, '}');
	request_text(&j, "cluster_id", r->cluster_id);
	request_text(&j, "agent_id", r->agent_id);
	json_write_text(&j, "status", "active");
	request_text(&j, "tunnel_status", r->tunnel_status);
	request_time(&j, "timestamp", r->now_s);
	json_write_close(&j, '}');
	return j.rc;
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
