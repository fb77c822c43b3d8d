/* The configuration file, read by a child process (config_private.h says why); what it
 * understood comes back in memory that both share. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"
#include "lib/io/file.h"

enum { FILE_MAX = 256 * 1024 };

/* `name` is the path as it may be shown. */
static int load(const char *path, const char *name, char *to, struct fault *why)
{
	struct fault inner = { 0 };
	const int n = file_read(to, FILE_MAX + 1, path, 0, NULL, &inner);

	if (n == ERR_SYS)
		return fault_set(why, ERR_CONFIG, "configuration file %s: %s", name,
				 strerror(inner.sys));
	/* The sentence without the path: it may not be fit to be shown. */
	return n < 0 ? fault_set(why, ERR_CONFIG, "configuration file %s%s", name,
				 inner.why + min_size(strlen(path), 160))
		     : n;
}

/* What the child hands over. */
struct result {
	bool done;
	int rc;
	struct fault why;
	struct config c;
};

static void read_in_child(struct result *to, unsigned program, const char *path, const char *name)
{
	const struct rlimit none = { 0, 0 };
	char *text = malloc(FILE_MAX + 1);

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!text) {
		to->rc = fault_set(&to->why, ERR_NOMEM, "no memory to read %s", name);
	} else {
		const int n = load(path, name, text, &to->why);
		to->rc = n < 0 ? n
			       : config_yaml_read(&to->c, &config_table, program, name, text,
						  (size_t)n, &to->why);
	}
	to->done = true;
	_exit(0);
}

int config_file_read(struct config *c, unsigned program, const char *path, struct fault *why)
{
	char name[120];

	escape_text(name, sizeof(name), span_str(path));
	struct result *to =
		mmap(NULL, sizeof(*to), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (to == MAP_FAILED)
		return fault_set(why, ERR_NOMEM, "no memory to read %s", name);
	to->c = *c;
	const pid_t child = fork();
	if (child == 0)
		read_in_child(to, program, path, name);
	/* Whoever started us may have SIGCHLD ignored: then waitpid() waits all the same
	 * and says ECHILD. */
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	int rc = to->rc;
	if (child < 0)
		rc = fault_set_sys(why, errno, "configuration file %s: start of its reader", name);
	else if (!to->done)
		rc = fault_set(why, ERR_CONFIG, "configuration file %s: its reader crashed", name);
	else if (rc < 0)
		rc = fault_set(why, to->why.code, "%s", to->why.why);
	else
		*c = to->c;
	explicit_bzero(to, sizeof(*to));
	(void)munmap(to, sizeof(*to));
	return rc;
}
