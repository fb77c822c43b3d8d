/*
 * program -- what every program does once: version, log, directories, core
 * dumps off, exit codes.
 */
#ifndef LIB_APP_PROGRAM_H
#define LIB_APP_PROGRAM_H

#include "lib/app/config/config.h"
#include "lib/base/fault.h"
#include "lib/io/loop/loop.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_RUNTIME = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIGURATION = 64,
	EXIT_REGISTRATION_REFUSED = 65,
	EXIT_REGISTRATION_UNREACHABLE = 66,
};

extern const char program_version[];  /* "0.1.0" */
extern const char program_revision[]; /* git's short id, or "unknown" */

/* Prints --version: "name version (revision), OpenSSL x". */
void program_print_version(const char *name);
/* Before the log runs: says the fault on stderr as "name: sentence" and returns
 * the exit code. */
int program_fail(const char *name, const struct fault *why);
/* The log as the configuration wants it; component: "tunnel", "control", "status". */
void program_start_log(const char *component, const struct config *c);
/* 0 for a fault without code. */
int program_exit_code(const struct fault *why);
/* Once the log runs: its last line, and with a fault why.  Returns the exit code. */
int program_stop(const char *name, int exit_code, const struct fault *why);
/* The very first call of main(): a standard descriptor that is closed becomes /dev/null.
 * Else the ring or a signal descriptor would get its number, and log lines or a panic
 * would be written into it. */
void program_begin(void);
/* Next: OpenSSL's memory is counted (self.h); no core dumps, not dumpable
 * (no ptrace of peers), umask 027; as many descriptors as the hard limit allows. */
void program_harden(void);
enum loop_choice program_loop_choice(const struct config *c);

/* Makes sure `dir` (a bus or handoff directory) exists.  Where the default
 * can't be made, writes a directory of the user's below $XDG_RUNTIME_DIR or
 * /tmp into dir instead and returns 1 (the caller logs it); 0 when as asked.
 * ERR_SYS with what to do, when the user named the directory himself. */
MUST_USE int program_directory(char dir[CONFIG_TEXT_MAX], const char *default_dir, const char *leaf,
			       struct fault *why);
/* The same for bus.dir of the configuration, and for bus and handoff directory
 * at once, where another one than the default is logged. */
MUST_USE int program_bus_directory(struct config *c, struct fault *why);
MUST_USE int program_directories(struct config *c, struct fault *why);

#endif
