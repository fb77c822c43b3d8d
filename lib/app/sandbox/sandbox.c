/*
 * sandbox -- the order in which a program gives up its rights, and which parts
 * of that the kernel had. The parts themselves are sandbox_filter.c,
 * sandbox_landlock.c and the loop's ring.
 */
#include "lib/app/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/app/sandbox/sandbox_private.h"

#define PORTS_MAX 1024
#define DNS_PORT  53

static void set(struct sandbox_report *r, enum sandbox_feature f, bool on, const char *why)
{
	r->on[f] = on;
	snprintf(r->why[f], sizeof(r->why[f]), "%s", on ? "" : why);
}

static void set_sys(struct sandbox_report *r, enum sandbox_feature f, int sys)
{
	set(r, f, !sys,
	    sys == ENOSYS || sys == EOPNOTSUPP ? "this kernel does not have it, or it is turned off"
					       : strerror(sys));
}

/* What other places have done, asked of the kernel. */
static void look(struct sandbox_report *r, const struct sandbox_options *o)
{
	struct rlimit core = { 1, 1 };
	const bool no_core = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0;

	set(r, SANDBOX_NO_DUMP, no_core && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0,
	    no_core ? "the process can be dumped" : "core dumps are not off");
	set(r, SANDBOX_NO_NEW_PRIVS, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
	    "execve can gain privileges");
	set(r, SANDBOX_RING, !*loop_unrestricted(o->loop), loop_unrestricted(o->loop));
}

/* /proc/self is found again as long as its entry is held: else procfs may make
 * another, of which the rule knows nothing. */
static void hold_proc_self(void)
{
	static int held = -1;

	if (held < 0)
		held = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int enter_files(const struct sandbox_options *o)
{
	struct sandbox_paths paths = { 0 };

	hold_proc_self();
	sandbox_paths_add(&paths, "/proc/self"); /* cgroup, maps of a report */
	sandbox_paths_add(&paths, "/sys/fs/cgroup");
	if (SANDBOX_IS_CHECKED)
		sandbox_paths_add(&paths, "/");
	for (size_t i = 0; i < o->read_n; i++)
		sandbox_paths_add(&paths, o->read[i]);
	sandbox_paths_find(&paths, o->has_names, o->has_system_trust);
	return sandbox_landlock_files(&sandbox_landlock_kernel, paths.path, paths.n);
}

static int enter_ports(const struct sandbox_options *o)
{
	uint16_t ports[PORTS_MAX] = { DNS_PORT };
	size_t n = o->has_names;

	must(o->ports_n < PORTS_MAX);
	for (size_t i = 0; i < o->ports_n; i++)
		ports[n++] = o->ports[i];
	return sandbox_landlock_ports(&sandbox_landlock_kernel, ports, n);
}

static int enter_filter(const struct sandbox_options *o)
{
	struct sandbox_filter filter;
	const bool has_ring = strcmp(loop_backend(o->loop), "uring") == 0;

	if (!sandbox_filter_make(&filter, o->program, has_ring, getpid()))
		return ENOSYS;
	return sandbox_filter_install(&filter);
}

/* The filter comes last: it forbids the calls that make the others. */
static void enter(struct sandbox_report *r, const struct sandbox_options *o)
{
	sandbox_load_late_code(o->has_names);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	look(r, o);
	set_sys(r, SANDBOX_LANDLOCK_FS, enter_files(o));
	if (o->any_port)
		set(r, SANDBOX_LANDLOCK_NET, false, o->any_port);
	else
		set_sys(r, SANDBOX_LANDLOCK_NET, enter_ports(o));
	set_sys(r, SANDBOX_SECCOMP, enter_filter(o));
}

static void stay_out(struct sandbox_report *r, const struct sandbox_options *o)
{
	static const enum sandbox_feature walls[] = { SANDBOX_SECCOMP, SANDBOX_LANDLOCK_FS,
						      SANDBOX_LANDLOCK_NET };

	look(r, o);
	for (size_t i = 0; i < array_len(walls); i++)
		set(r, walls[i], false, "security.sandbox is off");
}

int sandbox_enter(struct sandbox_report *report, const struct sandbox_options *options,
		  struct fault *why)
{
	const char *mode = options->mode ? options->mode : "auto";

	if (strcmp(mode, "off") == 0)
		stay_out(report, options);
	else
		enter(report, options);
	if (strcmp(mode, "require") != 0)
		return 0;
	for (enum sandbox_feature f = 0; f < SANDBOX_FEATURES_N; f++)
		if (!report->on[f])
			return fault_set(
				why, ERR_CONFIG,
				"the sandbox is required and its part %s did not take hold: %s",
				sandbox_feature_name(f), report->why[f]);
	return 0;
}

void sandbox_log(const struct sandbox_report *report)
{
	struct log_field fields[SANDBOX_FEATURES_N];
	bool all = true;

	for (enum sandbox_feature f = 0; f < SANDBOX_FEATURES_N; f++) {
		fields[f] = L_STR(sandbox_feature_name(f), report->on[f] ? "on" : report->why[f]);
		all = all && report->on[f];
	}
	log_write(all ? LOG_INFO : LOG_WARN, "sandbox",
		  all ? "the program has locked itself in"
		      : "parts of the sandbox did not take hold",
		  fields, SANDBOX_FEATURES_N);
}
