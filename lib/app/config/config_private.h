/*
 * config_private -- the table of config.def as data, for config*.c only.
 */
#ifndef LIB_APP_CONFIG_CONFIG_PRIVATE_H
#define LIB_APP_CONFIG_CONFIG_PRIVATE_H

#include "lib/app/config/config.h"
#include "lib/base/bytes.h"

#define CONFIG_PATH_MAX 256 /* of a YAML path, with its NUL */

enum config_type {
	CONFIG_TEXT,
	CONFIG_SECRET,
	CONFIG_FLAG,
	CONFIG_COUNT,
	CONFIG_DURATION,
	CONFIG_CHOICE,
};

struct config_row {
	enum config_type type;
	unsigned users; /* enum config_user bits */
	const char *flag, *variable, *path, *dflt, *extra, *help;
	size_t offset; /* in struct config */
};

extern const struct config_row config_rows[];
extern const size_t config_rows_n;

/* Writes text into the row's field.  `what` names the source in the error
 * ("config.yaml:3: tunnel.io", "--io").  `code` is ERR_CONFIG or ERR_USAGE. */
MUST_USE int config_set(struct config *c, const struct config_row *row, const char *text,
			const char *what, enum err code, struct fault *why);

/* The same without keeping the value: for another program's row. */
MUST_USE int config_check(const struct config_row *row, const char *text, const char *what,
			  enum err code, struct fault *why);

/* Decimal digits within "min..max". */
bool config_count(const char *text, const char *bounds, int64_t *to);

/* Reads one YAML file over what is in *c.  1 when tunnel.forwards stands in it
 * (an empty list is a wish, too), else 0.  ERR_CONFIG with file and line.
 *
 * Rows of other programs are checked and not kept.  The YAML library copies each
 * text several times and frees the copies unwiped, so a child process reads the
 * file: what it saw of other programs' secrets ends with it. */
MUST_USE int config_file_read(struct config *c, unsigned program, const char *path,
			      struct fault *why);
/* The same for text[0..n) that came from a file of that name, in this process. */
MUST_USE int config_text_read(struct config *c, unsigned program, const char *file,
			      const char *text, size_t n, struct fault *why);

/* The row of a YAML path, NULL for none. */
const struct config_row *config_row_at(const char *path);
/* The known path or section nearest to a wrong one; false when nothing is near. */
bool config_nearest_path(char to[CONFIG_PATH_MAX], const char *path);

const char *config_user_names(unsigned users, char to[64]);

#endif
