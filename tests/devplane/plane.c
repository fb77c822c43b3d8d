#include "tests/devplane/plane.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BODY_MAX = 1 << 20, FORWARDS_MAX = 32, NAME_MAX_N = 64 };

#define PREFIX "/api/v1/clusters/agent/"
#define FORWARDS_DEFAULT "kubernetes-api,kubelet-metrics,agent-http"

/* An answer that a test has put in place of the real one. */
struct canned {
	bool on;
	int status;
	struct buf body;
};

struct plane {
	struct plane_options o;
	struct canned canned[PLANE_WHATS];
	struct buf last[PLANE_WHATS];
	uint64_t count[PLANE_WHATS], unauthorized;
	char cluster_id[64], agent_id[128], user_agent[128];
	struct forward {
		char name[NAME_MAX_N];
		uint16_t port;
	} forwards[FORWARDS_MAX];
	size_t forwards_n;
};

uint16_t plane_free_port(void)
{
	for (;;) {
		uint16_t port;
		struct sockaddr_in to = { .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		must(RAND_bytes((uint8_t *)&port, sizeof(port)) == 1);
		port = (uint16_t)(20000 + port % 10000);
		to.sin_port = htons(port);
		const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		const bool good = fd >= 0 && bind(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
		if (fd >= 0)
			close(fd);
		if (good)
			return port;
	}
}

static void say(struct https_reply *reply, int status, const char *text)
{
	reply->status = status;
	must(buf_append(reply->body, text, strlen(text)) == 0);
}

/* Takes o. */
static void say_json(struct https_reply *reply, int status, struct json_object *o)
{
	say(reply, status, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

static void add_text(struct json_object *o, const char *name, const char *value)
{
	json_object_object_add(o, name, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)value));
}

/* A JSON body, or NULL. */
static struct json_object *parse(struct span text)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o = NULL;

	if (t && text.n)
		o = json_tokener_parse_ex(t, (const char *)text.p, (int)text.n);
	json_tokener_free(t);
	return o;
}

static const char *text_of(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) && json_object_is_type(v, json_type_string)
		       ? json_object_get_string(v)
		       : "";
}

static void keep(struct plane *p, enum plane_what what, struct span body)
{
	p->count[what]++;
	buf_consume(&p->last[what], buf_len(&p->last[what]));
	must(buf_append(&p->last[what], body.p, body.n) == 0);
}

static bool say_canned(const struct plane *p, enum plane_what what, struct https_reply *reply)
{
	const struct canned *c = &p->canned[what];

	if (!c->on)
		return false;
	reply->status = c->status;
	must(buf_append(reply->body, buf_bytes(&c->body).p, buf_len(&c->body)) == 0);
	return true;
}

void plane_set(struct plane *p, enum plane_what what, int status, struct span body)
{
	struct canned *c = &p->canned[what];

	c->on = true;
	c->status = status;
	buf_consume(&c->body, buf_len(&c->body));
	must(buf_append(&c->body, body.p, body.n) == 0);
}

/* ---- what the agent asks ---- */

static void allocate(struct plane *p, const char *name)
{
	for (size_t i = 0; i < p->forwards_n; i++)
		if (strcmp(p->forwards[i].name, name) == 0)
			return;
	if (p->forwards_n == FORWARDS_MAX || !*name)
		return;
	struct forward *f = &p->forwards[p->forwards_n++];
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->port = plane_free_port();
}

static void allocate_all(struct plane *p, struct json_object *registration)
{
	static const char *const known[][2] = {
		{ "kubernetes_api", "kubernetes-api" },
		{ "kubelet", "kubelet-metrics" },
		{ "agent_http", "agent-http" },
	};
	struct json_object *ports;
	char names[1024], *rest = names, *name;

	if (!p->o.forwards &&
	    json_object_object_get_ex(registration, "tunnel_port_config", &ports) &&
	    json_object_is_type(ports, json_type_object)) {
		for (size_t i = 0; i < array_len(known); i++)
			if (json_object_object_get_ex(ports, known[i][0], NULL))
				allocate(p, known[i][1]);
		return;
	}
	snprintf(names, sizeof(names), "%s", p->o.forwards ? p->o.forwards : FORWARDS_DEFAULT);
	while ((name = strsep(&rest, ",")))
		allocate(p, name);
}

