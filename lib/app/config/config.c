/* The table, and the order in which sources win: defaults, file, environment, flags. */
#include "lib/app/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/app/config/config_private.h"

/* Rows of one value have no entries; `extra` of a list names its entry. */
#define ITEMS_NONE(f, row_extra) .extra = (row_extra)
#define ITEMS_LIST(f, entry)                                                                       \
	.items = &config_items_##entry, .count_offset = offsetof(struct config, f##_n)
#define CONFIG_EXTRA_TEXT	  ITEMS_NONE
#define CONFIG_EXTRA_TEXT_OR_NONE ITEMS_NONE
#define CONFIG_EXTRA_URL	  ITEMS_NONE
#define CONFIG_EXTRA_SECRET	  ITEMS_NONE
#define CONFIG_EXTRA_FLAG	  ITEMS_NONE
#define CONFIG_EXTRA_COUNT	  ITEMS_NONE
#define CONFIG_EXTRA_DURATION	  ITEMS_NONE
#define CONFIG_EXTRA_CHOICE	  ITEMS_NONE
#define CONFIG_EXTRA_LIST	  ITEMS_LIST
#define CONFIG_EXTRA_MAP	  ITEMS_LIST

static const struct config_row config_rows[] = {
#define CONFIG_ROW(field, row_type, row_users, row_flag, row_variable, row_path, row_dflt,         \
		   row_extra, row_help)                                                            \
	{ .type = CONFIG_##row_type,                                                               \
	  .users = (row_users),                                                                    \
	  .flag = (row_flag),                                                                      \
	  .variable = (row_variable),                                                              \
	  .path = (row_path),                                                                      \
	  .dflt = (row_dflt),                                                                      \
	  .help = (row_help),                                                                      \
	  .offset = offsetof(struct config, field),                                                \
	  CONFIG_EXTRA_##row_type(field, row_extra) },
#include "lib/app/config/config.def"
#undef CONFIG_ROW
};
const struct config_table config_table = { config_rows, array_len(config_rows) };

static int set_defaults(struct config *c, struct fault *why)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];

		if (row->items) {
			if (row->items->set_default)
				*(size_t *)((char *)c + row->count_offset) =
					row->items->set_default((char *)c + row->offset);
			continue;
		}
		const int rc = config_set(c, row, row->dflt, row->path, ERR_CONFIG, why);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The file to read: named ones must be there, the usual places may be empty.
 */
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
	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];
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
	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i];
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
	struct config_args a = { .verb = CONFIG_RUN, .argc = argc, .argv = argv };

	int rc = config_args_read(&a, NULL, program, why);
	*verb = a.verb;
	if (rc < 0 || a.verb == CONFIG_HELP || a.verb == CONFIG_VERSION)
		return rc;
	rc = set_defaults(out, why);
	if (rc >= 0)
		rc = read_file(out, program, a.file, why);
	if (rc >= 0)
		rc = read_environment(out, program, why);
	wipe_environment();
	if (rc >= 0)
		rc = config_args_read(&a, out, program, why);
	return rc;
}
