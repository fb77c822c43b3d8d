/*
 * print-docs -- the generated pages of docs/, from the tables that the programs
 * run on: `print-docs configuration|metrics|logs|limits`.
 *
 * The status server's own numbers stand in no table; they are taken from a page
 * that its code renders for a pod in which all is well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/app/config/config.h"
#include "lib/app/libraries.h"
#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/base/must.h"
#include "shm/fields.h"
#include "shm/writer.h"
#include "status-server/metrics/metrics.h"

static void print_cell(const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
}

static void print_logs(void)
{
	static const struct {
		const char *name, *meaning;
	} events[] = {
#define LOG_EVENT(name, meaning) { #name, meaning },
#include "lib/app/log_events.def"
#undef LOG_EVENT
	};

	puts("# Log events\n\n"
	     "One line per event, as JSON (`logging.format: json`): `time`, `level`, `component`, "
	     "`event`, `msg`\n"
	     "and the event's own keys. Names are stable: alerts and queries may stand on them. No "
	     "line holds a\n"
	     "secret. This page is made from `lib/app/log_events.def` (`make docs`).\n\n"
	     "| event | meaning |\n| --- | --- |");
	for (size_t i = 0; i < array_len(events); i++) {
		printf("| `%s` | ", events[i].name);
		print_cell(events[i].meaning);
		puts(" |");
	}
}

static void print_limits(void)
{
	static const struct {
		const char *name; /* NULL: a group, its title and text */
		long value;
		const char *unit, *why;
	} rows[] = {
#define LIMIT_GROUP(title, text) { NULL, 0, title, text },
#define LIMIT(name, value, unit, why) { #name, value, unit, why },
#include "lib/base/limits.def"
#undef LIMIT
#undef LIMIT_GROUP
	};

	puts("# Limits against peers\n\n"
	     "Every bound on what a peer may make an agent hold, do or wait for, with the reason "
	     "for it. They are\n"
	     "constants: no configuration loosens them. This page is made from "
	     "`lib/base/limits.def`\n"
	     "(`make docs`).");
	for (size_t i = 0; i < array_len(rows); i++) {
		if (!rows[i].name) {
			printf("\n## %s\n\n%s%s| limit | value | what for |\n| --- | --- | --- |\n",
			       rows[i].unit, rows[i].why, *rows[i].why ? "\n\n" : "");
			continue;
		}
		printf("| `%s` | %ld %s | ", rows[i].name, rows[i].value, rows[i].unit);
		print_cell(rows[i].why);
		puts(" |");
	}
}

/* ---- numbers of the bus ---- */

static const char *kind_word(enum bus_layout_kind kind)
{
	switch (kind) {
	case BUS_COUNTER: return "counter";
	case BUS_GAUGE: return "gauge";
	case BUS_HISTOGRAM: return "histogram";
	}
	return "";
}

static const char *labels_text(enum bus_labels labels)
{
	switch (labels) {
	case BUS_LABELS_NONE: return "";
	case BUS_LABELS_FORWARD: return "`forward`";
	case BUS_LABELS_FORWARD_DIRECTION: return "`forward`, `direction`";
	case BUS_LABELS_PHASE: return "`phase`";
	case BUS_LABELS_REASON: return "`reason`";
	case BUS_LABELS_FEATURE: return "`feature`";
	case BUS_LABELS_CAUSE: return "`cause`";
	case BUS_LABELS_STATE_CAUSE: return "`state`, `cause`";
	case BUS_LABELS_GLITCH: return "`kind`";
	case BUS_LABELS_REFUSAL: return "`reason`";
	}
	return "";
}

static void print_head(const char *title, const char *text)
{
	printf("\n## %s\n\n%s\n\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
	       title, text);
}

static void print_role(enum bus_role role)
{
	for (size_t i = 0; i < BUS_FIELDS_N; i++) {
		const struct bus_field_info *f = &bus_field_info[i];

		if (f->role != role)
			continue;
		printf("| `%s` | %s | %s | ", f->name, kind_word(f->kind), labels_text(f->labels));
		print_cell(f->help);
		puts(" |");
	}
}

/* ---- numbers of the status server ---- */

static bool is_of_the_bus(const char *name)
{
	for (size_t i = 0; i < BUS_FIELDS_N; i++)
		if (strcmp(bus_field_info[i].name, name) == 0)
			return true;
	return false;
}

/* The keys of `{key="value",…}`, which holds no quote inside a value here. */
static void print_label_keys(char *labels)
{
	const char *comma = "";

	for (char *key = labels, *eq; (eq = strstr(key, "=\""));) {
		char *end = strchr(eq + 2, '"');

		must(end);
		printf("%s`%.*s`", comma, (int)(eq - key), key);
		comma = ", ";
		key = end + 1 + (end[1] == ',');
	}
}

