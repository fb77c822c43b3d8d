/* One heartbeat from its text to the next one's time.  The interval counts from sending, not from
 * the answer. */
#include "control-agent/plane/heartbeats.h"

#include "control-agent/plane/heartbeat.h"
#include "lib/app/program.h"
#include "lib/base/units.h"

enum { BODY_MAX = 4096 };

static uint64_t left_of(const struct heartbeats *h, uint64_t interval_ns)
{
	const uint64_t gone = loop_now(h->loop) - h->sent_ns;

	return interval_ns > gone ? interval_ns - gone : 0;
}

static void on_answer(void *user, const struct http_result *r)
{
	struct heartbeats *h = user;
	struct fault why = r->status ? (struct fault){ 0 } : trouble_of(r);
	const int rc = r->status ? heartbeat_answer_read(r->status, r->body, &why) : why.code;

	publish_heartbeat(h->publish, rc == 0, r->elapsed_ns);
	if (rc == 1) {
		h->on_lost(h->user, r->status);
	} else if (rc < 0) {
		trouble_note(h->trouble, "heartbeat_failed",
			     "the control plane does not take heartbeats", r->status, &why,
			     r->body);
		h->on_done(h->user, left_of(h, trouble_wait(h->config->reconnect_interval_ns, r)));
	} else {
		trouble_over(h->trouble);
		h->on_done(h->user, left_of(h, HEARTBEAT_NS));
	}
}

void heartbeats_send(struct heartbeats *h)
{
	struct fault why = { 0 };
	struct buf body;
	char path[160];
	const struct heartbeat_request request = {
		.cluster_id = h->identity->cluster_id,
		.agent_id = h->identity->agent_id,
		.version = program_version,
		.tunnel_status = tunnel_view_status(h->view, loop_now(h->loop)),
		.now_s = (int64_t)(publish_realtime_ns() / NS_PER_S),
	};

	heartbeat_path(path, h->identity->cluster_id);
	buf_init(&body, &mem_heap, BODY_MAX);
	h->sent_ns = loop_now(h->loop);
	int rc = heartbeat_request_write(&body, &request);
	if (rc < 0)
		fault_set(&why, rc, "the heartbeat can't be written: %s", err_name(rc));
	else
		rc = control_plane_send(h->plane, h->client, "POST", path,
					span_of(buf_bytes(&body).p, buf_len(&body)), on_answer, h,
					&why);
	buf_fini(&body);
	if (rc < 0)
		on_answer(h, &(struct http_result){ .why = why });
}
