/*
 * process -- what the kernel says of this process (Linux /proc).
 */
#ifndef STATUS_SERVER_METRICS_PROCESS_H
#define STATUS_SERVER_METRICS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_facts {
	bool has_stat; /* cpu, memory, start */
	uint64_t cpu_ns, virtual_bytes, resident_bytes, start_realtime_ns;
	bool has_fds;
	uint64_t open_fds, max_fds;
};

/* What can't be read is left out, never guessed. */
void process_read(struct process_facts *out);

#endif
