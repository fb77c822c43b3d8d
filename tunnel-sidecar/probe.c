/*
 * probe -- `--probe live` and `--probe ready`: reads this container's segment on the bus,
 * prints one sentence and returns the exit code. It sends nothing to the running program.
 */
#include "tunnel-sidecar/probe.h"

#include <stdio.h>

#include "lib/app/program.h"
#include "shm/probe.h"

int probe_main(struct config *config, bool ready)
{
	struct bus_reader *r = NULL;
	struct bus_session session;
	struct bus_observed observed = { .error = 0 };
	struct fault why = { 0 };
	char text[256];

	if (program_bus_directory(config, &why) < 0)
		return program_fail("tunnel-sidecar", &why);
	if (!bus_probe(&r, config->bus_dir, BUS_TUNNEL, text) || !ready) {
		puts(text);
		bus_reader_free(r);
		return text[0] == 'y' ? EXIT_DONE : EXIT_RUNTIME;
	}
	/* Down by policy is ready: nobody wants the tunnel, or it is idle. */
	const int rc = bus_read_session(r, &session);
	const bool is_refused = bus_read_observed(r, &observed) == 1 && observed.error &&
				observed.gen_seen != observed.gen_applied;
	const bool good = rc == 1 && !is_refused &&
			  (session.state == BUS_STATE_UP || session.state == BUS_STATE_IDLE);
	bus_reader_free(r);
	if (rc == 1 && is_refused)
		printf("no: %s, and the desired state is refused: %s\n",
		       bus_state_name(session.state), observed.error_text);
	else if (rc == 1)
		printf("%s: %s%s%s\n", good ? "yes" : "no", bus_state_name(session.state),
		       session.last_error[0] ? ": " : "", session.last_error);
	else
		puts("no: nothing published yet");
	return good ? EXIT_DONE : EXIT_RUNTIME;
}
