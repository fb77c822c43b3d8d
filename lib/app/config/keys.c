/* The paths of the table: which row or section one is, and which known one a mistyped
 * path is near to. */
#include <stdio.h>
#include <string.h>

#include "lib/app/config/config_private.h"
#include "lib/base/nearest.h"

const struct config_row *config_row_at(const struct config_table *t, const char *path)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].path, path) == 0)
			return &t->rows[i];
	return NULL;
}

bool config_is_section(const struct config_table *t, const char *path)
{
	const size_t n = strlen(path);

	for (size_t i = 0; i < t->n; i++)
		if (strncmp(t->rows[i].path, path, n) == 0 && t->rows[i].path[n] == '.')
			return true;
	return false;
}

static size_t count_parts(const char *path)
{
	size_t n = 1;

	for (; *path; path++)
		n += *path == '.';
	return n;
}

/* A path is compared with as many parts of the known ones as it has itself, so
 * a wrong section is told as such; the right key in the wrong section is near,
 * too. */
bool config_nearest_path(const struct config_table *t, char to[CONFIG_PATH_MAX], const char *path)
{
	const char *dot = strrchr(path, '.'), *leaf = dot ? dot + 1 : path;
	const size_t parts = count_parts(path);
	unsigned least = (unsigned)min_size(3, 1 + strlen(leaf) / 3) + 1;
	const unsigned too_far = least;

	for (size_t i = 0; i < t->n; i++) {
		const char *known = t->rows[i].path;
		char head[CONFIG_PATH_MAX];
		size_t n = 0;

		for (size_t left = parts; known[n] && (known[n] != '.' || --left); n++)
			head[n] = known[n];
		head[n] = '\0';
		const char *known_dot = strrchr(known, '.');
		const bool same_leaf = known_dot && strcmp(known_dot + 1, leaf) == 0;
		const unsigned d = nearest_distance(path, head, least);

		if (d < least || (same_leaf && least == too_far)) {
			snprintf(to, CONFIG_PATH_MAX, "%s", d < least ? head : known);
			least = d < least ? d : too_far - 1;
		}
	}
	return least < too_far;
}
