#include "control-agent/tunnel/handoff.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cases.h"

static char dir[64];

static void open_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/handoff-test-XXXXXX");
	check(mkdtemp(dir) != NULL);
}

static const char *path(const char *name)
{
	static char to[512];

	snprintf(to, sizeof(to), "%s/%s", dir, name);
	return to;
}

static int close_dir(void)
{
	DIR *d = opendir(dir);
	int files = 0;

	for (struct dirent *e; (e = readdir(d));)
		files += unlink(path(e->d_name)) == 0;
	closedir(d);
	check(rmdir(dir) == 0);
	return files;
}

static bool holds(const char *name, const char *text)
{
	char got[600] = "";
	FILE *f = fopen(path(name), "r");

	if (!f)
		return false;
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	return strcmp(got, text) == 0;
}

static void test_put(void)
{
	struct handoff h;
	struct stat st;
	uint64_t gen = 0;

	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "user:pass", &gen, NULL) == 0 && gen == 1);
	check(holds("cred-1", "user:pass"));
	check(stat(path("cred-1"), &st) == 0 && (st.st_mode & 0777) == 0640);
	check(handoff_put(&h, "user:pass", &gen, NULL) == 0 && gen == 1);
	check(handoff_put(&h, "user:other", &gen, NULL) == 0 && gen == 2);
	check(holds("cred-1", "user:pass") && holds("cred-2", "user:other"));
	handoff_fini(&h);
	check(close_dir() == 2); /* nothing half-written stays */
}

static void test_restart_keeps_the_generation(void)
{
	struct handoff h;
	uint64_t gen = 0;

	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "a:1", &gen, NULL) == 0);
	check(handoff_put(&h, "a:2", &gen, NULL) == 0);
	handoff_fini(&h);
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "a:2", &gen, NULL) == 0 && gen == 2);
	check(handoff_put(&h, "a:3", &gen, NULL) == 0 && gen == 3);
	handoff_fini(&h);
	(void)close_dir();
}

static void test_prune(void)
{
	struct handoff h;
	uint64_t gen = 0;
	FILE *f;

	open_dir();
	check((f = fopen(path("cred-x"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-01"), "w")) && fclose(f) == 0);
	check(handoff_init(&h, dir, NULL) == 0);
	for (int i = 0; i < 4; i++) {
		char text[16];

		snprintf(text, sizeof(text), "u:%d", i);
		check(handoff_put(&h, text, &gen, NULL) == 0);
	}
	handoff_prune(&h, 3);
	check(access(path("cred-1"), F_OK) < 0 && access(path("cred-2"), F_OK) < 0);
	check(holds("cred-3", "u:2") && holds("cred-4", "u:3"));
	check(access(path("cred-x"), F_OK) == 0 && access(path("cred-01"), F_OK) == 0);
	handoff_fini(&h);
	check(close_dir() == 4);
}

static void test_file_that_went_is_written_again(void)
{
	struct handoff h;
	uint64_t gen = 0;

	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "u:p", &gen, NULL) == 0);
	check(unlink(path("cred-1")) == 0);
	check(handoff_put(&h, "u:p", &gen, NULL) == 0 && gen == 2);
	check(holds("cred-2", "u:p"));
	handoff_fini(&h);
	(void)close_dir();
}

/* A number without a successor must not become 0, "no credentials". */
static void test_numbers_begin_again(void)
{
	static const char last[] = "cred-9223372036854775807",
			  beyond[] = "cred-18446744073709551614";
	struct handoff h;
	uint64_t gen = 0;
	FILE *f;

	open_dir();
	check((f = fopen(path(beyond), "w")) && fclose(f) == 0);
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "u:1", &gen, NULL) == 0 && gen == 1);
	handoff_fini(&h);

	check((f = fopen(path(last), "w")) && fputs("u:2", f) > 0 && fclose(f) == 0);
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "u:2", &gen, NULL) == 0 && gen == UINT64_MAX / 2);
	handoff_prune(&h, gen);
	check(handoff_put(&h, "u:3", &gen, NULL) == 0 && gen == 1);
	check(holds("cred-1", "u:3"));
	check(handoff_put(&h, "u:4", &gen, NULL) == 0 && gen == 2);
	handoff_prune(&h, gen);
	check(access(path("cred-1"), F_OK) < 0 && holds("cred-2", "u:4"));
	handoff_fini(&h);
	check(close_dir() == 3);
}

static void test_troubles(void)
{
	struct handoff h;
	struct fault why = { 0 };
	char longer[600];
	uint64_t gen = 77;

	check(handoff_init(&h, "/tmp/no/such/folder", &why) == ERR_SYS);
	check(strstr(why.why, "/tmp/no/such/folder") != NULL);
	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	check(handoff_put(&h, longer, &gen, NULL) == ERR_LIMIT && gen == 77);
	(void)close_dir();
	why = (struct fault){ 0 };
	check(handoff_put(&h, "u:secret", &gen, &why) == ERR_SYS && gen == 77);
	check(!strstr(why.why, "secret"));
	handoff_fini(&h);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "put", test_put },
		{ "restart", test_restart_keeps_the_generation },
		{ "prune", test_prune },
		{ "file that went", test_file_that_went_is_written_again },
		{ "numbers begin again", test_numbers_begin_again },
		{ "troubles", test_troubles },
	};
	return run_cases("handoff", cases, array_len(cases));
}
