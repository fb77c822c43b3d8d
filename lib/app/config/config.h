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
#define CONFIG_LIST_MAX	    32 /* entries of a LIST or a MAP */
#define CONFIG_FORWARDS_MAX CONFIG_LIST_MAX
#define CONFIG_NAME_MAX	    63

/* A value that must never be printed: config_print() and logs show "set". */
struct secret {
	char text[CONFIG_TEXT_MAX];
};

/* Entries of lists and maps: the first member is the entry's name. */
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

/* One member per row of config.def (its `field`), by type; LIST and MAP have two,
 * `field` and `field_n`. */
#define CONFIG_TYPE_TEXT(f, entry)	   char f[CONFIG_TEXT_MAX]
#define CONFIG_TYPE_TEXT_OR_NONE(f, entry) char f[CONFIG_TEXT_MAX]
#define CONFIG_TYPE_URL(f, entry)	   char f[CONFIG_TEXT_MAX]
#define CONFIG_TYPE_SECRET(f, entry)	   struct secret f
#define CONFIG_TYPE_FLAG(f, entry)	   bool f
#define CONFIG_TYPE_COUNT(f, entry)	   int64_t f
#define CONFIG_TYPE_DURATION(f, entry)	   uint64_t f /* ns */
#define CONFIG_TYPE_CHOICE(f, entry)	   char f[CONFIG_NAME_MAX + 1]
#define CONFIG_TYPE_MAP			   CONFIG_TYPE_LIST
#define CONFIG_TYPE_LIST(f, entry)                                                                 \
	struct config_##entry f[CONFIG_LIST_MAX];                                                  \
	size_t f##_n

struct config {
#define CONFIG_ROW(field, type, users, flag, variable, path, dflt, extra, help)                    \
	CONFIG_TYPE_##type(field, extra);
#include "lib/app/config/config.def"
#undef CONFIG_ROW
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

/* As Go writes them: "5m", "1h30m", "250ms", "1.5s"; "30" is seconds.  To ns, at most
 * 1000 h.  ERR_USAGE. */
MUST_USE int config_duration(const char *text, uint64_t *ns, struct fault *why);
/* What templates and tools leave in place of a value: "<no value>", $(NAME), quotes. */
MUST_USE int config_check_left_over(const char *text, const char *what, enum err code,
				    struct fault *why);
/* Is text one of the words, which '|' joins? */
bool config_has_word(const char *words, const char *text);
/* The configured forward for a name of the control plane's ("k8s-api" is
 * "kubernetes-api", "kubelet" is "kubelet-metrics"); -1 for none. */
int config_forward_find(const struct config *c, const char *name);
/* "host:port", "[v6]:port".  ERR_CONFIG with the reason. */
MUST_USE int config_address(const char *text, char host[256], uint16_t *port, struct fault *why);

#endif
