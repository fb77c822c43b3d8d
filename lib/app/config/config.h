/*
 * config -- one YAML file, then the environment, then flags: later wins.
 *
 * All three programs read the same file, so its keys are one table,
 * config.def; each row says which programs use it and carries flag, variable,
 * path, type with unit, default and one line of help.  --help, the parser, the
 * errors and docs/configuration.md come from it.
 *
 * The file is the operator's but is bounded all the same: 256 KiB, depth 16,
 * one document, no anchors, aliases, tags or duplicate keys.
 */
#ifndef LIB_APP_CONFIG_CONFIG_H
#define LIB_APP_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"

enum config_user { CONFIG_TUNNEL = 1, CONFIG_CONTROL = 2, CONFIG_STATUS = 4, CONFIG_ALL = 7 };

#define CONFIG_TEXT_MAX	    1024
#define CONFIG_FORWARDS_MAX 32
#define CONFIG_LABELS_MAX   32
#define CONFIG_NAME_MAX	    63

/* A value that must never be printed: config_print() and logs show "set". */
struct secret {
	char text[CONFIG_TEXT_MAX];
};

struct config_forward {
	char name[CONFIG_NAME_MAX + 1];
	char local_addr[300]; /* host:port as written */
	char host[256];
	uint16_t port;
	uint16_t remote_port; /* 0 = assigned by the control plane */
};

struct config_label {
	char key[CONFIG_NAME_MAX + 1];
	char value[256];
};

/* One member per row of config.def (its `field`), by type:
 * TEXT char[CONFIG_TEXT_MAX], SECRET struct secret, FLAG bool, COUNT int64_t,
 * DURATION uint64_t ns, CHOICE char[CONFIG_NAME_MAX + 1]. */
struct config {
#define CONFIG_TYPE_TEXT(f)	char f[CONFIG_TEXT_MAX]
#define CONFIG_TYPE_SECRET(f)	struct secret f
#define CONFIG_TYPE_FLAG(f)	bool f
#define CONFIG_TYPE_COUNT(f)	int64_t f
#define CONFIG_TYPE_DURATION(f) uint64_t f
#define CONFIG_TYPE_CHOICE(f)	char f[CONFIG_NAME_MAX + 1]
#define CONFIG_ROW(field, type, users, flag, variable, path, dflt, extra, help)                    \
	CONFIG_TYPE_##type(field);
#include "lib/app/config/config.def"
#undef CONFIG_ROW
	struct config_forward forwards[CONFIG_FORWARDS_MAX]; /* tunnel.forwards */
	size_t forwards_n;
	struct config_label labels[CONFIG_LABELS_MAX]; /* agent.labels */
	size_t labels_n;
	char file[CONFIG_TEXT_MAX]; /* the file that was read, or "" */
};

enum config_verb {
	CONFIG_RUN,
	CONFIG_HELP,
	CONFIG_VERSION,
	CONFIG_CHECK,
	CONFIG_PROBE_LIVE,
	CONFIG_PROBE_READY,
};

/* Reads file, environment and argv (argv[0] is skipped) into *out.
 * *verb says what the command line asked for.  ERR_USAGE for the command line
 * (exit code 2), ERR_CONFIG for file and environment (exit code 64): one
 * sentence with file, line and the nearest known key.  Secrets never stand in
 * it. */
MUST_USE int config_load(struct config *out, enum config_user program, int argc, char *const argv[],
			 enum config_verb *verb, struct fault *why);

/* --help of a program, to stdout. */
void config_print_help(enum config_user program, const char *name, const char *purpose);
/* The effective configuration as YAML, secrets as "set", to stdout (--check-config). */
void config_print(const struct config *c, enum config_user program);
/* docs/configuration.md, to stdout (a test compares). */
void config_print_docs(void);

/* "5m", "1h30m", "250ms", "30" (seconds) to ns.  ERR_USAGE. */
MUST_USE int config_duration(const char *text, uint64_t *ns, struct fault *why);
/* Is text one of the words, which '|' joins? */
bool config_has_word(const char *words, const char *text);
/* Edit distance of two short texts, above `max`: max + 1. */
unsigned config_distance(const char *a, const char *b, unsigned max);
/* The configured forward for a name of the control plane's ("k8s-api" is
 * "kubernetes-api", "kubelet" is "kubelet-metrics"); -1 for none. */
int config_forward_find(const struct config *c, const char *name);
/* "host:port", "[v6]:port".  ERR_CONFIG with the reason. */
MUST_USE int config_address(const char *text, char host[256], uint16_t *port, struct fault *why);

#endif
