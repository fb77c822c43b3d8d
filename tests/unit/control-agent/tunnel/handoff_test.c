#include "control-agent/tunnel/handoff.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cases.h"

static const struct handoff_keep none;
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
	check(handoff_put(&h, "user:pass", none, &gen, NULL) == 0 && gen == 1);
	check(holds("cred-1", "user:pass"));
	check(stat(path("cred-1"), &st) == 0 && (st.st_mode & 0777) == 0640);
	check(handoff_find(&h, "user:pass") == 1 && handoff_find(&h, "user:other") == 0);
	check(handoff_put(&h, "user:other", none, &gen, NULL) == 0 && gen == 2);
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
	check(handoff_put(&h, "a:1", none, &gen, NULL) == 0);
	check(handoff_put(&h, "a:2", none, &gen, NULL) == 0);
	handoff_fini(&h);
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_find(&h, "a:2") == 2);
	check(handoff_put(&h, "a:3", none, &gen, NULL) == 0 && gen == 3);
	handoff_fini(&h);
	(void)close_dir();
}

static void test_prune(void)
{
	struct handoff h;
	FILE *f;

	open_dir();
	check((f = fopen(path("cred-x"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-01"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-3.new"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-1"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-2"), "w")) && fclose(f) == 0);
	check((f = fopen(path("cred-3"), "w")) && fclose(f) == 0);
	check(handoff_init(&h, dir, NULL) == 0);
	handoff_prune(&h, (struct handoff_keep){ { 2, 7 } });
	check(access(path("cred-1"), F_OK) < 0 && access(path("cred-3"), F_OK) < 0);
	check(access(path("cred-2"), F_OK) == 0 && access(path("cred-3.new"), F_OK) < 0);
	check(access(path("cred-x"), F_OK) == 0 && access(path("cred-01"), F_OK) == 0);
	handoff_fini(&h);
	check(close_dir() == 3);
}

static int count_files(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.' || !strchr("./", e->d_name[1] ? e->d_name[1] : '/');
	closedir(d);
	return n;
}

/* A tunnel that takes nothing: what it applied last and what stands on the bus
 * stay, all else goes; over restarts, too. */
static void test_thousand_wishes_that_nobody_takes(void)
{
	struct handoff_keep keep = { 0 };
	struct handoff h;
	uint64_t gen = 0;
	char text[32];
	int most = 0;

	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "u:applied", keep, &gen, NULL) == 0);
	keep.gen[0] = gen;
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "u:%d", i);
		check_row(text, handoff_put(&h, text, keep, &gen, NULL) == 0);
		check_row(text, gen == (uint64_t)i + 2);
		keep.gen[1] = gen;
		most = count_files() > most ? count_files() : most;
		if (i % 100 == 99) {
			handoff_fini(&h);
			check(handoff_init(&h, dir, NULL) == 0);
		}
	}
	check(most <= HANDOFF_FILES_MAX && holds("cred-1", "u:applied"));
	check(handoff_put(&h, "u:good", keep, &gen, NULL) == 0 && holds("cred-1002", "u:good"));
	handoff_fini(&h);
	(void)close_dir();
}

/* What an older program left: 300 files of a volume that is full. */
static void test_many_files_of_an_earlier_life(void)
{
	struct handoff h;
	uint64_t gen = 0;
	char name[32];

	open_dir();
	for (int i = 1; i <= 300; i++) {
		snprintf(name, sizeof(name), "cred-%d", i);
		FILE *f = fopen(path(name), "w");
		check(f && fprintf(f, "u:%d", i) > 0 && fclose(f) == 0);
	}
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_find(&h, "u:300") == 300);
	check(handoff_put(&h, "u:new", none, &gen, NULL) == 0 && gen == 301);
	check(holds("cred-300", "u:300") && holds("cred-301", "u:new"));
	handoff_fini(&h);
	check(close_dir() == 2);
}

