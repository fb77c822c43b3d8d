/*
 * The process_* metrics from /proc/self.  What the program counts of itself is
 * lib/app/self.c's.
 */
#include "status-server/metrics/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "lib/app/self.h"
#include "lib/base/units.h"

/* Fields of /proc/self/stat as proc(5) counts them. */
enum {
	FIELD_STATE = 3,
	FIELD_UTIME = 14,
	FIELD_STIME = 15,
	FIELD_START = 22,
	FIELD_VSIZE = 23,
	FIELD_RSS = 24
};

static bool read_stat(uint64_t fields[FIELD_RSS + 1])
{
	char text[1024];
	const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *at = strrchr(text, ')'); /* the name before it may hold anything */
	if (!at)
		return false;
	at++;
	for (int i = FIELD_STATE; i <= FIELD_RSS; i++) {
		if (*at != ' ')
			return false;
		at++;
		fields[i] = strtoull(at, NULL, 10);
		at += strcspn(at, " ");
	}
	return true;
}

static uint64_t now_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void process_read(struct process_facts *out)
{
	uint64_t f[FIELD_RSS + 1] = { 0 };
	struct rlimit most;

	*out = (struct process_facts){ .has_stat = read_stat(f) };
	if (out->has_stat) {
		const uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);

		out->cpu_ns = (f[FIELD_UTIME] + f[FIELD_STIME]) * tick_ns;
		out->virtual_bytes = f[FIELD_VSIZE];
		out->resident_bytes = f[FIELD_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
		out->start_realtime_ns =
			now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME) + f[FIELD_START] * tick_ns;
	}
	out->open_fds = self_count_fds();
	out->has_fds = out->open_fds && getrlimit(RLIMIT_NOFILE, &most) == 0;
	if (out->has_fds)
		out->max_fds = most.rlim_cur;
}
