/*
 * limits -- every bound on what a peer may make us hold, do or wait for.
 *
 * LIMIT_<NAME> for each row of limits.def, which says why it is there.
 */
#ifndef LIB_BASE_LIMITS_H
#define LIB_BASE_LIMITS_H

#include <stdint.h>

enum limit {
#define LIMIT_GROUP(title, text)
#define LIMIT(name, value, unit, why) LIMIT_##name = (value),
#include "lib/base/limits.def"
#undef LIMIT
#undef LIMIT_GROUP
};

/* A row in ms, as ns. */
#define LIMIT_NS(name) ((uint64_t)LIMIT_##name##_MS * 1000000u)

#endif
