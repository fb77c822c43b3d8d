/*
 * Segments that writers of released versions left, read by this one.  Within
 * major 1 all of it must come back, whatever was added since.
 *
 * Usage: golden_test [write VERSION]: adds what this version writes.  Until the
 * first release its own may be written again; after it, none is ever changed.
 */
#include <sys/mman.h>
#include <zlib.h>

#include "lib/base/must.h"
#include "tests/unit/shm/bus_fixture.h"

#define FOLDER "tests/golden/"

static const char *const versions[] = { "0.1.0" };
static const char *const roles[] = { [BUS_TUNNEL] = "tunnel", [BUS_CONTROL] = "control" };

/* What is in every golden segment. */
static void write_all(struct bus_writer *w, enum bus_role role)
{
	bus_phase(w, BUS_RUNNING);
	must(bus_beat(w) == 0);
	bus_log(w, 2, "a line", 6);
	bus_event(w, "an event");
	if (role == BUS_TUNNEL) {
		bus_add(w, BUS_TUNNEL_BYTES, 3, 4711);
		bus_set(w, BUS_TUNNEL_UP, 0, 1);
		bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 20000000);
		bus_publish_session(
			w, &(struct bus_session){ .state = BUS_STATE_UP, .server = "server:443" });
		bus_publish_observed(w,
				     &(struct bus_observed){ .gen_seen = 9, .error_text = "why" });
	} else {
		bus_add(w, BUS_HEARTBEATS, 0, 12);
		bus_publish_registration(
			w, &(struct bus_registration){ .registered = 1, .cluster_id = "id" });
		bus_publish_desired(
			w, &(struct bus_desired){ .gen = 7, .n = 2, .url = "https://tunnel" });
	}
}

static void path_of(char to[128], const char *version, enum bus_role role)
{
	snprintf(to, 128, FOLDER "%s-%s.segment.gz", roles[role], version);
}

static const char *new_version; /* to be written */

static void add_golden(const char *version, enum bus_role role)
{
	static uint8_t bytes[1 << 20];
	struct bus_fixture f;
	char path[128];
	fixture_init(&f);
	struct bus_writer *w = fixture_writer(&f, role);

	write_all(w, role);
	bus_writer_free(w, 3);
	snprintf(path, sizeof(path), "%s/%s/segment", f.dir, roles[role]);
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = read(fd, bytes, sizeof(bytes));
	must(n > 0);
	close(fd);
	path_of(path, version, role);
	gzFile z = gzopen(path, "wb9");
	must(z && gzwrite(z, bytes, (unsigned)n) == (int)n);
	must(gzclose(z) == Z_OK);
	fixture_fini(&f);
}

/* Attached to the golden file, in memory. */
static struct bus_reader *open_golden(const char *path, enum bus_role role)
{
	static uint8_t bytes[1 << 20];
	struct bus_reader *r = NULL;
	struct fault why = { 0 };
	gzFile z = gzopen(path, "rb");

	if (!check_row(path, z != NULL))
		return NULL;
	const int n = gzread(z, bytes, sizeof(bytes));
	gzclose(z);
	const int fd = memfd_create("golden", MFD_CLOEXEC);
	must(fd >= 0 && n > 0 && write(fd, bytes, (size_t)n) == n);
	if (!check_row(path, bus_reader_take(&r, fd, role, &why) == 0))
		printf("%s: %s\n", path, why.why);
	return r;
}

static void check_line(void *user, const struct bus_log_line *line)
{
	check(line->seq == 1 && span_is(line->text, user));
}

static void check_tunnel(struct bus_reader *r)
{
	struct bus_session s = { 0 };
	struct bus_observed o = { 0 };
	const struct wanted rtt = sample_of(r, "pipeops_tunnel_ping_rtt_seconds", "");

	check(value_of(r, "pipeops_tunnel_bytes_total", "forward=\"k8s-api\",direction=\"down\"") ==
	      4711);
	check(value_of(r, "pipeops_tunnel_up", "") == 1);
	check(rtt.found == 1 && rtt.sample.sum == 20000000 && rtt.sample.scale == 1e-9);
	check(bus_read_session(r, &s) == 1 && s.state == BUS_STATE_UP &&
	      strcmp(s.server, "server:443") == 0);
	check(bus_read_observed(r, &o) == 1 && o.gen_seen == 9 && strcmp(o.error_text, "why") == 0);
}

static void check_control(struct bus_reader *r)
{
	struct bus_registration reg = { 0 };
	struct bus_desired d = { 0 };

	check(value_of(r, "pipeops_heartbeat_total", "") == 12);
	check(bus_read_registration(r, &reg) == 1 && reg.registered == 1 &&
	      strcmp(reg.cluster_id, "id") == 0);
	check(bus_read_desired(r, &d) == 1 && d.gen == 7 && d.n == 2 &&
	      strcmp(d.url, "https://tunnel") == 0);
}

static void test_all(void)
{
	for (size_t i = 0; i < array_len(versions); i++)
		for (enum bus_role role = BUS_TUNNEL; role <= BUS_CONTROL; role++) {
			char path[128], line[] = "a line", event[] = "an event";
			uint64_t cursor = 0, lost = 0, other = 0;
			uint32_t code = 0;

			path_of(path, versions[i], role);
			struct bus_reader *r = open_golden(path, role);
			if (!r)
				continue;
			check(bus_reader_presence(r) == BUS_DEAD);
			check(bus_reader_phase(r, &code) == BUS_STOPPED && code == 3);
			check(bus_reader_beat(r) == 1 && bus_reader_start_realtime_ns(r) > 0);
			check(bus_reader_log(r, &cursor, &lost, check_line, line) == 0 && !lost);
			check(bus_reader_events(r, &other, &lost, check_line, event) == 0 && !lost);
			if (role == BUS_TUNNEL)
				check_tunnel(r);
			else
				check_control(r);
			bus_reader_free(r);
		}
}

static void write_new(void)
{
	add_golden(new_version, BUS_TUNNEL);
	add_golden(new_version, BUS_CONTROL);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = { { "all versions", test_all } };
	static const struct test_case writing[] = { { "write", write_new } };

	if (argc < 3)
		return run_cases("golden", cases, array_len(cases));
	new_version = argv[2];
	return run_cases("golden", writing, array_len(writing));
}
