/*
 * config -- loads the configuration: defaults, the YAML file, the environment,
 * flags; later wins. The table of rows is config.def; the file is read by file.c
 * and printed by print.c.
 */
#include "lib/app/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"

const struct config_row config_rows[] = {
#define CONFIG_ROW(field, type, users, flag, variable, path, dflt, extra, help)                    \
	{ CONFIG_##type, users, flag,                                                              \
	  variable,	 path,	dflt,                                                              \
	  extra,	 help,	offsetof(struct config, field) },
#include "lib/app/config/config.def"
#undef CONFIG_ROW
};
const size_t config_rows_n = array_len(config_rows);

/* ---- values ---- */

static int wrong(struct fault *why, enum err code, const char *what, const char *text,
		 const char *expected)
{
	char shown[80];

	escape_text(shown, sizeof(shown), span_str(text));
	return fault_set(why, code, "%s: \"%s\" is not %s", what, shown, expected);
}

static bool flag_read(const char *text, bool *to)
{
	static const char *const words[] = { "true", "yes", "on", "1", "false", "no", "off", "0" };

	for (size_t i = 0; i < array_len(words); i++)
		if (strcasecmp(text, words[i]) == 0) {
			*to = i < array_len(words) / 2;
			return true;
		}
	return false;
}

bool config_count(const char *text, const char *bounds, int64_t *to)
{
	char *end;
	long long low, high;

	low = strtoll(bounds, &end, 10);
	must(end[0] == '.' && end[1] == '.');
	high = strtoll(end + 2, NULL, 10);
	errno = 0;
	const long long v = strtoll(text, &end, 10);
	/* strtoll() would take a space or a plus sign as well. */
	if (errno || !*text || *end || strspn(text, "0123456789-") != strlen(text) || v < low ||
	    v > high)
		return false;
	*to = v;
	return true;
}

bool config_has_word(const char *words, const char *text)
{
	for (const char *w = words; w; w = strchr(w, '|')) {
		w += *w == '|';
		const size_t n = strcspn(w, "|");

		if (strlen(text) == n && strncmp(w, text, n) == 0)
			return true;
	}
	return false;
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static int read_value(char *at, const struct config_row *row, const char *text, const char *what,
		      enum err code, struct fault *why)
{
	char expected[160];
	uint64_t ns;

	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_SECRET:
		if (strlen(text) >= CONFIG_TEXT_MAX || !is_printable(text))
			return fault_set(why, code,
					 "%s: too long, or has a line break or control character",
					 what);
		memset(at, 0, CONFIG_TEXT_MAX);
		memcpy(at, text, strlen(text));
		return 0;
	case CONFIG_FLAG:
		return flag_read(text, (bool *)at) ? 0
						   : wrong(why, code, what, text, "true or false");
	case CONFIG_COUNT:
		snprintf(expected, sizeof(expected), "a whole number in %s", row->extra);
		return config_count(text, row->extra, (int64_t *)at)
			       ? 0
			       : wrong(why, code, what, text, expected);
	case CONFIG_DURATION:
		if (config_duration(text, &ns, NULL) < 0)
			return wrong(why, code, what, text,
				     "a duration like 250ms, 30s, 5m or 1h30m");
		*(uint64_t *)at = ns;
		return 0;
	case CONFIG_CHOICE:
		snprintf(expected, sizeof(expected), "one of %s", row->extra);
		if (!config_has_word(row->extra, text))
			return wrong(why, code, what, text, expected);
		snprintf(at, CONFIG_NAME_MAX + 1, "%s", text);
		return 0;
	}
	return 0;
}

int config_set(struct config *c, const struct config_row *row, const char *text, const char *what,
	       enum err code, struct fault *why)
{
	return read_value((char *)c + row->offset, row, text, what, code, why);
}

int config_check(const struct config_row *row, const char *text, const char *what, enum err code,
		 struct fault *why)
{
	_Alignas(uint64_t) char nowhere[CONFIG_TEXT_MAX];
	const int rc = read_value(nowhere, row, text, what, code, why);

	explicit_bzero(nowhere, sizeof(nowhere));
	return rc;
}

