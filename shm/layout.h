/*
 * layout -- where everything stands in a segment file, to the byte.
 *
 * Little-endian, no pointers, only offsets.  The immutable part (header,
 * descriptors, strings, bounds) comes first and never changes once the file is
 * visible; what changes is made of 8-byte words, each written by one thread.
 * README.md draws it.  The bounds below are the reader's, whatever a file says.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/bus.h"

#define BUS_MAGIC    "PIPEBUS1"
#define BUS_MAJOR    1 /* same major: both sides can talk */
#define BUS_MINOR    0
#define BUS_ENDIAN   0x01020304u
#define BUS_COMPLETE 0x600D600Du
#define BUS_PAGE     4096u
#define BUS_LINE     128u /* what different owners write stands on different lines */

#define BUS_SEGMENT_NAME  "segment"
#define BUS_PREVIOUS_NAME "previous" /* the segment of the life before: a second link to it */
#define BUS_OWNER_NAME	  "owner.lock"
#define BUS_TEMP_PREFIX	  ".tmp."

#define BUS_FILE_MAX	    (16u << 20)
#define BUS_SECTIONS_MAX    16u
#define BUS_DESCRIPTORS_MAX 4096u
#define BUS_STRINGS_MAX	    (128u << 10)
#define BUS_STRING_MAX	    256u /* with its NUL */
#define BUS_BOUNDS_MAX	    4096u
#define BUS_IMMUTABLE_MAX   (512u << 10)
#define BUS_SHARDS_MAX	    16u
#define BUS_BUCKETS_MAX	    64u
#define BUS_VALUES_MAX	    65536u /* words that all descriptors together name */
#define BUS_RING_SLOTS_MAX  4096u
#define BUS_SLOT_MAX	    1024u /* bytes of a ring or record slot */
#define BUS_SCALE_MAX	    18	  /* powers of ten */

/* What a writer of this version makes. */
#define BUS_LOG_SLOTS	1024u
#define BUS_LOG_SLOT	256u
#define BUS_EVENT_SLOTS 256u
#define BUS_EVENT_SLOT	128u

enum bus_section {
	BUS_SECTION_DESCRIPTORS = 1,
	BUS_SECTION_STRINGS,
	BUS_SECTION_BOUNDS,
	BUS_SECTION_LIVENESS,
	BUS_SECTION_COUNTERS,	 /* entsize: bytes of a shard, count: shards */
	BUS_SECTION_HISTOGRAMS,	 /* the same */
	BUS_SECTION_SESSION = 7, /* records.def: entsize: bytes from slot to slot, count: slots,
				    flags: bytes of the record */
	BUS_SECTION_OBSERVED,
	BUS_SECTION_REGISTRATION,
	BUS_SECTION_DESIRED,
	BUS_SECTION_DOORBELL = 11,
	BUS_SECTION_LOG, /* rings: entsize: bytes of a slot, count: slots */
	BUS_SECTION_EVENTS,
	BUS_SECTION_VERSIONS, /* a record */
	BUS_SECTION_TYPES     /* larger numbers are of later versions: passed over */
};

/* Both records and rings: one line with a word (version, head), then slots. */
struct bus_toc_entry {
	uint32_t type, entsize;
	uint64_t off, len; /* bytes from the start of the file */
	uint32_t count, flags;
};

struct bus_header {
	char magic[8];
	uint16_t major, minor;
	uint32_t header_len;
	uint32_t endian, line;
	uint64_t file_len;
	uint8_t incarnation[16]; /* random, new for each life of the writer */
	uint64_t start_boottime_ns, start_realtime_ns;
	uint16_t role, sections_n;
	uint32_t features_compat, features_incompat;
	uint32_t immutable_len; /* whole pages; the crc covers them, but its own 8 bytes */
	uint64_t layout_hash;	/* FNV-1a of the descriptors: a key for caches, not a gate */
	uint64_t reserved;
	char build[64];
	uint8_t zero1[96];
	struct bus_toc_entry toc[BUS_SECTIONS_MAX];
	uint8_t zero2[3320];
	uint32_t crc;
	_Atomic uint32_t complete; /* the last store before the file becomes visible */
};

