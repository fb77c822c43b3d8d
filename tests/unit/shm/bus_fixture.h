/*
 * bus_fixture -- a bus directory of its own for each test, on tmpfs when there
 * is one, and the numbers of a segment by name.
 */
#ifndef TESTS_UNIT_SHM_BUS_FIXTURE_H
#define TESTS_UNIT_SHM_BUS_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/reader.h"
#include "shm/writer.h"
#include "tests/support/cases.h"

#define SECOND UINT64_C(1000000000)

struct bus_fixture {
	char dir[64];
};

static inline void fixture_init(struct bus_fixture *f)
{
	const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	snprintf(f->dir, sizeof(f->dir), "%s/bus-test.XXXXXX", root);
	must(mkdtemp(f->dir));
}

static inline void fixture_path(const struct bus_fixture *f, char to[128], const char *leaf)
{
	snprintf(to, 128, "%s/%s", f->dir, leaf);
}

/* How many names below the role's directory start with `prefix`; removes them
 * if asked to. */
static inline int fixture_names(const struct bus_fixture *f, const char *role, const char *prefix,
				int and_remove)
{
	char path[128];
	int n = 0;

	fixture_path(f, path, role);
	DIR *d = opendir(path);
	for (const struct dirent *e; d && (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
			n++;
			if (and_remove && unlinkat(dirfd(d), e->d_name, 0))
				unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
		}
	if (d)
		closedir(d);
	return n;
}

static inline void fixture_fini(struct bus_fixture *f)
{
	static const char *const roles[] = { "tunnel", "control" };

	for (size_t i = 0; i < array_len(roles); i++) {
		char path[128];
		fixture_names(f, roles[i], "", 1);
		fixture_path(f, path, roles[i]);
		if (rmdir(path))
			unlink(path);
	}
	rmdir(f->dir);
}

static inline struct bus_writer *fixture_writer(const struct bus_fixture *f, enum bus_role role)
{
	static const char *const forwards[] = { "web", "k8s-api" };
	struct bus_writer *w = NULL;
	struct fault why = { 0 };

	check_row(why.why, bus_writer_new(&w,
					  &(struct bus_writer_options){ .dir = f->dir,
									.role = role,
									.build = "1.2.3 test",
									.forwards = forwards,
									.forwards_n = 2 },
					  &why) == 0);
	must(w);
	return w;
}

static inline struct bus_reader *fixture_reader(const struct bus_fixture *f, enum bus_role role)
{
	struct bus_reader *r = NULL;

	must(bus_reader_new(&r, f->dir, role, NULL) == 0);
	return r;
}

/* Waits for a child that was killed or has ended. */
static inline void fixture_reap(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		;
}

/* One sample by name and labels. */
struct wanted {
	const char *name, *labels;
	int found;
	struct bus_sample sample;
};

static inline void match_sample(void *user, const struct bus_sample *s)
{
	struct wanted *w = user;

	if (strcmp(s->name, w->name) == 0 && strcmp(s->labels, w->labels) == 0) {
		w->found++;
		w->sample = *s;
	}
}

static inline struct wanted sample_of(struct bus_reader *r, const char *name, const char *labels)
{
	struct wanted w = { .name = name, .labels = labels };

	check_row(name, bus_reader_samples(r, match_sample, &w) == 0);
	return w;
}

static inline uint64_t value_of(struct bus_reader *r, const char *name, const char *labels)
{
	const struct wanted w = sample_of(r, name, labels);

	check_row(name, w.found == 1);
	return w.sample.value;
}

#endif
