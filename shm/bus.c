/*
 * The names of states, causes and phases, from the lists of bus.h.
 */
#include "shm/bus.h"

const char *bus_state_name(uint64_t state)
{
	static const char *const names[] = {
#define X(id, name) [BUS_STATE_##id] = name,
		BUS_STATES(X)
#undef X
	};
	return state < array_len(names) ? names[state] : "unknown";
}

const char *bus_cause_name(uint64_t cause)
{
	static const char *const names[] = {
#define X(id, name) [BUS_CAUSE_##id] = name,
		BUS_CAUSES(X)
#undef X
	};
	return cause < array_len(names) ? names[cause] : "unknown";
}

const char *bus_phase_name(uint64_t phase)
{
	static const char *const names[] = {
		[BUS_INIT] = "init",	   [BUS_RUNNING] = "running", [BUS_DRAINING] = "draining",
		[BUS_STOPPED] = "stopped", [BUS_FAILED] = "failed",
	};
	return phase < array_len(names) ? names[phase] : "unknown";
}
