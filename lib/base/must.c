/*
 * must -- prints the promise that was broken and ends the program.  Input of a
 * peer never reaches it.
 */
#include "lib/base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_failed(const char *file, int line, const char *cond)
{
	fprintf(stderr, "panic: %s:%d: must(%s)\n", file, line, cond);
	abort();
}
