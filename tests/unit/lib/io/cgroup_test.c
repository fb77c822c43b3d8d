#include "lib/io/cgroup.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cases.h"

#define MIB (1024ull * 1024)
#define V1_NONE "9223372036854771712"

/* A row's files; the first two are always these. */
#define CGROUP "/proc/self/cgroup"
#define MOUNTS "/proc/self/mountinfo"
#define V2_MOUNT(shown) "35 30 0:30 " shown " /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
#define V1_MOUNT(shown) \
	"22 1 0:20 / /proc rw - proc proc rw\n" \
	"31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" \
	"32 23 0:29 " shown " /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"

enum { FILES = 8 };

static const struct {
	const char *name;
	struct {
		const char *path, *text;
	} files[FILES];
	uint64_t want;
	size_t levels;
} rows[] = {
	{ "nothing at all", { { NULL, NULL } }, UINT64_MAX, 0 },
	{ "v2, container's own namespace",
	  { { CGROUP, "0::/\n" }, { MOUNTS, V2_MOUNT("/") }, { V2 "/memory.max", "67108864\n" } },
	  64 * MIB,
	  1 },
	{ "v2, no limit",
	  { { CGROUP, "0::/\n" }, { MOUNTS, V2_MOUNT("/") }, { V2 "/memory.max", "max\n" } },
	  UINT64_MAX,
	  1 },
	{ "v2, an ancestor is tighter",
	  { { CGROUP, "0::/kubepods/pod7/ab\n" },
	    { MOUNTS, V2_MOUNT("/") },
	    { V2 "/kubepods/pod7/ab/memory.max", "max\n" },
	    { V2 "/kubepods/pod7/memory.max", "33554432\n" },
	    { V2 "/kubepods/memory.max", "99999999999\n" } },
	  32 * MIB,
	  3 },
	{ "v2, namespace of the host",
	  { { CGROUP, "0::/../../other\n" },
	    { MOUNTS, V2_MOUNT("/..") },
	    { V2 "/memory.max", "1048576\n" } },
	  MIB,
	  1 },
	{ "v1, mount of the host",
	  { { CGROUP, "5:cpu,cpuacct:/x\n4:memory:/docker/ab\n0::/\n" },
	    { MOUNTS, V1_MOUNT("/") },
	    { V1 "/docker/ab/memory.limit_in_bytes", "67108864\n" },
	    { V1 "/docker/memory.limit_in_bytes", V1_NONE "\n" },
	    { V1 "/memory.limit_in_bytes", V1_NONE "\n" } },
	  64 * MIB,
	  3 },
	{ "v1, mount shows the own group",
	  { { CGROUP, "4:memory:/kubepods/pod7/ab\n" },
	    { MOUNTS, V1_MOUNT("/kubepods/pod7/ab") },
	    { V1 "/memory.limit_in_bytes", "67108864\n" } },
	  64 * MIB,
	  1 },
	{ "v1, mount shows the group above",
	  { { CGROUP, "4:memory:/kubepods/pod7/ab\n" },
	    { MOUNTS, V1_MOUNT("/kubepods") },
	    { V1 "/memory.limit_in_bytes", "50000000\n" },
	    { V1 "/pod7/memory.limit_in_bytes", "40000000\n" },
	    { V1 "/pod7/ab/memory.limit_in_bytes", "60000000\n" } },
	  40000000,
	  3 },
	{ "v1, name only looks alike",
	  { { CGROUP, "4:memory:/kubepods2/ab\n" },
	    { MOUNTS, V1_MOUNT("/kubepods") },
	    { V1 "/memory.limit_in_bytes", "50000000\n" } },
	  50000000,
	  1 },
	{ "v1 and v2 at once: memory is in v1",
	  { { CGROUP, "4:memory:/a\n0::/a\n" },
	    { MOUNTS,
	      V1_MOUNT("/") "38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" },
	    { V1 "/a/memory.limit_in_bytes", "7000000\n" } },
	  7000000,
	  1 },
	{ "what is no number is no limit",
	  { { CGROUP, "0::/\n" }, { MOUNTS, V2_MOUNT("/") }, { V2 "/memory.max", "12 monkeys\n" } },
	  UINT64_MAX,
	  1 },
	{ "empty",
	  { { CGROUP, "0::/\n" }, { MOUNTS, V2_MOUNT("/") }, { V2 "/memory.max", "" } },
	  UINT64_MAX,
	  1 },
	{ "lines of another kind",
	  { { CGROUP, "rubbish\n:\n::\n0::/\n" },
	    { MOUNTS, "\n - \n1 2 3\n" V2_MOUNT("/") },
	    { V2 "/memory.max", "5\n" } },
	  5,
	  1 },
};

