/*
 * The figures of the bus, in one run: what counting, publishing, reading and a
 * whole /metrics page cost, beside a plain ++ and lock xadd.
 *
 * Times are CPU time of this thread, so a busy machine costs little truth; a
 * row is the median of many rounds.  Exit code 1 when a row is above its limit.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/base/bytes.h"
#include "lib/base/must.h"
#include "shm/layout.h"
#include "shm/reader.h"
#include "shm/record.h"
#include "shm/writer.h"
#include "status-server/metrics/metrics.h"

#define ROUNDS 101
#define RENDERS 3000
#define SNAPSHOT_BYTES (64u << 10)
#define SNAPSHOT_RECORDS (SNAPSHOT_BYTES / BUS_SLOT_MAX)

/* What stands in memory at this point is really there. */
#define keep() __asm__ volatile("" ::: "memory")
/* …and what stands in x is wanted. */
#define keep_word(x) __asm__ volatile("" : "+m"(x))

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[n / 2];
}

static bool above;

/* limit 0: told, not judged. */
static double say(const char *what, double value, const char *unit, double limit)
{
	printf("%-58s %9.2f %s", what, value, unit);
	if (limit > 0 && value <= limit)
		printf("   (limit %.0f)", limit);
	if (limit > 0 && value > limit) {
		printf("   ABOVE the limit of %.0f", limit);
		above = true;
	}
	printf("\n");
	return value;
}

/* ns of one `statement`, the median of the rounds. */
#define MEASURE(times, statement)                                                          \
	({                                                                                 \
		double rounds_[ROUNDS];                                                    \
		for (size_t r_ = 0; r_ < ROUNDS; r_++) {                                   \
			const uint64_t from_ = clock_ns(CLOCK_THREAD_CPUTIME_ID);          \
			for (unsigned i_ = 0; i_ < (times); i_++) {                        \
				statement;                                                 \
				keep();                                                    \
			}                                                                  \
			rounds_[r_] = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - from_) / \
				      (times);                                             \
		}                                                                          \
		median(rounds_, ROUNDS);                                                   \
	})

/* ---- the pod that is measured: 32 forwards, all full of numbers ---- */

struct pod {
	char dir[64];
	struct bus_writer *tunnel, *control;
};

static struct bus_writer *writer_of(const struct pod *p, enum bus_role role)
{
	static char names[BUS_FORWARDS_MAX][16];
	const char *forwards[BUS_FORWARDS_MAX];
	struct bus_writer *w;

	for (size_t i = 0; i < BUS_FORWARDS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "forward-%zu", i);
		forwards[i] = names[i];
	}
	must(bus_writer_new(&w, &(struct bus_writer_options){ .dir = p->dir,
							      .role = role,
							      .build = "bench",
							      .forwards = forwards,
							      .forwards_n = BUS_FORWARDS_MAX },
			    NULL) == 0);
	must(!bus_writer_degraded(w));
	bus_phase(w, BUS_RUNNING);
	must(bus_beat(w) == 0);
	return w;
}

static void pod_init(struct pod *p)
{
	snprintf(p->dir, sizeof(p->dir), "%s/bench-bus.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(p->dir));
	p->tunnel = writer_of(p, BUS_TUNNEL);
	p->control = writer_of(p, BUS_CONTROL);
	for (unsigned i = 0; i < BUS_FORWARDS_MAX * 2; i++)
		bus_add(p->tunnel, BUS_TUNNEL_BYTES, i, UINT64_C(123456789012) + i);
	for (uint64_t ns = 1000; ns < UINT64_C(100000000000); ns *= 3)
		bus_observe(p->tunnel, BUS_TUNNEL_PING_RTT, 0, ns);
	bus_publish_session(p->tunnel, &(struct bus_session){ .state = BUS_STATE_UP });
	bus_publish_registration(p->control, &(struct bus_registration){ .registered = 1 });
	for (unsigned i = 0; i < BUS_LOG_SLOTS; i++) {
		char line[200];
		const int n = snprintf(line, sizeof(line), "%0150u", i);
		bus_log(p->tunnel, 1, line, (size_t)n);
	}
}

static void pod_fini(struct pod *p)
{
	static const char *const names[] = { "tunnel/segment", "tunnel/owner.lock",
					     "control/segment", "control/owner.lock" };
	char path[128];

	bus_writer_free(p->tunnel, 0);
	bus_writer_free(p->control, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
		unlink(path);
	}
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir, i ? "control" : "tunnel");
		rmdir(path);
	}
	rmdir(p->dir);
}

