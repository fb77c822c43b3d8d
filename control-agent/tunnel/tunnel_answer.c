/*
 * Turns the control plane's JSON into a desired state.  It decides what is usable; what is done
 * with it stands in tunnel_poll.c.
 */
#include "control-agent/tunnel/tunnel_answer.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/proto/chisel.h"
#include "lib/proto/json_read.h"
#include "lib/proto/ssh/ssh_fingerprint.h"

static int read_server(struct tunnel_answer *out, const struct config *config,
		       const struct json_object *o, struct fault *why)
{
	struct bus_desired *d = &out->desired;
	struct url url;
	struct fault inner = { 0 };
	char text[BUS_TEXT_MAX - 8]; /* room for a scheme */

	int rc = json_read_text(o, "tunnel_url", text, sizeof(text), why);
	if (rc >= 0 && !text[0])
		rc = json_read_text(o, "tunnel_server_addr", text, sizeof(text), why);
	if (rc < 0)
		return rc;
	if (!text[0])
		return fault_set(
			why, ERR_PROTO,
			"the answer asks for a tunnel but has no tunnel_url or tunnel_server_addr");
	/* The URL is shown on the bus, to people: a secret has no place in it. */
	if (strpbrk(text, "@?#"))
		return fault_set(
			why, ERR_PROTO,
			"the tunnel URL of the answer holds user, query or fragment; only scheme, "
			"host, port and path are taken");
	if (chisel_gateway_read(&url, text, true, &inner) < 0)
		return fault_set(why, ERR_PROTO,
				 "the tunnel URL of the answer can't be used: %.160s", inner.why);
	if (chisel_url_is_plain(&url) && !url.is_loopback && !config->allow_plain)
		return fault_set(why, ERR_CONFIG,
				 "the tunnel URL of the answer is plain (no TLS): set "
				 "pipeops.tls.allow_plain "
				 "when the way to that host is trusted");
	snprintf(d->url, sizeof(d->url), "%s%s", strstr(text, "://") ? "" : "https://", text);
	return 0;
}

static int read_fingerprint(struct tunnel_answer *out, const struct json_object *o,
			    struct fault *why)
{
	char *to = out->desired.fingerprint;
	const int rc =
		json_read_text(o, "server_fingerprint", to, sizeof(out->desired.fingerprint), why);

	/* One that we can't read is an error, never "none": it was meant to protect. */
	return rc < 0 || !to[0] ? rc : ssh_fingerprint_check(to, why);
}

/* Standard base64 with padding (RFC 4648, section 4): EVP_DecodeBlock() also
 * takes white space, so the alphabet is checked before. */
static int decode(char *to, size_t cap, const char *text, struct fault *why)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t len = strlen(text), body = strspn(text, alphabet);
	const size_t pad = len - body;

	if (len % 4 || pad > 2 || strspn(text + body, "=") != pad)
		return fault_set(why, ERR_PROTO, "the credentials of the answer are no base64");
	if (len / 4 * 3 + 1 > cap)
		return fault_set(why, ERR_LIMIT, "the credentials of the answer are too long");
	const int n = EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text, (int)len);
	if (n < (int)pad)
		return fault_set(why, ERR_PROTO, "the credentials of the answer are no base64");
	to[(size_t)n - pad] = '\0';
	return n - (int)pad;
}

static int read_credentials(struct tunnel_answer *out, const struct json_object *o,
			    struct fault *why)
{
	char text[1024], *to = out->credentials;
	char plain[sizeof(text)];

	int n = json_read_text(o, "credentials", text, sizeof(text), why);
	if (n <= 0 || !text[0])
		return n < 0 ? n : 0;
	n = decode(plain, sizeof(plain), text, why);
	if (n >= 0) {
		const char *colon = strchr(plain, ':');
		bool good = colon && (size_t)n == strlen(plain);

		for (int i = 0; i < n; i++)
			good = good && (uint8_t)plain[i] >= 0x20 && plain[i] != 0x7f;
		if (!good)
			n = fault_set(why, ERR_PROTO,
				      "the credentials of the answer are not the base64 of "
				      "user:password");
		else if (colon - plain > 127 || strlen(colon + 1) > 255)
			n = fault_set(why, ERR_LIMIT, "user or password of the answer is too long");
		else
			memcpy(to, plain, (size_t)n + 1);
	}
	explicit_bzero(plain, sizeof(plain));
	explicit_bzero(text, sizeof(text));
	return n;
}

static int read_forward(struct tunnel_answer *out, const struct config *config,
			const struct json_object *o, struct fault *why)
{
	struct bus_desired *d = &out->desired;
	char name[256];
	int64_t port;

	if (!json_object_is_type(o, json_type_object))
		return fault_set(why, ERR_PROTO, "an entry of \"forwards\" is no object");
	int rc = json_read_text(o, "name", name, sizeof(name), why);
	if (rc < 0)
		return rc;
	if (!name[0])
		return fault_set(why, ERR_PROTO, "an entry of \"forwards\" has no name");
	const int target = config_forward_find(config, name);
	if (target < 0) {
		if (!out->refused++)
			snprintf(out->refused_name, sizeof(out->refused_name), "%.63s", name);
		return 0;
	}
	rc = json_read_number(o, "remote_port", &port, why);
	if (rc < 0)
		return rc;
	/* 0 is "you choose": what the configuration fixed. */
	if (!rc || port == 0)
		port = config->forwards[target].remote_port;
	if (port < 1 || port > UINT16_MAX)
		return fault_set(why, ERR_PROTO,
				 "forward %s of the answer has no usable remote_port",
				 config->forwards[target].name);
	for (uint64_t i = 0; i < d->n; i++)
		if (d->forward[i].remote_port == port)
			return fault_set(why, ERR_PROTO,
					 "remote_port %u stands twice in the answer",
					 (unsigned)port);
	if (d->n == BUS_FORWARDS_MAX)
		return fault_set(why, ERR_LIMIT, "the answer asks for more than %d forwards",
				 BUS_FORWARDS_MAX);
	d->forward[d->n].remote_port = (uint16_t)port;
	d->forward[d->n].target = (uint16_t)target;
	d->n++;
	return 0;
}

