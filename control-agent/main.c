/*
 * control-agent -- wiring, in the order in which things start.  What is configured is checked
 * before any of it is logged or published.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control-agent/agent.h"
#include "control-agent/preflight.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "lib/io/signals.h"
#include "shm/probe.h"

#define NAME "control-agent"
#define PURPOSE                                                                                    \
	"Registers with the control plane, sends heartbeats and passes on what the tunnel should " \
	"be.\nThe registration carries the pod's ServiceAccount token where one is mounted."

struct control {
	struct config config;
	struct loop *loop;
	struct signals *signals;
	struct publish *publish;
	struct agent *agent;
	struct fault replaced;
};

static void on_signal(void *user, int signo)
{
	struct control *c = user;

	if (signo == SIGHUP) {
		publish_soon(c->publish);
		return;
	}
	if (signo == SIGUSR2) {
		self_log(loop_counts(c->loop));
		return;
	}
	log_info("signal", "signal received",
		 L_STR("name", signo == SIGTERM ? "SIGTERM" : "SIGINT"));
	loop_stop(c->loop);
}

static void on_replaced(void *user)
{
	struct control *c = user;

	fault_set(&c->replaced, ERR_FULL,
		  "another control-agent has taken this one's place on the status bus (%.100s)",
		  c->config.bus_dir);
	loop_stop(c->loop);
}

static int start(struct control *c, struct fault *why)
{
	static const char *names[CONFIG_FORWARDS_MAX];
	const size_t n = c->config.forwards_n;

	for (size_t i = 0; i < n; i++)
		names[i] = c->config.forwards[i].name;
	int rc = loop_new(&c->loop, program_loop_choice(&c->config), why);
	if (rc >= 0)
		rc = signals_new(&c->signals, c->loop, on_signal, c, why);
	if (rc >= 0)
		rc = publish_new(
			&c->publish, c->loop,
			&(struct publish_options){ c->config.bus_dir, names, n, on_replaced, c },
			why);
	if (rc < 0)
		return rc;
	/* Before the log line that shows the URL: a refused one may hold a password. */
	rc = preflight(&c->config, why);
	if (rc < 0)
		return rc;
	log_info("started", "control-agent starts", L_STR("version", program_version),
		 L_STR("api_url", c->config.api_url), L_STR("cluster_name", c->config.cluster_name),
		 L_STR("bus", c->config.bus_dir), L_STR("io", loop_backend(c->loop)),
		 L_STR("io_reason", loop_backend_reason(c->loop)));
	if (c->config.tls_skip_verify)
		log_warn("tls_not_verified",
			 "the control plane's certificate is not verified: any server that answers "
			 "at its address receives the token "
			 "(pipeops.tls.insecure_skip_verify)");
	return agent_new(&c->agent, &(struct agent_options){ c->loop, &c->config, c->publish },
			 why);
}

/* The status server goes on telling why this program ended. */
static void publish_fault(struct control *c, const struct fault *why)
{
	if (!c->publish)
		return;
	publish_ended(c->publish, why->why);
	publish_phase(c->publish, BUS_FAILED, "failed: the program ends");
}

static int run(struct control *c)
{
	struct fault why = { 0 };

	program_harden();
	program_start_log("control", &c->config);
	int rc = program_directories(&c->config, &why);
	if (rc >= 0)
		rc = start(c, &why);
	if (rc >= 0)
		rc = loop_run(c->loop, &why);
	if (rc >= 0 && c->replaced.code) {
		rc = c->replaced.code;
		why = c->replaced;
	}
	if (rc < 0)
		publish_fault(c, &why);
	int code = program_exit_code(&why);
	if (rc >= 0 && agent_exit_code(c->agent)) {
		why = *agent_fault(c->agent); /* on the bus it is already */
		code = agent_exit_code(c->agent);
	}
	program_stop(NAME, code, &why);
	agent_free(c->agent);
	publish_free(c->publish, code);
	signals_free(c->signals);
	loop_free(c->loop);
	return code;
}

/* live: the loop ticks.  ready: the control plane has registered this agent. */
static int probe(struct config *config, bool ready)
{
	struct bus_reader *reader = NULL;
	struct bus_registration r;
	struct fault why = { 0 };
	char text[256];

	if (program_bus_directory(config, &why) < 0)
		return program_fail(NAME, &why);
	bool good = bus_probe(&reader, config->bus_dir, BUS_CONTROL, text);
	if (good && ready) {
		const bool known = bus_read_registration(reader, &r) == 1;

		good = known && r.registered == 1;
		snprintf(text, sizeof(text), "%s", good ? "yes: registered" : "no: not registered");
	}
	bus_reader_free(reader);
	puts(text);
	return good ? EXIT_DONE : EXIT_RUNTIME;
}

int main(int argc, char *argv[])
{
	static struct control c;
	struct fault why = { 0 };
	enum config_verb verb;

	program_begin();
	if (config_load(&c.config, CONFIG_CONTROL, argc, argv, &verb, &why) < 0)
		return program_fail(NAME, &why);
	switch (verb) {
	case CONFIG_HELP:
		config_print_help(CONFIG_CONTROL, NAME, PURPOSE);
		return EXIT_DONE;
	case CONFIG_VERSION:
		program_print_version(NAME);
		return EXIT_DONE;
	case CONFIG_CHECK:
		config_print(&c.config, CONFIG_CONTROL);
		return preflight(&c.config, &why) < 0 ? program_fail(NAME, &why) : EXIT_DONE;
	case CONFIG_PROBE_LIVE:
	case CONFIG_PROBE_READY:
		return probe(&c.config, verb == CONFIG_PROBE_READY);
	case CONFIG_RUN:
		break;
	}
	return run(&c);
}
