/*
 * utf8 -- one character at a time, strictly (RFC 3629).
 */
#ifndef LIB_BASE_UTF8_H
#define LIB_BASE_UTF8_H

#include "lib/base/bytes.h"

/* The character at the front of s (s.n > 0) in *c; returns its length, 0 when
 * the bytes are no UTF-8 (overlong, surrogate, above U+10FFFF, cut). */
size_t utf8_read(struct span s, uint32_t *c);

/* Fit to stand in a line as it is: no control character, nothing that changes
 * the direction of text, breaks a line or is not seen. */
bool utf8_is_plain(uint32_t c);

#endif
