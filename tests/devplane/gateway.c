#include "tests/devplane/gateway.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/io/chisel_conn.h"
#include "lib/io/channel_pipe.h"
#include "lib/proto/chisel.h"
#include "lib/proto/ssh/ssh_fingerprint.h"
#include "lib/proto/ssh/ssh_hostkey.h"

struct gateway {
	struct loop *loop;
	struct gateway_options o;
	char user[128], password[256], bind[64];
	EVP_PKEY *host_key;
	char fingerprint[45];
	struct pipe_budget budget;
	struct listener *listener;
	uint16_t port;
	struct client *clients;
	size_t sessions;
};

/* One chisel client. */
struct client {
	struct gateway *gateway;
	struct client *next;
	struct chisel_conn *carrier;
	struct door *doors;   /* its forwards */
	struct visitor *visitors;
	size_t references;    /* carrier and visitors */
	bool serving;
};

/* One forward: a listening port of ours. */
struct door {
	struct client *client;
	struct door *next;
	struct listener *listener;
	char target[CHISEL_HOST_MAX + 16];
};

/* One connection to a door. */
struct visitor {
	struct client *client;
	struct visitor *prev, *next;
	int fd; /* until the channel is open */
	struct channel_pipe *pipe;
};

static void entropy(void *ctx, void *p, size_t n)
{
	(void)ctx;
	must(RAND_bytes(p, (int)n) == 1);
}

static int listen_on(const char *address, uint16_t port, uint16_t *got)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	socklen_t n = sizeof(to);
	const int one = 1;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&to, &n) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*got = ntohs(to.sin_port);
	return fd;
}

/* ---- visitors ---- */

static void release(struct client *c)
{
	if (--c->references)
		return;
	struct client **at = &c->gateway->clients;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free(c);
}

static void destroy_visitor(struct visitor *v)
{
	if (v->prev)
		v->prev->next = v->next;
	else
		v->client->visitors = v->next;
	if (v->next)
		v->next->prev = v->prev;
	if (v->fd >= 0)
		close(v->fd);
	release(v->client);
	free(v);
}

static void on_bytes(void *user, enum pipe_direction d, size_t n)
{
	(void)user;
	(void)d;
	(void)n;
}

static void on_passed(void *user, size_t n)
{
	(void)user;
	(void)n;
}

static void on_pipe_gone(void *user)
{
	struct visitor *v = user;

	destroy_visitor(v);
}

static void on_visitor(void *user, int fd)
{
	struct door *d = user;
	struct ssh *ssh = chisel_stack_ssh(chisel_conn_stack(d->client->carrier));
	struct visitor *v = calloc(1, sizeof(*v));
	const int channel = v ? ssh_channel_open(ssh, CHISEL_CHANNEL, span_str(d->target)) : -1;

	if (channel < 0) {
		free(v);
		close(fd);
		return;
	}
	v->client = d->client;
	v->client->references++;
	v->fd = fd;
	v->next = v->client->visitors;
	if (v->next)
		v->next->prev = v;
	v->client->visitors = v;
	ssh_channel_set_user(ssh, (uint32_t)channel, v);
	chisel_conn_flush(d->client->carrier);
}

static void on_opened(struct visitor *v, struct ssh *ssh, uint32_t channel)
{
	const struct channel_pipe_options options = {
		.loop = v->client->gateway->loop,
		.channels = chisel_conn_channels(v->client->carrier),
		.channel = channel,
		.fd = v->fd,
		.budget = &v->client->gateway->budget,
		.on_passed = on_passed,
		.on_bytes = on_bytes,
		.on_gone = on_pipe_gone,
		.user = v,
	};

	v->fd = -1;
	if (channel_pipe_new(&v->pipe, &options, NULL) < 0) {
		ssh_channel_set_user(ssh, channel, NULL);
		ssh_channel_close(ssh, channel);
		destroy_visitor(v);
	}
}

/* ---- clients ---- */

static void close_doors(struct client *c)
{
	if (c->serving)
		c->gateway->sessions--;
	c->serving = false;
	while (c->doors) {
		struct door *d = c->doors;

		c->doors = d->next;
		listener_close(d->listener);
		free(d);
	}
}

static void part(struct client *c)
{
	struct chisel_conn *carrier = c->carrier;

	close_doors(c);
	c->carrier = NULL;
	for (struct visitor *v = c->visitors, *next; v; v = next) {
		next = v->next;
		if (v->pipe)
			channel_pipe_abort(v->pipe);
		else
			destroy_visitor(v);
	}
	if (carrier)
		chisel_conn_shutdown(carrier, SSH_DISCONNECT_BY_APPLICATION, "gateway ends");
}

