/* Reads the flags of client.def as Go's flag package would; what they mean together is
 * client.c's. */
#include "tunnel-sidecar/client_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/app/config/config.h"
#include "lib/base/bytes.h"
#include "lib/base/escape.h"
#include "lib/base/nearest.h"
#include "lib/base/units.h"
#include "lib/proto/chisel.h"

#define S(n) ((n)*NS_PER_S)

enum option_type {
	OPTION_TEXT,
	OPTION_SECRET,
	OPTION_CHOICE,
	OPTION_DURATION,
	OPTION_COUNT,
	OPTION_FLAG,
	OPTION_LIST,
};

static const struct option_row {
	const char *flag, *argument, *help;
	enum option_type type;
	size_t offset;
} rows[] = {
#define CLIENT_OPTION(field, type, flag, argument, help)                                           \
	{ flag, argument, help, OPTION_##type, offsetof(struct client_options, field) },
#include "tunnel-sidecar/client.def"
#undef CLIENT_OPTION
};

static const struct option_row *find_row(const char *name, size_t n)
{
	for (size_t i = 0; i < array_len(rows); i++)
		if (strlen(rows[i].flag) == n && strncmp(rows[i].flag, name, n) == 0)
			return &rows[i];
	return NULL;
}

static int refuse_flag(const char *name, size_t n, struct fault *why)
{
	const char *best = NULL;
	unsigned least = 3;
	char flag[48], shown[48];

	snprintf(flag, sizeof(flag), "%.*s", (int)min_size(n, 40), name);
	for (size_t i = 0; i < array_len(rows); i++) {
		const unsigned d = nearest_distance(flag, rows[i].flag, least);

		if (d < least) {
			least = d;
			best = rows[i].flag;
		}
	}
	escape_text(shown, sizeof(shown), span_str(flag));
	return best ? fault_set(why, ERR_USAGE, "unknown flag --%s; did you mean --%s?", shown,
				best)
		    : fault_set(why, ERR_USAGE,
				"unknown flag --%s; `tunnel-sidecar client --help` lists them",
				shown);
}

static int store_count(int64_t *to, const struct option_row *row, const char *text,
		       struct fault *why)
{
	char *end;

	errno = 0;
	const long long v = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return fault_set(why, ERR_USAGE, "--%s takes a whole number, like --%s 3",
				 row->flag, row->flag);
	*to = v;
	return 0;
}

/* As Go's flag package takes them: --pid=1, -v=F. */
static int store_flag(bool *to, const struct option_row *row, const char *text, struct fault *why)
{
	static const char *const words[] = { "1", "t", "T", "true",  "TRUE",  "True",
					     "0", "f", "F", "false", "FALSE", "False" };

	if (!text) {
		*to = true;
		return 0;
	}
	for (size_t i = 0; i < array_len(words); i++)
		if (strcmp(words[i], text) == 0) {
			*to = i < array_len(words) / 2;
			return 0;
		}
	return fault_set(why, ERR_USAGE, "--%s takes no value but true or false", row->flag);
}

static int check_pair(const struct client_options *o, struct fault *why)
{
	if (!o->tls_cert == !o->tls_key)
		return 0;
	return fault_set(why, ERR_USAGE, "--tls-cert and --tls-key belong together: name %s, too",
			 o->tls_cert ? "--tls-key FILE" : "--tls-cert FILE");
}

/* Header lines go on the wire as they are. */
static int check_headers(const struct client_options *o, struct fault *why)
{
	for (size_t i = 0; o->header[i]; i++) {
		const char *h = o->header[i];

		if (strcspn(h, ": \t") == 0 || h[strcspn(h, ": \t")] != ':' || strpbrk(h, "\r\n"))
			return fault_set(why, ERR_USAGE,
					 "--header takes one line \"Name: value\", like --header "
					 "\"X-Team: edge\"");
	}
	return 0;
}

static int store(struct client_options *o, const struct option_row *row, const char *text,
		 struct fault *why)
{
	char *at = (char *)o + row->offset, shown[48];

	switch (row->type) {
	case OPTION_TEXT:
	case OPTION_SECRET:
		*(const char **)at = text;
		return 0;
	case OPTION_FLAG:
		return store_flag((bool *)at, row, text, why);
	case OPTION_COUNT:
		return store_count((int64_t *)at, row, text, why);
	case OPTION_DURATION:
		escape_text(shown, sizeof(shown), span_str(text));
		return config_duration(text, (uint64_t *)at, NULL) >= 0
			       ? 0
			       : fault_set(why, ERR_USAGE,
					   "--%s: \"%s\" is no duration like 250ms, 1.5s or 5m",
					   row->flag, shown);
	case OPTION_CHOICE:
		*(const char **)at = text;
		return config_has_word(row->argument, text)
			       ? 0
			       : fault_set(why, ERR_USAGE, "--%s takes one of %s", row->flag,
					   row->argument);
	case OPTION_LIST:
		for (size_t i = 0; i < CLIENT_LIST_MAX; i++)
			if (!((const char **)at)[i]) {
				((const char **)at)[i] = text;
				return 0;
			}
		return fault_set(why, ERR_USAGE, "--%s was given more than %d times", row->flag,
				 CLIENT_LIST_MAX);
	}
	return 0;
}

/* Go's flag package, which chisel uses, takes -name as well as --name. */
static int read_flag(struct client_options *o, int argc, char *const argv[], int *at,
		     struct fault *why)
{
	const char *name = argv[*at] + (argv[*at][1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '=');
	const size_t n = equals ? (size_t)(equals - name) : strlen(name);

	if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0) {
		o->help = true;
		return 0;
	}
	const struct option_row *row =
		n == 1 && *name == 'v' ? find_row("verbose", 7) : find_row(name, n);
	if (!row)
		return refuse_flag(name, n, why);
	const char *text = equals ? equals + 1 : NULL;
	if (row->type != OPTION_FLAG && !text) {
		if (*at + 1 >= argc)
			return fault_set(why, ERR_USAGE, "--%s needs a value: --%s %s", row->flag,
					 row->flag, row->argument);
		text = argv[++*at];
	}
	return store(o, row, text, why);
}

/* --auth, else the file, else AUTH; an empty one counts as not given. */
static int choose_credentials(struct client_options *o, struct fault *why)
{
	const char *env = getenv("AUTH");

	if (o->auth && !*o->auth)
		o->auth = NULL;
	if (o->auth && o->auth_file)
		return fault_set(why, ERR_USAGE, "--auth and --auth-file say the same: use one");
	if (o->auth || o->auth_file || !env || !*env)
		return 0;
	o->auth = env;
	return config_check_left_over(env, "AUTH", ERR_USAGE, why);
}

int client_options_read(struct client_options *out, int argc, char *const argv[], struct fault *why)
{
	struct client_options o = {
		.keepalive = S(5),
		.max_retry_interval = S(15),
		.max_retry_count = -1,
	};
	int i = 1;

	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		const int rc = read_flag(&o, argc, argv, &i, why);
		if (rc < 0)
			return rc;
	}
	if (!o.help && argc - i < 2)
		return fault_set(
			why, ERR_USAGE,
			"a server and at least one remote are needed, like: tunnel-sidecar client "
			"https://tunnel.example.com R:8000:localhost:6443");
	for (int r = i + 1; !o.help && r < argc; r++)
		if (argv[r][0] == '-')
			/* Not what stands behind "=": it may be a password. */
			return fault_set(why, ERR_USAGE,
					 "flags stand before the server: move %.*s there",
					 (int)min_size(strcspn(argv[r], "="), 40), argv[r]);
	int rc = check_headers(&o, why);
	if (rc >= 0)
		rc = choose_credentials(&o, why);
	if (rc >= 0)
		rc = check_pair(&o, why);
	if (rc < 0)
		return rc;
	if (i < argc)
		o.server = argv[i];
	o.remotes = argv + i + 1;
	o.remotes_n = argc - i > 1 ? (size_t)(argc - i - 1) : 0;
	*out = o;
	return 0;
}