/* A real full volume; only root may mount one. */
static void test_full_volume(void)
{
	struct handoff_keep keep = { 0 };
	struct handoff h;
	uint64_t gen = 0;
	struct fault why = { 0 };

	open_dir();
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=16k") < 0) {
		check(rmdir(dir) == 0);
		return;
	}
	check(handoff_init(&h, dir, NULL) == 0);
	for (int i = 0; i < 50; i++) {
		char text[16];

		snprintf(text, sizeof(text), "u:%d", i);
		check_row(text, handoff_put(&h, text, keep, &gen, &why) == 0);
		keep.gen[0] = gen;
	}
	/* Three of four pages are somebody else's: there is room for one that is
	 * new once the newest gave way, as nothing names it. */
	handoff_prune(&h, keep);
	FILE *f = fopen(path("foreign"), "w");
	for (int i = 0; f && i < 3 * 4096; i++)
		(void)fputc('x', f);
	if (f)
		(void)fclose(f);
	check(handoff_put(&h, "u:last", none, &gen, &why) == 0 && gen == 51);
	/* Nothing can give way now: a failure that says so, and nothing is lost. */
	keep.gen[0] = gen;
	check(handoff_put(&h, "u:more", keep, &gen, &why) == ERR_SYS && gen == 51);
	check(strstr(why.why, "No space") != NULL && holds("cred-51", "u:last"));
	handoff_fini(&h);
	(void)umount(dir);
	check(rmdir(dir) == 0);
}

static void test_file_that_went_is_written_again(void)
{
	struct handoff h;
	uint64_t gen = 0;

	open_dir();
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_put(&h, "u:p", none, &gen, NULL) == 0);
	check(unlink(path("cred-1")) == 0);
	check(handoff_put(&h, "u:p", none, &gen, NULL) == 0 && gen == 2);
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
	check(handoff_put(&h, "u:1", none, &gen, NULL) == 0 && gen == 1);
	handoff_fini(&h);

	check((f = fopen(path(last), "w")) && fputs("u:2", f) > 0 && fclose(f) == 0);
	check(handoff_init(&h, dir, NULL) == 0);
	check(handoff_find(&h, "u:2") == UINT64_MAX / 2);
	check(handoff_put(&h, "u:3", none, &gen, NULL) == 0 && gen == 1);
	check(holds("cred-1", "u:3"));
	check(handoff_put(&h, "u:4", none, &gen, NULL) == 0 && gen == 2);
	handoff_prune(&h, (struct handoff_keep){ { gen } });
	check(access(path("cred-1"), F_OK) < 0 && holds("cred-2", "u:4"));
	handoff_fini(&h);
	check(close_dir() == 2);
}

/* Who may write here can't make a generation in use be written anew. */
static void test_planted_names(void)
{
	static const char last[] = "cred-9223372036854775807";
	struct handoff h;
	uint64_t gen = 0;

	open_dir();
	check(mkdir(path(last), 0700) == 0); /* no file: nobody's */
	check(symlink("cred-1", path("cred-77")) == 0);
	check(handoff_init(&h, dir, NULL) == 0 && h.gen == 0);
	check(handoff_put(&h, "u:1", none, &gen, NULL) == 0 && gen == 1);
	check(rmdir(path(last)) == 0);
	FILE *f = fopen(path(last), "w");
	check(f && fputs("u:x", f) > 0 && fclose(f) == 0);
	handoff_fini(&h);
	check(handoff_init(&h, dir, NULL) == 0 && h.gen == UINT64_MAX / 2);
	check(handoff_put(&h, "u:2", (struct handoff_keep){ { 1 } }, &gen, NULL) == 0 && gen == 2);
	check(holds("cred-1", "u:1") && holds("cred-2", "u:2"));
	handoff_fini(&h);
	(void)close_dir();
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
	check(handoff_put(&h, longer, none, &gen, NULL) == ERR_LIMIT && gen == 77);
	(void)close_dir();
	why = (struct fault){ 0 };
	check(handoff_put(&h, "u:secret", none, &gen, &why) == ERR_SYS && gen == 77);
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
		{ "a thousand wishes that nobody takes", test_thousand_wishes_that_nobody_takes },
		{ "many files of an earlier life", test_many_files_of_an_earlier_life },
		{ "full volume", test_full_volume },
		{ "planted names", test_planted_names },
		{ "numbers begin again", test_numbers_begin_again },
		{ "troubles", test_troubles },
	};
	return run_cases("handoff", cases, array_len(cases));
}
