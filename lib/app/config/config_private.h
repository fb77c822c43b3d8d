/*
 * config_private -- the table of config.def as data, and what the parts of this
 * folder are to each other: value.c reads one value, lists.c describes entries of
 * lists and maps, keys.c finds rows by path, yaml.c reads a document, file.c a file,
 * args.c the command line, config.c puts them together, print.c shows them.
 */
#ifndef LIB_APP_CONFIG_CONFIG_PRIVATE_H
#define LIB_APP_CONFIG_CONFIG_PRIVATE_H

#include "lib/app/config/config.h"
#include "lib/base/bytes.h"

#define CONFIG_PATH_MAX 256 /* of a YAML path, with its NUL */

enum config_type {
	CONFIG_TEXT,
	CONFIG_TEXT_OR_NONE,
	CONFIG_URL,
	CONFIG_SECRET,
	CONFIG_FLAG,
	CONFIG_COUNT,
	CONFIG_DURATION,
	CONFIG_CHOICE,
	CONFIG_LIST,
	CONFIG_MAP,
};

/* One key of an entry.  `read` writes a plain value into the entry; its sentence
 * says what is right. */
struct config_key {
	const char *key; /* NULL: the entry itself is a plain value */
	bool is_needed;
	int (*read)(void *entry, const char *text, struct fault *why);
	size_t offset; /* of what read() writes, for printing: a text, or a port's uint16_t */
	bool is_port;
};

/* What the entries of a LIST are: plain values (one key, NULL) or maps of keys.
 * Of a MAP: keys[0] reads an entry's name, keys[1] its value.  The first member of
 * an entry is its name, a char array, and no two are named the same. */
struct config_items {
	const char *one; /* "forward", for sentences */
	size_t size;	 /* of an entry */
	const struct config_key *keys;
	size_t keys_n;
	size_t (*set_default)(void *entries); /* returns how many; NULL: none */
	/* Whether the newest of n entries can stand beside the others; NULL: it can. */
	int (*check)(const void *entries, size_t n, struct fault *why);
};

struct config_row {
	enum config_type type;
	unsigned users; /* enum config_user bits */
	const char *flag, *variable, *path, *dflt, *extra, *help;
	size_t offset; /* in struct config */
	const struct config_items *items;
	size_t count_offset; /* of a list's count, a size_t */
};

/* The rows in force; tests have tables and structs of their own. */
struct config_table {
	const struct config_row *rows;
	size_t n;
};
extern const struct config_table config_table;

extern const struct config_items config_items_forward, config_items_label;

/* ---- value.c ---- */

/* Reads text into the row's field of *c; NULL c: it is checked and kept nowhere
 * (another program's row).  White space around it does not count; an empty one
 * changes nothing where the row has no use for it.  `what` names the source in the
 * sentence ("config.yaml:3: tunnel.io", "--io"), which never shows a SECRET nor a
 * URL.  `code` is ERR_CONFIG or ERR_USAGE. */
MUST_USE int config_set(void *c, const struct config_row *row, const char *text, const char *what,
			enum err code, struct fault *why);

/* Decimal digits within "min..max". */
bool config_count(const char *text, const char *bounds, int64_t *to);

/* ---- yaml.c ---- */

/* Reads text[0..n), that came from a file of that name, over what is in *c; rows
 * of other programs are checked and not kept.  ERR_CONFIG with file and line. */
MUST_USE int config_yaml_read(void *c, const struct config_table *t, unsigned program,
			      const char *file, const char *text, size_t n, struct fault *why);

/* A sentence of libyaml's (its beginning decides) in words of ours. */
const char *config_yaml_words(const char *theirs);

/* ---- keys.c ---- */

/* The row of a YAML path, NULL for none. */
const struct config_row *config_row_at(const struct config_table *t, const char *path);
bool config_is_section(const struct config_table *t, const char *path);
/* The known path or section nearest to a wrong one; false when nothing is near. */
bool config_nearest_path(const struct config_table *t, char to[CONFIG_PATH_MAX], const char *path);

/* ---- file.c ---- */

/* The same for a file.  The YAML library copies each text several times and frees
 * the copies unwiped, so a child process reads the file: what it saw of other
 * programs' secrets ends with it. */
MUST_USE int config_file_read(struct config *c, unsigned program, const char *path,
			      struct fault *why);

/* ---- args.c ---- */

struct config_args {
	const char *file; /* --config, or NULL */
	enum config_verb verb;
	int argc;
	char *const *argv;
	int at; /* the next one */
};

/* With c NULL finds --config and the verb; with c sets values over file and
 * environment.  ERR_USAGE. */
MUST_USE int config_args_read(struct config_args *a, struct config *c, unsigned program,
			      struct fault *why);

const char *config_user_names(unsigned users, char to[64]);

#endif