static void new_cluster(struct plane *p)
{
	uint8_t r[16];

	must(RAND_bytes(r, sizeof(r)) == 1);
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	snprintf(p->cluster_id, sizeof(p->cluster_id),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
		 r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
		 r[15]);
}

static void on_register(struct plane *p, const struct https_request *q, struct https_reply *reply)
{
	struct json_object *in = parse(q->body), *out;

	keep(p, PLANE_REGISTER, q->body);
	if (say_canned(p, PLANE_REGISTER, reply)) {
		json_object_put(in);
		return;
	}
	if (!json_object_is_type(in, json_type_object) || !*text_of(in, "agent_id") ||
	    !*text_of(in, "name")) {
		say(reply, 400, "{\"error\":\"agent_id and name are required\"}");
		json_object_put(in);
		return;
	}
	snprintf(p->agent_id, sizeof(p->agent_id), "%s", text_of(in, "agent_id"));
	if (*text_of(in, "cluster_id"))
		snprintf(p->cluster_id, sizeof(p->cluster_id), "%s", text_of(in, "cluster_id"));
	else
		new_cluster(p);
	allocate_all(p, in);
	out = json_object_new_object();
	add_text(out, "cluster_id", p->cluster_id);
	add_text(out, "name", text_of(in, "name"));
	add_text(out, "status", "active");
	add_number(out, "workspace_id", 1);
	say_json(reply, 200, out);
	json_object_put(in);
}

static void on_heartbeat(struct plane *p, const struct https_request *q, struct https_reply *reply)
{
	char path[256];

	keep(p, PLANE_HEARTBEAT, q->body);
	if (say_canned(p, PLANE_HEARTBEAT, reply))
		return;
	snprintf(path, sizeof(path), PREFIX "%s/heartbeat", p->cluster_id);
	if (p->cluster_id[0] && span_is(q->path, path))
		reply->status = 204;
	else
		say(reply, 404, "{\"error\":\"cluster not found\"}");
}

static void on_tunnel(struct plane *p, const struct https_request *q, struct https_reply *reply)
{
	char text[512], code[700];

	keep(p, PLANE_TUNNEL, q->query);
	if (say_canned(p, PLANE_TUNNEL, reply))
		return;
	snprintf(text, sizeof(text), "agent_id=%s", p->agent_id);
	if (!p->agent_id[0] || !span_is(q->query, text)) {
		say(reply, 404, "{\"error\":\"no such agent\"}");
		return;
	}
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	add_text(o, "status", "ready");
	snprintf(text, sizeof(text), "%s://localhost:%u", p->o.gateway_tls ? "wss" : "ws",
		 gateway_port(p->o.gateway));
	add_text(o, "tunnel_url", text);
	add_text(o, "server_fingerprint", gateway_fingerprint(p->o.gateway));
	if (p->o.user[0]) {
		const int n = snprintf(text, sizeof(text), "%s:%s", p->o.user, p->o.password);

		EVP_EncodeBlock((uint8_t *)code, (const uint8_t *)text, n);
		add_text(o, "credentials", code);
	}
	add_number(o, "poll_frequency", p->o.poll_s);
	for (size_t i = 0; i < p->forwards_n; i++) {
		struct json_object *f = json_object_new_object();

		add_text(f, "name", p->forwards[i].name);
		add_number(f, "remote_port", p->forwards[i].port);
		json_object_array_add(list, f);
	}
	json_object_object_add(o, "forwards", list);
	say_json(reply, 200, o);
}

/* ---- what a test asks ---- */

static void add_last(struct json_object *o, const char *name, const struct buf *b)
{
	const struct span text = span_of(buf_bytes(b).p, buf_len(b));
	struct json_object *v = parse(text);

	if (!v && text.n)
		v = json_object_new_string_len((const char *)text.p, (int)text.n);
	json_object_object_add(o, name, v);
}

static void on_state(const struct plane *p, struct https_reply *reply)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_object();

	add_number(o, "registrations", p->count[PLANE_REGISTER]);
	add_number(o, "heartbeats", p->count[PLANE_HEARTBEAT]);
	add_number(o, "polls", p->count[PLANE_TUNNEL]);
	add_number(o, "unauthorized", p->unauthorized);
	add_number(o, "sessions", gateway_sessions(p->o.gateway));
	add_text(o, "cluster_id", p->cluster_id);
	add_text(o, "agent_id", p->agent_id);
	add_text(o, "user_agent", p->user_agent);
	add_last(o, "last_registration", &p->last[PLANE_REGISTER]);
	add_last(o, "last_heartbeat", &p->last[PLANE_HEARTBEAT]);
	add_last(o, "last_poll", &p->last[PLANE_TUNNEL]);
	for (size_t i = 0; i < p->forwards_n; i++)
		add_number(ports, p->forwards[i].name, p->forwards[i].port);
	json_object_object_add(o, "ports", ports);
	say_json(reply, 200, o);
}

