#include "lib/app/program.h"

#ifndef REVISION
#define REVISION "unknown"
#endif

const char program_version[] = "0.1.0";
const char program_revision[] = REVISION;
