/*
 * devplane -- a development control plane: registration, heartbeats, tunnel
 * status and a chisel gateway on this machine, with TLS from a CA made on the
 * spot.  For tests and the demo; plane.h lists what it answers.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/signals.h"
#include "lib/io/tls_context.h"
#include "tests/devplane/certs.h"
#include "tests/devplane/plane.h"

static const char usage[] =
	"devplane --dir DIR [options]: a development control plane on 127.0.0.1\n"
	"  --dir DIR               for ca.pem, certificates and devplane.json\n"
	"  --port N                of the control plane (0: any)\n"
	"  --gateway-port N        of the chisel gateway (0: any)\n"
	"  --token T               that agents must send (dev-token)\n"
	"  --user U --password P   of the gateway (dev, dev-password; U empty: anybody)\n"
	"  --forwards A,B          names that get ports (default: those that the agent registers)\n"
	"  --poll N                poll_frequency in seconds (1)\n"
	"  --plain                 http:// and ws:// instead of TLS\n"
	"  --rekey-bytes N         the gateway asks for new keys after N bytes\n"
	"  --register-status N --register-body FILE        instead of the real answers\n"
	"  --heartbeat-status N\n"
	"  --tunnel-status N --tunnel-status-body FILE\n";

struct options {
	char *dir, *token, *user, *password, *forwards;
	char *register_body, *tunnel_body;
	int register_status, heartbeat_status, tunnel_status;
	uint16_t port, gateway_port;
	unsigned poll_s;
	uint64_t rekey_bytes;
	int plain;
};

struct devplane {
	struct loop *loop;
	struct signals *signals;
	SSL_CTX *tls;
	struct gateway *gateway;
	struct plane *plane;
	struct https *https;
	struct timer goodbye;
};

_Noreturn static void give_up(const char *what, const struct fault *why)
{
	fprintf(stderr, "devplane: %s%s%s\n", what, why ? ": " : "", why ? why->why : "");
	exit(1);
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	const unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n > max) {
		fprintf(stderr, "devplane: %s is no number up to %lu\n", text, max);
		exit(2);
	}
	return n;
}

static void read_options(struct options *o, int argc, char *argv[])
{
	enum {
		DIR_OPT = 256,
		PORT,
		GATEWAY_PORT,
		TOKEN,
		USER,
		PASSWORD,
		FORWARDS,
		POLL,
		REKEY,
		REG_STATUS,
		REG_BODY,
		BEAT_STATUS,
		TUN_STATUS,
		TUN_BODY
	};
	const struct option table[] = {
		{ "dir", 1, NULL, DIR_OPT },
		{ "port", 1, NULL, PORT },
		{ "gateway-port", 1, NULL, GATEWAY_PORT },
		{ "token", 1, NULL, TOKEN },
		{ "user", 1, NULL, USER },
		{ "password", 1, NULL, PASSWORD },
		{ "forwards", 1, NULL, FORWARDS },
		{ "poll", 1, NULL, POLL },
		{ "rekey-bytes", 1, NULL, REKEY },
		{ "register-status", 1, NULL, REG_STATUS },
		{ "register-body", 1, NULL, REG_BODY },
		{ "heartbeat-status", 1, NULL, BEAT_STATUS },
		{ "tunnel-status", 1, NULL, TUN_STATUS },
		{ "tunnel-status-body", 1, NULL, TUN_BODY },
		{ "plain", 0, &o->plain, 1 },
		{ "help", 0, NULL, 'h' },
		{ 0 },
	};

	for (int c; (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
		switch (c) {
		case 0: break;
		case DIR_OPT: o->dir = optarg; break;
		case PORT: o->port = (uint16_t)number(optarg, 65535); break;
		case GATEWAY_PORT: o->gateway_port = (uint16_t)number(optarg, 65535); break;
		case TOKEN: o->token = optarg; break;
		case USER: o->user = optarg; break;
		case PASSWORD: o->password = optarg; break;
		case FORWARDS: o->forwards = optarg; break;
		case POLL: o->poll_s = (unsigned)number(optarg, 3600); break;
		case REKEY: o->rekey_bytes = number(optarg, UINT32_MAX); break;
		case REG_STATUS: o->register_status = (int)number(optarg, 999); break;
		case REG_BODY: o->register_body = optarg; break;
		case BEAT_STATUS: o->heartbeat_status = (int)number(optarg, 999); break;
		case TUN_STATUS: o->tunnel_status = (int)number(optarg, 999); break;
		case TUN_BODY: o->tunnel_body = optarg; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); exit(2);
		}
	}
	if (!o->dir || optind != argc) {
		fputs(usage, stderr);
		exit(2);
	}
}

/* An answer from flags: a status, a file with the body, or both. */
static void can(struct plane *p, enum plane_what what, int status, const char *file)
{
	static char text[1 << 20];
	size_t n = 0;

	if (status < 0 && !file)
		return;
	if (file) {
		FILE *f = fopen(file, "r");

		if (!f)
			give_up(file, NULL);
		n = fread(text, 1, sizeof(text), f);
		fclose(f);
	}
	plane_set(p, what, status < 0 ? 200 : status, span_of(text, n));
}

static void on_goodbye(struct timer *t)
{
	const struct devplane *d =
		(struct devplane *)((char *)t - offsetof(struct devplane, goodbye));

	loop_stop(d->loop);
}

