/*
 * trouble -- why the control plane can't be worked with just now: said when it is new, not each
 * five seconds, and once more when it is over.
 */
#ifndef CONTROL_AGENT_PLANE_TROUBLE_H
#define CONTROL_AGENT_PLANE_TROUBLE_H

#include "control-agent/plane/control_plane.h"
#include "control-agent/publish.h"

struct trouble {
	const struct control_plane *plane;
	struct publish *publish; /* both kept by the caller */
	struct fault last;	 /* code 0: there is none */
};

/* The reason, and the body of the answer it came from, for the log and the bus. */
void trouble_note(struct trouble *t, const char *event, const char *message, int status,
		  const struct fault *why, struct span body);
void trouble_over(struct trouble *t);

/* Why there is no answer. */
struct fault trouble_of(const struct http_result *r);
/* How long to wait: `interval_ns`, or what the answer asked for where that is longer; between one
 * second and five minutes. */
uint64_t trouble_wait(uint64_t interval_ns, const struct http_result *r);

#endif
