#include "status-server/pages/status_json.h"

#include <openssl/crypto.h>

#include "lib/app/program.h"
#include "lib/base/json_write.h"

enum { PATH_SHOWN = 200 };

static int finish(struct json *j)
{
	json_close(j, '}');
	return j->rc == 0 ? buf_append(j->to, "\n", 1) : j->rc;
}

int status_json_health(struct buf *to, const struct site *site, uint64_t realtime_ns)
{
	struct json j = { .to = to };
	const uint64_t since = site->start_realtime_ns;

	json_open(&j, NULL, '{');
	json_text(&j, "status", "ok");
	json_text(&j, "program", "status-server");
	json_text(&j, "version", program_version);
	json_number(&j, "uptime_seconds",
		    realtime_ns > since ? (realtime_ns - since) / 1000000000u : 0);
	return finish(&j);
}

int status_json_ready(struct buf *to, const struct readiness *r)
{
	static const char *const parts[COMPONENTS] = {
		[COMPONENT_TUNNEL] = "tunnel", [COMPONENT_CONTROL] = "registration"
	};
	struct json j = { .to = to };

	json_open(&j, NULL, '{');
	json_text(&j, "status", r->ready ? "ready" : "not ready");
	json_bool(&j, "registered", r->registered);
	json_text(&j, "tunnel", r->tunnel);
	json_open(&j, "missing", '[');
	/* registration first: without it there is no tunnel */
	for (int c = COMPONENTS - 1; c >= 0; c--) {
		if (!r->lacks[c][0])
			continue;
		json_open(&j, NULL, '{');
		json_text(&j, "part", parts[c]);
		json_text(&j, "reason", r->lacks[c]);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	return finish(&j);
}

static void write_component(struct json *j, const struct component_view *c)
{
	json_open(j, NULL, '{');
	json_text(j, "name", c->name);
	json_text(j, "presence", bus_presence_name(c->presence));
	if (component_is_readable(c)) {
		json_text(j, "build", c->build);
		json_time(j, "started", c->start_realtime_ns);
		json_text(j, "phase", bus_phase_name(c->phase));
	}
	if (c->presence == BUS_DEAD)
		json_number(j, "exit_code", c->exit_code);
	if (c->fault->code)
		json_text(j, "why", c->fault->why);
	json_close(j, '}');
}

int status_json_version(struct buf *to, const struct site *site, const struct source_view *v)
{
	struct json j = { .to = to };

	json_open(&j, NULL, '{');
	json_text(&j, "program", "status-server");
	json_text(&j, "version", program_version);
	json_text(&j, "revision", program_revision);
	json_text(&j, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
	json_text(&j, "io_backend", site->io_backend);
	if (*site->io_reason)
		json_text(&j, "io_reason", site->io_reason);
	json_time(&j, "started", site->start_realtime_ns);
	json_open(&j, "components", '[');
	for (size_t i = 0; i < COMPONENTS; i++)
		write_component(&j, &v->of[i]);
	json_close(&j, ']');
	return finish(&j);
}

int status_json_index(struct buf *to, const struct span *path)
{
	struct json j = { .to = to };

	json_open(&j, NULL, '{');
	if (path) {
		json_text(&j, "error", "there is no such endpoint");
		json_span(&j, "path", span_of(path->p, min_size(path->n, PATH_SHOWN)));
	}
	json_open(&j, "endpoints", '[');
	for (size_t i = 0; i < ROUTE_OTHER; i++) {
		json_open(&j, NULL, '{');
		json_text(&j, "path", route_info[i].path);
		json_text(&j, "help", route_info[i].help);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	return finish(&j);
}
