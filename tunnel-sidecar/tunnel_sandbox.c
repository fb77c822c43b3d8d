/*
 * tunnel_sandbox -- collects the files and TCP ports that this program needs after its
 * start, and enters the sandbox with them. How they are enforced is in lib/app/sandbox.
 */
#include "tunnel-sidecar/tunnel_sandbox.h"

#include <stdlib.h>
#include <string.h>

#include "lib/app/sandbox/sandbox.h"
#include "lib/base/bytes.h"
#include "lib/base/escape.h"

void tunnel_sandbox_add(struct tunnel_sandbox_ports *p, uint16_t port)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->port[i] == port)
			return;
	must(p->n < CONFINE_PORTS_MAX);
	p->port[p->n++] = port;
}

/* The next entry of a list; 0 at its end, -1 for one that is no port. */
static int next_port(const char **list)
{
	*list += strspn(*list, ", ");
	const size_t n = strcspn(*list, ", "), digits = strspn(*list, "0123456789");
	if (!n)
		return 0;
	const long port = digits == n && n <= 5 ? strtol(*list, NULL, 10) : 0;
	*list += n;
	return port > 0 && port <= UINT16_MAX ? (int)port : -1;
}

int tunnel_sandbox_server_ports(struct tunnel_sandbox_ports *p, const char *list, struct fault *why)
{
	enum { SERVER_PORTS_MAX = 16 };
	const char *rest = list;
	int n = 0;

	for (int port; (port = next_port(&rest)); n++) {
		if (port < 0 || n == SERVER_PORTS_MAX) {
			char shown[80];
			escape_text(shown, sizeof(shown), span_str(list));
			return fault_set(why, ERR_CONFIG,
					 "tunnel.server_ports (PIPEOPS_TUNNEL_SERVER_PORTS): "
					 "\"%s\" is no list of "
					 "at most %d ports like 443,8443",
					 shown, SERVER_PORTS_MAX);
		}
		tunnel_sandbox_add(p, (uint16_t)port);
	}
	return 0;
}

bool tunnel_sandbox_allows(const char *list, uint16_t port)
{
	int n = 0;

	for (int allowed; (allowed = next_port(&list)); n++)
		if (allowed == port)
			return true;
	return n == 0;
}

int tunnel_sandbox_enter(const struct tunnel_sandbox_options *o, struct fault *why)
{
	const char *const read[] = { o->bus_dir, o->handoff_dir };
	struct sandbox_report report = { 0 };
	const int rc =
		sandbox_enter(&report,
			      &(struct sandbox_options){ .program = CONFIG_TUNNEL,
							 .mode = o->mode,
							 .loop = o->loop,
							 .has_names = true,
							 .read = read,
							 .read_n = array_len(read),
							 .has_system_trust = o->has_system_trust,
							 .ports = o->ports->port,
							 .ports_n = o->ports->n,
							 .any_port = o->any_port },
			      why);

	for (enum sandbox_feature f = 0; f < SANDBOX_FEATURES_N; f++)
		publish_sandbox(o->publish, f, report.on[f]);
	sandbox_log(&report);
	return rc;
}
