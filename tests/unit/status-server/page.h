/*
 * page -- a view of a bus directory at a time of the test's choosing, and
 * values of a page by name.
 */
#ifndef TESTS_UNIT_STATUS_SERVER_PAGE_H
#define TESTS_UNIT_STATUS_SERVER_PAGE_H

#include <inttypes.h>

#include "status-server/pod_view.h"
#include "tests/unit/shm/bus_fixture.h"

struct view_fixture {
	struct pod_readers readers;
	struct pod_view v;
};

static inline void view_fixture_init(struct view_fixture *p, const struct bus_fixture *f)
{
	must(pod_readers_new(&p->readers, f->dir, NULL) == 0);
}

static inline void view_fixture_fini(struct view_fixture *p)
{
	pod_readers_free(&p->readers);
}

/* As pod_watch_look() does it, but for the clocks. */
static inline const struct pod_view *view_fixture_at(struct view_fixture *p, uint64_t now_ns,
						     uint64_t realtime_ns)
{
	pod_view_read(&p->v, &p->readers, now_ns, realtime_ns);
	return &p->v;
}

/* The text of the value of a series ("name{labels}"), "" when it is not there. */
static inline const char *series_value(const char *page, const char *series, char to[64])
{
	const size_t n = strlen(series);

	to[0] = '\0';
	for (const char *at = page; at && *at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, series, n) == 0 && at[n] == ' ') {
			snprintf(to, 64, "%.*s", (int)strcspn(at + n + 1, "\n"), at + n + 1);
			break;
		}
	}
	return to;
}

#endif
