#include "lib/app/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cases.h"

static char root[64];
static char printed[1024];

/* What one of two descriptors receives during a call. */
static int begin_capture(int target, int *saved)
{
	fflush(NULL);
	*saved = dup(target);
	const int fd = memfd_create("captured", MFD_CLOEXEC);
	must(*saved >= 0 && fd >= 0 && dup2(fd, target) >= 0);
	return fd;
}

static void end_capture(int target, int fd, int saved)
{
	fflush(NULL);
	must(dup2(saved, target) >= 0);
	const ssize_t n = pread(fd, printed, sizeof(printed) - 1, 0);
	must(n >= 0);
	printed[n] = '\0';
	close(fd);
	close(saved);
}

static void test_version(void)
{
	int saved;
	const int fd = begin_capture(STDOUT_FILENO, &saved);

	program_print_version("prog");
	end_capture(STDOUT_FILENO, fd, saved);
	check(strncmp(printed, "prog 0.1.0 (", 12) == 0 && strstr(printed, "), OpenSSL "));
	check(strcmp(program_version, "0.1.0") == 0 && program_revision[0]);
}

static void test_fail(void)
{
	static const struct {
		enum err code;
		int exit;
	} rows[] = {
		{ ERR_USAGE, EXIT_USAGE },   { ERR_CONFIG, EXIT_CONFIGURATION },
		{ ERR_SYS, EXIT_RUNTIME },   { ERR_NOMEM, EXIT_RUNTIME },
		{ ERR_TRUST, EXIT_RUNTIME },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { .code = rows[i].code, .why = "it broke" };
		int saved;

		const int fd = begin_capture(STDERR_FILENO, &saved);
		const int rc = program_fail("prog", &why);
		end_capture(STDERR_FILENO, fd, saved);
		check_row(err_name(rows[i].code), rc == rows[i].exit);
		check_row(err_name(rows[i].code), strcmp(printed, "prog: it broke\n") == 0);
	}
}

/* In a child: it can't be undone. */
static void test_harden(void)
{
	const pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		struct rlimit core;

		program_harden();
		const bool good = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 &&
				  prctl(PR_GET_DUMPABLE) == 0 && umask(0) == 027;
		_exit(good ? 0 : 1);
	}
	check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The last line of the log says why, once. */
static void test_stop(void)
{
	struct fault why = { 0 };
	int saved, fd;

	fd = begin_capture(STDERR_FILENO, &saved);
	static struct config c = { .log_level = "info",
				   .log_format = "json",
				   .log_output = "stderr" };
	program_start_log("test", &c);
	check(program_stop("prog", EXIT_REGISTRATION_REFUSED, &why) == EXIT_REGISTRATION_REFUSED);
	end_capture(STDERR_FILENO, fd, saved);
	check(strstr(printed, "\"event\":\"stopped\"") && strstr(printed, "\"exit_code\":65"));
	check(!strstr(printed, "\"error\""));

	fd = begin_capture(STDERR_FILENO, &saved);
	fault_set(&why, ERR_CONFIG, "it broke");
	check(program_stop("prog", program_exit_code(&why), &why) == EXIT_CONFIGURATION);
	end_capture(STDERR_FILENO, fd, saved);
	const char *said = strstr(printed, "it broke");
	check(said && !strstr(said + 1, "it broke") && strstr(printed, "\"level\":\"error\""));
}

static void test_loop_choice(void)
{
	static struct config c;

	snprintf(c.io, sizeof(c.io), "auto");
	check(program_loop_choice(&c) == LOOP_AUTO);
	snprintf(c.io, sizeof(c.io), "uring");
	check(program_loop_choice(&c) == LOOP_URING);
	snprintf(c.io, sizeof(c.io), "epoll");
	check(program_loop_choice(&c) == LOOP_EPOLL);
}

/* ---- directories ---- */

static bool is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void test_directory_made(void)
{
	char dir[CONFIG_TEXT_MAX];
	struct fault why = { 0 };

	snprintf(dir, sizeof(dir), "%s/a/b/c", root);
	for (int i = 0; i < 2; i++) { /* the second time it is there */
		check(program_directory(dir, "/nowhere", "bus", &why) == 0);
		check(is_dir(dir));
	}
}

