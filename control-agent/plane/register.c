#include "control-agent/plane/register.h"

#include <stdio.h>

#include "control-agent/plane/request.h"
#include "lib/proto/json_read.h"

/* What a node without these labels counts as at the control plane. */
#define REGION_UNKNOWN	 "agent-managed"
#define PROVIDER_UNKNOWN "agent"

static struct json_object *labels(const struct register_request *r)
{
	struct json_object *o = json_object_new_object();
	bool good = o;

	for (size_t i = 0; good && i < r->config->labels_n; i++)
		good = request_take(o, r->config->labels[i].key,
				    json_object_new_string(r->config->labels[i].value));
	good = good && request_text(o, "hostname", r->facts->hostname) &&
	       request_text(o, "agent.pipeops.io/version", r->version);
	if (good)
		return o;
	json_object_put(o);
	return NULL;
}

/* The local ports by the control plane's names for them. */
static struct json_object *ports(const struct config *c)
{
	static const struct {
		const char *forward, *name;
	} known[] = {
		{ "kubernetes-api", "kubernetes_api" },
		{ "kubelet-metrics", "kubelet" },
		{ "agent-http", "agent_http" },
	};
	struct json_object *o = json_object_new_object();
	bool good = o;

	for (size_t i = 0; good && i < array_len(known); i++) {
		const int at = config_forward_find(c, known[i].forward);

		if (at >= 0)
			good = request_number(o, known[i].name, c->forwards[at].port);
	}
	if (good)
		return o;
	json_object_put(o);
	return NULL;
}

static struct json_object *specs(const struct facts *f)
{
	struct json_object *o = json_object_new_object();
	const bool good = o && (!f->cpu_cores || request_number(o, "cpu_cores", f->cpu_cores)) &&
			  (!f->memory_gb || request_number(o, "memory_gb", f->memory_gb)) &&
			  (!f->disk_gb || request_number(o, "disk_gb", f->disk_gb)) &&
			  request_text(o, "os", f->os);

	if (good)
		return o;
	json_object_put(o);
	return NULL;
}

static struct json_object *metadata(const struct register_request *r)
{
	struct json_object *o = json_object_new_object();
	char now[32];

	request_time(now, r->now_s);
	if (o &&
	    request_text(o, "agent_mode", r->facts->in_cluster ? "in-cluster" : "standalone") &&
	    request_text(o, "registration_timestamp", now) &&
	    request_text(o, "registration_mode", r->cluster_id[0] ? "resume" : "fresh"))
		return o;
	json_object_put(o);
	return NULL;
}

int register_request_write(struct buf *to, const struct register_request *r)
{
	struct json_object *o = json_object_new_object();
	const bool good = o && request_text(o, "agent_id", r->agent_id) &&
			  request_text(o, "name", r->config->cluster_name) &&
			  request_text(o, "cluster_id", r->cluster_id) &&
			  request_text(o, "k8s_service_token", r->facts->service_token) &&
			  request_text(o, "hostname", r->facts->hostname) &&
			  request_text(o, "region", REGION_UNKNOWN) &&
			  request_text(o, "cloud_provider", PROVIDER_UNKNOWN) &&
			  request_text(o, "agent_version", r->version) &&
			  request_take(o, "labels", labels(r)) &&
			  request_take(o, "tunnel_port_config", ports(r->config)) &&
			  request_take(o, "server_specs", specs(r->facts)) &&
			  request_take(o, "metadata", metadata(r));

	return request_finish_take(to, o, good);
}

/* The first of the five places that holds an id.  1 found, 0 none. */
static int find_id(char id[64], const struct json_object *o, struct fault *why)
{
	static const struct {
		const char *parent, *name;
	} places[] = {
		{ NULL, "cluster_id" }, { NULL, "cluster_uuid" }, { "cluster", "id" },
		{ "cluster", "uuid" },	{ "data", "cluster_id" },
	};

	for (size_t i = 0; i < array_len(places); i++) {
		const struct json_object *parent = o;
		struct json_object *child;

		if (places[i].parent) {
			const int rc = json_read_object(o, places[i].parent, &child, why);
			if (rc < 0)
				return rc;
			if (!rc)
				continue;
			parent = child;
		}
		const int rc = json_read_text(parent, places[i].name, id, 64, why);
		if (rc < 0)
			return rc;
		if (id[0])
			return 1;
	}
	return 0;
}

static void read_workspace(struct register_answer *out, const struct json_object *from)
{
	int64_t number;

	out->workspace_is_number = json_read_number(from, "workspace_id", &number, NULL) > 0;
	if (out->workspace_is_number)
		snprintf(out->workspace_id, sizeof(out->workspace_id), "%lld", (long long)number);
	else
		(void)!json_read_text(from, "workspace_id", out->workspace_id,
				      sizeof(out->workspace_id), NULL);
}

static void read_extras(struct register_answer *out, const struct json_object *o)
{
	struct json_object *cluster = NULL;
	char token[2];

	if (json_read_object(o, "cluster", &cluster, NULL) <= 0)
		cluster = NULL;
	for (int i = 0; i < 2; i++) {
		const struct json_object *from = i ? cluster : o;

		if (!from)
			continue;
		if (!out->name[0])
			(void)!json_read_text(from, "name", out->name, sizeof(out->name), NULL);
		if (!out->status[0])
			(void)!json_read_text(from, "status", out->status, sizeof(out->status),
					      NULL);
		if (!out->workspace_id[0])
			read_workspace(out, from);
		/* Not kept: only whether one came, and none fits in two bytes. */
		out->has_token |=
			json_read_text(from, "token", token, sizeof(token), NULL) == ERR_LIMIT;
	}
}

static int read_body(struct register_answer *out, struct span body, struct fault *why)
{
	struct json_object *o;
	struct register_answer a = { 0 };
	int rc = json_read(&o, body, why);

	if (rc < 0)
		return rc;
	rc = find_id(a.cluster_id, o, why);
	if (rc == 0)
		rc = fault_set(why, ERR_PROTO, "the answer holds no cluster_id");
	else if (rc > 0 && !identity_is_id(a.cluster_id))
		rc = fault_set(why, ERR_PROTO,
			       "the cluster id of the answer holds characters that no id has");
	if (rc > 0) {
		read_extras(&a, o);
		*out = a;
	}
	json_object_put(o);
	return rc < 0 ? rc : 0;
}

int register_answer_read(struct register_answer *out, int status, struct span body,
			 struct fault *why)
{
	if (status == 401 || status == 403)
		return fault_set(why, ERR_AUTH, "the control plane refused the token (HTTP %d)",
				 status);
	if (status != 200 && status != 201 && status != 409)
		return fault_set(why, ERR_REFUSED, "the control plane answered HTTP %d", status);
	if (status == 409) {
		/* A conflict without a usable id is a refusal, whatever its body is. */
		if (read_body(out, body, NULL) < 0)
			return fault_set(why, ERR_REFUSED,
					 "the control plane answered HTTP 409 (conflict) without a "
					 "cluster id");
		out->existed = true;
		return 0;
	}
	return read_body(out, body, why);
}
