/*
 * control-agent -- wiring, in the order in which things start.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control-agent/agent.h"
#include "control-agent/control_plane.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/io/signals.h"
#include "shm/probe.h"

#define NAME "control-agent"
#define BUS_DIR "/run/pipeops/bus"         /* the defaults of config.def */
#define HANDOFF_DIR "/run/pipeops/handoff"
#define PURPOSE "Registers with the control plane, sends heartbeats and passes on what the tunnel should be."

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

	log_info("signal", "signal received", L_STR("name", signo == SIGTERM ? "SIGTERM" :
							    signo == SIGINT  ? "SIGINT"
									     : "SIGHUP"));
	if (signo != SIGHUP)
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

static int prepare_directories(struct config *c, struct fault *why)
{
	const struct {
		char *dir;
		const char *dflt, *leaf;
	} dirs[] = {
		{ c->bus_dir, BUS_DIR, "bus" },
		{ c->handoff_dir, HANDOFF_DIR, "handoff" },
	};

	for (size_t i = 0; i < array_len(dirs); i++) {
		const int rc = program_directory(dirs[i].dir, dirs[i].dflt, dirs[i].leaf, why);

		if (rc < 0)
			return rc;
		if (rc)
			log_warn("directory_fallback", "the default directory can't be made here",
				 L_STR("default", dirs[i].dflt), L_STR("used", dirs[i].dir));
	}
	return 0;
}

/* What can be known to be wrong before anything is sent. */
static int check(const struct config *c, struct fault *why)
{
	struct secret token;
	struct chisel_url url;
	const int rc = control_plane_token(c, &token, why);

	explicit_bzero(&token, sizeof(token));
	return rc < 0 ? rc : control_plane_url(&url, c, why);
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
		rc = publish_new(&c->publish, c->loop,
				 &(struct publish_options){ c->config.bus_dir, names, n, on_replaced, c }, why);
	if (rc < 0)
		return rc;
	log_info("started", "control-agent starts", L_STR("version", program_version),
		 L_STR("api_url", c->config.api_url), L_STR("cluster_name", c->config.cluster_name),
		 L_STR("bus", c->config.bus_dir), L_STR("io", loop_backend(c->loop)),
		 L_STR("io_reason", loop_backend_reason(c->loop)));
	if (c->config.tls_skip_verify)
		log_warn("tls_not_verified",
			 "the control plane's certificate is not verified (pipeops.tls.insecure_skip_verify)");
	rc = check(&c->config, why);
	if (rc < 0)
		return rc;
	return agent_new(&c->agent, &(struct agent_options){ c->loop, &c->config, c->publish }, why);
}

/* The status server goes on telling why this program ended. */
static void publish_fault(struct control *c, const struct fault *why)
{
	if (!c->publish)
		return;
	struct bus_registration *r = publish_record(c->publish);
	r->registered = 0;
	snprintf(r->last_error, sizeof(r->last_error), "%s", why->why);
	publish_registration(c->publish);
	publish_phase(c->publish, BUS_FAILED, "failed: the program ends");
}

static int run(struct control *c)
{
	struct fault why = { 0 };
	int code;

	program_harden();
	log_start(&(struct log_options){
		.component = "control",
		.level = log_level_read(c->config.log_level),
		.json = strcmp(c->config.log_format, "json") == 0,
		.fd = strcmp(c->config.log_output, "stdout") == 0 ? STDOUT_FILENO : STDERR_FILENO,
	});
	int rc = prepare_directories(&c->config, &why);
	if (rc >= 0)
		rc = start(c, &why);
	if (rc >= 0)
		rc = loop_run(c->loop, &why);
	if (rc >= 0 && c->replaced.code) {
		rc = c->replaced.code;
		why = c->replaced;
	}
	if (rc < 0) {
		log_error("stopping", "control-agent can't go on", L_STR("reason", err_name(why.code)),
			  L_STR("error", why.why));
		publish_fault(c, &why);
		code = program_fail(NAME, &why);
	} else {
		code = agent_exit_code(c->agent);
		if (code)
			(void)program_fail(NAME, agent_fault(c->agent));
	}
	log_info("stopped", "control-agent ends", L_INT("exit_code", code));
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

	if (program_directory(config->bus_dir, BUS_DIR, "bus", &why) < 0)
		return program_fail(NAME, &why);
	bool good = bus_probe(&reader, config->bus_dir, BUS_CONTROL, text);
	if (good && ready) {
		const bool known = bus_read_registration(reader, &r) == 1;

		good = known && r.registered == 1;
		snprintf(text, sizeof(text), "%s", good ? "registered" : "not registered");
	}
	bus_reader_free(reader);
	printf("%s: %s\n", NAME, text);
	return good ? EXIT_DONE : EXIT_RUNTIME;
}

int main(int argc, char *argv[])
{
	static struct control c;
	struct fault why = { 0 };
	enum config_verb verb;

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
		return EXIT_DONE;
	case CONFIG_PROBE_LIVE:
	case CONFIG_PROBE_READY:
		return probe(&c.config, verb == CONFIG_PROBE_READY);
	case CONFIG_RUN:
		break;
	}
	return run(&c);
}
