/*
 * certs -- a certificate authority made on the spot, and one server certificate
 * for localhost, 127.0.0.1 and ::1.
 */
#ifndef TESTS_DEVPLANE_CERTS_H
#define TESTS_DEVPLANE_CERTS_H

#include "lib/base/fault.h"

/* Writes ca.pem, server.pem and server.key (0600) to `dir`; good for a day. */
MUST_USE int certs_make(const char *dir, struct fault *why);

#endif
