/*
 * The exec probes' question: does the writer of this role live and move.  Whether
 * it is ready is asked of its records, by the program whose probe it is.
 */
#include "shm/probe.h"
#include "lib/base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define STEP_NS	  100000000ull
#define STEPS_MAX 40 /* 4 s: more than the 3.5 s after which a silent writer is stalled */

static uint64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return timespec_ns(&t);
}

static enum bus_presence watch_beat(struct bus_reader *r)
{
	const struct timespec step = { .tv_nsec = (long)STEP_NS };
	enum bus_presence p = bus_reader_refresh(r, monotonic_ns());
	const uint64_t first = bus_reader_beat(r);

	for (int i = 0; i < STEPS_MAX && p == BUS_ALIVE && bus_reader_beat(r) == first; i++) {
		nanosleep(&step, NULL);
		p = bus_reader_refresh(r, monotonic_ns());
	}
	return p == BUS_ALIVE && bus_reader_beat(r) == first ? BUS_STALLED : p;
}

/* Its last sentence says more than a code. */
static void tell_end(struct bus_reader *r, char text[256])
{
	char error[BUS_TEXT_MAX];
	uint32_t exit_code;
	bool is_exit;
	const char *phase = bus_phase_name(bus_reader_phase(r, &exit_code));
	int n;

	(void)bus_reader_has_ended(r, &is_exit);
	if (is_exit)
		n = snprintf(text, 256, "no: dead (last phase %s, exit code %" PRIu32 ")", phase,
			     exit_code);
	else
		n = snprintf(text, 256, "no: dead (killed, last phase %s)", phase);
	bus_reader_last_error(r, error);
	if (*error)
		snprintf(text + n, 256 - (size_t)n, ": %.180s", error);
}

bool bus_probe(struct bus_reader **out, const char *dir, enum bus_role role, char text[256])
{
	struct fault why = { 0 };
	struct bus_reader *r = NULL;

	if (bus_reader_new(&r, dir, role, &why) < 0) {
		snprintf(text, 256, "no: %.250s", why.why);
		return false;
	}
	const enum bus_presence p = watch_beat(r);
	const struct fault *fault = bus_reader_fault(r);

	if (p == BUS_UNREADABLE)
		snprintf(text, 256, "no: the segment below %.64s can't be read: %.150s", dir,
			 fault->why);
	else if (p == BUS_DEAD)
		tell_end(r, text);
	else if (p == BUS_ABSENT)
		snprintf(text, 256,
			 "no: absent (it has not started, or not with the bus at %.160s)", dir);
	else
		snprintf(text, 256, "%s: %s", p == BUS_ALIVE ? "yes" : "no", bus_presence_name(p));
	if (p == BUS_ALIVE && out)
		*out = r;
	else
		bus_reader_free(r);
	return p == BUS_ALIVE;
}