/* ---- secrets on the command line ---- */

/* Moves a text to the heap; in its place stand three stars, whatever its length. */
static void hide(struct client_options *o, const char **text)
{
	if (!*text || !**text)
		return;
	char *there = (char *)(uintptr_t)*text;
	const size_t n = strlen(there);
	char *copy = strdup(there);

	must(copy && o->own_n < array_len(o->own));
	o->own[o->own_n++] = copy;
	explicit_bzero(there, n);
	memset(there, '*', min_size(n, 3));
	*text = copy;
}

void client_options_hide(struct client_options *o)
{
	char *env = getenv("AUTH");

	for (size_t i = 0; i < array_len(rows); i++) {
		const char **at = (const char **)((char *)o + rows[i].offset);

		if (rows[i].type == OPTION_SECRET)
			hide(o, at);
		for (size_t k = 0; rows[i].type == OPTION_LIST && at[k]; k++)
			hide(o, &at[k]);
	}
	if (o->server && strpbrk(o->server, "@?"))
		hide(o, &o->server);
	if (!env)
		return;
	explicit_bzero(env, strlen(env));
	(void)unsetenv("AUTH");
}

void client_options_fini(struct client_options *o)
{
	for (size_t i = 0; i < o->own_n; i++) {
		explicit_bzero(o->own[i], strlen(o->own[i]));
		free(o->own[i]);
	}
	*o = (struct client_options){ 0 };
}

