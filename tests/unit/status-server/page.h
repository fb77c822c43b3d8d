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
	struct bus_reader *readers[COMPONENTS];
	struct pod_view v;
};

static inline void view_fixture_init(struct view_fixture *p, const struct bus_fixture *f)
{
	*p = (struct view_fixture){ .readers = { [COMPONENT_TUNNEL] = fixture_reader(f, BUS_TUNNEL),
						 [COMPONENT_CONTROL] =
							 fixture_reader(f, BUS_CONTROL) } };
}

static inline void view_fixture_fini(struct view_fixture *p)
{
	for (size_t i = 0; i < COMPONENTS; i++)
		bus_reader_free(p->readers[i]);
}

/* As pod_watch_look() does it, but for the clocks. */
static inline const struct pod_view *view_fixture_at(struct view_fixture *p, uint64_t now_ns,
						     uint64_t realtime_ns)
{
	static const char *const names[] = {
		[COMPONENT_TUNNEL] = "tunnel", [COMPONENT_CONTROL] = "control"
	};
	struct pod_view *v = &p->v;

	v->realtime_ns = realtime_ns;
	for (size_t i = 0; i < COMPONENTS; i++) {
		struct component_view *c = &v->of[i];

		c->name = names[i];
		c->reader = p->readers[i];
		c->presence = bus_reader_refresh(c->reader, now_ns);
		c->start_realtime_ns = bus_reader_start_realtime_ns(c->reader);
		c->build = bus_reader_build(c->reader);
		c->phase = bus_reader_phase(c->reader, &c->exit_code);
		c->fault = bus_reader_fault(c->reader);
	}
	v->has_session = bus_read_session(p->readers[COMPONENT_TUNNEL], &v->session) == 1;
	v->has_registration =
		bus_read_registration(p->readers[COMPONENT_CONTROL], &v->registration) == 1;
	v->has_desired = bus_read_desired(p->readers[COMPONENT_CONTROL], &v->desired) == 1;
	return v;
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
