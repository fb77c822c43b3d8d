/*
 * Reads the tunnel's segment of the bus, and our own for its incarnation.  It never writes there.
 */
#include "control-agent/tunnel/tunnel_view.h"

int tunnel_view_init(struct tunnel_view *v, const char *bus_dir, struct fault *why)
{
	*v = (struct tunnel_view){ 0 };
	int rc = bus_reader_new(&v->tunnel, bus_dir, BUS_TUNNEL, why);
	if (rc >= 0)
		rc = bus_reader_new(&v->own, bus_dir, BUS_CONTROL, why);
	if (rc < 0)
		tunnel_view_fini(v);
	return rc;
}

void tunnel_view_fini(struct tunnel_view *v)
{
	bus_reader_free(v->tunnel);
	bus_reader_free(v->own);
	*v = (struct tunnel_view){ 0 };
}

const char *tunnel_view_word(enum bus_presence presence, uint64_t state)
{
	if (presence != BUS_ALIVE)
		return "disconnected";
	switch (state) {
	case BUS_STATE_UP:
		return "connected";
	case BUS_STATE_RESOLVING:
	case BUS_STATE_CONNECTING:
	case BUS_STATE_TLS:
	case BUS_STATE_UPGRADING:
	case BUS_STATE_SSH:
	case BUS_STATE_CONFIGURING:
	case BUS_STATE_BACKOFF:
		return "connecting";
	}
	return "disconnected";
}

const char *tunnel_view_status(struct tunnel_view *v, uint64_t now_ns)
{
	const enum bus_presence presence = bus_reader_refresh(v->tunnel, now_ns);
	struct bus_session s;

	return bus_read_session(v->tunnel, &s) == 1 ? tunnel_view_word(presence, s.state)
						    : "disconnected";
}

bool tunnel_view_observed(struct tunnel_view *v, uint64_t now_ns, struct bus_observed *to)
{
	uint8_t own[16];

	(void)bus_reader_refresh(v->own, now_ns);
	if (bus_reader_refresh(v->tunnel, now_ns) != BUS_ALIVE ||
	    bus_read_observed(v->tunnel, to) != 1)
		return false;
	bus_reader_incarnation(v->own, own);
	return memcmp(own, to->writer, sizeof(own)) == 0;
}

bool tunnel_view_is_refused(const struct bus_observed *o, uint64_t gen)
{
	return o->gen_seen == gen && o->gen_applied != gen && o->error;
}
