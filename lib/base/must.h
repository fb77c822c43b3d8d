/*
 * must -- promises of this program to itself, checked in every build.
 *
 * For what a programmer can break, never for what a peer can send.  A failed
 * must() prints the promise and its place, and aborts.
 */
#ifndef LIB_BASE_MUST_H
#define LIB_BASE_MUST_H

#define MUST_USE		__attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define array_len(a)		(sizeof(a) / sizeof((a)[0]))

#define must(cond) ((cond) ? (void)0 : must_failed(__FILE__, __LINE__, #cond))

_Noreturn void must_failed(const char *file, int line, const char *cond);

#endif
