/*
 * program -- what each of the three programs does once at its start and end:
 * version, log, directories, hardening, exit codes. It opens no socket and reads
 * no configuration.
 */
#include "lib/app/program.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/app/self.h"

/* The defaults of config.def. */
#define BUS_DIR	    "/run/pipeops/bus"
#define HANDOFF_DIR "/run/pipeops/handoff"

void program_print_version(const char *name)
{
	printf("%s %s (%s), %s\n", name, program_version, program_revision,
	       OpenSSL_version(OPENSSL_VERSION));
}

int program_exit_code(const struct fault *why)
{
	if (!why->code)
		return EXIT_DONE;
	if (why->code == ERR_USAGE)
		return EXIT_USAGE;
	return why->code == ERR_CONFIG ? EXIT_CONFIGURATION : EXIT_RUNTIME;
}

int program_fail(const char *name, const struct fault *why)
{
	fprintf(stderr, "%s: %s\n", name, why->why);
	return program_exit_code(why);
}

void program_start_log(const char *component, const struct config *c)
{
	log_start(&(struct log_options){
		.component = component,
		.level = log_level_read(c->log_level),
		.json = strcmp(c->log_format, "json") == 0,
		.fd = strcmp(c->log_output, "stdout") == 0 ? STDOUT_FILENO : STDERR_FILENO,
	});
}

int program_stop(const char *name, int exit_code, const struct fault *why)
{
	if (why->code)
		log_error("stopped", "the program can't go on", L_STR("program", name),
			  L_STR("reason", err_name(why->code)), L_STR("error", why->why),
			  L_INT("exit_code", exit_code));
	else
		log_info("stopped", "the program ends", L_STR("program", name),
			 L_INT("exit_code", exit_code));
	return exit_code;
}

void program_begin(void)
{
	int fd;

	/* open() gives the lowest free number. */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void program_harden(void)
{
	const struct rlimit none = { 0, 0 };

	self_start();
	struct rlimit files;

	/* A descriptor for each connection: what the pod is allowed, not the 1024 that
	 * select() once could count. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Both are best effort: a sandbox that forbids them forbids dumps as well. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(027);
}

enum loop_choice program_loop_choice(const struct config *c)
{
	if (strcmp(c->io, "uring") == 0)
		return LOOP_URING;
	return strcmp(c->io, "epoll") == 0 ? LOOP_EPOLL : LOOP_AUTO;
}

/* mkdir -p; 0 when it is there and can be entered. */
static int make_path(const char *dir, mode_t mode)
{
	char path[CONFIG_TEXT_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s", dir);
	for (char *c = path + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		if (mkdir(path, mode) < 0 && errno != EEXIST)
			return errno;
		*c = '/';
	}
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return errno;
	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISDIR(st.st_mode))
		return ENOTDIR;
	return access(path, X_OK) < 0 ? errno : 0;
}

/* A folder of this user's below /tmp must be ours alone: anybody may have made
 * one of that name before. */
static int make_private(const char *base, bool shared_base, const char *leaf,
			char dir[CONFIG_TEXT_MAX])
{
	char root[CONFIG_TEXT_MAX];
	struct stat st;

	if (shared_base)
		snprintf(root, sizeof(root), "%s/pipeops-%u", base, (unsigned)getuid());
	else
		snprintf(root, sizeof(root), "%s/pipeops", base);
	if (mkdir(root, 0700) < 0 && errno != EEXIST)
		return errno;
	if (lstat(root, &st) < 0)
		return errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 022))
		return EPERM;
	const int n = snprintf(dir, CONFIG_TEXT_MAX, "%s/%s", root, leaf);
	return n >= CONFIG_TEXT_MAX ? ENAMETOOLONG : make_path(dir, 0700);
}

int program_directory(char dir[CONFIG_TEXT_MAX], const char *default_dir, const char *leaf,
		      struct fault *why)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const int sys = make_path(dir, 0755);

	if (!sys)
		return 0;
	if (strcmp(dir, default_dir) != 0)
		return fault_set_sys(
			why, sys, "directory %s can't be made: make it, or name another one", dir);
	if (runtime && *runtime == '/' && make_private(runtime, false, leaf, dir) == 0)
		return 1;
	const int rc = make_private("/tmp", true, leaf, dir);
	if (rc)
		return fault_set_sys(why, rc, "neither %s nor a directory below /tmp can be made",
				     default_dir);
	return 1;
}

static int configured(char dir[CONFIG_TEXT_MAX], const char *default_dir, const char *leaf,
		      const char *setting, struct fault *why)
{
	struct fault inner = { 0 };
	const int rc = program_directory(dir, default_dir, leaf, &inner);

	return rc < 0 ? fault_set(why, inner.code, "%s: %s", setting, inner.why) : rc;
}

int program_bus_directory(struct config *c, struct fault *why)
{
	return configured(c->bus_dir, BUS_DIR, "bus", "bus.dir (PIPEOPS_BUS_DIR)", why);
}

int program_directories(struct config *c, struct fault *why)
{
	int rc = program_bus_directory(c, why);

	if (rc > 0)
		log_warn("directory_fallback", "the default directory can't be made here",
			 L_STR("default", BUS_DIR), L_STR("used", c->bus_dir));
	if (rc >= 0)
		rc = configured(c->handoff_dir, HANDOFF_DIR, "handoff",
				"bus.handoff_dir (PIPEOPS_HANDOFF_DIR)", why);
	if (rc > 0)
		log_warn("directory_fallback", "the default directory can't be made here",
			 L_STR("default", HANDOFF_DIR), L_STR("used", c->handoff_dir));
	return rc < 0 ? rc : 0;
}
