/* `tunnel-sidecar client`: one session by the command line, without a control agent. */
#include "tunnel-sidecar/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/app/self.h"
#include "lib/base/mem.h"
#include "lib/base/trim.h"
#include "lib/base/units.h"
#include "lib/io/file.h"
#include "lib/io/signals.h"
#include "lib/io/tls_context.h"
#include "lib/proto/ssh/ssh_fingerprint.h"
#include "tunnel-sidecar/client_options.h"
#include "tunnel-sidecar/proxy_choice.h"
#include "tunnel-sidecar/session.h"
#include "tunnel-sidecar/ssh_key.h"
#include "tunnel-sidecar/tunnel_sandbox.h"
#include "tunnel-sidecar/windows.h"

#define DRAIN_NS (10 * NS_PER_S)

struct client {
	struct loop *loop;
	struct publish *publish;
	struct session *session;
	struct windows windows;
	struct ssh_key key;
	char name[256];
	const char *server_name; /* for TLS; NULL: the URL's */
	int exit_code;
	bool ending;
};

static void on_gave_up(void *user, const struct fault *why)
{
	struct client *c = user;

	(void)why; /* logged by the session */
	c->exit_code = EXIT_RUNTIME;
	loop_stop(c->loop);
}

static void on_drained(void *user)
{
	struct client *c = user;

	loop_stop(c->loop);
}

static void on_signal(void *user, int signo)
{
	struct client *c = user;

	if (signo == SIGUSR2) {
		self_log(loop_counts(c->loop));
		return;
	}
	if (signo == SIGHUP) { /* as chisel: the wait is over */
		session_retry_now(c->session);
		publish_soon(c->publish);
		return;
	}
	if (c->ending) {
		loop_stop(c->loop);
		return;
	}
	c->ending = true;
	session_drain(c->session, DRAIN_NS, on_drained, c);
}

static void on_trim(void *user)
{
	struct client *c = user;

	if (c->session)
		session_trim(c->session);
}

/* USER:PASS of --auth, --auth-file or AUTH to text, without what editors and Secrets add;
 * 0 when there is none. */
static int find_credentials(char *text, size_t cap, const struct client_options *o,
			    struct fault *why)
{
	struct fault inner = { 0 };

	if (o->auth_file) {
		const int n =
			file_read(text, cap, o->auth_file, FILE_TEXT | FILE_TRIM, NULL, &inner);
		if (n < 0)
			return fault_set(why, ERR_CONFIG, "--auth-file: %s", inner.why);
		return n ? n : fault_set(why, ERR_CONFIG, "--auth-file: %s is empty", o->auth_file);
	}
	const struct span trimmed = trim_text(span_str(o->auth ? o->auth : ""));
	if (trimmed.n >= cap)
		return fault_set(why, ERR_USAGE, "--auth: user or password is too long");
	memcpy(text, trimmed.p, trimmed.n);
	text[trimmed.n] = '\0';
	return (int)trimmed.n;
}

static int read_credentials(struct session_target *t, const struct client_options *o,
			    struct fault *why)
{
	const char *user = t->url.user, *password = t->url.password;
	char text[sizeof(t->user) + sizeof(t->password)];
	const int n = find_credentials(text, sizeof(text), o, why);

	if (n < 0)
		return n;
	if (n) {
		/* A user that --auth leaves out is the URL's: --auth :PASS. */
		char *colon = strchr(text, ':');
		if (!colon)
			return fault_set(why, o->auth_file ? ERR_CONFIG : ERR_USAGE,
					 "%s takes USER:PASS",
					 o->auth_file ? "--auth-file" : "--auth");
		*colon = '\0';
		user = t->url.ssh && !*text ? t->url.user : text;
		password = colon + 1;
	}
	if (strlen(user) >= sizeof(t->user) || strlen(password) >= sizeof(t->password))
		return fault_set(why, ERR_USAGE, "--auth: user or password is too long");
	if (t->url.ssh && !*user)
		return fault_set(why, ERR_USAGE,
				 "an SSH server needs a user: ssh://user@%s, or --auth USER:PASS",
				 t->url.host_header);
	snprintf(t->user, sizeof(t->user), "%s", user);
	snprintf(t->password, sizeof(t->password), "%s", password);
	explicit_bzero(text, sizeof(text));
	return 0;
}

/* A chisel server is told all remotes in one message. */
static int check_list_fits(const struct session_target *t, struct fault *why)
{
	struct buf json;

	buf_init(&json, &mem_heap, CHISEL_CONFIG_MAX);
	const int rc = chisel_config_write(&json, program_version, t->remotes, t->n);
	buf_fini(&json);
	if (rc >= 0)
		return rc;
	return rc == ERR_LIMIT
		       ? fault_set(why, ERR_USAGE,
				   "%zu remotes with names so long don't fit into one message of "
				   "%d KiB: start a second client for some of them",
				   t->n, CHISEL_CONFIG_MAX / 1024)
		       : fault_set(why, (enum err)rc, "no memory for %zu remotes", t->n);
}

