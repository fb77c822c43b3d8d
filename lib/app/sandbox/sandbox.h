/*
 * sandbox -- the rights that a program gives up once it has started, so that an attacker who
 * takes it over through a peer's bytes can use almost nothing.
 *
 * Three independent parts: an allow-list of system calls (seccomp,
 * sandbox_calls.def), files and TCP ports (Landlock), and io_uring, which
 * neither list restricts, with restrictions of its own (lib/io/loop/loop_uring_ring.c).  A
 * kernel without one of them runs the program all the same unless the operator
 * insists; the report says which parts are active, for the log and the metrics.
 *
 * Entered once, by the only thread: Landlock binds the calling thread and those
 * that it starts later.  Nothing can be taken back.
 */
#ifndef LIB_APP_SANDBOX_SANDBOX_H
#define LIB_APP_SANDBOX_SANDBOX_H

#include "lib/app/config/config.h"
#include "lib/base/feature.h"
#include "lib/io/loop/loop.h"

#define SANDBOX_MODES "auto|off|require"

struct sandbox_options {
	enum config_user program; /* whose rows of sandbox_calls.def */
	const char *mode;	  /* one of SANDBOX_MODES; NULL = auto */
	const struct loop *loop;
	/* Host names are looked up and dialled: the resolver's files, and port 53. */
	bool has_names;
	/* Folders and files to read later beside; NULL and what is not there is left out. */
	const char *const *read;
	size_t read_n;
	bool has_system_trust; /* certificates of the system's folders are still read */
	/* TCP ports to connect to. */
	const uint16_t *ports;
	size_t ports_n;
	const char *any_port; /* why ports are not restricted; NULL: only `ports` are open */
};

struct sandbox_report {
	bool on[SANDBOX_FEATURES_N];
	char why[SANDBOX_FEATURES_N][112]; /* why it is not on */
};

/* With `require`, ERR_CONFIG when a part did not take hold; else 0. */
MUST_USE int sandbox_enter(struct sandbox_report *report, const struct sandbox_options *options,
			   struct fault *why);
/* The log line: which parts are on, and why the others are not. */
void sandbox_log(const struct sandbox_report *report);

#endif