/* Opens one forward of `config`; the reason in text when it can't. */
static bool open_door(struct client *c, struct json_object *remote, char text[256])
{
	const char *field[] = { "LocalPort", "RemoteHost", "RemotePort" };
	const char *value[3];
	struct json_object *o;
	uint16_t got;

	for (size_t i = 0; i < 3; i++) {
		if (!json_object_object_get_ex(remote, field[i], &o) ||
		    !json_object_is_type(o, json_type_string)) {
			snprintf(text, 256, "remote without %s", field[i]);
			return false;
		}
		value[i] = json_object_get_string(o);
	}
	const long port = strtol(value[0], NULL, 10);
	const int fd = port > 0 && port < 65536
			       ? listen_on(c->gateway->bind, (uint16_t)port, &got)
			       : -1;
	struct door *d = fd < 0 ? NULL : calloc(1, sizeof(*d));
	if (!d) {
		if (fd >= 0)
			close(fd);
		snprintf(text, 256, "Server cannot listen on R:%.32s", value[0]);
		return false;
	}
	d->client = c;
	snprintf(d->target, sizeof(d->target), "%s:%s", value[1], value[2]);
	if (listener_new(&d->listener, c->gateway->loop, fd, on_visitor, d, NULL) < 0) {
		free(d);
		snprintf(text, 256, "out of memory");
		return false;
	}
	d->next = c->doors;
	c->doors = d;
	return true;
}

static void on_config(struct client *c, struct ssh *ssh, struct mspan payload)
{
	char text[256] = "unreadable config";
	struct json_tokener *t = json_tokener_new();
	struct json_object *config =
		json_tokener_parse_ex(t, (const char *)payload.p, (int)payload.n);
	struct json_object *remotes;
	bool good = config && json_object_object_get_ex(config, "Remotes", &remotes) &&
		    json_object_is_type(remotes, json_type_array);

	for (size_t i = 0; good && i < json_object_array_length(remotes); i++)
		good = open_door(c, json_object_array_get_idx(remotes, i), text);
	json_object_put(config);
	json_tokener_free(t);
	if (good) {
		c->serving = true;
		c->gateway->sessions++;
	} else {
		close_doors(c);
	}
	ssh_global_answer(ssh, good, good ? span_of(NULL, 0) : span_str(text));
}

static void on_request(struct client *c, struct ssh *ssh, const struct ssh_event *ev)
{
	if (span_is(ev->name, CHISEL_REQUEST_CONFIG) && ev->want_reply)
		on_config(c, ssh, ev->payload);
	else if (ev->want_reply)
		ssh_global_answer(ssh, span_is(ev->name, CHISEL_REQUEST_PING),
				  span_is(ev->name, CHISEL_REQUEST_PING) ? span_str("pong")
									 : span_of(NULL, 0));
}

static void on_channel(struct ssh *ssh, const struct ssh_event *ev)
{
	struct visitor *v = ssh_channel_user(ssh, ev->channel);

	if (!v)
		return;
	if (ev->kind == SSH_EVENT_CHANNEL_OPENED)
		on_opened(v, ssh, ev->channel);
	else if (ev->kind == SSH_EVENT_CHANNEL_REFUSED)
		destroy_visitor(v);
	else if (!v->pipe)
		return;
	else if (ev->kind == SSH_EVENT_CHANNEL_DATA)
		channel_pipe_on_data(v->pipe, ev->payload);
	else if (ev->kind == SSH_EVENT_CHANNEL_WRITABLE)
		channel_pipe_on_writable(v->pipe);
	else if (ev->kind == SSH_EVENT_CHANNEL_EOF)
		channel_pipe_on_eof(v->pipe);
	else if (ev->kind == SSH_EVENT_CHANNEL_CLOSED)
		channel_pipe_on_closed(v->pipe);
}

static void on_event(void *user, const struct ssh_event *ev)
{
	struct client *c = user;
	const struct gateway *g = c->gateway;
	struct ssh *ssh = chisel_stack_ssh(chisel_conn_stack(c->carrier));

	switch (ev->kind) {
	case SSH_EVENT_AUTH:
		ssh_auth_answer(ssh, (!g->user[0] && !g->password[0]) ||
					     (ev->password.p && span_is(ev->user, g->user) &&
					      span_is(ev->password, g->password)));
		return;
	case SSH_EVENT_GLOBAL_REQUEST:
		on_request(c, ssh, ev);
		return;
	case SSH_EVENT_CHANNEL_OPEN:
		ssh_channel_reject(ssh, ev->channel, SSH_OPEN_ADMINISTRATIVELY_PROHIBITED,
				   "reverse forwards only");
		return;
	case SSH_EVENT_CHANNEL_OPENED:
	case SSH_EVENT_CHANNEL_REFUSED:
	case SSH_EVENT_CHANNEL_DATA:
	case SSH_EVENT_CHANNEL_WRITABLE:
	case SSH_EVENT_CHANNEL_EOF:
	case SSH_EVENT_CHANNEL_CLOSED:
		on_channel(ssh, ev);
		return;
	case SSH_EVENT_DISCONNECTED:
		part(c);
		return;
	case SSH_EVENT_NONE:
	case SSH_EVENT_HOST_KEY:
	case SSH_EVENT_READY:
	case SSH_EVENT_GLOBAL_REPLY:
	case SSH_EVENT_CHANNEL_REQUEST:
	case SSH_EVENT_REKEYED:
		return;
	}
}

