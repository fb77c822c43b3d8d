/*
 * cgroup -- finds the memory limit files of this process's control group (v1 and
 * v2) and reads them again at each question. It changes no limit.
 */
#include "lib/io/cgroup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_LEN = 4096 };

/* Version 1 writes the largest multiple of a page that a long holds for "no limit". */
#define NO_LIMIT (1ull << 60)

/* Where one version's groups are, and ours among them. */
struct place {
	char mount[LINE_MAX_LEN]; /* folder of the mount, "" for none */
	char shown[LINE_MAX_LEN]; /* the group that the mount shows at its top */
	char group[LINE_MAX_LEN]; /* ours */
};

static bool has_word(const char *list, const char *word)
{
	const size_t n = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, word, n) == 0 && (at[n] == ',' || at[n] == '\0'))
			return true;
	}
	return false;
}

static FILE *open_text(const char *root, const char *path)
{
	char name[LINE_MAX_LEN];

	snprintf(name, sizeof(name), "%s%s", root, path);
	return fopen(name, "re");
}

/* Lines of /proc/self/cgroup: "number:controllers:group", "0::group" for version 2. */
static void find_groups(const char *root, struct place *v1, struct place *v2)
{
	char line[LINE_MAX_LEN];
	FILE *f = open_text(root, "/proc/self/cgroup");

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!group)
			continue;
		*controllers++ = *group++ = '\0';
		if (strcmp(line, "0") == 0 && !*controllers)
			snprintf(v2->group, sizeof(v2->group), "%s", group);
		else if (has_word(controllers, "memory"))
			snprintf(v1->group, sizeof(v1->group), "%s", group);
	}
	if (f)
		fclose(f);
}

/* The next word of *at, "" at the end. */
static const char *next_word(char **at)
{
	char *word = *at + strspn(*at, " ");
	const size_t n = strcspn(word, " \n");

	*at = word + n + (word[n] != '\0');
	word[n] = '\0';
	return word;
}

/* Lines of /proc/self/mountinfo (proc(5)): "id parent device shown mount options
 * … - type source superoptions". */
static void find_mounts(const char *root, struct place *v1, struct place *v2)
{
	char line[LINE_MAX_LEN];
	FILE *f = open_text(root, "/proc/self/mountinfo");

	while (f && fgets(line, sizeof(line), f)) {
		char *at = line, *tail = strstr(line, " - ");

		if (!tail)
			continue;
		*tail = '\0';
		tail += 3;
		for (int i = 0; i < 3; i++)
			(void)next_word(&at);
		const char *shown = next_word(&at), *mount = next_word(&at);
		const char *type = next_word(&tail);
		(void)next_word(&tail); /* source */
		const char *super = next_word(&tail);
		struct place *to = strcmp(type, "cgroup2") == 0 ? v2
				   : strcmp(type, "cgroup") == 0 && has_word(super, "memory")
					   ? v1
					   : NULL;
		if (!to || to->mount[0])
			continue;
		snprintf(to->mount, sizeof(to->mount), "%s", mount);
		snprintf(to->shown, sizeof(to->shown), "%s", shown);
	}
	if (f)
		fclose(f);
}

/* The limit files of a group and of those above it, up to the mount. */
static void open_levels(struct cgroup *c, const char *root, struct place *p, const char *file)
{
	char name[3 * LINE_MAX_LEN];
	size_t n = strlen(p->shown);

	if (!p->mount[0])
		return;
	if (strcmp(p->shown, "/") == 0)
		n = 0;
	/* In a container the mount often shows our own group at its top, while the
	 * group's name is that of the host: then the top is all there is to see. */
	char *below = p->group;
	if (strncmp(below, p->shown, n) == 0 && (below[n] == '/' || below[n] == '\0'))
		below += n;
	else
		*below = '\0';
	for (;;) {
		size_t len = strlen(below);
		while (len && below[len - 1] == '/')
			below[--len] = '\0';
		if (c->n == CGROUP_LEVELS_MAX)
			return;
		snprintf(name, sizeof(name), "%s%s%s/%s", root, p->mount, below, file);
		const int fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			c->fds[c->n++] = fd;
		char *slash = strrchr(below, '/');
		if (!slash)
			return;
		*slash = '\0';
	}
}

void cgroup_open(struct cgroup *c, const char *root)
{
	struct place *p = calloc(2, sizeof(*p));

	*c = (struct cgroup){ 0 };
	if (!p)
		return;
	find_groups(root, &p[0], &p[1]);
	find_mounts(root, &p[0], &p[1]);
	open_levels(c, root, &p[1], "memory.max");
	open_levels(c, root, &p[0], "memory.limit_in_bytes");
	free(p);
}

void cgroup_close(struct cgroup *c)
{
	while (c->n)
		close(c->fds[--c->n]);
}

/* A number alone, "max" or anything else: no limit. */
static uint64_t read_limit(int fd)
{
	char text[32];
	char *end;
	const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0 || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	text[n] = '\0';
	const unsigned long long bytes = strtoull(text, &end, 10);
	return (*end && *end != '\n') || bytes >= NO_LIMIT ? UINT64_MAX : bytes;
}

uint64_t cgroup_memory_limit(const struct cgroup *c)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < c->n; i++) {
		const uint64_t limit = read_limit(c->fds[i]);
		if (limit < least)
			least = limit;
	}
	return least;
}
