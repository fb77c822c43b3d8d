/*
 * json_write -- a document written in order, commas and escapes by itself.
 *
 * The first failure stays and later calls do nothing; look at rc at the end.
 *
 * `plain` writes the same document as lines for an eye: "key: value", members
 * indented, and each object of an array as one line of its values.
 */
#ifndef LIB_BASE_JSON_WRITE_H
#define LIB_BASE_JSON_WRITE_H

#include "lib/base/buf.h"

struct json_writer {
	struct buf *to;
	int rc; /* 0, or an enum err of buf_append */
	bool plain;
	bool comma;	     /* writer's, as are the next */
	unsigned depth, row; /* plain: of objects; within the line of an array's object */
};

/* key is NULL for the document itself and in arrays; it is escaped like a text. */
void json_write_open(struct json_writer *j, const char *key, char bracket); /* '{' or '[' */
void json_write_close(struct json_writer *j, char bracket);		    /* '}' or ']' */
/* Bytes that are no plain UTF-8 become '?'. */
void json_write_text(struct json_writer *j, const char *key, const char *value);
void json_write_span(struct json_writer *j, const char *key, struct span value);
void json_write_number(struct json_writer *j, const char *key, uint64_t value);
void json_write_bool(struct json_writer *j, const char *key, bool value);
/* Two lower-case digits for each byte. */
void json_write_hex(struct json_writer *j, const char *key, const uint8_t *p, size_t n);
/* RFC 3339 in UTC, to the millisecond; null for 0. */
void json_write_time(struct json_writer *j, const char *key, uint64_t realtime_ns);

#endif
