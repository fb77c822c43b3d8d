/*
 * json_read -- one JSON object of a peer, read within bounds.
 *
 * Strict JSON (RFC 8259) only, as json_check.h judges it: UTF-8, depth 16, 16384 values (each
 * costs json-c up to some 300 bytes however short its text is), nothing after the object; a byte
 * order mark in front is skipped.  Members that nobody asks for are ignored; one that is asked for
 * and has another type is an error that names it; of a name that stands twice the last one counts.
 * Texts come out whole or not at all, and never with control characters in them.
 */
#ifndef LIB_PROTO_JSON_READ_H
#define LIB_PROTO_JSON_READ_H

#include <json-c/json.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

#define JSON_READ_DEPTH_MAX  16
#define JSON_READ_VALUES_MAX 16384

/* *out is the caller's (json_object_put).  ERR_PROTO, ERR_LIMIT, ERR_NOMEM. */
MUST_USE int json_read(struct json_object **out, struct span text, struct fault *why);

/* Members: 1 and *to is written; 0 when missing or null (to[0] is '\0' then);
 * ERR_PROTO for another type, ERR_LIMIT for a text that does not fit. */
MUST_USE int json_read_text(const struct json_object *o, const char *name, char *to, size_t cap,
			    struct fault *why);
MUST_USE int json_read_number(const struct json_object *o, const char *name, int64_t *to,
			      struct fault *why);
MUST_USE int json_read_list(const struct json_object *o, const char *name, struct json_object **to,
			    struct fault *why);
MUST_USE int json_read_object(const struct json_object *o, const char *name,
			      struct json_object **to, struct fault *why);

#endif