static int compare_forwards(const void *a, const void *b)
{
	const uint16_t *x = a, *y = b; /* remote_port, target */

	return x[1] != y[1] ? (x[1] > y[1]) - (x[1] < y[1]) : (x[0] > y[0]) - (x[0] < y[0]);
}

static int read_forwards(struct tunnel_answer *out, const struct config *config,
			 const struct json_object *o, struct fault *why)
{
	struct json_object *list;
	int rc = json_read_list(o, "forwards", &list, why);

	if (rc < 0)
		return rc;
	const size_t n = rc ? json_object_array_length(list) : 0;
	if (!n)
		return fault_set(why, ERR_PROTO,
				 "the answer asks for a tunnel but names no forwards");
	for (size_t i = 0; i < n; i++) {
		rc = read_forward(out, config, json_object_array_get_idx(list, i), why);
		if (rc < 0)
			return rc;
	}
	if (!out->desired.n)
		return fault_set(
			why, ERR_REFUSED,
			"none of the %zu forwards of the answer is configured (tunnel.forwards)",
			n);
	/* The same forwards in another order are the same desired state. */
	qsort(out->desired.forward, out->desired.n, sizeof(out->desired.forward[0]),
	      compare_forwards);
	return 0;
}

static int read_poll(struct tunnel_answer *out, const struct json_object *o, struct fault *why)
{
	int64_t s;
	const int rc = json_read_number(o, "poll_frequency", &s, why);

	if (rc > 0)
		out->poll_s = s < TUNNEL_POLL_MIN_S   ? TUNNEL_POLL_MIN_S
			      : s > TUNNEL_POLL_MAX_S ? TUNNEL_POLL_MAX_S
						      : (uint32_t)s;
	return rc;
}

static bool is_up(const char *status)
{
	static const char *const up[] = { "ready", "required", "active" };

	for (size_t i = 0; i < array_len(up); i++)
		if (strcasecmp(status, up[i]) == 0)
			return true;
	return false;
}

static int read_object(struct tunnel_answer *out, const struct config *config,
		       const struct json_object *o, struct fault *why)
{
	char status[64];

	int rc = json_read_text(o, "status", status, sizeof(status), why);
	if (rc == 0)
		return fault_set(why, ERR_PROTO, "the answer has no status");
	if (rc > 0)
		rc = read_poll(out, o, why);
	if (rc < 0 || !is_up(status))
		return rc;
	rc = read_server(out, config, o, why);
	if (rc >= 0)
		rc = read_fingerprint(out, o, why);
	if (rc >= 0)
		rc = read_credentials(out, o, why);
	if (rc >= 0)
		rc = read_forwards(out, config, o, why);
	if (rc >= 0) {
		out->desired.op = BUS_DESIRED_UP;
		out->desired.inactivity_ns = config->inactivity_timeout_ns;
	}
	return rc;
}

static bool is_blank(struct span body)
{
	for (size_t i = 0; i < body.n; i++)
		if (!memchr(" \t\r\n", body.p[i], 4))
			return false;
	return true;
}

int tunnel_answer_read(struct tunnel_answer *out, const struct config *config, int status,
		       struct span body, struct fault *why)
{
	struct tunnel_answer a = { 0 };
	struct json_object *o;

	out->refused = 0;
	if (status == 401 || status == 403)
		return fault_set(why, ERR_AUTH, "the control plane refused the token (HTTP %d)",
				 status);
	const bool good = status >= 200 && status < 300;
	if (!good && status != 404)
		return fault_set(why, ERR_REFUSED, "the control plane answered HTTP %d", status);
	if (!good || is_blank(body)) {
		*out = a;
		return 0;
	}
	int rc = json_read(&o, body, why);
	if (rc < 0)
		return rc;
	rc = read_object(&a, config, o, why);
	json_object_put(o);
	if (rc >= 0) {
		*out = a;
	} else {
		out->refused = a.refused;
		memcpy(out->refused_name, a.refused_name, sizeof(out->refused_name));
	}
	explicit_bzero(&a, sizeof(a));
	return rc < 0 ? rc : 0;
}

bool tunnel_answer_is_same(const struct bus_desired *a, const struct bus_desired *b)
{
	if (a->op != b->op)
		return false;
	if (a->op == BUS_DESIRED_DOWN)
		return true;
	if (a->n != b->n || a->inactivity_ns != b->inactivity_ns || a->cred_gen != b->cred_gen ||
	    strcmp(a->url, b->url) != 0 || strcmp(a->fingerprint, b->fingerprint) != 0)
		return false;
	for (uint64_t i = 0; i < a->n; i++)
		if (a->forward[i].remote_port != b->forward[i].remote_port ||
		    a->forward[i].target != b->forward[i].target)
			return false;
	return true;
}

void tunnel_answer_path(char to[512], const char *agent_id)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	size_t n = (size_t)snprintf(to, 512, "/api/v1/tunnel/status?agent_id=");

	for (const char *c = agent_id; *c && n + 4 < 512; c++) {
		if (strchr(plain, *c)) {
			to[n++] = *c;
			continue;
		}
		to[n++] = '%';
		to[n++] = hex[(uint8_t)*c >> 4];
		to[n++] = hex[(uint8_t)*c & 15];
	}
	to[n] = '\0';
}
