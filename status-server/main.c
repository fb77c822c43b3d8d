/*
 * status-server -- tells what the pod does, over HTTP.  It reads the bus and
 * needs no write access.  Here only the wiring stands, in the order in which
 * things start.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/sandbox/sandbox.h"
#include "lib/app/self.h"
#include "lib/base/units.h"
#include "lib/http/server.h"
#include "lib/io/signals.h"
#include "status-server/pages/dump.h"
#include "status-server/probe.h"
#include "status-server/routes.h"

#define NAME "status-server"
#define PURPOSE                                                                                    \
	"Serves health, readiness and metrics of the agent.\n"                                     \
	"A segment of the status bus, printed: status-server dump SEGMENT [--json]"
#define DRAIN_NS UINT64_C(5000000000)
#define BUSY_NS	 NS_PER_S

struct app {
	struct config config;
	struct loop *loop;
	struct signals *signals;
	struct http_server *server;
	struct site site;
	struct sandbox_report sandbox;
	struct timer deadline; /* of the answers under way at the end */
	bool stopping;
};

static void on_drained(void *user)
{
	loop_stop(((struct app *)user)->loop);
}

static void on_deadline(struct timer *t)
{
	loop_stop((owner_of(t, struct app, deadline))->loop);
}

static void on_signal(void *user, int signo)
{
	struct app *a = user;

	if (signo == SIGUSR2) {
		self_log(loop_counts(a->loop));
		return;
	}
	log_info("signal", "a signal was received", L_STR("signal", strsignal(signo)));
	if (signo == SIGHUP || a->stopping)
		return;
	a->stopping = true;
	log_info("stopping", "finishing the responses that have begun",
		 L_INT("connections", http_server_connections(a->server)));
	timer_set(a->loop, &a->deadline, loop_now(a->loop) + DRAIN_NS);
	http_server_drain(a->server, on_drained, a);
}

/* Uses the writers' fallback rule, so all three programs find the same directory.  If it can't be
 * created, that is not a failure: the containers are reported as absent. */
static void find_bus(struct config *c)
{
	struct fault why = { 0 };
	const int rc = program_bus_directory(c, &why);

	if (rc < 0)
		log_warn("directory_fallback", "no directory of the bus can be found",
			 L_STR("error", why.why));
	else if (rc > 0)
		log_info("directory_fallback", "another directory is used for the bus",
			 L_STR("used", c->bus_dir));
}

/* It dials nothing and writes nothing: what listens is open by now, the bus is
 * opened again whenever a writer makes a new segment. */
static int lock_in(struct app *a, struct fault *why)
{
	const char *const read[] = { a->config.bus_dir };
	const int rc = sandbox_enter(&a->sandbox,
				     &(struct sandbox_options){ .program = CONFIG_STATUS,
								.mode = a->config.sandbox,
								.loop = a->loop,
								.read = read,
								.read_n = array_len(read) },
				     why);

	a->site.sandbox = &a->sandbox;
	sandbox_log(&a->sandbox);
	return rc;
}

/* The server knows the port, this program the settings that choose it. */
static int listen_for_requests(struct app *a, struct fault *why)
{
	const struct config *c = &a->config;
	struct fault cause = { 0 };
	const int rc =
		http_server_new(&a->server, a->loop,
				&(struct http_server_options){ .bind = c->status_bind,
							       .port = (uint16_t)c->status_port,
							       .on_request = routes_serve,
							       .user = &a->site,
							       .busy_ns = BUSY_NS },
				&cause);

	if (rc == 0)
		return 0;
	if (rc == ERR_CONFIG)
		return fault_set(why, rc, "status.bind: %s", cause.why);
	return fault_set(why, (enum err)rc, "%s%s", cause.why,
			 cause.sys == EADDRINUSE ? ": set PIPEOPS_PORT or --port to a free one"
			 : cause.sys == EACCES	 ? ": set PIPEOPS_PORT or --port to one above 1023"
						 : "");
}

static int start(struct app *a, struct fault *why)
{
	struct config *c = &a->config;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	a->site.start_realtime_ns = timespec_ns(&now);
	a->site.config = c;
	a->deadline.fire = on_deadline;
	find_bus(c);
	int rc = loop_new(&a->loop, program_loop_choice(c), why);
	if (rc < 0)
		return rc;
	a->site.loop = a->loop;
	a->site.io_backend = loop_backend(a->loop);
	a->site.io_reason = loop_backend_reason(a->loop);
	log_info("io_backend", "event loop", L_STR("backend", a->site.io_backend),
		 L_STR("reason", a->site.io_reason));
	rc = signals_new(&a->signals, a->loop, on_signal, a, why);
	if (rc < 0)
		return rc;
	rc = pod_watch_new(&a->site.source, a->loop, c->bus_dir, why);
	if (rc < 0)
		return rc;
	rc = listen_for_requests(a, why);
	if (rc < 0)
		return rc;
	rc = lock_in(a, why);
	if (rc < 0)
		return rc;
	log_info("listening", "accepting connections", L_STR("bind", c->status_bind),
		 L_INT("port", http_server_port(a->server)), L_STR("bus", c->bus_dir));
	return 0;
}

static int run(struct app *a)
{
	struct fault why = { 0 };

	program_harden();
	program_start_log("status", &a->config);
	log_info("started", NAME, L_STR("version", program_version),
		 L_STR("revision", program_revision), L_STR("config", a->config.file));
	int rc = start(a, &why);
	if (rc == 0)
		rc = loop_run(a->loop, &why);
	if (a->loop)
		timer_clear(a->loop, &a->deadline);
	http_server_free(a->server);
	pod_watch_free(a->site.source);
	signals_free(a->signals);
	loop_free(a->loop);
	return program_stop(NAME, rc < 0 ? program_exit_code(&why) : EXIT_DONE, &why);
}

static int probe(const struct config *c, bool ready)
{
	char text[PROBE_TEXT_MAX];
	const bool good = probe_ask(c, ready, text);

	puts(text);
	return good ? EXIT_DONE : EXIT_RUNTIME;
}

int main(int argc, char **argv)
{
	static struct app app;
	struct fault why = { 0 };
	enum config_verb verb;

	program_begin();
	if (argc > 1 && strcmp(argv[1], "dump") == 0)
		return dump_main(argc - 1, argv + 1);
	if (config_load(&app.config, CONFIG_STATUS, argc, argv, &verb, &why) < 0)
		return program_fail(NAME, &why);
	switch (verb) {
	case CONFIG_RUN:
		return run(&app);
	case CONFIG_HELP:
		config_print_help(CONFIG_STATUS, NAME, PURPOSE);
		return EXIT_DONE;
	case CONFIG_VERSION:
		program_print_version(NAME);
		return EXIT_DONE;
	case CONFIG_CHECK:
		config_print(&app.config, CONFIG_STATUS);
		return EXIT_DONE;
	case CONFIG_PROBE_LIVE:
		return probe(&app.config, false);
	case CONFIG_PROBE_READY:
		return probe(&app.config, true);
	}
	return EXIT_USAGE;
}