int config_duration(const char *text, uint64_t *ns, struct fault *why)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000000 },
		{ "s", 1000000000ull },
		{ "m", 60000000000ull },
		{ "h", 3600000000000ull },
	};
	const uint64_t most = 1000ull * 3600 * 1000000000; /* 1000 h: sums stay far from 2^64 */
	uint64_t sum = 0;
	const char *at = text;

	do {
		char *end;
		const size_t digits = strspn(at, "0123456789");
		const uint64_t v = digits && digits < 12 ? strtoull(at, &end, 10) : most;
		uint64_t unit = 0;

		at += digits;
		const size_t letters = strspn(at, "nusmh");
		if (!letters && !*at && at == text + digits)
			unit = 1000000000ull; /* a plain number is seconds */
		for (size_t i = 0; i < array_len(units); i++)
			if (strlen(units[i].unit) == letters &&
			    strncmp(at, units[i].unit, letters) == 0)
				unit = units[i].ns;
		if (!digits || !unit || v > most / unit || sum > most - v * unit) {
			char shown[60];
			escape_text(shown, sizeof(shown), span_str(text));
			return fault_set(why, ERR_USAGE,
					 "\"%s\" is no duration: write 250ms, 30s, 5m or 1h30m",
					 shown);
		}
		sum += v * unit;
		at += letters;
	} while (*at);
	*ns = sum;
	return 0;
}

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

/* ---- names ---- */

unsigned config_distance(const char *a, const char *b, unsigned max)
{
	enum { N = 64 };
	unsigned row[N + 1];
	const size_t an = strlen(a), bn = strlen(b);

	if (an > N || bn > N)
		return max + 1;
	for (unsigned j = 0; j <= bn; j++)
		row[j] = j;
	for (size_t i = 1; i <= an; i++) {
		unsigned before = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= bn; j++) {
			const unsigned change = before + (a[i - 1] != b[j - 1]);

			before = row[j];
			row[j] = change < row[j] + 1 ? change : row[j] + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
		}
	}
	return row[bn] <= max ? row[bn] : max + 1;
}

const char *config_user_names(unsigned users, char to[64])
{
	snprintf(to, 64, "%s%s%s%s%s", users & CONFIG_TUNNEL ? "tunnel-sidecar" : "",
		 (users & CONFIG_TUNNEL) && (users & ~(unsigned)CONFIG_TUNNEL) ? ", " : "",
		 users & CONFIG_CONTROL ? "control-agent" : "",
		 (users & CONFIG_CONTROL) && (users & CONFIG_STATUS) ? ", " : "",
		 users & CONFIG_STATUS ? "status-server" : "");
	return to;
}

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

/* ---- the command line ---- */

static bool is_name(const char *name, size_t n, const char *flag)
{
	return flag && strlen(flag) == n && strncmp(name, flag, n) == 0;
}

