/*
 * writer -- publish one segment: new inode, locked, whole, then visible.
 *
 * A failure to publish never stops the program: the numbers then live in a
 * private map and bus_writer_degraded() says why (invariant I16).
 * All calls come from one thread.
 */
#ifndef SHM_WRITER_H
#define SHM_WRITER_H

#include <stdatomic.h>
#include <stddef.h>

#include "shm/bus.h"

struct bus_writer;

struct bus_writer_options {
	const char *dir; /* bus directory; the segment is <dir>/<role>/segment; NULL: private */
	enum bus_role role;
	const char *build;	     /* version text */
	const char *const *forwards; /* names, for per-forward numbers */
	size_t forwards_n;
	unsigned lock_wait_ms; /* how long to wait for a living writer of the role; 0: 5 s */
};

/* ERR_NOMEM only; every other trouble is a degraded writer.  Another living
 * writer of the same role: waits up to 5 s for its lock, then ERR_FULL. */
MUST_USE int bus_writer_new(struct bus_writer **out, const struct bus_writer_options *options,
			    struct fault *why);
/* Phase STOPPED unless FAILED was set; the file stays for readers. Accepts NULL. */
void bus_writer_free(struct bus_writer *w, int exit_code);
/* NULL, or why nothing can be read by others. */
const char *bus_writer_degraded(const struct bus_writer *w);

/* `index` is the number within the field's label set: 0 for fields without
 * labels; fields.def says which one it is for the others. */
void bus_add(struct bus_writer *w, enum bus_field counter, unsigned index, uint64_t n);
void bus_set(struct bus_writer *w, enum bus_field gauge, unsigned index, uint64_t value);
void bus_observe(struct bus_writer *w, enum bus_field histogram, unsigned index, uint64_t ns);

/* A counter that is found once, for callers that count per packet: bus_add()
 * without the look-up and its checks.  Good until bus_writer_free(); the thread
 * rule above holds, one thread owns the word, so a plain load and store do. */
struct bus_cell {
	_Atomic uint64_t value; /* the writer's thread only */
};
struct bus_cell *bus_cell(struct bus_writer *w, enum bus_field counter, unsigned index);

/*
 * One owner, so load, add and store need not be one step: a reader sees the
 * old or the new value.  gcc makes three instructions of the relaxed pair; the
 * x86 form is the same store (8 aligned bytes are never torn) in one, at half
 * the cost (make bench-bus).
 */
static inline void bus_cell_add(struct bus_cell *c, uint64_t n)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__("addq %1, %0" : "+m"(c->value) : "er"(n) : "cc");
#else
	atomic_store_explicit(&c->value, atomic_load_explicit(&c->value, memory_order_relaxed) + n,
			      memory_order_relaxed);
#endif
}

/* A whole record, of this role; `record` is the struct of that record.  For
 * BUS_RECORD_DESIRED it rings the doorbell, too. */
void bus_publish(struct bus_writer *w, enum bus_record_id id, const void *record);
#define BUS_RECORD(ID, name, role, strict)                                                         \
	static inline void bus_publish_##name(struct bus_writer *w, const struct bus_##name *r)    \
	{                                                                                          \
		bus_publish(w, BUS_RECORD_##ID, r);                                                \
	}
#include "shm/records.def"

void bus_log(struct bus_writer *w, unsigned level, const char *line, size_t n);
void bus_event(struct bus_writer *w, const char *text); /* state transitions and the like */

void bus_phase(struct bus_writer *w, enum bus_phase phase);
/* Once a second from the main loop.  ERR_CLOSED: another file stands in our
 * place (split brain): the program must end. */
MUST_USE int bus_beat(struct bus_writer *w);

#endif
