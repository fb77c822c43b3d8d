/* One reason at a time, for registration and heartbeats together; the poll has its own. */
#include "control-agent/plane/trouble.h"

#include "lib/app/log.h"
#include "lib/base/units.h"

#define WAIT_MAX_NS (300 * NS_PER_S)

void trouble_note(struct trouble *t, const char *event, const char *message, int status,
		  const struct fault *why, struct span body)
{
	char shown[REDACT_BODY_MAX + 1];

	if (t->last.code == why->code && strcmp(t->last.why, why->why) == 0)
		return;
	t->last = *why;
	publish_error(t->publish, why->why);
	control_plane_show(t->plane, shown, body);
	log_warn(event, message, L_STR("reason", err_name(why->code)), L_STR("error", why->why),
		 L_INT("status", status), L_STR("body", shown));
}

void trouble_over(struct trouble *t)
{
	if (t->last.code)
		log_info("heartbeat_recovered", "heartbeats succeed again",
			 L_STR("was", t->last.why));
	t->last = (struct fault){ 0 };
	publish_error(t->publish, "");
}

struct fault trouble_of(const struct http_result *r)
{
	struct fault why = r->why;

	if (!why.code)
		fault_set(&why, ERR_CLOSED, "no answer from the control plane");
	return why;
}

uint64_t trouble_wait(uint64_t interval_ns, const struct http_result *r)
{
	uint64_t wait = interval_ns;

	if (r->retry_after_s * NS_PER_S > wait)
		wait = min_u64(r->retry_after_s, WAIT_MAX_NS / NS_PER_S) * NS_PER_S;
	return wait < NS_PER_S ? NS_PER_S : min_u64(wait, WAIT_MAX_NS);
}