/* ---- rows ---- */

static void measure_counting(struct pod *p)
{
	struct bus_cell *cell = bus_cell(p->tunnel, BUS_TUNNEL_BYTES, 5);
	static uint64_t plain;
	static _Atomic uint64_t locked;

	const double ours = MEASURE(1000000, bus_cell_add(cell, 1448));
	const double simple = MEASURE(1000000, plain += 1448; keep_word(plain));
	const double xadd =
		MEASURE(200000, atomic_fetch_add_explicit(&locked, 1448, memory_order_relaxed));
	const double cold = MEASURE(200000, bus_add(p->tunnel, BUS_TUNNEL_BYTES, 5, 1448));

	say("increment: bus_cell_add()", ours, "ns", 1);
	say("  a plain += of a word in memory", simple, "ns", 0);
	say("  lock xadd", xadd, "ns", 0);
	say("  bus_add(), with its checks", cold, "ns", 0);
	say("  bus_cell_add() / plain +=", ours / simple, "times", 0);
	say("  lock xadd / bus_cell_add()", xadd / ours, "times", 0);
	const double observe =
		MEASURE(200000, bus_observe(p->tunnel, BUS_TUNNEL_PING_RTT, 0, 20000000));
	say("observe: bus_observe() of 20 ms", observe, "ns", 0);
}

/* A record of 30 words, and those that the programs have. */
static void measure_records(struct pod *p)
{
	static struct {
		_Alignas(BUS_LINE) _Atomic uint64_t version;
		_Alignas(BUS_LINE) _Atomic uint64_t slots[BUS_RECORD_SLOTS * 32];
	} memory;
	const struct bus_record record = {
		.version = &memory.version, .slots = memory.slots, .stride = 32, .words = 30
	};
	static struct bus_session session = { .state = BUS_STATE_UP };
	static struct bus_observed observed;
	uint64_t words[30] = { 1 }, version;

	say("publish: a record of 30 words", MEASURE(200000, bus_record_publish(&record, words)),
	    "ns", 50);
	say("  read it", MEASURE(200000, must(bus_record_read(&record, words, &version) == 1)),
	    "ns", 0);
	char what[80];
	snprintf(what, sizeof(what), "  bus_publish_observed(), %zu words", sizeof(observed) / 8);
	say(what, MEASURE(200000, bus_publish_observed(p->tunnel, &observed)), "ns", 0);
	snprintf(what, sizeof(what), "  bus_publish_session(), %zu words", sizeof(session) / 8);
	say(what, MEASURE(200000, bus_publish_session(p->tunnel, &session)), "ns", 0);
	say("log: bus_log() of 150 bytes, clocks included",
	    MEASURE(20000, bus_log(p->tunnel, 1, (const char *)&session, 150)), "ns", 0);
}

static void ignore_sample(void *user, const struct bus_sample *s)
{
	*(uint64_t *)user += s->value;
}

static void ignore_line(void *user, const struct bus_log_line *line)
{
	*(uint64_t *)user += line->text.n;
}

static void read_log(struct bus_reader *r, uint64_t *sink)
{
	uint64_t cursor = 0, lost = 0;

	must(bus_reader_log(r, &cursor, &lost, ignore_line, sink) == 0);
}

/* As many records of the largest size as make 64 KiB, by the reader's own code;
 * then the numbers of a real segment. */