static int read_remotes(struct session_target *t, const struct client_options *o, struct fault *why)
{
	if (o->remotes_n > SESSION_REMOTES_MAX)
		return fault_set(why, ERR_USAGE,
				 "%zu remotes; at most %d are possible: start a second client for "
				 "the others",
				 o->remotes_n, SESSION_REMOTES_MAX);
	t->remotes = calloc(o->remotes_n, sizeof(*t->remotes));
	t->forward = calloc(o->remotes_n, sizeof(*t->forward));
	if (!t->remotes || !t->forward)
		return fault_set(why, ERR_NOMEM, "no memory for %zu remotes", o->remotes_n);
	for (size_t i = 0; i < o->remotes_n; i++) {
		const int rc = chisel_remote_read(&t->remotes[i], o->remotes[i], why);
		if (rc < 0)
			return rc;
		t->forward[i] = (uint16_t)i;
	}
	t->n = o->remotes_n;
	const int rc = chisel_remotes_check(t->remotes, t->n, why);
	return rc < 0 || t->url.ssh ? rc : check_list_fits(t, why);
}

/* The key for an SSH server.  A file that was named and can't be used: exit code 64. */
static int read_key(struct client *c, const struct session_target *t,
		    const struct client_options *o, struct fault *why)
{
	if (!t->url.ssh && (o->ssh_key || o->ssh_passphrase_file))
		return fault_set(why, ERR_USAGE,
				 "--ssh-key is for ssh:// servers; a chisel server takes --auth");
	if (o->ssh_passphrase_file && !o->ssh_key)
		return fault_set(why, ERR_USAGE,
				 "--ssh-passphrase-file opens the key of --ssh-key: name that too");
	if (ssh_key_read(&c->key, o->ssh_key, o->ssh_passphrase_file, why) < 0)
		return why->code = ERR_CONFIG;
	return 0;
}

static int read_target(struct session_target *t, const struct client_options *o, struct fault *why)
{
	/* As chisel does: no scheme means http. */
	int rc = chisel_gateway_read(&t->url, o->server, false, why);
	if (rc < 0)
		return rc;
	/* With its host key pinned the SSH inside proves the server and hides all that
	 * counts; a stranger without either could take the credentials. */
	if (chisel_url_needs_fingerprint(&t->url, !o->tls_skip_verify) && !o->allow_plain &&
	    !o->fingerprint)
		return fault_set(why, ERR_USAGE,
				 "nothing proves that %s, %s, is the right server: use "
				 "--fingerprint%s, or --allow-plain when the way there is trusted",
				 t->url.host_header,
				 t->url.ssh   ? "ssh to another machine"
				 : t->url.tls ? "whose certificate is not verified"
					      : "plain http to another machine",
				 t->url.ssh   ? ""
				 : t->url.tls ? ", no --tls-skip-verify"
					      : ", https://");
	if (o->fingerprint) {
		rc = ssh_fingerprint_check(o->fingerprint, why);
		if (rc < 0)
			return rc;
		snprintf(t->fingerprint, sizeof(t->fingerprint), "%s", o->fingerprint);
	}
	rc = read_credentials(t, o, why);
	return rc < 0 ? rc : read_remotes(t, o, why);
}

/* chisel's name for it, so that what reads it goes on working.  A link that somebody
 * planted there is replaced, not written through. */
static int write_pid(struct fault *why)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)getpid());
	struct fault inner = { 0 };
	if (file_replace("chisel.pid", span_str(text), 0644, &inner) < 0)
		return fault_set_sys(why, inner.sys,
				     "--pid: write chisel.pid in the current directory");
	return 0;
}

/* The name that the certificate is checked for: --sni, else --hostname without a port (an
 * ingress routes by it), else the URL's host.  NULL: the latter. */
static const char *server_name(char to[256], const struct client_options *o)
{
	const char *h = o->hostname, *end = h ? strrchr(h, ':') : NULL;

	if (o->sni || !h)
		return o->sni;
	if (*h == '[' && strchr(h, ']'))
		snprintf(to, 256, "%.*s", (int)(strchr(h, ']') - h - 1), h + 1);
	else if (end && strchr(h, ':') == end)
		snprintf(to, 256, "%.*s", (int)(end - h), h);
	else
		snprintf(to, 256, "%s", h);
	return to;
}

static enum loop_choice loop_choice(const char *io)
{
	if (!io || strcmp(io, "auto") == 0)
		return LOOP_AUTO;
	return strcmp(io, "uring") == 0 ? LOOP_URING : LOOP_EPOLL;
}

/* Everything that is dialled stands on the command line: with a proxy, that
 * alone dials the server. */
