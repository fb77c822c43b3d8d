/*
 * The small JSON pages: health, ready, version and the list of endpoints.  The verdict
 * of /ready is readiness.c's.
 */
#include "status-server/pages/status_json.h"

#include <openssl/crypto.h>

#include "lib/app/program.h"
#include "lib/base/json_write.h"
#include "lib/base/units.h"

enum { PATH_SHOWN = 200 };

static int finish(struct json_writer *j)
{
	json_write_close(j, '}');
	return j->rc == 0 ? buf_append(j->to, "\n", 1) : j->rc;
}

int status_json_health(struct buf *to, const struct site *site, uint64_t realtime_ns)
{
	struct json_writer j = { .to = to };
	const uint64_t since = site->start_realtime_ns;

	json_write_open(&j, NULL, '{');
	json_write_text(&j, "status", "ok");
	json_write_text(&j, "program", "status-server");
	json_write_text(&j, "version", program_version);
	json_write_number(&j, "uptime_seconds",
			  realtime_ns > since ? (realtime_ns - since) / NS_PER_S : 0);
	return finish(&j);
}

int status_json_ready(struct buf *to, const struct readiness *r)
{
	static const char *const parts[COMPONENTS] = {
		[COMPONENT_TUNNEL] = "tunnel", [COMPONENT_CONTROL] = "registration"
	};
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	json_write_text(&j, "status", r->ready ? "ready" : "not ready");
	json_write_bool(&j, "registered", r->registered);
	json_write_text(&j, "tunnel", r->tunnel);
	json_write_open(&j, "missing", '[');
	/* registration first: without it there is no tunnel */
	for (int c = COMPONENTS - 1; c >= 0; c--) {
		if (!r->lacks[c][0])
			continue;
		json_write_open(&j, NULL, '{');
		json_write_text(&j, "part", parts[c]);
		json_write_text(&j, "reason", r->lacks[c]);
		json_write_close(&j, '}');
	}
	json_write_close(&j, ']');
	return finish(&j);
}

static void write_component(struct json_writer *j, const struct component_view *c)
{
	json_write_open(j, NULL, '{');
	json_write_text(j, "name", c->name);
	json_write_text(j, "presence", bus_presence_name(c->presence));
	if (component_is_readable(c)) {
		json_write_text(j, "build", c->build);
		json_write_time(j, "started", c->start_realtime_ns);
		json_write_text(j, "phase", bus_phase_name(c->phase));
	}
	if (c->presence == BUS_DEAD)
		json_write_number(j, "exit_code", c->exit_code);
	if (c->fault->code)
		json_write_text(j, "why", c->fault->why);
	json_write_close(j, '}');
}

int status_json_version(struct buf *to, const struct site *site, const struct pod_view *v)
{
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	json_write_text(&j, "program", "status-server");
	json_write_text(&j, "version", program_version);
	json_write_text(&j, "revision", program_revision);
	json_write_text(&j, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
	json_write_text(&j, "io_backend", site->io_backend);
	if (*site->io_reason)
		json_write_text(&j, "io_reason", site->io_reason);
	json_write_time(&j, "started", site->start_realtime_ns);
	json_write_open(&j, "components", '[');
	for (size_t i = 0; i < COMPONENTS; i++)
		write_component(&j, &v->of[i]);
	json_write_close(&j, ']');
	return finish(&j);
}

int status_json_index(struct buf *to, const struct span *path)
{
	struct json_writer j = { .to = to };

	json_write_open(&j, NULL, '{');
	if (path) {
		json_write_text(&j, "error", "there is no such endpoint");
		json_write_span(&j, "path", span_of(path->p, min_size(path->n, PATH_SHOWN)));
	}
	json_write_open(&j, "endpoints", '[');
	for (size_t i = 0; i < ROUTE_OTHER; i++) {
		json_write_open(&j, NULL, '{');
		json_write_text(&j, "path", route_info[i].path);
		json_write_text(&j, "help", route_info[i].help);
		json_write_close(&j, '}');
	}
	json_write_close(&j, ']');
	return finish(&j);
}
