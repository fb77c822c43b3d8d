/*
 * libraries -- which versions of other people's libraries this process runs
 * with, as they say themselves.
 *
 * One that the program is not linked with has the version "".
 */
#ifndef LIB_APP_LIBRARIES_H
#define LIB_APP_LIBRARIES_H

#include <stdio.h>

/* X(ID, name): the name is a label of pipeops_build_info and a field of the
 * bus's record `versions`. */
#define LIBRARIES(X)                                                                               \
	X(OPENSSL, openssl)                                                                        \
	X(LIBSSH2, libssh2)                                                                        \
	X(NGHTTP2, nghttp2)                                                                        \
	X(JSON_C, json_c)                                                                          \
	X(LIBYAML, libyaml)                                                                        \
	X(LIBURING, liburing)                                                                      \
	X(ZLIB, zlib)

enum library {
#define LIBRARY_ENUM(ID, name) LIBRARY_##ID,
	LIBRARIES(LIBRARY_ENUM)
#undef LIBRARY_ENUM
		LIBRARIES_N
};

/* Static text, or good until the next call for the same library. */
const char *library_version(enum library l);

/* Fills a struct that has an array of characters by each name of the list. */
#define LIBRARY_FILL_ONE(ID, name)                                                                 \
	snprintf(library_fill_to->name, sizeof(library_fill_to->name), "%s",                       \
		 library_version(LIBRARY_##ID));
#define LIBRARIES_FILL(to)                                                                         \
	do {                                                                                       \
		__typeof__(to) library_fill_to = (to);                                             \
		LIBRARIES(LIBRARY_FILL_ONE)                                                        \
	} while (0)

#endif