/* "status=N" of a query; -1 when it is not there. */
static int query_status(struct span query)
{
	static const char key[] = "status=";
	int status = 0;

	if (query.n < sizeof(key) || memcmp(query.p, key, sizeof(key) - 1) != 0)
		return -1;
	for (size_t i = sizeof(key) - 1; i < query.n; i++) {
		if (query.p[i] < '0' || query.p[i] > '9' || status > 99)
			return -1;
		status = status * 10 + query.p[i] - '0';
	}
	return status;
}

static void on_can(struct plane *p, enum plane_what what, const struct https_request *q,
		   struct https_reply *reply)
{
	const int status = query_status(q->query);

	if (q->query.n && status < 0) {
		say(reply, 400, "{\"error\":\"the query should be status=N\"}");
		return;
	}
	if (!q->query.n && !q->body.n)
		p->canned[what].on = false;
	else
		plane_set(p, what, q->query.n ? status : 200, q->body);
	reply->status = 204;
}

static void on_dev(struct plane *p, const struct https_request *q, struct https_reply *reply)
{
	static const char *const cans[PLANE_WHATS] = { "/dev/register", "/dev/heartbeat",
						       "/dev/answer" };

	if (span_is(q->method, "GET") && span_is(q->path, "/dev/state")) {
		on_state(p, reply);
		return;
	}
	if (!span_is(q->method, "POST"))
		return;
	for (int i = 0; i < PLANE_WHATS; i++)
		if (span_is(q->path, cans[i]))
			on_can(p, (enum plane_what)i, q, reply);
	if (span_is(q->path, "/dev/ports")) {
		for (size_t i = 0; i < p->forwards_n; i++)
			p->forwards[i].port = plane_free_port();
		reply->status = 204;
	} else if (span_is(q->path, "/dev/forget")) {
		p->cluster_id[0] = '\0';
		reply->status = 204;
	}
}

static bool starts(struct span path, const char *with)
{
	return path.n >= strlen(with) && memcmp(path.p, with, strlen(with)) == 0;
}

static bool ends(struct span path, const char *with)
{
	const size_t n = strlen(with);

	return path.n >= n && memcmp(path.p + path.n - n, with, n) == 0;
}

void plane_serve(void *user, const struct https_request *q, struct https_reply *reply)
{
	struct plane *p = user;
	char bearer[1100];

	if (starts(q->path, "/dev/")) {
		on_dev(p, q, reply);
		return;
	}
	snprintf(bearer, sizeof(bearer), "Bearer %s", p->o.token);
	if (!span_is(q->authorization, bearer)) {
		p->unauthorized++;
		say(reply, 401, "{\"error\":\"invalid token\"}");
		return;
	}
	snprintf(p->user_agent, sizeof(p->user_agent), "%.*s", (int)min_size(q->user_agent.n, 127),
		 q->user_agent.n ? (const char *)q->user_agent.p : "");
	if (span_is(q->method, "POST") && span_is(q->path, PREFIX "register"))
		on_register(p, q, reply);
	else if (span_is(q->method, "POST") && starts(q->path, PREFIX) &&
		 ends(q->path, "/heartbeat"))
		on_heartbeat(p, q, reply);
	else if (span_is(q->method, "GET") && span_is(q->path, "/api/v1/tunnel/status"))
		on_tunnel(p, q, reply);
	else
		say(reply, 404, "{\"error\":\"no such path\"}");
}

struct plane *plane_new(const struct plane_options *options)
{
	struct plane *p = calloc(1, sizeof(*p));

	must(p);
	p->o = *options;
	for (int i = 0; i < PLANE_WHATS; i++) {
		buf_init(&p->last[i], &mem_heap, BODY_MAX);
		buf_init(&p->canned[i].body, &mem_heap, BODY_MAX);
	}
	return p;
}

void plane_free(struct plane *p)
{
	for (int i = 0; p && i < PLANE_WHATS; i++) {
		buf_fini(&p->last[i]);
		buf_fini(&p->canned[i].body);
	}
	free(p);
}
