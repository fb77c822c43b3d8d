/* What is shown of the table: --help, --check-config and docs/configuration.md. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/app/config/config_private.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"

static const char *const sections[] = { "agent",  "pipeops", "tunnel", "kubernetes", "monitoring",
					"status", "logging", "bus",    "security" };

static bool is_in(const struct config_row *row, const char *section, enum config_user program)
{
	const size_t n = strlen(section);

	return (row->users & program) && strncmp(row->path, section, n) == 0 && row->path[n] == '.';
}

static const char *placeholder(const struct config_row *row)
{
	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_TEXT_OR_NONE:
	case CONFIG_URL:
	case CONFIG_SECRET:
		return " TEXT";
	case CONFIG_FLAG:
		return "[=false]";
	case CONFIG_COUNT:
		return " NUMBER";
	case CONFIG_DURATION:
		return " DURATION";
	case CONFIG_CHOICE:
		return " WORD";
	case CONFIG_LIST:
	case CONFIG_MAP:
		break;
	}
	return "";
}

static void print_help_row(const struct config_row *row)
{
	char flag[48] = "";

	if (row->flag)
		snprintf(flag, sizeof(flag), "--%s%s", row->flag, placeholder(row));
	if (strlen(flag) > 24) { /* a line of its own */
		printf("  %s\n", flag);
		flag[0] = '\0';
	}
	printf("  %-24s %s%s%s%s\n", flag, row->help, row->extra ? " (" : "",
	       row->extra ? row->extra : "", row->extra ? ")" : "");
	printf("  %-24s   %s%s%s%s%s\n", "", row->path, row->variable ? ", $" : "",
	       row->variable ? row->variable : "", *row->dflt ? ", default " : "", row->dflt);
}

static void print_help_section(const char *section, enum config_user program)
{
	bool any = false;

	for (size_t i = 0; i < config_table.n; i++) {
		if (!is_in(&config_table.rows[i], section, program) || config_table.rows[i].items)
			continue;
		if (!any)
			printf("\n%s:\n", section);
		any = true;
		print_help_row(&config_table.rows[i]);
	}
}

/* "tunnel.forwards (name, local_addr, remote_port), agent.labels" */
static void print_help_lists(enum config_user program)
{
	bool any = false;

	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];

		if (!row->items || !(row->users & program))
			continue;
		printf("%s%s", any ? ", " : "\nLists that stand in the file only: ", row->path);
		any = true;
		for (size_t k = 0; row->type == CONFIG_LIST && k < row->items->keys_n; k++)
			printf("%s%s%s", k ? ", " : " (", row->items->keys[k].key,
			       k + 1 == row->items->keys_n ? ")" : "");
	}
	puts(any ? "." : "");
}

void config_print_help(enum config_user program, const char *name, const char *purpose)
{
	printf("Usage: %s [options]\n\n%s\n\n", name, purpose);
	printf("  %-24s %s\n  %-24s   %s\n", "--config FILE", "Configuration file (YAML)", "",
	       "$PIPEOPS_CONFIG, else ./config.yaml, ~/.pipeops-agent.yaml, "
	       "/etc/pipeops/config.yaml");
	puts("  --check-config           Print the effective configuration and end\n"
	     "  --probe live|ready       Ask the running program of this container; exit code 0 or "
	     "1\n"
	     "  --version, --help\n\n"
	     "Every setting by section of the file: flag where there is one, meaning; key, "
	     "variable, default.");
	for (size_t i = 0; i < array_len(sections); i++)
		print_help_section(sections[i], program);
	print_help_lists(program);
	puts("Flags win over variables, variables over the file.\n\n"
	     "Exit codes: 0 done, 1 runtime failure, 2 usage, 64 configuration, 65 registration "
	     "refused,\n"
	     "66 control plane unreachable.");
}