enum bus_layout_kind { BUS_KIND_COUNTER, BUS_KIND_GAUGE, BUS_KIND_HISTOGRAM };
enum bus_layout_agg { BUS_AGG_SUM, BUS_AGG_MAX }; /* how shards become one number */

struct bus_descriptor {
	uint32_t name, help, unit, labels; /* offsets in the strings */
	uint8_t kind, agg;
	uint16_t words;	      /* 1; histogram: buckets, the sum after them */
	uint32_t value_index; /* first word within a shard */
	uint32_t owner;	      /* shard that writes it */
	uint32_t bounds;      /* histogram: first of its words - 2 upper bounds */
	int64_t scale;	      /* the value times ten to this is in `unit` */
	uint64_t hash;	      /* FNV-1a of name, NUL, labels: the same in every version */
	uint64_t reserved[2];
};

struct bus_liveness {
	_Atomic uint64_t beat, beat_boottime_ns;
	_Atomic uint64_t phase;	     /* low half enum bus_phase, high half the exit code */
	_Atomic uint64_t superseded; /* 1: the writer found another file in its place */
	uint64_t zero[12];
};

/* Who may name a metric: the first prefix that matches decides, a name without
 * a match is nobody's.  So a tunnel that was taken over cannot forge what
 * control says, nor either of them what the status server says of itself. */
struct bus_name_owner {
	const char *prefix;
	enum bus_role role;
};
#define BUS_NAME_OWNERS                                                                            \
	{                                                                                          \
		{ "pipeops_tunnel_poll", BUS_CONTROL },                                            \
			{ "pipeops_tunnel_forwards_refused", BUS_CONTROL },                        \
			{ "pipeops_tunnel_", BUS_TUNNEL }, { "pipeops_heartbeat_", BUS_CONTROL },  \
			{ "pipeops_registration_", BUS_CONTROL },                                  \
			{ "pipeops_agent_registered", BUS_CONTROL },                               \
			{ "pipeops_control_", BUS_CONTROL },                                       \
			{ "pipeops_kubernetes_", BUS_CONTROL },                                    \
	}

static inline size_t bus_round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

#define BUS_FNV_START 0xcbf29ce484222325u
static inline uint64_t bus_fnv1a(uint64_t h, const void *p, size_t n)
{
	for (const uint8_t *b = p; n--; b++)
		h = (h ^ *b) * 0x100000001b3u;
	return h;
}

#define BUS_AT(type, field, at)                                                                    \
	static_assert(offsetof(struct type, field) == (at), #type "." #field)
BUS_AT(bus_header, major, 8);
BUS_AT(bus_header, endian, 16);
BUS_AT(bus_header, file_len, 24);
BUS_AT(bus_header, incarnation, 32);
BUS_AT(bus_header, start_boottime_ns, 48);
BUS_AT(bus_header, role, 64);
BUS_AT(bus_header, immutable_len, 76);
BUS_AT(bus_header, layout_hash, 80);
BUS_AT(bus_header, build, 96);
BUS_AT(bus_header, toc, 256);
BUS_AT(bus_header, crc, 4088);
BUS_AT(bus_header, complete, 4092);
BUS_AT(bus_descriptor, kind, 16);
BUS_AT(bus_descriptor, value_index, 20);
BUS_AT(bus_descriptor, bounds, 28);
BUS_AT(bus_descriptor, scale, 32);
BUS_AT(bus_descriptor, hash, 40);
BUS_AT(bus_liveness, phase, 16);
static_assert(sizeof(struct bus_header) == BUS_PAGE, "the header is a page");
static_assert(sizeof(struct bus_toc_entry) == 32, "toc entry");
static_assert(sizeof(struct bus_descriptor) == 64, "descriptor");
static_assert(sizeof(struct bus_liveness) == BUS_LINE, "liveness is a line");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(_Atomic uint64_t) == 8,
	      "words are atomic without a lock, also between processes");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "segments are little-endian");

#define BUS_IS_RECORD(type)                                                                        \
	static_assert(sizeof(struct type) % 8 == 0 && sizeof(struct type) <= BUS_SLOT_MAX,         \
		      #type " is whole words and fits a slot")
BUS_IS_RECORD(bus_session);
BUS_IS_RECORD(bus_observed);
BUS_IS_RECORD(bus_registration);
BUS_IS_RECORD(bus_desired);

#endif