static void on_signal(void *user, int signo)
{
	struct devplane *d = user;

	if (signo == SIGHUP || d->goodbye.fire)
		return;
	https_stop(d->https);
	gateway_stop(d->gateway);
	/* Long enough for the gateway's last words. */
	d->goodbye.fire = on_goodbye;
	timer_set(d->loop, &d->goodbye, loop_now(d->loop) + 200000000ull);
}

/* One JSON line, on stdout and, whole or not at all, in devplane.json. */
static void say_ready(const struct devplane *d, const struct options *o)
{
	struct json_object *j = json_object_new_object();
	char text[1200], fresh[1200], path[1200];

	snprintf(text, sizeof(text), "%s://localhost:%u", o->plain ? "http" : "https",
		 https_port(d->https));
	json_object_object_add(j, "url", json_object_new_string(text));
	json_object_object_add(j, "port", json_object_new_int(https_port(d->https)));
	snprintf(text, sizeof(text), "%s://localhost:%u", o->plain ? "ws" : "wss",
		 gateway_port(d->gateway));
	json_object_object_add(j, "gateway_url", json_object_new_string(text));
	json_object_object_add(j, "gateway_port", json_object_new_int(gateway_port(d->gateway)));
	json_object_object_add(j, "fingerprint",
			       json_object_new_string(gateway_fingerprint(d->gateway)));
	snprintf(text, sizeof(text), "%s/ca.pem", o->dir);
	json_object_object_add(j, "ca_file", json_object_new_string(text));
	json_object_object_add(j, "token", json_object_new_string(o->token));
	json_object_object_add(j, "user", json_object_new_string(o->user));
	json_object_object_add(j, "password", json_object_new_string(o->password));
	json_object_object_add(j, "pid", json_object_new_int(getpid()));
	const char *line = json_object_to_json_string_ext(
		j, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	snprintf(fresh, sizeof(fresh), "%s/devplane.json.new", o->dir);
	snprintf(path, sizeof(path), "%s/devplane.json", o->dir);
	FILE *f = fopen(fresh, "w");
	if (!f || fprintf(f, "%s\n", line) < 0 || fclose(f) != 0 || rename(fresh, path) < 0)
		give_up(path, NULL);
	printf("%s\n", line);
	fflush(stdout);
	json_object_put(j);
}

static int make_tls(struct devplane *d, const struct options *o, struct fault *why)
{
	char cert[1200], key[1200];

	int rc = certs_make(o->dir, why);
	if (rc < 0 || o->plain)
		return rc;
	snprintf(cert, sizeof(cert), "%s/server.pem", o->dir);
	snprintf(key, sizeof(key), "%s/server.key", o->dir);
	return tls_context_new(&d->tls,
			       &(struct tls_context_options){ .server = true, .cert_file = cert,
							      .key_file = key },
			       why);
}

static int start(struct devplane *d, const struct options *o, struct fault *why)
{
	int rc = loop_new(&d->loop, LOOP_EPOLL, why);
	if (rc >= 0)
		rc = signals_new(&d->signals, d->loop, on_signal, d, why);
	if (rc >= 0)
		rc = make_tls(d, o, why);
	if (rc >= 0)
		rc = gateway_new(
			&d->gateway, d->loop,
			&(struct gateway_options){ .tls_ctx = d->tls,
						   .user = o->user,
						   .password = o->user[0] ? o->password : "",
						   .bind = "127.0.0.1",
						   .port = o->gateway_port,
						   .rekey_bytes = o->rekey_bytes },
			why);
	if (rc < 0)
		return rc;
	d->plane = plane_new(&(struct plane_options){ .gateway = d->gateway,
						      .gateway_tls = !o->plain,
						      .token = o->token,
						      .user = o->user,
						      .password = o->password,
						      .forwards = o->forwards,
						      .poll_s = o->poll_s });
	can(d->plane, PLANE_REGISTER, o->register_status, o->register_body);
	can(d->plane, PLANE_HEARTBEAT, o->heartbeat_status, NULL);
	can(d->plane, PLANE_TUNNEL, o->tunnel_status, o->tunnel_body);
	return https_new(&d->https, d->loop,
			 &(struct https_options){ .tls_ctx = d->tls,
						  .port = o->port,
						  .serve = plane_serve,
						  .user = d->plane },
			 why);
}

int main(int argc, char *argv[])
{
	struct options o = { .token = "dev-token",
			     .user = "dev",
			     .password = "dev-password",
			     .poll_s = 1,
			     .register_status = -1,
			     .heartbeat_status = -1,
			     .tunnel_status = -1 };
	struct devplane d = { 0 };
	struct fault why = { 0 };

	read_options(&o, argc, argv);
	if (mkdir(o.dir, 0755) < 0 && errno != EEXIST)
		give_up(o.dir, NULL);
	if (start(&d, &o, &why) < 0)
		give_up("can't start", &why);
	say_ready(&d, &o);
	if (loop_run(d.loop, &why) < 0)
		give_up("loop", &why);
	signals_free(d.signals);
	loop_free(d.loop);
	https_free(d.https);
	gateway_free(d.gateway);
	plane_free(d.plane);
	SSL_CTX_free(d.tls);
	return 0;
}
