/*
 * tunnel-sidecar -- wiring, in the order in which things start.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/app/config/config.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "lib/base/limits.h"
#include "lib/io/signals.h"
#include "lib/io/tls_context.h"
#include "tunnel-sidecar/client.h"
#include "tunnel-sidecar/desired.h"
#include "tunnel-sidecar/probe.h"
#include "tunnel-sidecar/proxy_choice.h"
#include "tunnel-sidecar/session.h"
#include "tunnel-sidecar/ssh_key.h"
#include "tunnel-sidecar/tunnel_sandbox.h"
#include "tunnel-sidecar/windows.h"

#define NAME "tunnel-sidecar"

struct sidecar {
	struct config config;
	struct loop *loop;
	struct signals *signals;
	struct publish *publish;
	struct session *session;
	struct windows windows;
	struct desired *desired;
	SSL_CTX *tls;
	struct ssh_key ssh_key;
	bool ending;
};

static void on_drained(void *user)
{
	struct sidecar *t = user;

	loop_stop(t->loop);
}

/* SIGTERM and SIGINT drain; a second one ends at once.  SIGHUP ends a wait between
 * attempts and publishes the program's own numbers, SIGUSR2 logs them. */
static void on_signal(void *user, int signo)
{
	struct sidecar *t = user;

	if (signo == SIGUSR2) {
		self_log(loop_counts(t->loop));
		return;
	}
	if (signo == SIGHUP) {
		if (t->session)
			session_retry_now(t->session);
		publish_soon(t->publish);
		return;
	}
	log_info("signal", "signal received",
		 L_STR("name", signo == SIGTERM ? "SIGTERM" : "SIGINT"));
	if (t->ending) {
		loop_stop(t->loop);
		return;
	}
	t->ending = true;
	session_drain(t->session, t->config.drain_ns, on_drained, t);
}

static void on_changed(void *user, enum bus_state state)
{
	struct sidecar *t = user;

	(void)state;
	if (t->desired)
		desired_answer(t->desired);
}

static void on_trim(void *user)
{
	struct sidecar *t = user;

	if (t->session)
		session_trim(t->session);
}

/* Where the tunnel server is comes later, from the control agent; its port must
 * be one of the operator's list.  1: any port may be. */
static int find_ports(struct tunnel_sandbox_ports *ports, const struct config *c, struct fault *why)
{
	uint16_t proxies[PROXY_WAY_PORTS];
	const int rc = tunnel_sandbox_server_ports(ports, c->server_ports, why);
	const bool is_any = ports->n == 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->forwards_n; i++)
		tunnel_sandbox_add(ports, c->forwards[i].port);
	const int n = proxy_choice_ports(proxies, why);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		tunnel_sandbox_add(ports, proxies[i]);
	return is_any;
}

static int lock_in(struct sidecar *t, struct fault *why)
{
	const struct config *c = &t->config;
	struct tunnel_sandbox_ports ports = { 0 };
	const int any = find_ports(&ports, c, why);

	if (any < 0)
		return any;
	return tunnel_sandbox_enter(
		&(struct tunnel_sandbox_options){ .mode = c->sandbox,
						  .loop = t->loop,
						  .publish = t->publish,
						  .bus_dir = c->bus_dir,
						  .handoff_dir = c->handoff_dir,
						  .has_system_trust = !*c->ca_file,
						  .ports = &ports,
						  .any_port = any ? "tunnel.server_ports is empty"
								  : NULL },
		why);
}

