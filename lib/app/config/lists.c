/* Entries of the lists and maps of config.def: how each is read from plain values.
 * Not here: the YAML around them (yaml.c). */
#include <stdio.h>
#include <string.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"

int config_address(const char *text, char host[256], uint16_t *port, struct fault *why)
{
	char shown[80];
	const char *colon = strrchr(text, ':');
	const char *start = text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	int64_t number;

	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		start++;
		n -= 2;
	} else if (colon && memchr(text, ':', n)) {
		n = 0; /* IPv6 without brackets */
	}
	if (!n || n > 255 || !config_count(colon + 1, "1..65535", &number) ||
	    strspn(start, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%") <
		    n) {
		escape_text(shown, sizeof(shown), span_str(text));
		return fault_set(
			why, ERR_CONFIG,
			"\"%s\" is no address: write host:port, like localhost:6443 or [::1]:6443",
			shown);
	}
	memcpy(host, start, n);
	host[n] = '\0';
	*port = (uint16_t)number;
	return 0;
}

/* ---- tunnel.forwards ---- */

static int read_name(void *entry, const char *text, struct fault *why)
{
	struct config_forward *f = entry;
	const size_t n = strlen(text);

	if (!n || n > CONFIG_NAME_MAX ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") < n)
		return fault_set(why, ERR_CONFIG,
				 "a forward's name is letters, digits, '-', '_', '.', at most 63");
	memcpy(f->name, text, n + 1);
	return 0;
}

static int read_local_addr(void *entry, const char *text, struct fault *why)
{
	struct config_forward *f = entry;
	const int rc = config_address(text, f->host, &f->port, why);

	if (rc >= 0)
		snprintf(f->local_addr, sizeof(f->local_addr), "%s", text);
	return rc;
}

static int read_remote_port(void *entry, const char *text, struct fault *why)
{
	struct config_forward *f = entry;
	int64_t v;

	if (!config_count(text, "0..65535", &v))
		return fault_set(why, ERR_CONFIG,
				 "remote_port is 0 (assigned by the control plane) to 65535");
	f->remote_port = (uint16_t)v;
	return 0;
}

/* A chisel server that is asked for one port twice refuses, and keeps the first listener
 * for ever. */
static int check_forward(const void *entries, size_t n, struct fault *why)
{
	const struct config_forward *f = entries, *newest = &f[n - 1];

	for (size_t i = 0; newest->remote_port && i + 1 < n; i++)
		if (f[i].remote_port == newest->remote_port)
			return fault_set(
				why, ERR_CONFIG,
				"forwards %s and %s both want remote_port %u: give each its "
				"own, or 0 to have it assigned",
				f[i].name, newest->name, newest->remote_port);
	return 0;
}

static size_t set_default_forwards(void *entries)
{
	static const char *const rows[][2] = {
		{ "kubernetes-api", "localhost:6443" },
		{ "kubelet-metrics", "localhost:10250" },
		{ "agent-http", "localhost:8080" },
	};
	struct config_forward *f = entries;

	for (size_t i = 0; i < array_len(rows); i++) {
		must(read_name(&f[i], rows[i][0], NULL) == 0);
		must(read_local_addr(&f[i], rows[i][1], NULL) == 0);
	}
	return array_len(rows);
}

static const struct config_key forward_keys[] = {
	{ "name", true, read_name, offsetof(struct config_forward, name), false },
	{ "local_addr", true, read_local_addr, offsetof(struct config_forward, local_addr), false },
	{ "remote_port", false, read_remote_port, offsetof(struct config_forward, remote_port),
	  true },
};

const struct config_items config_items_forward = {
	.one = "forward",
	.size = sizeof(struct config_forward),
	.keys = forward_keys,
	.keys_n = array_len(forward_keys),
	.set_default = set_default_forwards,
	.check = check_forward,
};

int config_forward_find(const struct config *c, const char *name)
{
	static const char *const same[][2] = {
		{ "k8s-api", "kubernetes-api" },
		{ "kubelet", "kubelet-metrics" },
	};
	const char *other = NULL;

	for (size_t i = 0; i < array_len(same); i++)
		for (size_t j = 0; j < 2; j++)
			if (strcmp(same[i][j], name) == 0)
				other = same[i][1 - j];
	for (size_t i = 0; i < c->forwards_n; i++)
		if (strcmp(c->forwards[i].name, name) == 0)
			return (int)i;
	for (size_t i = 0; other && i < c->forwards_n; i++)
		if (strcmp(c->forwards[i].name, other) == 0)
			return (int)i;
	return -1;
}

/* ---- agent.labels ---- */

static int read_label_name(void *entry, const char *text, struct fault *why)
{
	struct config_label *l = entry;

	if (strlen(text) >= sizeof(l->key))
		return fault_set(why, ERR_CONFIG,
				 "a label's name is plain text of at most 63 characters");
	snprintf(l->key, sizeof(l->key), "%s", text);
	return 0;
}

static int read_label_value(void *entry, const char *text, struct fault *why)
{
	struct config_label *l = entry;

	if (strlen(text) >= sizeof(l->value))
		return fault_set(why, ERR_CONFIG,
				 "a label's value is plain text of at most 255 characters");
	snprintf(l->value, sizeof(l->value), "%s", text);
	return 0;
}

static const struct config_key label_keys[] = {
	{ "name", true, read_label_name, offsetof(struct config_label, key), false },
	{ "value", true, read_label_value, offsetof(struct config_label, value), false },
};

const struct config_items config_items_label = {
	.one = "label",
	.size = sizeof(struct config_label),
	.keys = label_keys,
	.keys_n = array_len(label_keys),
};
