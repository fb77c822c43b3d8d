#include "control-agent/tunnel/handoff.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/io/file.h"

#define PREFIX "cred-"
/* The last generation of ours: beyond it, names are nobody's, and after it the
 * numbers begin again.  0 would tell the tunnel that there are no credentials. */
#define GENERATION_MAX (UINT64_MAX / 2)

static void path_of(char to[HANDOFF_DIR_MAX + 64], const struct handoff *h, const char *prefix,
		    uint64_t gen)
{
	snprintf(to, HANDOFF_DIR_MAX + 64, "%s/%s%" PRIu64, h->dir, prefix, gen);
}

/* The generation a file name stands for, 0 for other names. */
static uint64_t generation(const char *name)
{
	char *end, again[64];

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	const uint64_t gen = strtoull(name + strlen(PREFIX), &end, 10);
	snprintf(again, sizeof(again), PREFIX "%" PRIu64, gen);
	return strcmp(name, again) == 0 && gen <= GENERATION_MAX ? gen : 0;
}

static void read_newest(struct handoff *h)
{
	char path[HANDOFF_DIR_MAX + 64];

	path_of(path, h, PREFIX, h->gen);
	if (file_read(h->newest, sizeof(h->newest), path, FILE_NO_FOLLOW | FILE_TEXT, NULL, NULL) <
	    0)
		h->newest[0] = '\0';
}

int handoff_init(struct handoff *h, const char *dir, struct fault *why)
{
	*h = (struct handoff){ 0 };
	snprintf(h->dir, sizeof(h->dir), "%s", dir);
	DIR *d = opendir(dir);
	if (!d)
		return fault_set_sys(why, errno, "handoff directory %.160s", dir);
	for (struct dirent *e; (e = readdir(d));) {
		const uint64_t gen = generation(e->d_name);

		h->gen = gen > h->gen ? gen : h->gen;
	}
	closedir(d);
	if (h->gen)
		read_newest(h);
	return 0;
}

void handoff_fini(struct handoff *h)
{
	explicit_bzero(h, sizeof(*h));
}

/* The tunnel runs as another user of the same group. */
static int write_file(const struct handoff *h, uint64_t gen, const char *text, struct fault *why)
{
	char path[HANDOFF_DIR_MAX + 64];
	struct fault inner = { 0 };

	path_of(path, h, PREFIX, gen);
	if (file_replace(path, span_str(text), 0640, &inner) == 0)
		return 0;
	return fault_set(why, inner.code, "credentials file %.200s", inner.why);
}

int handoff_put(struct handoff *h, const char *credentials, uint64_t *gen, struct fault *why)
{
	char path[HANDOFF_DIR_MAX + 64];

	if (strlen(credentials) >= sizeof(h->newest))
		return fault_set(why, ERR_LIMIT, "the tunnel credentials are too long");
	path_of(path, h, PREFIX, h->gen);
	if (h->gen && strcmp(h->newest, credentials) == 0 && access(path, F_OK) == 0) {
		*gen = h->gen;
		return 0;
	}
	const uint64_t next = h->gen < GENERATION_MAX ? h->gen + 1 : 1;
	const int rc = write_file(h, next, credentials, why);
	if (rc < 0)
		return rc;
	if (next < h->gen)
		h->pruned = 0;
	*gen = h->gen = next;
	snprintf(h->newest, sizeof(h->newest), "%s", credentials);
	return 0;
}

void handoff_prune(struct handoff *h, uint64_t gen)
{
	char path[HANDOFF_DIR_MAX + 320];

	if (gen <= h->pruned)
		return;
	DIR *d = opendir(h->dir);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		const uint64_t old = generation(e->d_name);

		if (!old || old >= gen)
			continue;
		snprintf(path, sizeof(path), "%s/%s", h->dir, e->d_name);
		(void)unlink(path);
	}
	closedir(d);
	h->pruned = gen;
}
