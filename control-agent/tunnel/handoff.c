/*
 * Files `cred-<generation>`: which there are, which may go, and the next one written whole.  Of
 * what the credentials are for it knows nothing.
 */
#include "control-agent/tunnel/handoff.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/must.h"
#include "lib/io/file.h"

#define PREFIX "cred-"
#define UNDONE ".new" /* behind the name of a file that is being written */
/* The last generation of ours: beyond it, names are nobody's, and after it the numbers begin
 * again with the first that is not in use.  0 would tell the tunnel that there are no
 * credentials. */
#define GENERATION_MAX (UINT64_MAX / 2)

static void path_of(char to[HANDOFF_DIR_MAX + 64], const struct handoff *h, uint64_t gen)
{
	snprintf(to, HANDOFF_DIR_MAX + 64, "%s/" PREFIX "%" PRIu64, h->dir, gen);
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

static bool is_regular(DIR *d, const char *name)
{
	struct stat st;

	return fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static void read_newest(struct handoff *h)
{
	char path[HANDOFF_DIR_MAX + 64];

	path_of(path, h, h->gen);
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

		if (gen > h->gen && is_regular(d, e->d_name))
			h->gen = gen;
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

	path_of(path, h, gen);
	if (file_replace(path, span_str(text), 0640, &inner) == 0)
		return 0;
	fault_set(why, inner.code, "credentials file %.200s", inner.why);
	if (why)
		why->sys = inner.sys;
	return inner.code;
}

static bool is_kept(uint64_t gen, struct handoff_keep keep)
{
	for (size_t i = 0; i < HANDOFF_KEEP_MAX; i++)
		if (keep.gen[i] == gen)
			return true;
	return false;
}

/* What a life that ended in the middle of a write has left. */
static bool is_undone(const char *name)
{
	const size_t n = strlen(name), tail = strlen(UNDONE);

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && n > tail &&
	       strcmp(name + n - tail, UNDONE) == 0;
}

void handoff_prune(const struct handoff *h, struct handoff_keep keep)
{
	DIR *d = opendir(h->dir);

	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		const uint64_t gen = generation(e->d_name);

		if (is_undone(e->d_name) || (gen && !is_kept(gen, keep)))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

uint64_t handoff_find(const struct handoff *h, const char *credentials)
{
	char path[HANDOFF_DIR_MAX + 64];

	path_of(path, h, h->gen);
	return h->gen && strcmp(h->newest, credentials) == 0 && access(path, F_OK) == 0 ? h->gen
											: 0;
}

static uint64_t next_generation(const struct handoff *h, struct handoff_keep keep)
{
	uint64_t next = h->gen;

	do
		next = next < GENERATION_MAX ? next + 1 : 1;
	while (is_kept(next, keep));
	return next;
}

int handoff_put(struct handoff *h, const char *credentials, struct handoff_keep keep, uint64_t *gen,
		struct fault *why)
{
	struct handoff_keep with_newest = keep;
	struct fault inner = { 0 };

	if (strlen(credentials) >= sizeof(h->newest))
		return fault_set(why, ERR_LIMIT, "the tunnel credentials are too long");
	must(!keep.gen[HANDOFF_KEEP_MAX - 1]);
	with_newest.gen[HANDOFF_KEEP_MAX - 1] = h->gen;
	handoff_prune(h, with_newest);
	const uint64_t next = next_generation(h, keep);
	int rc = write_file(h, next, credentials, &inner);
	if (rc < 0 && (inner.sys == ENOSPC || inner.sys == EDQUOT)) {
		inner = (struct fault){ 0 };
		handoff_prune(h, keep);
		rc = write_file(h, next, credentials, &inner);
	}
	if (rc < 0) {
		if (why)
			*why = inner;
		return rc;
	}
	*gen = h->gen = next;
	snprintf(h->newest, sizeof(h->newest), "%s", credentials);
	return 0;
}
