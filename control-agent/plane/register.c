/*
 * The registration's two texts.  It sends nothing and keeps nothing: enrolment.c does.
 */
#include "control-agent/plane/register.h"

#include <stdio.h>

#include "control-agent/plane/request.h"
#include "lib/proto/json_read.h"

/* What a node without these labels counts as at the control plane. */
#define REGION_UNKNOWN	 "agent-managed"
#define PROVIDER_UNKNOWN "agent"

static void labels(struct json_writer *j, const struct register_request *r)
{
	json_write_open(j, "labels", '{');
	for (size_t i = 0; i < r->config->labels_n; i++)
		json_write_text(j, r->config->labels[i].key, r->config->labels[i].value);
	request_text(j, "hostname", r->facts->hostname);
	request_text(j, "agent.pipeops.io/version", r->version);
	json_write_close(j, '}');
}

/* The local ports by the control plane's names for them. */
static void ports(struct json_writer *j, const struct config *c)
{
	static const struct {
		const char *forward, *name;
	} known[] = {
		{ "kubernetes-api", "kubernetes_api" },
		{ "kubelet-metrics", "kubelet" },
		{ "agent-http", "agent_http" },
	};

	json_write_open(j, "tunnel_port_config", '{');
	for (size_t i = 0; i < array_len(known); i++) {
		const int at = config_forward_find(c, known[i].forward);

		if (at >= 0)
			json_write_number(j, known[i].name, c->forwards[at].port);
	}
	json_write_close(j, '}');
}

static void specs(struct json_writer *j, const struct facts *f)
{
	json_write_open(j, "server_specs", '{');
	if (f->cpu_cores)
		json_write_number(j, "cpu_cores", f->cpu_cores);
	if (f->memory_gb)
		json_write_number(j, "memory_gb", f->memory_gb);
	if (f->disk_gb)
		json_write_number(j, "disk_gb", f->disk_gb);
	request_text(j, "os", f->os);
	json_write_close(j, '}');
}

static void metadata(struct json_writer *j, const struct register_request *r)
{
	json_write_open(j, "metadata", '{');
	json_write_text(j, "agent_mode", r->facts->in_cluster ? "in-cluster" : "standalone");
	request_time(j, "registration_timestamp", r->now_s);
	json_write_text(j, "registration_mode", r->cluster_id[0] ? "resume" : "fresh");
	json_write_close(j, '}');
}

int register_request_write(struct buf *to, const struct register_request *r)
{
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	request_text(&j, "agent_id", r->agent_id);
	request_text(&j, "name", r->config->cluster_name);
	request_text(&j, "cluster_id", r->cluster_id);
	request_text(&j, "k8s_service_token", r->facts->service_token);
	request_text(&j, "hostname", r->facts->hostname);
	json_write_text(&j, "region", REGION_UNKNOWN);
	json_write_text(&j, "cloud_provider", PROVIDER_UNKNOWN);
	request_text(&j, "agent_version", r->version);
	labels(&j, r);
	ports(&j, r->config);
	specs(&j, r->facts);
	metadata(&j, r);
	json_write_close(&j, '}');
	return j.rc;
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
