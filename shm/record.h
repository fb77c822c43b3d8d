/*
 * record -- many words that are read whole or not at all, without a lock.
 *
 * Four copies; version n lives in copy n % 4, and the version word is stored
 * after it.  No state is "being written", so a writer that is killed anywhere
 * leaves the last version readable.  The writer never waits; the reader tries a
 * bounded number of times.
 *
 * Why no torn copy is taken: a reader that sees a word of version n + 4 reads
 * a release store that is sequenced after `version = n + 3`; its acquire makes
 * it see a version >= n + 3 at the end, and the copy is refused.  Without
 * fences, because thread sanitizers do not model them.
 */
#ifndef SHM_RECORD_H
#define SHM_RECORD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/fault.h"
#include "shm/crash_point.h"

#define BUS_RECORD_SLOTS 4u
#define BUS_RECORD_TRIES 64

/* Where a record stands in a map. */
struct bus_record {
	_Atomic uint64_t *version; /* 0: never published */
	_Atomic uint64_t *slots;
	size_t stride; /* words from slot to slot */
	size_t words;  /* of the record, <= stride */
};

/* `from`: r->words words of any type, taken as bytes. */
static inline void bus_record_publish(const struct bus_record *r, const void *from)
{
	const uint64_t n = atomic_load_explicit(r->version, memory_order_relaxed) + 1;
	_Atomic uint64_t *slot = r->slots + n % BUS_RECORD_SLOTS * r->stride;

	for (size_t i = 0; i < r->words; i++) {
		BUS_CRASH_POINT(BUS_CRASH_RECORD + i);
		uint64_t word;
		memcpy(&word, (const char *)from + i * sizeof(word), sizeof(word));
		atomic_store_explicit(&slot[i], word, memory_order_release);
	}
	BUS_CRASH_POINT(BUS_CRASH_RECORD_VERSION);
	atomic_store_explicit(r->version, n, memory_order_release);
}

/* 1 copied, and its version; 0 never published; ERR_TIMEOUT when the writer
 * overtook every try. */
MUST_USE static inline int bus_record_read(const struct bus_record *r, uint64_t *to,
					   uint64_t *version)
{
	for (int try = 0; try < BUS_RECORD_TRIES; try++) {
		const uint64_t n = atomic_load_explicit(r->version, memory_order_acquire);
		const _Atomic uint64_t *slot = r->slots + n % BUS_RECORD_SLOTS * r->stride;

		if (n == 0)
			return 0;
		for (size_t i = 0; i < r->words; i++) {
			BUS_CRASH_POINT(BUS_CRASH_RECORD_READ + i);
			to[i] = atomic_load_explicit(&slot[i], memory_order_acquire);
		}
		const uint64_t end = atomic_load_explicit(r->version, memory_order_relaxed);
		if (end - n <= BUS_RECORD_SLOTS - 2) {
			*version = n;
			return 1;
		}
	}
	return ERR_TIMEOUT;
}

#endif