static void on_phase(void *user, enum chisel_stack_phase phase)
{
	(void)user;
	(void)phase;
}

static void on_lost(void *user, const struct fault *why)
{
	struct client *c = user;

	fprintf(stderr, "gateway: client lost: %s\n", why->why);
	part(c);
}

static void on_gone(void *user)
{
	release(user);
}

static const struct chisel_conn_handler handler = {
	.on_event = on_event,
	.on_phase = on_phase,
	.on_lost = on_lost,
	.on_gone = on_gone,
};

static void on_client(void *user, int fd)
{
	struct gateway *g = user;
	struct client *c = calloc(1, sizeof(*c));
	struct fault why = { 0 };
	const struct chisel_stack_options options = {
		.tls_ctx = g->o.tls_ctx,
		.tls = { .server = true },
		.ws = { .server = true, .protocol = CHISEL_PROTOCOL, .random = entropy },
		.ssh = { .role = SSH_SERVER,
			 .version = CHISEL_SERVER_VERSION,
			 .any_version = true,
			 .mem = &mem_heap,
			 .random = entropy,
			 .rekey_bytes = g->o.rekey_bytes,
			 .host_keys = &g->host_key,
			 .host_keys_n = 1 },
	};

	if (!c) {
		close(fd);
		return;
	}
	c->gateway = g;
	c->references = 1;
	c->next = g->clients;
	g->clients = c;
	if (chisel_conn_new(&c->carrier, g->loop, fd, &options, &handler, c, &why) < 0) {
		fprintf(stderr, "gateway: %s\n", why.why);
		c->carrier = NULL;
		release(c);
	}
}

/* SHA-256 over the public key's blob, as clients pin it. */
static bool fingerprint(EVP_PKEY *key, uint8_t digest[SSH_FINGERPRINT_LEN])
{
	uint8_t blob[SSH_HOSTKEY_BLOB_MAX];
	struct ssh_writer w = ssh_writer_of(blob, sizeof(blob));
	const struct ssh_hostkey_kind *kind = ssh_hostkey_find(span_str("ecdsa-sha2-nistp256"));

	return ssh_hostkey_blob(kind, key, &w) >= 0 &&
	       EVP_Digest(w.p, w.n, digest, NULL, EVP_sha256(), NULL) == 1;
}

int gateway_new(struct gateway **out, struct loop *l, const struct gateway_options *options,
		struct fault *why)
{
	struct gateway *g = calloc(1, sizeof(*g));
	uint8_t digest[SSH_FINGERPRINT_LEN];

	must(g);
	g->loop = l;
	g->o = *options;
	snprintf(g->user, sizeof(g->user), "%s", options->user);
	snprintf(g->password, sizeof(g->password), "%s", options->password);
	snprintf(g->bind, sizeof(g->bind), "%s", options->bind);
	g->host_key = EVP_EC_gen("P-256");
	must(g->host_key && fingerprint(g->host_key, digest));
	ssh_fingerprint_write(digest, g->fingerprint);
	const int fd = listen_on(g->bind, options->port, &g->port);
	if (fd < 0 || listener_new(&g->listener, l, fd, on_client, g, why) < 0) {
		const int rc = fault_set(why, ERR_SYS, "gateway: can't listen on %s:%u", g->bind,
					 options->port);
		gateway_free(g);
		return rc;
	}
	*out = g;
	return 0;
}

void gateway_stop(struct gateway *g)
{
	listener_close(g->listener);
	g->listener = NULL;
	for (struct client *c = g->clients, *next; c; c = next) {
		next = c->next;
		part(c);
	}
}

void gateway_free(struct gateway *g)
{
	if (!g)
		return;
	EVP_PKEY_free(g->host_key);
	free(g);
}

uint16_t gateway_port(const struct gateway *g)
{
	return g->port;
}

const char *gateway_fingerprint(const struct gateway *g)
{
	return g->fingerprint;
}

size_t gateway_sessions(const struct gateway *g)
{
	return g->sessions;
}
