/* Each kind of bad file once, for all who read or replace one. */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/cases.h"

enum { CAP = 64 };

static char dir[64];

static void make(const char *name, const char *text, size_t n)
{
	const int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	must(fd >= 0 && write(fd, text, n) == (ssize_t)n && close(fd) == 0);
}

static void make_socket(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", name);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && close(fd) == 0);
}

static void test_read(void)
{
	static char text[CAP + 2];
	static const struct {
		const char *name;
		unsigned flags;
		int rc; /* a length or an error */
		const char *want;
	} rows[] = {
		{ "plain", 0, 5, "hello" },
		{ "plain", FILE_NO_FOLLOW | FILE_TEXT | FILE_TRIM, 5, "hello" },
		{ "empty", FILE_TEXT | FILE_TRIM, 0, "" },
		{ "blank", 0, 3, " \r\n" },
		{ "blank", FILE_TRIM, 0, "" },
		{ "marked", FILE_TEXT | FILE_TRIM, 3, "a b" },
		{ "longest", 0, CAP - 1, NULL },
		{ "longer", 0, ERR_CONFIG, "longer is longer than 63 bytes" },
		{ "longest of all", 0, ERR_CONFIG, "longest of all is longer than 63 bytes" },
		{ "zero", 0, 3, "a" },
		{ "zero", FILE_TEXT, ERR_CONFIG, "zero holds a NUL byte" },
		{ "link", 0, 5, "hello" },
		{ "link", FILE_NO_FOLLOW, ERR_CONFIG, "link is a symbolic link" },
		{ "dangling", 0, ERR_SYS, "dangling: No such file or directory" },
		{ "dangling", FILE_NO_FOLLOW, ERR_CONFIG, "dangling is a symbolic link" },
		{ "round", 0, ERR_SYS, "round: Too many levels of symbolic links" },
		{ "fifo", 0, ERR_CONFIG, "fifo is no regular file" },
		{ "folder", 0, ERR_CONFIG, "folder is no regular file" },
		{ "socket", 0, ERR_SYS, "socket: No such device or address" },
		{ "/dev/zero", 0, ERR_CONFIG, "/dev/zero is no regular file" },
		{ "none", 0, ERR_SYS, "none: No such file or directory" },
		{ "plain/x", 0, ERR_SYS, "plain/x: Not a directory" },
		{ "", 0, ERR_SYS, ": No such file or directory" },
	};

	make("plain", "hello", 5);
	make("empty", "", 0);
	make("blank", " \r\n", 3);
	make("marked", "\xef\xbb\xbf a b\r\n", 9);
	memset(text, 'x', sizeof(text));
	make("longest", text, CAP - 1);
	make("longer", text, CAP);
	make("longest of all", text, CAP + 2);
	make("zero", "a\0b", 3);
	must(symlink("plain", "link") == 0 && symlink("nowhere", "dangling") == 0 &&
	     symlink("round", "round") == 0 && mkfifo("fifo", 0600) == 0 &&
	     mkdir("folder", 0700) == 0);
	make_socket("socket");
	for (size_t i = 0; i < array_len(rows); i++) {
		char to[CAP + 1];
		struct fault why = { 0 };

		memset(to, '#', sizeof(to));
		const int rc = file_read(to, CAP, rows[i].name, rows[i].flags, NULL, &why);
		check_row(rows[i].name, rc == rows[i].rc && to[CAP] == '#');
		if (rc >= 0)
			check_row(rows[i].name,
				  !to[rc] && (!rows[i].want || strcmp(to, rows[i].want) == 0));
		else if (!check_row(rows[i].name, strcmp(why.why, rows[i].want) == 0))
			puts(why.why);
	}
}

/* Nothing of a file that was refused stays in the caller's memory. */
static void test_refused_is_wiped(void)
{
	char to[CAP];
	struct fault why = { 0 };

	make("secret", "s3cret\0", 7);
	check(file_read(to, CAP, "secret", FILE_TEXT, NULL, &why) == ERR_CONFIG);
	check(!memmem(to, CAP, "s3cret", 6));
	make("secret", " s3cret", 7);
	check(file_read(to, CAP, "secret", FILE_TRIM, NULL, NULL) == 6);
	check(strcmp(to, "s3cret") == 0 && to[7] == '\0');
}

