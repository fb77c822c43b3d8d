/*
 * library_famine -- OpenSSL's allocator, which asks whether to refuse.
 */
#ifndef TESTS_SUPPORT_LIBRARY_FAMINE_H
#define TESTS_SUPPORT_LIBRARY_FAMINE_H

#include <stdbool.h>

/* Before anything asks OpenSSL for memory; a must. */
void library_famine_start(bool (*refuses)(void));

#endif