/* ---- help ---- */

static void print_row(const struct option_row *row)
{
	char left[64];
	const char *line = row->help;

	snprintf(left, sizeof(left), "--%s%s%s", row->flag, row->argument ? " " : "",
		 row->argument ? row->argument : "");
	while (line) {
		const char *end = strchr(line, '\n');

		printf("  %-28s %.*s\n", left, end ? (int)(end - line) : (int)strlen(line), line);
		left[0] = '\0';
		line = end ? end + 1 : NULL;
	}
}

void client_options_print_help(void)
{
	printf("Usage: tunnel-sidecar client [options] <server-url> <remote> [remote] ...\n"
	       "\n"
	       "Connects to a chisel server and serves reverse TCP forwards: a drop-in for\n"
	       "`chisel client` with at most %d remotes of the forms\n"
	       "\n"
	       "  R:<port>                          the server's port to 127.0.0.1:port here\n"
	       "  R:<host>:<port>                   the server's port to host:port, seen from "
	       "here\n"
	       "  R:<port>:<host>:<port>            the server's first port to host:port\n"
	       "  R:<bind>:<port>:<host>:<port>     the same, bound to one address of the server\n"
	       "\n"
	       "IPv6 addresses stand in brackets. Local forwards, UDP, SOCKS and stdio are "
	       "refused.\n"
	       "\n"
	       "The server is one of\n"
	       "\n"
	       "  https://host  wss://host          a chisel server; http:// and ws:// without "
	       "TLS\n"
	       "  ssh://user@host[:22]              a plain SSH server that allows remote "
	       "forwarding\n"
	       "\n"
	       "Options:\n",
	       CHISEL_REMOTES_MAX);
	for (size_t i = 0; i < array_len(rows); i++)
		print_row(&rows[i]);
	puts("\nSignals: SIGTERM and SIGINT drain, then end (a second one at once); SIGHUP ends "
	     "the\n"
	     "wait before the next attempt; SIGUSR2 logs what the program holds.");
	puts("\nExit codes: 0 done, 1 runtime failure, 2 usage, 64 a file that was named can't be "
	     "used.");
}