static void test_stat_is_told(void)
{
	char to[CAP];
	struct stat st;

	make("owned", "x", 1);
	check(file_read(to, CAP, "owned", 0, &st, NULL) == 1);
	check(st.st_uid == geteuid() && st.st_size == 1);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	must(lstat(name, &st) == 0);
	return st.st_mode;
}

static void test_replace(void)
{
	char to[CAP];
	struct fault why = { 0 };

	umask(077);
	check(file_replace("state", span_str("one"), 0640, &why) == 0);
	umask(022);
	check(mode_of("state") == (S_IFREG | 0640) && access("state.new", F_OK) < 0);
	check(file_replace("state", span_str("two!"), 0600, &why) == 0);
	check(file_read(to, CAP, "state", FILE_NO_FOLLOW, NULL, &why) == 4 &&
	      strcmp(to, "two!") == 0 && mode_of("state") == (S_IFREG | 0600));
	check(file_replace("state", (struct span){ 0 }, 0600, &why) == 0);
	check(file_read(to, CAP, "state", 0, NULL, &why) == 0);

	/* Links at both names are replaced; what they point to stays as it is. */
	make("victim", "safe", 4);
	must(unlink("state") == 0 && symlink("victim", "state") == 0 &&
	     symlink("victim", "state.new") == 0);
	check(file_replace("state", span_str("three"), 0600, &why) == 0);
	check(S_ISREG(mode_of("state")) && access("state.new", F_OK) < 0);
	check(file_read(to, CAP, "victim", 0, NULL, &why) == 4 && strcmp(to, "safe") == 0);
}

static void test_replace_that_fails(void)
{
	static char name[5000];
	char to[CAP];
	struct fault why = { 0 };

	check(file_replace("nowhere/x", span_str("a"), 0600, &why) == ERR_SYS && why.sys == ENOENT);
	check(strcmp(why.why, "nowhere/x.new: create: No such file or directory") == 0);

	/* A directory that is not empty can't be replaced: it stays, and nothing lies about. */
	must(mkdir("full", 0700) == 0);
	make("full/x", "x", 1);
	why = (struct fault){ 0 };
	check(file_replace("full", span_str("a"), 0600, &why) == ERR_SYS);
	check(strncmp(why.why, "full: write: ", 13) == 0 && access("full.new", F_OK) < 0);

	memset(name, 'n', sizeof(name) - 1);
	why = (struct fault){ 0 };
	check(file_replace(name, span_str("a"), 0600, &why) == ERR_SYS && why.sys == ENAMETOOLONG);

	/* No room for the new bytes: the old ones stay. */
	make("kept", "old", 3);
	const struct rlimit small = { 2, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	signal(SIGXFSZ, SIG_IGN);
	must(setrlimit(RLIMIT_FSIZE, &small) == 0);
	why = (struct fault){ 0 };
	check(file_replace("kept", span_str("newer"), 0600, &why) == ERR_SYS && why.sys == EFBIG);
	must(setrlimit(RLIMIT_FSIZE, &none) == 0);
	check(file_read(to, CAP, "kept", 0, NULL, NULL) == 3 && strcmp(to, "old") == 0);
	check(access("kept.new", F_OK) < 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "read", test_read },
		{ "refused is wiped", test_refused_is_wiped },
		{ "stat", test_stat_is_told },
		{ "replace", test_replace },
		{ "replace that fails", test_replace_that_fails },
	};

	snprintf(dir, sizeof(dir), "/tmp/file_test.XXXXXX");
	must(mkdtemp(dir) && chdir(dir) == 0);
	const int bad = run_cases("file", cases, array_len(cases));
	const char *const names[] = { "plain",	"empty",	  "blank",  "marked", "longest",
				      "longer", "longest of all", "zero",   "link",   "dangling",
				      "round",	"fifo",		  "socket", "secret", "owned",
				      "state",	"victim",	  "full/x", "kept" };
	for (size_t i = 0; i < array_len(names); i++)
		(void)!unlink(names[i]);
	(void)!rmdir("folder");
	(void)!rmdir("full");
	(void)!rmdir(dir);
	return bad;
}