static void measure_snapshots(const struct pod *p)
{
	static struct {
		_Alignas(BUS_LINE) _Atomic uint64_t version;
		_Alignas(BUS_LINE) _Atomic uint64_t slots[BUS_RECORD_SLOTS * BUS_SLOT_MAX / 8];
	} memory[SNAPSHOT_RECORDS];
	static uint64_t to[SNAPSHOT_RECORDS][BUS_SLOT_MAX / 8];
	struct bus_record records[SNAPSHOT_RECORDS];
	struct bus_reader *r;
	uint64_t version, sink = 0;

	for (size_t i = 0; i < SNAPSHOT_RECORDS; i++) {
		records[i] = (struct bus_record){ .version = &memory[i].version,
						  .slots = memory[i].slots,
						  .stride = BUS_SLOT_MAX / 8,
						  .words = BUS_SLOT_MAX / 8 };
		bus_record_publish(&records[i], to[i]);
	}
	const double ns = MEASURE(200, for (size_t i = 0; i < SNAPSHOT_RECORDS; i++) must(
					       bus_record_read(&records[i], to[i], &version) == 1));
	say("snapshot: 64 KiB as 64 records of 1 KiB", ns / 1e3, "us", 10);
	must(bus_reader_new(&r, p->dir, BUS_TUNNEL, NULL) == 0);
	must(bus_reader_refresh(r, 1) == BUS_ALIVE);
	say("  all numbers of a tunnel with 32 forwards",
	    MEASURE(50, must(bus_reader_samples(r, ignore_sample, &sink) == 0)) / 1e3, "us", 0);
	say("  refresh: 6 system calls and the judgement",
	    MEASURE(50, must(bus_reader_refresh(r, 1) == BUS_ALIVE)) / 1e3, "us", 0);
	say("  the whole log ring, 1024 lines", MEASURE(5, read_log(r, &sink)) / 1e3, "us", 0);
	bus_reader_free(r);
}

static double percentile(double *v, size_t n, double of)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[(size_t)((double)(n - 1) * of)];
}

/* As a scrape has it: look at both segments, then write the page. */
static void measure_render(const struct pod *p)
{
	static struct config config = { .tunnel_enabled = true };
	static double cpu[RENDERS], wall[RENDERS];
	struct site site = { .config = &config };
	struct loop *loop;
	struct buf page;

	must(loop_new(&loop, LOOP_EPOLL, NULL) == 0);
	must(pod_watch_new(&site.source, loop, p->dir, NULL) == 0);
	buf_init(&page, &mem_heap, 4 << 20);
	size_t bytes = 0;
	for (size_t i = 0; i < RENDERS; i++) {
		const uint64_t wall_from = clock_ns(CLOCK_MONOTONIC);
		const uint64_t cpu_from = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		const struct pod_view *v = pod_watch_look(site.source);

		must(v->of[COMPONENT_TUNNEL].presence == BUS_ALIVE || i > 0);
		must(metrics_write(&page, EXPOSITION_TEXT, &site, v) == 0);
		cpu[i] = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_from) / 1e3;
		wall[i] = (double)(clock_ns(CLOCK_MONOTONIC) - wall_from) / 1e3;
		bytes = buf_len(&page);
		buf_consume(&page, bytes);
		must(bus_beat(p->tunnel) == 0 && bus_beat(p->control) == 0);
	}
	char what[80];
	snprintf(what, sizeof(what), "/metrics: %zu KiB at 32 forwards, p99 of CPU time",
		 bytes >> 10);
	say(what, percentile(cpu, RENDERS, 0.99), "us", 1000);
	say("  median of CPU time", percentile(cpu, RENDERS, 0.5), "us", 0);
	say("  p99 of wall time (whatever else this machine does)", percentile(wall, RENDERS, 0.99),
	    "us", 0);
	buf_fini(&page);
	pod_watch_free(site.source);
	loop_free(loop);
}

int main(void)
{
	struct pod p;

	log_start(&(struct log_options){
		.component = "bench", .level = LOG_ERROR, .fd = STDERR_FILENO });
	pod_init(&p);
	measure_counting(&p);
	measure_records(&p);
	measure_snapshots(&p);
	measure_render(&p);
	pod_fini(&p);
	printf(above ? "a figure is above its limit\n" : "all figures within their limits\n");
	return above;
}
