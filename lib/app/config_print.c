#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/app/config_private.h"

static void print_help_row(const struct config_row *row)
{
	char flag[48] = "";

	if (row->flag)
		snprintf(flag, sizeof(flag), "--%s%s", row->flag,
			 row->type == CONFIG_FLAG ? "" : row->type == CONFIG_DURATION ? " DURATION" : " VALUE");
	printf("  %-24s %s\n", flag, row->help);
	printf("  %-24s   %s%s%s%s%s\n", "", row->path, row->variable ? ", $" : "",
	       row->variable ? row->variable : "", *row->dflt ? ", default " : "", row->dflt);
}

void config_print_help(enum config_user program, const char *name, const char *purpose)
{
	printf("Usage: %s [options]\n\n%s\n\nOptions, with their YAML key, variable and default:\n", name,
	       purpose);
	printf("  %-24s %s\n  %-24s   %s\n", "--config FILE", "Configuration file (YAML)", "",
	       "$PIPEOPS_CONFIG, else ./config.yaml, ~/.pipeops-agent.yaml, /etc/pipeops/config.yaml");
	for (size_t i = 0; i < config_rows_n; i++)
		if (config_rows[i].users & program)
			print_help_row(&config_rows[i]);
	puts("  --check-config           Print the effective configuration and end\n"
	     "  --probe live|ready       Ask the running program of this container; exit code 0 or 1\n"
	     "  --version, --help\n\n"
	     "Lists that stand in the file only: tunnel.forwards (name, local_addr, remote_port), agent.labels.\n"
	     "Flags win over variables, variables over the file.\n\n"
	     "Exit codes: 0 done, 1 runtime failure, 2 usage, 64 configuration, 65 registration refused,\n"
	     "66 control plane unreachable.");
}

/* Durations in the largest unit that divides them. */
static void print_duration(uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = { { 3600000000000ull, "h" }, { 60000000000ull, "m" }, { 1000000000ull, "s" },
		      { 1000000, "ms" },	 { 1000, "us" },	  { 1, "ns" } };

	if (!ns) {
		fputs("0s", stdout);
		return;
	}
	for (size_t i = 0; i < array_len(units); i++)
		if (ns % units[i].ns == 0) {
			printf("%" PRIu64 "%s", ns / units[i].ns, units[i].unit);
			return;
		}
}

static void print_quoted(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void print_value(const struct config *c, const struct config_row *row)
{
	const char *at = (const char *)c + row->offset;

	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_CHOICE:
		print_quoted(at);
		return;
	case CONFIG_SECRET:
		fputs(*at ? "\"(set)\"" : "\"\"", stdout);
		return;
	case CONFIG_FLAG:
		fputs(*(const bool *)at ? "true" : "false", stdout);
		return;
	case CONFIG_COUNT:
		printf("%" PRId64, *(const int64_t *)at);
		return;
	case CONFIG_DURATION:
		putchar('"');
		print_duration(*(const uint64_t *)at);
		putchar('"');
		return;
	}
}

static void print_forwards(const struct config *c)
{
	puts("  forwards:");
	for (size_t i = 0; i < c->forwards_n; i++)
		printf("    - name: \"%s\"\n      local_addr: \"%s\"\n      remote_port: %u\n",
		       c->forwards[i].name, c->forwards[i].local_addr, c->forwards[i].remote_port);
}

/* Rows of one section stand together in config.def's order of sections; a path
 * of three parts opens one more level. */
void config_print(const struct config *c, enum config_user program)
{
	static const char *const sections[] = { "agent", "pipeops", "tunnel", "kubernetes",
						"monitoring", "status", "logging", "bus" };
	char open[64];

	printf("# from %s\n", *c->file ? c->file : "defaults, environment and flags (no file was found)");
	for (size_t s = 0; s < array_len(sections); s++) {
		const size_t n = strlen(sections[s]);
		bool any = false;

		open[0] = '\0';
		for (size_t i = 0; i < config_rows_n; i++) {
			const struct config_row *row = &config_rows[i];
			if (!(row->users & program) || strncmp(row->path, sections[s], n) != 0 ||
			    row->path[n] != '.')
				continue;
			if (!any)
				printf("%s:\n", sections[s]);
			any = true;
			const char *leaf = row->path + n + 1, *dot = strchr(leaf, '.');
			if (dot && (strncmp(open, leaf, (size_t)(dot - leaf)) != 0 || open[dot - leaf])) {
				snprintf(open, sizeof(open), "%.*s", (int)(dot - leaf), leaf);
				printf("  %s:\n", open);
			}
			printf("%s%s: ", dot ? "    " : "  ", dot ? dot + 1 : leaf);
			print_value(c, row);
			putchar('\n');
		}
		if (any && strcmp(sections[s], "tunnel") == 0)
			print_forwards(c);
		if (any && strcmp(sections[s], "agent") == 0 && c->labels_n) {
			puts("  labels:");
			for (size_t i = 0; i < c->labels_n; i++) {
				printf("    ");
				print_quoted(c->labels[i].key);
				printf(": ");
				print_quoted(c->labels[i].value);
				putchar('\n');
			}
		}
	}
}

static void print_cell(const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
}

void config_print_docs(void)
{
	char users[64];

	puts("# Configuration\n\n"
	     "One YAML file for the three programs, then environment variables, then flags; later\n"
	     "wins. This page is made from `lib/app/config.def` (`make docs`).\n\n"
	     "| YAML key | default | variable | flag | used by | meaning |\n"
	     "| --- | --- | --- | --- | --- | --- |");
	for (size_t i = 0; i < config_rows_n; i++) {
		const struct config_row *row = &config_rows[i];

		printf("| `%s` | %s%s%s | %s%s%s | %s%s%s | %s | ", row->path, *row->dflt ? "`" : "", row->dflt,
		       *row->dflt ? "`" : "", row->variable ? "`" : "", row->variable ? row->variable : "",
		       row->variable ? "`" : "", row->flag ? "`--" : "", row->flag ? row->flag : "",
		       row->flag ? "`" : "", config_user_names(row->users, users));
		print_cell(row->help);
		if (row->type == CONFIG_CHOICE || row->type == CONFIG_COUNT) {
			fputs(" (", stdout);
			print_cell(row->extra);
			putchar(')');
		}
		puts(" |");
	}
	puts("\n`tunnel.forwards` is a list of at most 32 entries with `name`, `local_addr` (`host:port`) and\n"
	     "`remote_port` (0: assigned by the control plane). Without it the forwards are `kubernetes-api`\n"
	     "(`localhost:6443`), `kubelet-metrics` (`localhost:10250`) and `agent-http` (`localhost:8080`).\n"
	     "`agent.labels` is a map of at most 32 plain values.");
}
