/*
 * text -- what strings a segment may hold, and how they are made harmless.
 *
 * Clean text is valid UTF-8 without control characters (C0, DEL, C1) and
 * without marks that turn the direction of a line: lib/base/utf8.h.
 */
#ifndef SHM_TEXT_H
#define SHM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

bool bus_text_is_clean(const char *p, size_t n);

/* Replaces each byte that is not part of clean text by '?'; how many. */
size_t bus_text_clean(char *p, size_t n);

/* The largest length <= max at which no character is cut in two. */
size_t bus_text_cut(const char *p, size_t n, size_t max);

/* [a-zA-Z_:][a-zA-Z0-9_:]* */
bool bus_text_is_metric_name(const char *s);

/* `name="value",…` as Prometheus escapes it, names unique and not "le"; or "". */
bool bus_text_is_labels(const char *s);

/* Appends `from` as a label value to the n bytes at `to`, escaping \ " and
 * newline, other dirt replaced by '?'.  What does not fit is left out whole.
 * The new length; `to` stays terminated. */
size_t bus_text_escape(char *to, size_t n, size_t size, const char *from, size_t from_n);

#endif