static const struct config_row *find_flag(const char *name, size_t n)
{
	for (size_t i = 0; i < config_rows_n; i++)
		if (is_name(name, n, config_rows[i].flag))
			return &config_rows[i];
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
	for (size_t i = 0; i < config_rows_n; i++)
		if (config_rows[i].type == CONFIG_SECRET && (config_rows[i].users & program) &&
		    strcmp(strrchr(config_rows[i].path, '.') + 1, shown) == 0)
			return fault_set(why, ERR_USAGE,
					 "--%s is no flag, as everybody sees a command line: use "
					 "the variable %s "
					 "or %s in the file",
					 shown, config_rows[i].variable, config_rows[i].path);
	for (size_t i = 0; i < config_rows_n + array_len(standard); i++) {
		const char *flag =
			i < config_rows_n
				? config_rows[i].users & program ? config_rows[i].flag : NULL
				: standard[i - config_rows_n];
		const unsigned d = flag ? config_distance(shown, flag, least) : least + 1;

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

struct arguments {
	const char *file;
	enum config_verb verb;
	int argc;
	char *const *argv;
	int at; /* the next one */
};

/* --help and the like: 1 when it was one of them. */
static int read_verb(struct arguments *a, const char *name, size_t n, struct fault *why)
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
static int read_flag(struct arguments *a, struct config *c, unsigned program, const char *name,
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

/* Both passes walk the same way: the first finds --config and the verb, the
 * second (c not NULL) sets values over file and environment. */
static int read_arguments(struct arguments *a, struct config *c, unsigned program,
			  struct fault *why)
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

/* ---- putting it together ---- */

static int set_defaults(struct config *c, struct fault *why)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < config_rows_n; i++) {
		const int rc = config_set(c, &config_rows[i], config_rows[i].dflt,
					  config_rows[i].path, ERR_CONFIG, why);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void set_default_forwards(struct config *c)
{
	static const char *const rows[][2] = {
		{ "kubernetes-api", "localhost:6443" },
		{ "kubelet-metrics", "localhost:10250" },
		{ "agent-http", "localhost:8080" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct config_forward *f = &c->forwards[i];

		snprintf(f->name, sizeof(f->name), "%s", rows[i][0]);
		snprintf(f->local_addr, sizeof(f->local_addr), "%s", rows[i][1]);
		must(config_address(f->local_addr, f->host, &f->port, NULL) == 0);
	}
	c->forwards_n = array_len(rows);
}

/* The file to read: named ones must be there, the usual places may be empty.
 * Returns as config_file_read(). */
static int read_file(struct config *c, unsigned program, const char *named, struct fault *why)
{
	char home[CONFIG_TEXT_MAX] = "";
	const char *env = getenv("PIPEOPS_CONFIG"), *dir = getenv("HOME");

	if (!named && env && *env)
		named = env;
	if (named) {
		snprintf(c->file, sizeof(c->file), "%s", named);
		return config_file_read(c, program, named, why);
	}
	if (dir && *dir)
		snprintf(home, sizeof(home), "%s/.pipeops-agent.yaml", dir);
	const char *const places[] = { "config.yaml", home, "/etc/pipeops/config.yaml" };
	for (size_t i = 0; i < array_len(places); i++)
		if (*places[i] && access(places[i], F_OK) == 0) {
			snprintf(c->file, sizeof(c->file), "%s", places[i]);
			return config_file_read(c, program, places[i], why);
		}
	return 0;
}

/* Only the program's own: Kubernetes sets variables for each Service of the
 * namespace, and PIPEOPS_PORT is one of them where a Service is called pipeops. */
static int read_environment(struct config *c, unsigned program, struct fault *why)
{
	for (size_t i = 0; i < config_rows_n; i++) {
		const struct config_row *row = &config_rows[i];
		const char *text = row->variable ? getenv(row->variable) : NULL;

		if (!text || !*text || !(row->users & program))
			continue;
		const int rc = config_set(c, row, text, row->variable, ERR_CONFIG, why);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Whosever they are: an own secret is in the configuration now, and another's is
 * none of ours.  The kernel shows these bytes as /proc/PID/environ. */
static void wipe_environment(void)
{
	for (size_t i = 0; i < config_rows_n; i++) {
		const struct config_row *row = &config_rows[i];
		char *text =
			row->type == CONFIG_SECRET && row->variable ? getenv(row->variable) : NULL;
		if (!text)
			continue;
		explicit_bzero(text, strlen(text));
		(void)unsetenv(row->variable);
	}
}

int config_load(struct config *out, enum config_user program, int argc, char *const argv[],
		enum config_verb *verb, struct fault *why)
{
	struct arguments a = { .verb = CONFIG_RUN, .argc = argc, .argv = argv };

	int rc = read_arguments(&a, NULL, program, why);
	*verb = a.verb;
	if (rc < 0 || a.verb == CONFIG_HELP || a.verb == CONFIG_VERSION)
		return rc;
	rc = set_defaults(out, why);
	if (rc >= 0)
		rc = read_file(out, program, a.file, why);
	const bool has_forwards = rc > 0;
	if (rc >= 0)
		rc = read_environment(out, program, why);
	wipe_environment();
	if (rc >= 0)
		rc = read_arguments(&a, out, program, why);
	if (rc >= 0 && !has_forwards)
		set_default_forwards(out);
	return rc;
}
