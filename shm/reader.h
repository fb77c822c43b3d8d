/*
 * reader -- attach to a segment that may be hostile, and copy out of it.
 *
 * Whatever the bytes, a reader neither crashes nor loops: offsets are checked
 * once into private memory, words are loaded once, a truncated file is caught
 * (SIGBUS guard).
 */
#ifndef SHM_READER_H
#define SHM_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/bytes.h"
#include "shm/bus.h"

struct bus_reader;

/* What the writer of a segment is, judged by lock and beat: README.md, "Who is alive". */
enum bus_presence {
	BUS_ABSENT, /* no file yet */
	BUS_ALIVE,
	BUS_STALLED,	/* lock held, no beat for 3.5 s */
	BUS_DEAD,	/* lock free: the black box stays readable */
	BUS_UNREADABLE, /* corrupt, incompatible or hostile: see fault */
};

MUST_USE int bus_reader_new(struct bus_reader **out, const char *dir, enum bus_role role,
			    struct fault *why);
/* The same for the segment of the life before, which its successor keeps under a
 * second name.  The same file as the segment until a successor is visible, so
 * compare their incarnations. */
MUST_USE int bus_reader_new_previous(struct bus_reader **out, const char *dir, enum bus_role role,
				     struct fault *why);
/* For one file, wherever it stands: attached and judged here, never anew.  Takes
 * fd, also on failure; the errors are README.md's refusals. */
MUST_USE int bus_reader_take(struct bus_reader **out, int fd, enum bus_role role,
			     struct fault *why);
void bus_reader_free(struct bus_reader *r); /* accepts NULL */

/* Attaches, re-attaches after a replaced file, judges presence.  now_ns: any
 * monotonic clock. */
enum bus_presence bus_reader_refresh(struct bus_reader *r, uint64_t now_ns);
enum bus_presence bus_reader_presence(const struct bus_reader *r); /* of the last refresh */
const struct fault *bus_reader_fault(const struct bus_reader *r);
const char *bus_presence_name(enum bus_presence p);

/* The writer's beat as last seen: it moves once a second while its main loop does. */
uint64_t bus_reader_beat(const struct bus_reader *r);

/* For how long the beat has not moved, on the caller's clock of the last refresh. */
uint64_t bus_reader_silent_ns(const struct bus_reader *r, uint64_t now_ns);

/* About the attached segment; zero or "" when none is. */
uint64_t bus_reader_start_realtime_ns(const struct bus_reader *r);
const char *bus_reader_build(const struct bus_reader *r);
void bus_reader_incarnation(const struct bus_reader *r, uint8_t to[16]);
/* When the writer beat last, by its own clocks. */
uint64_t bus_reader_last_beat_realtime_ns(const struct bus_reader *r);
/* Whether its writer is gone (BUS_DEAD); *is_exit: it left an exit code, else it
 * was killed in the phase that bus_reader_phase() says. */
bool bus_reader_has_ended(const struct bus_reader *r, bool *is_exit);
enum bus_phase bus_reader_phase(const struct bus_reader *r, uint32_t *exit_code);

/* One number of the segment with its own metadata (self-describing). */
enum bus_kind { BUS_COUNTER, BUS_GAUGE, BUS_HISTOGRAM };
struct bus_sample {
	enum bus_kind kind;
	const char *name; /* metric name; counters end in _total */
	const char *unit; /* "seconds", "bytes", "" */
	const char *help;
	const char *labels; /* `forward="x",direction="up"`, already escaped; "" */
	uint64_t value;	    /* counter, gauge; see scale */
	double scale;	    /* multiply value (and sum) by it: 1e-9 for ns */
	const uint64_t
		*buckets;     /* histogram: not cumulative, buckets_n of them, the last is +Inf */
	const double *bounds; /* upper bounds in unit, buckets_n - 1 of them */
	unsigned buckets_n;
	uint64_t sum;
};
/* Calls `each` for every number, families together.  0, or ERR_PROTO when the
 * segment went bad underneath. */
MUST_USE int bus_reader_samples(struct bus_reader *r,
				void (*each)(void *user, const struct bus_sample *s), void *user);

/* Numbers or versions that went back within one life of the writer: corruption,
 * which a scrape would take for a reset.  They are withheld and counted here. */
uint64_t bus_reader_regressions(const struct bus_reader *r);

/* Where the word is that the writer rings, for doorbell.h: false when there is
 * none.  The descriptor is the reader's; life is another one after each attachment. */
struct bus_reader_place {
	int fd;
	size_t off;
	uint64_t life;
};
bool bus_reader_doorbell(const struct bus_reader *r, struct bus_reader_place *to);

/* A record, whole and settled (records.h): 1 copied, 0 never published or not
 * attached, ERR_PROTO.  `to` is the struct of that record. */
MUST_USE int bus_read(struct bus_reader *r, enum bus_record_id id, void *to);
#define BUS_RECORD(ID, name, role, strict)                                                         \
	MUST_USE static inline int bus_read_##name(struct bus_reader *r, struct bus_##name *to)    \
	{                                                                                          \
		return bus_read(r, BUS_RECORD_##ID, to);                                           \
	}
#include "shm/records.def"

/* The last error that the segment's writer published, of the record of its role;
 * "" for none. */
void bus_reader_last_error(struct bus_reader *r, char to[BUS_TEXT_MAX]);

/* Log ring: calls `each` for what is new since *cursor, oldest first; lines
 * that were overwritten meanwhile are added to *lost.  A cursor starts as 0 and
 * belongs to the reader: after a new life of the writer it starts over by
 * itself.  0, or ERR_PROTO. */
struct bus_log_line {
	uint64_t seq, realtime_ns;
	unsigned level;
	struct span text;
};
MUST_USE int bus_reader_log(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
			    void (*each)(void *user, const struct bus_log_line *line), void *user);
MUST_USE int bus_reader_events(struct bus_reader *r, uint64_t *cursor, uint64_t *lost,
			       void (*each)(void *user, const struct bus_log_line *line),
			       void *user);

#endif