/* Of each family: "# HELP name help", "# TYPE name kind", a sample. */
static void print_page(char *page)
{
	char name[128] = "", help[512] = "", kind[16] = "";

	for (char *line = page, *next; *line; line = next) {
		char *end = strchr(line, '\n');

		must(end);
		*end = '\0';
		next = end + 1;
		const int n =
			(int)strcspn(line[0] == '#' && strlen(line) > 7 ? line + 7 : line, " {");
		if (strncmp(line, "# HELP ", 7) == 0) {
			snprintf(name, sizeof(name), "%.*s", n, line + 7);
			snprintf(help, sizeof(help), "%s", line + 7 + n + 1);
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			snprintf(kind, sizeof(kind), "%s", line + 7 + n + 1);
		} else if (name[0] && line[0] != '#') {
			if (!is_of_the_bus(name)) {
				printf("| `%s` | %s | ", name, kind);
				if (line[n] == '{')
					print_label_keys(line + n + 1);
				fputs(" | ", stdout);
				print_cell(help);
				puts(" |");
			}
			name[0] = '\0';
		}
	}
}

static struct bus_writer *writer(const char *dir, enum bus_role role)
{
	static const char *const forwards[] = { "web" };
	struct bus_writer *w;
	struct fault why = { 0 };

	must(bus_writer_new(&w,
			    &(struct bus_writer_options){ .dir = dir,
							  .role = role,
							  .build = "1.0.0",
							  .forwards = forwards,
							  .forwards_n = 1 },
			    &why) == 0);
	bus_phase(w, BUS_RUNNING);
	return w;
}

static void print_status_server(const char *dir)
{
	static struct config config = { .tunnel_enabled = true };
	static const struct sandbox_report sandbox;
	static struct site site = { .config = &config,
				    .start_realtime_ns = 1,
				    .sandbox = &sandbox };
	/* a life before, so that its end is on the page */
	bus_writer_free(writer(dir, BUS_TUNNEL), 0);
	bus_writer_free(writer(dir, BUS_CONTROL), 0);
	struct bus_writer *tunnel = writer(dir, BUS_TUNNEL), *control = writer(dir, BUS_CONTROL);
	struct loop *loop;
	struct pod_watch *source;
	struct buf page;
	struct fault why = { 0 };

	bus_publish_session(tunnel,
			    &(struct bus_session){ .state = BUS_STATE_UP, .io_backend = "epoll" });
	bus_publish_registration(control,
				 &(struct bus_registration){ .registered = 1,
							     .agent_id = "a",
							     .last_heartbeat_realtime_ns = 1 });
	/* every label of the builds */
	struct bus_versions versions;
	memset(&versions, 0, sizeof(versions));
	snprintf(versions.version, sizeof(versions.version), "%s", program_version);
	snprintf(versions.revision, sizeof(versions.revision), "%s", program_revision);
#define X(ID, name) snprintf(versions.name, sizeof(versions.name), "1");
	LIBRARIES(X)
#undef X
	bus_publish_versions(tunnel, &versions);
	must(bus_beat(tunnel) == 0 && bus_beat(control) == 0);
	must(loop_new(&loop, LOOP_EPOLL, &why) == 0 &&
	     pod_watch_new(&source, loop, dir, &why) == 0);
	site.loop = loop;
	buf_init(&page, &mem_heap, 4 << 20);
	must(metrics_write(&page, EXPOSITION_TEXT, &site, pod_watch_look(source)) == 0);
	must(buf_append(&page, "", 1) == 0);
	print_page((char *)buf_bytes(&page).p);
	buf_fini(&page);
	pod_watch_free(source);
	loop_free(loop);
	bus_writer_free(tunnel, 0);
	bus_writer_free(control, 0);
}

static void print_metrics(void)
{
	char dir[] = "/tmp/print-docs.XXXXXX", path[64];

	puts("# Metrics\n\n"
	     "`/metrics` of the status container, as Prometheus text 0.0.4 or OpenMetrics 1.0. "
	     "Every number of\n"
	     "another container is read from its segment of the status bus during the scrape. Of a "
	     "container that\n"
	     "is not alive the counters and histograms stay as they were, and its gauges are left "
	     "out; a number\n"
	     "that is not known is absent, never made up. This page is made from `shm/fields.def` "
	     "and from a page\n"
	     "of the status server's (`make docs`).");
	must(mkdtemp(dir));
	print_head("Tunnel", "Counted by `tunnel-sidecar`.");
	print_role(BUS_TUNNEL);
	print_head("Control", "Counted by `control-agent`.");
	print_role(BUS_CONTROL);
	print_head("The pod and the status server", "Made by `status-server` of what it reads, and "
						    "of itself; `process_*` are its own.");
	print_status_server(dir);
	static const char *const rests[] = {
		"tunnel/segment",  "tunnel/previous",  "tunnel/owner.lock",  "tunnel",
		"control/segment", "control/previous", "control/owner.lock", "control",
		"",
	};
	for (size_t i = 0; i < array_len(rests); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, rests[i]);
		(void)remove(path);
	}
}

int main(int argc, char *argv[])
{
	const char *page = argc == 2 ? argv[1] : "";

	log_start(&(struct log_options){
		.component = "docs", .level = LOG_ERROR, .fd = STDERR_FILENO });
	if (strcmp(page, "configuration") == 0)
		config_print_docs();
	else if (strcmp(page, "metrics") == 0)
		print_metrics();
	else if (strcmp(page, "logs") == 0)
		print_logs();
	else if (strcmp(page, "limits") == 0)
		print_limits();
	else
		return fputs("usage: print-docs configuration|metrics|logs|limits\n", stderr), 2;
	return fflush(stdout) ? 1 : 0;
}
