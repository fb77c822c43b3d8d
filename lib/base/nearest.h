/*
 * nearest -- which known word a mistyped one is near to.
 */
#ifndef LIB_BASE_NEAREST_H
#define LIB_BASE_NEAREST_H

/* Edit distance (Levenshtein) of two texts of at most 64 bytes; where it is above
 * `max` or a text is longer: max + 1. */
unsigned nearest_distance(const char *a, const char *b, unsigned max);

#endif