static int lock_in(const struct client *c, const struct session_target *t,
		   const struct client_options *o, struct fault *why)
{
	struct tunnel_sandbox_ports ports = { 0 };

	tunnel_sandbox_add(&ports, t->proxy.kind ? t->proxy.port : t->url.port);
	for (size_t i = 0; i < t->n; i++)
		tunnel_sandbox_add(&ports, t->remotes[i].port);
	return tunnel_sandbox_enter(
		&(struct tunnel_sandbox_options){ .mode = o->sandbox,
						  .loop = c->loop,
						  .publish = c->publish,
						  .has_system_trust = t->url.tls && !o->tls_ca &&
								      !o->tls_skip_verify,
						  .ports = &ports },
		why);
}

static int open_publish(struct client *c, const struct session_target *t,
			const struct client_options *o, struct fault *why)
{
	char texts[BUS_FORWARDS_MAX][2 * CHISEL_HOST_MAX + 32];
	const char *names[BUS_FORWARDS_MAX];

	for (size_t i = 0; i < min_size(t->n, BUS_FORWARDS_MAX); i++) {
		chisel_remote_write(&t->remotes[i], texts[i], sizeof(texts[i]));
		names[i] = texts[i];
	}
	return publish_new(&c->publish, c->loop,
			   &(struct publish_options){ o->bus_dir, names, t->n, on_trim, c }, why);
}

static int open_session(struct client *c, SSL_CTX *tls, const struct client_options *o,
			struct fault *why)
{
	windows_init(&c->windows, c->loop, c->publish);
	return session_new(&c->session,
			   &(struct session_options){ .loop = c->loop,
						      .publish = c->publish,
						      .windows = &c->windows,
						      .tls_ctx = tls,
						      .tls_settings = "--tls-ca and --sni",
						      .skip_verify = o->tls_skip_verify,
						      .sni = c->server_name,
						      .host_header = o->hostname,
						      .headers = o->header,
						      .ssh_key = &c->key,
						      .keepalive_ns = o->keepalive,
						      .retry_max_ns = o->max_retry_interval,
						      .retry_count = o->max_retry_count,
						      .remotes_max = o->remotes_n,
						      .give_up_on_refusal = true,
						      .gave_up = on_gave_up,
						      .user = c },
			   why);
}

static int run(struct client *c, const struct client_options *o, struct fault *why)
{
	struct session_target target;
	struct signals *signals = NULL;
	SSL_CTX *tls = NULL;

	memset(&target, 0, sizeof(target));
	c->server_name = server_name(c->name, o);
	int rc = read_target(&target, o, why);
	if (rc >= 0)
		rc = read_key(c, &target, o, why);
	if (rc >= 0)
		rc = proxy_choice_find(&target, o->proxy, why);
	if (rc >= 0 && target.url.tls)
		rc = tls_context_new(
			&tls,
			&(struct tls_context_options){ .ca_file = o->tls_ca,
						       .skip_verify = o->tls_skip_verify,
						       .cert_file = o->tls_cert,
						       .key_file = o->tls_key },
			why);
	if (rc >= 0 && o->pid)
		rc = write_pid(why);
	if (rc >= 0)
		rc = loop_new(&c->loop, loop_choice(o->io), why);
	if (rc >= 0)
		rc = signals_new(&signals, c->loop, on_signal, c, why);
	if (rc >= 0)
		rc = open_publish(c, &target, o, why);
	if (rc >= 0)
		rc = lock_in(c, &target, o, why);
	if (rc >= 0)
		rc = open_session(c, tls, o, why);
	if (rc >= 0) {
		session_up(c->session, &target);
		rc = loop_run(c->loop, why);
	}
	session_abort(c->session);
	signals_free(signals);
	loop_free(c->loop);
	session_free(c->session);
	windows_fini(&c->windows);
	publish_free(c->publish, c->exit_code);
	SSL_CTX_free(tls);
	ssh_key_wipe(&c->key);
	free(target.remotes);
	free(target.forward);
	OPENSSL_cleanse(&target, sizeof(target));
	return rc;
}

int client_main(int argc, char *const argv[])
{
	struct client_options o;
	struct fault why = { 0 };
	static struct client c = { .exit_code =
					   EXIT_DONE }; /* its key is too large for the stack */

	if (client_options_read(&o, argc, argv, &why) < 0)
		return program_fail("tunnel-sidecar client", &why);
	if (o.help) {
		client_options_print_help();
		return EXIT_DONE;
	}
	program_harden();
	client_options_hide(&o);
	log_start(&(struct log_options){
		.component = "tunnel",
		.level = o.verbose ? LOG_DEBUG : LOG_INFO,
		.json = o.log_format ? strcmp(o.log_format, "json") == 0 : !isatty(STDERR_FILENO),
		.fd = STDERR_FILENO,
	});
	const int rc = run(&c, &o, &why);
	client_options_fini(&o);
	return rc < 0 ? program_fail("tunnel-sidecar client", &why) : c.exit_code;
}
