/*
 * Where the identity is kept: the places that are tried, what older programs left, and files that
 * can't be used.  The file's text stands in identity.c.
 */
#include "control-agent/identity/identity.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/trim.h"
#include "lib/io/file.h"

enum { LEGACY_DIRS = 2 };

static const struct place {
	bool absolute;
	const char *dir, *name;
} places_list[] = {
	{ true, "/var/lib/pipeops", "agent-state.yaml" },
	{ true, "/etc/pipeops", "agent-state.yaml" },
	{ false, "tmp", "agent-state.yaml" },
	{ false, ".", ".pipeops-agent-state.yaml" },
};

/* The files of older agents: one value each. */
static const struct legacy {
	const char *name, *key;
} legacy_list[] = {
	{ "agent-id", "agent_id" },
	{ "cluster-id", "cluster_id" },
	{ "cluster-token", "cluster_token" },
};

static void path_of(char to[IDENTITY_PATH_MAX], const struct identity_places *at, bool absolute,
		    const char *dir, const char *name)
{
	snprintf(to, IDENTITY_PATH_MAX, "%s%s%s/%s", absolute ? at->root : at->here,
		 absolute ? "" : "/", dir, name);
}

/* In a directory where everybody may make files (/tmp), another user's file is a
 * plant: it would say which cluster this is. */
static bool is_planted(const char *path, const struct stat *file)
{
	char copy[IDENTITY_PATH_MAX];
	struct stat dir;

	if (file->st_uid == geteuid() || file->st_uid == 0)
		return false;
	snprintf(copy, sizeof(copy), "%s", path);
	return stat(dirname(copy), &dir) < 0 ||
	       ((dir.st_mode & S_ISVTX) && (dir.st_mode & S_IWOTH));
}

/* Reads the file into b: 1, 0 when there is none, or an error. */
static int read_file(struct buf *b, const char *path, struct fault *why)
{
	struct fault inner = { 0 };
	struct stat st;
	uint8_t *room;

	if (buf_reserve(b, IDENTITY_FILE_MAX + 1, &room) < 0)
		return fault_set(why, ERR_NOMEM, "no memory");
	const int n = file_read((char *)room, IDENTITY_FILE_MAX + 1, path, 0, &st, &inner);
	if (n == ERR_SYS && (inner.sys == ENOENT || inner.sys == ENOTDIR))
		return 0;
	if (n < 0)
		return fault_set(why, inner.code, "%s", inner.why);
	if (is_planted(path, &st))
		return fault_set(why, ERR_PROTO,
				 "it is another user's, in a directory open to all");
	buf_commit(b, (size_t)n);
	return 1;
}

static void wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_fini(b);
}

/* A file that can't be used is kept for the operator, out of the way.  When it
 * can't even be moved, nothing is written over it. */
static void move_aside(struct identity_store *store, const char *path, const struct fault *why)
{
	char aside[IDENTITY_PATH_MAX + 16];
	const char *then = "it was moved to this name + .corrupt";

	snprintf(aside, sizeof(aside), "%s.corrupt", path);
	if (rename(path, aside) < 0) {
		then = "it can't be moved aside and is left as it is";
		if (strcmp(path, store->path) == 0)
			store->path[0] = '\0';
	}
	fault_set(&store->trouble, why->code, "state file %.100s can't be used (%.80s): %s", path,
		  why->why, then);
}

/* 1 read, 0 none there or unusable. */
static int try_file(struct identity_store *store, struct identity *out, const char *path)
{
	struct fault why = { 0 };
	struct buf b;

	buf_init(&b, &mem_heap, IDENTITY_FILE_MAX + 1);
	int rc = read_file(&b, path, &why);
	if (rc > 0) {
		rc = identity_read(out, span_of(buf_bytes(&b).p, buf_len(&b)), &why);
		rc = rc < 0 ? rc : 1;
	}
	if (rc > 0)
		snprintf(store->from, sizeof(store->from), "%s", path);
	if (rc < 0)
		move_aside(store, path, &why);
	wipe(&b);
	return rc > 0;
}