/* Durations in the largest unit that divides them. */
static void print_duration(uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = { { 3600000000000ull, "h" }, { 60000000000ull, "m" }, { NS_PER_S, "s" },
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

/* YAML's double quotes: what is no plain character is escaped, so that a value
 * can neither break the document nor play with the terminal. */
static void print_quoted(const char *text)
{
	struct span s = span_str(text);

	putchar('"');
	while (s.n) {
		uint32_t c;
		const size_t n = utf8_read(s, &c);

		if (!n)
			printf("\\x%02x", s.p[0]);
		else if (!utf8_is_plain(c))
			printf(c < 0x10000 ? "\\u%04" PRIx32 : "\\U%08" PRIx32, c);
		else
			printf("%s%.*s", c == '"' || c == '\\' ? "\\" : "", (int)n,
			       (const char *)s.p);
		s = span_of(s.p + (n ? n : 1), s.n - (n ? n : 1));
	}
	putchar('"');
}

/* An address that holds what none should (user, query, fragment) is refused later; shown, it would
 * put a password on the screen. */
static bool may_hold_secret(const struct config_row *row, const char *text)
{
	const size_t n = strlen(row->path);

	return n > 4 && strcmp(row->path + n - 4, "_url") == 0 && strpbrk(text, "@?#");
}

static void print_value(const struct config *c, const struct config_row *row)
{
	const char *at = (const char *)c + row->offset;

	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_TEXT_OR_NONE:
	case CONFIG_URL: /* holds no password: those are refused */
	case CONFIG_CHOICE:
		print_quoted(may_hold_secret(row, at) ? "(not shown)" : at);
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
	case CONFIG_LIST:
	case CONFIG_MAP:
		return;
	}
}

static void print_key_value(const struct config_key *key, const uint8_t *entry)
{
	uint16_t port;

	if (!key->is_port) {
		print_quoted((const char *)entry + key->offset);
		return;
	}
	memcpy(&port, entry + key->offset, sizeof(port));
	printf("%u", port);
}

/* A list of plain values, a list of maps, or a map. */
static void print_entries(const struct config *c, const struct config_row *row, int indent)
{
	const struct config_items *items = row->items;
	const size_t n = *(const size_t *)((const char *)c + row->count_offset);

	if (!n)
		fputs(row->type == CONFIG_LIST ? " []" : " {}", stdout);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *entry = (const uint8_t *)c + row->offset + i * items->size;

		printf("\n%*s", indent, "");
		if (row->type == CONFIG_MAP) {
			print_key_value(&items->keys[0], entry);
			fputs(": ", stdout);
			print_key_value(&items->keys[1], entry);
			continue;
		}
		fputs("- ", stdout);
		for (size_t k = 0; k < items->keys_n; k++) {
			if (k)
				printf("\n%*s", indent + 2, "");
			if (items->keys[k].key)
				printf("%s: ", items->keys[k].key);
			print_key_value(&items->keys[k], entry);
		}
	}
}

/* A path of three parts opens one more level; the rows of one stand together. */
static void print_section(const struct config *c, const char *section, enum config_user program)
{
	char open[64] = "";
	bool any = false;

	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];
		if (!is_in(row, section, program))
			continue;
		if (!any)
			printf("%s:\n", section);
		any = true;
		const char *leaf = row->path + strlen(section) + 1, *dot = strchr(leaf, '.');
		const size_t n = dot ? (size_t)(dot - leaf) : 0;
		if (dot && (strncmp(open, leaf, n) != 0 || open[n])) {
			snprintf(open, sizeof(open), "%.*s", (int)n, leaf);
			printf("  %s:\n", open);
		}
		const int indent = dot ? 4 : 2;
		printf("%*s%s:%s", indent, "", dot ? dot + 1 : leaf, row->items ? "" : " ");
		if (row->items)
			print_entries(c, row, indent + 2);
		else
			print_value(c, row);
		putchar('\n');
	}
}

void config_print(const struct config *c, enum config_user program)
{
	printf("# from %s\n",
	       *c->file ? c->file : "defaults, environment and flags (no file was found)");
	for (size_t i = 0; i < array_len(sections); i++)
		print_section(c, sections[i], program);
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
	     "wins. This page is made from `lib/app/config/config.def` (`make docs`).\n\n"
	     "| YAML key | default | variable | flag | used by | meaning |\n"
	     "| --- | --- | --- | --- | --- | --- |");
	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];

		printf("| `%s` | %s%s%s | %s%s%s | %s%s%s | %s | ", row->path,
		       *row->dflt ? "`" : "", row->dflt, *row->dflt ? "`" : "",
		       row->variable ? "`" : "", row->variable ? row->variable : "",
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
	puts("\n`tunnel.forwards` is a list of at most 32 entries with `name`, `local_addr` "
	     "(`host:port`) and\n"
	     "`remote_port` (0: assigned by the control plane). Without it the forwards are "
	     "`kubernetes-api`\n"
	     "(`localhost:6443`), `kubelet-metrics` (`localhost:10250`) and `agent-http` "
	     "(`localhost:8080`).\n"
	     "`agent.labels` is a map of at most 32 plain values.");
}