static char root[] = "/tmp/cgroup_test_XXXXXX";

static void write_file(const char *path, const char *text)
{
	char name[512];

	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *c = name + strlen(root) + 1; *c; c++)
		if (*c == '/') {
			*c = '\0';
			must(mkdir(name, 0700) == 0 || errno == EEXIST);
			*c = '/';
		}
	FILE *f = fopen(name, "w");
	must(f);
	fputs(text, f);
	fclose(f);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static void remove_root(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_rows(void)
{
	for (size_t i = 0; i < array_len(rows); i++) {
		struct cgroup c;

		snprintf(root, sizeof(root), "/tmp/cgroup_test_XXXXXX");
		must(mkdtemp(root));
		for (int k = 0; k < FILES && rows[i].files[k].path; k++)
			write_file(rows[i].files[k].path, rows[i].files[k].text);
		cgroup_open(&c, root);
		check_row(rows[i].name, cgroup_memory_limit(&c) == rows[i].want);
		check_row(rows[i].name, c.n == rows[i].levels);
		cgroup_close(&c);
		check_row(rows[i].name, cgroup_memory_limit(&c) == UINT64_MAX);
		remove_root();
	}
}

/* A limit that is changed in place is seen by the next question. */
static void test_is_read_live(void)
{
	struct cgroup c;

	snprintf(root, sizeof(root), "/tmp/cgroup_test_XXXXXX");
	must(mkdtemp(root));
	write_file(CGROUP, "0::/a/b\n");
	write_file(MOUNTS, V2_MOUNT("/"));
	write_file(V2 "/a/b/memory.max", "max\n");
	write_file(V2 "/a/memory.max", "max\n");
	cgroup_open(&c, root);
	check(cgroup_memory_limit(&c) == UINT64_MAX);
	write_file(V2 "/a/memory.max", "1000000\n");
	check(cgroup_memory_limit(&c) == 1000000);
	write_file(V2 "/a/b/memory.max", "500000\n");
	check(cgroup_memory_limit(&c) == 500000);
	write_file(V2 "/a/b/memory.max", "max\n");
	check(cgroup_memory_limit(&c) == 1000000);
	cgroup_close(&c);
	remove_root();
}

/* More levels than we look at: the nearest count. */
static void test_deep(void)
{
	struct cgroup c;
	char group[256], path[300];
	int n = snprintf(group, sizeof(group), "0::");

	snprintf(root, sizeof(root), "/tmp/cgroup_test_XXXXXX");
	must(mkdtemp(root));
	for (int i = 0; i < 40; i++)
		n += snprintf(group + n, sizeof(group) - (size_t)n, "/d");
	snprintf(path, sizeof(path), V2 "%s/memory.max", group + 3);
	write_file(path, "4096\n");
	for (int len = n; len > 5; len -= 2) {
		snprintf(path, sizeof(path), V2 "%.*s/memory.max", len - 3, group + 3);
		write_file(path, "8192\n");
	}
	snprintf(group + n, sizeof(group) - (size_t)n, "\n");
	write_file(CGROUP, group);
	write_file(MOUNTS, V2_MOUNT("/"));
	cgroup_open(&c, root);
	check(c.n == CGROUP_LEVELS_MAX && cgroup_memory_limit(&c) == 8192);
	cgroup_close(&c);
	remove_root();
}

/* This very process: whatever its limit is, it lives below it. */
static void test_here(void)
{
	struct cgroup c;

	cgroup_open(&c, "");
	check(cgroup_memory_limit(&c) > 100 * 1024);
	cgroup_close(&c);
}

static const struct test_case cases[] = {
	{ "rows", test_rows },
	{ "is read live", test_is_read_live },
	{ "deep", test_deep },
	{ "here", test_here },
};

int main(void)
{
	return run_cases("cgroup", cases, array_len(cases));
}
