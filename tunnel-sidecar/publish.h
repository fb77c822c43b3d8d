/*
 * publish -- all that this program tells the status bus, and nothing else
 * writes there.
 */
#ifndef TUNNEL_SIDECAR_PUBLISH_H
#define TUNNEL_SIDECAR_PUBLISH_H

#include "lib/base/feature.h"
#include "lib/base/glitch.h"
#include "lib/io/loop/loop.h"
#include "shm/bus.h"

struct publish;

struct publish_options {
	const char *bus_dir; /* NULL: nothing is published (`client` without --bus-dir) */
	/* Names, in the order of the configuration.  The bus has counters for BUS_FORWARDS_MAX:
	 * of more forwards all from the last counter on are counted together, and nothing
	 * is read of forwards[] from there on. */
	const char *const *forwards;
	size_t forwards_n;
	/* Before the program's own numbers are taken: to give back what is only kept
	 * for a next time.  May be NULL. */
	void (*trim)(void *user);
	void *user;
};

/* ERR_NOMEM, ERR_FULL (another tunnel-sidecar owns the segment). */
MUST_USE int publish_new(struct publish **out, struct loop *l, const struct publish_options *o,
			 struct fault *why);
/* After loop_free().  Accepts NULL. */
void publish_free(struct publish *p, int exit_code);

/* The numbers of the next beat, at once. */
void publish_soon(struct publish *p);
/* Called once a second, before the beat: for numbers that are not published at
 * each of their steps.  The caller's storage, until publish_off_beat(). */
struct publish_beat {
	void (*look)(void *user);
	void *user;
	struct publish_beat *next;
};
void publish_on_beat(struct publish *p, struct publish_beat *b);
void publish_off_beat(struct publish *p, struct publish_beat *b);

/* The record that readers see; change its fields, then call publish_session(). */
struct bus_session *publish_record(struct publish *p);
void publish_session(struct publish *p);
void publish_observed(struct publish *p, const struct bus_observed *o);

uint64_t publish_realtime_ns(void); /* the clock of the records */

void publish_attempt(struct publish *p);
void publish_failure(struct publish *p, enum bus_cause cause, const struct fault *why);
/* From now on time is this cause's: at every change of state. */
void publish_cause(struct publish *p, enum bus_cause cause);
void publish_up(struct publish *p, size_t forwards, uint64_t connect_ns);
void publish_down(struct publish *p);
void publish_closed(struct publish *p, const char *reason); /* our end of a connection */
void publish_ping(struct publish *p, uint64_t rtt_ns);
void publish_rekey(struct publish *p);
void publish_draining(struct publish *p);
void publish_sandbox(struct publish *p, enum sandbox_feature f, bool is_on);

enum publish_direction { PUBLISH_UP, PUBLISH_DOWN }; /* in the order of fields.def */
void publish_bytes(struct publish *p, unsigned forward, enum publish_direction d, uint64_t n);
void publish_channel_opened(struct publish *p, unsigned forward);
void publish_channel_closed(struct publish *p, unsigned forward);
void publish_channel_rejected(struct publish *p, enum bus_refusal reason);
void publish_glitches(struct publish *p, enum glitch_kind kind, uint64_t n);
/* Receive windows: the budget, what is granted of it, and how many more have grown. */
void publish_windows(struct publish *p, uint64_t budget, uint64_t granted, uint64_t growths);
void publish_dial_failed(struct publish *p, unsigned forward);

#endif
