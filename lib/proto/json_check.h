/*
 * json_check -- whether a text is JSON (RFC 8259) within bounds.
 *
 * Pure and iterative: no memory, no recursion.  It judges grammar, UTF-8, nesting and the number
 * of values, so that what a JSON library accepts, and in which mode, does not matter.
 *
 * Refused though some libraries take it: a surrogate escape without its other half (section 8.2)
 * and \u0000 in a member's name (a C text would end there and be another name).  Taken: a member
 * name that stands twice (the reader decides), \u0000 in a value.
 */
#ifndef LIB_PROTO_JSON_CHECK_H
#define LIB_PROTO_JSON_CHECK_H

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

#define JSON_CHECK_DEPTH_MAX 63 /* what a caller may allow: a bit for each level */

struct json_check_bounds {
	unsigned depth;	 /* objects and arrays within one another; <= JSON_CHECK_DEPTH_MAX */
	unsigned values; /* objects, arrays, texts, numbers and literals in all */
};

/* The text behind a byte order mark, which a reader may ignore (section 8.1). */
struct span json_check_skip_mark(struct span text);

/* 0, or ERR_PROTO, ERR_LIMIT with a sentence that holds no byte of the text. */
MUST_USE int json_check(struct span text, struct json_check_bounds bounds, struct fault *why);

#endif
