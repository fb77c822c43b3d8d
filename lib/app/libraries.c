/*
 * Asks each library for its version.  The references are weak: a program that
 * does not use a library is not linked with it for being asked, and the address
 * is then NULL.  So no header of theirs is included but OpenSSL's, which every
 * program has.
 */
#include "lib/app/libraries.h"

#include <openssl/crypto.h>

#ifndef LIBURING_HEADERS
#define LIBURING_HEADERS ""
#endif
#define WEAK __attribute__((weak))

extern const char *libssh2_version(int required) WEAK;
extern const char *json_c_version(void) WEAK;
extern const char *yaml_get_version_string(void) WEAK;
extern const char *zlibVersion(void) WEAK;
extern int io_uring_queue_init_params(unsigned, void *, void *) WEAK;
extern int io_uring_major_version(void) WEAK;
extern int io_uring_minor_version(void) WEAK;

/* nghttp2_info up to what is read of it; its fields never move. */
struct nghttp2_told {
	int age, number;
	const char *text;
};
extern const struct nghttp2_told *nghttp2_version(int least) WEAK;

/* Before 2.4 it does not tell: then the version of its headers, which the build
 * knows, and most of it is in them. */
static const char *liburing_version(void)
{
	static char text[24];

	if (!io_uring_queue_init_params)
		return "";
	if (!io_uring_major_version || !io_uring_minor_version)
		return LIBURING_HEADERS;
	snprintf(text, sizeof(text), "%d.%d", io_uring_major_version(), io_uring_minor_version());
	return text;
}

static const char *ask(enum library l)
{
	switch (l) {
	case LIBRARY_OPENSSL:
		return OpenSSL_version(OPENSSL_VERSION_STRING);
	case LIBRARY_LIBSSH2:
		return libssh2_version ? libssh2_version(0) : "";
	case LIBRARY_NGHTTP2:
		return nghttp2_version ? nghttp2_version(0)->text : "";
	case LIBRARY_JSON_C:
		return json_c_version ? json_c_version() : "";
	case LIBRARY_LIBYAML:
		return yaml_get_version_string ? yaml_get_version_string() : "";
	case LIBRARY_LIBURING:
		return liburing_version();
	case LIBRARY_ZLIB:
		return zlibVersion ? zlibVersion() : "";
	case LIBRARIES_N:
		break;
	}
	return "";
}

const char *library_version(enum library l)
{
	const char *text = ask(l);

	return text ? text : "";
}
