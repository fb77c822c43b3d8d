/*
 * units -- nanoseconds, and the object that a member is part of.
 *
 * Nothing here has a type of its own or a function; durations that a peer or an
 * operator may see are in limits.def and config.def.
 */
#ifndef LIB_BASE_UNITS_H
#define LIB_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* The object of `type` whose `member` p points at: for callbacks that get a member. */
#define owner_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

static inline uint64_t timespec_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

#endif