static int start(struct sidecar *t, struct fault *why)
{
	const struct config *c = &t->config;
	const char *names[CONFIG_FORWARDS_MAX];

	for (size_t i = 0; i < c->forwards_n; i++)
		names[i] = c->forwards[i].name;

	int rc = tls_context_new(
		&t->tls,
		&(struct tls_context_options){ .ca_file = *c->ca_file ? c->ca_file : NULL }, why);
	if (rc >= 0)
		rc = ssh_key_read(&t->ssh_key, *c->ssh_key_file ? c->ssh_key_file : NULL,
				  *c->ssh_passphrase_file ? c->ssh_passphrase_file : NULL, why);
	if (rc >= 0)
		rc = loop_new(&t->loop, program_loop_choice(c), why);
	if (rc >= 0)
		rc = signals_new(&t->signals, t->loop, on_signal, t, why);
	if (rc >= 0)
		rc = publish_new(
			&t->publish, t->loop,
			&(struct publish_options){ c->bus_dir, names, c->forwards_n, on_trim, t },
			why);
	if (rc >= 0)
		rc = lock_in(t, why);
	if (rc >= 0)
		windows_init(&t->windows, t->loop, t->publish);
	if (rc >= 0)
		rc = session_new(&t->session,
				 &(struct session_options){ .loop = t->loop,
							    .publish = t->publish,
							    .windows = &t->windows,
							    .tls_ctx = t->tls,
							    .tls_settings = "pipeops.tls.ca_file "
									    "(PIPEOPS_CA_FILE)",
							    .keepalive_ns = c->keepalive_ns,
							    .retry_max_ns = LIMIT_NS(RETRY_MAX),
							    .retry_count = -1,
							    .ssh_key = &t->ssh_key,
							    .changed = on_changed,
							    .user = t },
				 why);
	if (rc >= 0)
		rc = desired_new(&t->desired,
				 &(struct desired_options){ .loop = t->loop,
							    .publish = t->publish,
							    .session = t->session,
							    .config = c },
				 why);
	if (rc >= 0)
		log_info("started", "following the control agent on the status bus",
			 L_STR("version", program_version), L_STR("bus", c->bus_dir),
			 L_STR("io", loop_backend(t->loop)),
			 L_STR("io_reason", loop_backend_reason(t->loop)));
	return rc;
}

static void stop(struct sidecar *t, int exit_code)
{
	session_abort(t->session);
	signals_free(t->signals);
	desired_quiet(t->desired);
	loop_free(t->loop);
	desired_free(t->desired);
	session_free(t->session);
	windows_fini(&t->windows);
	publish_free(t->publish, exit_code);
	SSL_CTX_free(t->tls);
	ssh_key_wipe(&t->ssh_key);
}

static int run(struct sidecar *t)
{
	struct fault why = { 0 };

	program_harden();
	program_start_log("tunnel", &t->config);
	int rc = program_directories(&t->config, &why);
	if (rc >= 0)
		rc = start(t, &why);
	if (rc >= 0)
		rc = loop_run(t->loop, &why);
	const int code = program_stop(NAME, rc < 0 ? program_exit_code(&why) : EXIT_DONE, &why);
	stop(t, code);
	return code;
}

/* Prints what is run with; what would end the program at its start is said here. */
static int check_config(const struct config *c)
{
	struct tunnel_sandbox_ports ports = { 0 };
	struct fault why = { 0 };

	config_print(c, CONFIG_TUNNEL);
	return find_ports(&ports, c, &why) < 0 ? program_fail(NAME, &why) : EXIT_DONE;
}

int main(int argc, char *argv[])
{
	static struct sidecar t;
	struct fault why = { 0 };
	enum config_verb verb;

	program_begin();
	if (argc > 1 && strcmp(argv[1], "client") == 0)
		return client_main(argc - 1, argv + 1);
	if (config_load(&t.config, CONFIG_TUNNEL, argc, argv, &verb, &why) < 0)
		return program_fail(NAME, &why);
	switch (verb) {
	case CONFIG_HELP:
		config_print_help(
			CONFIG_TUNNEL, NAME,
			"Carries the agent's forwards: follows the control agent over the status "
			"bus.\nStand-alone: tunnel-sidecar client --help");
		return EXIT_DONE;
	case CONFIG_VERSION:
		program_print_version(NAME);
		return EXIT_DONE;
	case CONFIG_CHECK:
		return check_config(&t.config);
	case CONFIG_PROBE_LIVE:
	case CONFIG_PROBE_READY:
		return probe_main(&t.config, verb == CONFIG_PROBE_READY);
	case CONFIG_RUN:
		break;
	}
	return run(&t);
}