static bool is_writable(const char *path)
{
	char dir[IDENTITY_PATH_MAX];
	struct stat st;

	snprintf(dir, sizeof(dir), "%s", path);
	const char *parent = dirname(dir);
	if (mkdir(parent, 0700) < 0 && errno != EEXIST)
		return false;
	if (access(parent, W_OK | X_OK) < 0)
		return false;
	/* A symbolic link is what a mounted Secret looks like: not ours to replace. */
	return lstat(path, &st) < 0 || S_ISREG(st.st_mode);
}

/* 1 taken, 0 none there or unusable. */
static int take_legacy(struct identity_store *store, struct identity *out, const char *key,
		       const char *path)
{
	struct fault why = { 0 };
	struct buf b;

	buf_init(&b, &mem_heap, IDENTITY_FILE_MAX + 1);
	int rc = read_file(&b, path, &why);
	if (rc > 0) {
		const struct span text = trim_text(span_of(buf_bytes(&b).p, buf_len(&b)));

		rc = text.n ? identity_set(out, key, text, &why) : 0;
	}
	if (rc > 0)
		snprintf(store->from, sizeof(store->from), "%s", path);
	if (rc < 0)
		fault_set(&store->trouble, why.code, "legacy state file %.100s is left out (%.80s)",
			  path, why.why);
	wipe(&b);
	return rc > 0;
}

static void load_legacy(struct identity_store *store, struct identity *out,
			const struct identity_places *at)
{
	for (size_t i = 0; i < array_len(legacy_list); i++) {
		const struct legacy *l = &legacy_list[i];
		char path[IDENTITY_PATH_MAX], name[32];
		int taken = 0;

		for (size_t d = 0; d < LEGACY_DIRS && !taken; d++) {
			path_of(path, at, true, places_list[d].dir, l->name);
			taken = take_legacy(store, out, l->key, path);
		}
		snprintf(name, sizeof(name), ".pipeops-%s", l->name);
		path_of(path, at, false, ".", name);
		if (!taken)
			(void)take_legacy(store, out, l->key, path);
	}
}

void identity_load(struct identity_store *store, struct identity *out,
		   const struct identity_places *at)
{
	char path[IDENTITY_PATH_MAX];

	*store = (struct identity_store){ 0 };
	*out = (struct identity){ 0 };
	if (at->file[0]) {
		snprintf(store->path, sizeof(store->path), "%s", at->file);
		snprintf(path, sizeof(path), "%s", at->file);
		(void)try_file(store, out, path);
		if (!is_writable(at->file))
			store->path[0] = '\0';
		return;
	}
	for (size_t i = 0; i < array_len(places_list) && !store->path[0]; i++) {
		path_of(path, at, places_list[i].absolute, places_list[i].dir, places_list[i].name);
		if (is_writable(path))
			snprintf(store->path, sizeof(store->path), "%s", path);
	}
	/* The first file that is there counts, also where it can't be replaced
	 * (mounted read-only by the operator). */
	for (size_t i = 0; i < array_len(places_list); i++) {
		path_of(path, at, places_list[i].absolute, places_list[i].dir, places_list[i].name);
		if (try_file(store, out, path))
			return;
	}
	load_legacy(store, out, at);
}

int identity_save(const struct identity_store *store, const struct identity *s, struct fault *why)
{
	struct buf b;

	if (!store->path[0])
		return fault_set(
			why, ERR_CONFIG,
			"no place for the state file is writable: set agent.state_file to one that "
			"is, or this agent registers anew after each restart");
	buf_init(&b, &mem_heap, IDENTITY_FILE_MAX);
	int rc = identity_write(&b, s);
	struct fault inner = { 0 };
	if (rc < 0)
		rc = fault_set(why, rc, "no memory to write the state file");
	else if (file_replace(store->path, span_of(buf_bytes(&b).p, buf_len(&b)), 0600, &inner) < 0)
		rc = fault_set(why, inner.code, "state file %.220s", inner.why);
	wipe(&b);
	return rc;
}