/* A directory that the user has named is never replaced by another. */
static void test_directory_refused(void)
{
	char dir[CONFIG_TEXT_MAX];
	struct fault why = { 0 };

	snprintf(dir, sizeof(dir), "%s/file", root);
	close(open(dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	strncat(dir, "/bus", 5);
	check(program_directory(dir, "/nowhere", "bus", &why) == ERR_SYS);
	check(strstr(why.why, dir) && strstr(why.why, "make it, or name another one"));
	check(program_directory(dir, "/nowhere", "bus", NULL) == ERR_SYS);
}

/* The sentence names the setting, and what stands in the way. */
static void test_directories_refused(void)
{
	static struct config c;
	struct fault why = { 0 };

	snprintf(c.bus_dir, sizeof(c.bus_dir), "%s/file", root);
	check(program_bus_directory(&c, &why) == ERR_SYS);
	check(strstr(why.why, "PIPEOPS_BUS_DIR") && strstr(why.why, strerror(ENOTDIR)));

	why = (struct fault){ 0 };
	snprintf(c.bus_dir, sizeof(c.bus_dir), "%s/a/b", root);
	snprintf(c.handoff_dir, sizeof(c.handoff_dir), "%s/file", root);
	check(program_directories(&c, &why) == ERR_SYS);
	check(strstr(why.why, "PIPEOPS_HANDOFF_DIR") != NULL);
}

/* A default below a plain file can't be made, even by root. */
static void fall_back(char dir[CONFIG_TEXT_MAX], int want, const char *where)
{
	char standard[CONFIG_TEXT_MAX];
	struct fault why = { 0 };

	snprintf(standard, sizeof(standard), "%s/file/bus", root);
	snprintf(dir, CONFIG_TEXT_MAX, "%s", standard);
	check(program_directory(dir, standard, "test-leaf", &why) == want);
	if (where)
		check(strcmp(dir, where) == 0 && is_dir(dir));
}

static void test_directory_fallback(void)
{
	char dir[CONFIG_TEXT_MAX], run[96], want[CONFIG_TEXT_MAX], shared[64];
	struct stat st;

	snprintf(run, sizeof(run), "%s/run", root);
	must(mkdir(run, 0700) == 0 && setenv("XDG_RUNTIME_DIR", run, 1) == 0);
	snprintf(want, sizeof(want), "%s/pipeops/test-leaf", run);
	fall_back(dir, 1, want);
	fall_back(dir, 1, want);
	check(stat(want, &st) == 0 && (st.st_mode & 077) == 0);

	/* What others may write to is not taken; nor a link in its place. */
	snprintf(shared, sizeof(shared), "/tmp/pipeops-%u", (unsigned)getuid());
	snprintf(want, sizeof(want), "%s/test-leaf", shared);
	char ours[128];
	snprintf(ours, sizeof(ours), "%s/pipeops", run);
	must(chmod(ours, 0777) == 0);
	fall_back(dir, 1, want);
	char leaf[160];
	snprintf(leaf, sizeof(leaf), "%s/test-leaf", ours);
	must(rmdir(leaf) == 0 && rmdir(ours) == 0 && symlink(root, ours) == 0);
	fall_back(dir, 1, want);
	must(setenv("XDG_RUNTIME_DIR", "relative", 1) == 0);
	fall_back(dir, 1, want);
	unsetenv("XDG_RUNTIME_DIR");
	fall_back(dir, 1, want);
	must(rmdir(want) == 0);
	(void)!rmdir(shared); /* unless other things live there */
	must(unlink(ours) == 0 && rmdir(run) == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "version", test_version },
		{ "exit codes", test_fail },
		{ "last line of the log", test_stop },
		{ "harden", test_harden },
		{ "loop choice", test_loop_choice },
		{ "directory is made", test_directory_made },
		{ "directory is refused", test_directory_refused },
		{ "directories of the configuration", test_directories_refused },
		{ "directory of last resort", test_directory_fallback },
	};

	snprintf(root, sizeof(root), "/tmp/program_test.XXXXXX");
	must(mkdtemp(root));
	const int bad = run_cases("program", cases, array_len(cases));
	static const char *const left[] = { "a/b/c", "a/b", "a", "file", "" };
	for (size_t i = 0; i < array_len(left); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", root, left[i]);
		(void)!remove(path);
	}
	return bad;
}
