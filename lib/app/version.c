/*
 * version -- the version and the revision that this build was made from. The
 * Makefile passes the revision and compiles this file again when it changes.
 */
#include "lib/app/program.h"

#ifndef REVISION
#define REVISION "unknown"
#endif

const char program_version[] = "0.1.0";
const char program_revision[] = REVISION;
