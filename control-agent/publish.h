/*
 * publish -- all that this program tells the status bus, and nothing else
 * writes there.
 *
 * Beats once a second and copies every log line to the bus.  A bus that fails
 * stops nothing: it is logged once, the numbers then stay private.
 */
#ifndef CONTROL_AGENT_PUBLISH_H
#define CONTROL_AGENT_PUBLISH_H

#include "lib/io/loop/loop.h"
#include "shm/bus.h"

struct publish;

struct publish_options {
	const char *bus_dir;
	const char *const *forwards; /* names, in the order of the configuration */
	size_t forwards_n;
	/* Another control-agent has taken our place on the bus: this one must end. */
	void (*on_replaced)(void *user);
	void *user;
};

/* ERR_NOMEM, ERR_FULL (another control-agent owns the segment). */
MUST_USE int publish_new(struct publish **out, struct loop *l, const struct publish_options *o,
			 struct fault *why);
/* Before loop_free(); readers see `exit_code`.  Accepts NULL. */
void publish_free(struct publish *p, int exit_code);

/* The numbers of the next beat, at once. */
void publish_soon(struct publish *p);

/* The registration that readers see. */
void publish_identity(struct publish *p, const char *agent_id, const char *cluster_name);
void publish_registered(struct publish *p, const char *cluster_id);
/* The control plane does not know this cluster. */
void publish_unregistered(struct publish *p);
/* What is wrong at the moment; "": nothing is. */
void publish_error(struct publish *p, const char *text);
/* The program ends because of `text`: not registered any more. */
void publish_ended(struct publish *p, const char *text);
void publish_desired(struct publish *p, const struct bus_desired *d);
void publish_phase(struct publish *p, enum bus_phase phase, const char *event);

/* Whether the control plane proves itself by its certificate. */
void publish_verified(struct publish *p, bool verified);
void publish_registration_attempt(struct publish *p);
void publish_heartbeat(struct publish *p, bool good, uint64_t elapsed_ns);
void publish_poll(struct publish *p, bool good, unsigned forwards_refused);

/* CLOCK_REALTIME, as the bus's records hold it. */
uint64_t publish_realtime_ns(void);

#endif
