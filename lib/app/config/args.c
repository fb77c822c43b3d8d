/* The command line of the three programs: flags of config.def, --config, --probe and
 * the verbs.  It is walked twice, since --config names the file that the other flags
 * win over. */
#include <stdio.h>
#include <string.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"
#include "lib/base/nearest.h"

const char *config_user_names(unsigned users, char to[64])
{
	snprintf(to, 64, "%s%s%s%s%s", users & CONFIG_TUNNEL ? "tunnel-sidecar" : "",
		 (users & CONFIG_TUNNEL) && (users & ~(unsigned)CONFIG_TUNNEL) ? ", " : "",
		 users & CONFIG_CONTROL ? "control-agent" : "",
		 (users & CONFIG_CONTROL) && (users & CONFIG_STATUS) ? ", " : "",
		 users & CONFIG_STATUS ? "status-server" : "");
	return to;
}

static bool is_name(const char *name, size_t n, const char *flag)
{
	return flag && strlen(flag) == n && strncmp(name, flag, n) == 0;
}

static const struct config_row *find_flag(const char *name, size_t n)
{
	for (size_t i = 0; i < config_table.n; i++)
		if (is_name(name, n, config_table.rows[i].flag))
			return &config_table.rows[i];
	return NULL;
}

static int unknown_flag(const char *name, size_t n, unsigned program, struct fault *why)
{
	static const char *const standard[] = { "help", "version", "config", "check-config",
						"probe" };
	const char *best = NULL;
	unsigned least = 3;
	char shown[48];

	snprintf(shown, sizeof(shown), "%.*s", (int)min_size(n, 40), name);
	for (size_t i = 0; i < config_table.n; i++)
		if (config_table.rows[i].type == CONFIG_SECRET &&
		    (config_table.rows[i].users & program) &&
		    strcmp(strrchr(config_table.rows[i].path, '.') + 1, shown) == 0)
			return fault_set(why, ERR_USAGE,
					 "--%s is no flag, as everybody sees a command line: use "
					 "the variable %s "
					 "or %s in the file",
					 shown, config_table.rows[i].variable,
					 config_table.rows[i].path);
	for (size_t i = 0; i < config_table.n + array_len(standard); i++) {
		const char *flag = i < config_table.n ? config_table.rows[i].users & program
								? config_table.rows[i].flag
								: NULL
						      : standard[i - config_table.n];
		const unsigned d = flag ? nearest_distance(shown, flag, least) : least + 1;

		if (d < least) {
			least = d;
			best = flag;
		}
	}
	escape_text(shown, sizeof(shown), span_of(name, min_size(n, 20)));
	return best ? fault_set(why, ERR_USAGE, "unknown flag --%s; did you mean --%s?", shown,
				best)
		    : fault_set(why, ERR_USAGE, "unknown flag --%s; --help lists them", shown);
}

/* --help and the like: 1 when it was one of them. */
static int read_verb(struct config_args *a, const char *name, size_t n, struct fault *why)
{
	static const struct {
		const char *flag;
		enum config_verb verb;
	} verbs[] = {
		{ "help", CONFIG_HELP },
		{ "version", CONFIG_VERSION },
		{ "check-config", CONFIG_CHECK },
	};

	for (size_t i = 0; i < array_len(verbs); i++) {
		if (!is_name(name, n, verbs[i].flag))
			continue;
		if (name[n])
			return fault_set(why, ERR_USAGE, "--%s takes no value", verbs[i].flag);
		a->verb = verbs[i].verb;
		return 1;
	}
	return 0;
}

/* One flag with its value.  c is NULL in the first pass. */
static int read_flag(struct config_args *a, struct config *c, unsigned program, const char *name,
		     struct fault *why)
{
	const size_t n = strcspn(name, "=");
	const bool config = is_name(name, n, "config"), probe = is_name(name, n, "probe");
	const struct config_row *row = config || probe ? NULL : find_flag(name, n);
	const char *value = name[n] ? name + n + 1 : NULL;
	char what[64], users[64];

	if (!config && !probe && !row)
		return unknown_flag(name, n, program, why);
	if (row && !(row->users & program))
		return fault_set(why, ERR_USAGE, "--%s is not for this program, but for %s",
				 row->flag, config_user_names(row->users, users));
	if (!value && row && row->type == CONFIG_FLAG)
		value = "true";
	if (!value && a->at == a->argc)
		return fault_set(why, ERR_USAGE, "--%.*s needs a value", (int)n, name);
	if (!value)
		value = a->argv[a->at++];
	if (config) {
		a->file = value;
	} else if (probe) {
		const bool live = strcmp(value, "live") == 0;
		if (!live && strcmp(value, "ready") != 0)
			return fault_set(why, ERR_USAGE, "--probe takes live or ready");
		a->verb = live ? CONFIG_PROBE_LIVE : CONFIG_PROBE_READY;
	} else if (c) {
		snprintf(what, sizeof(what), "--%s", row->flag);
		return config_set(c, row, value, what, ERR_USAGE, why);
	}
	return 0;
}

int config_args_read(struct config_args *a, struct config *c, unsigned program, struct fault *why)
{
	for (a->at = 1; a->at < a->argc;) {
		const char *arg = a->argv[a->at++];
		char shown[48];

		if (strcmp(arg, "-h") == 0)
			arg = "--help";
		if (strncmp(arg, "--", 2) != 0) {
			escape_text(shown, sizeof(shown), span_str(arg));
			return fault_set(why, ERR_USAGE,
					 "unexpected argument \"%s\"; --help shows the usage",
					 shown);
		}
		int rc = read_verb(a, arg + 2, strcspn(arg + 2, "="), why);
		if (rc == 0)
			rc = read_flag(a, c, program, arg + 2, why);
		if (rc < 0)
			return rc;
	}
	return 0;
}
