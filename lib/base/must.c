/*
 * must -- ends the program when one of its own invariants is broken, after a
 * hook has printed the state of the sessions. Input of a peer never reaches it.
 */
#include "lib/base/must.h"

#include <stdio.h>
#include <stdlib.h>

void (*must_hook)(const char *file, int line, const char *cond);

_Noreturn void must_failed(const char *file, int line, const char *cond)
{
	void (*hook)(const char *, int, const char *) = must_hook;

	must_hook = NULL; /* a promise broken inside the hook must not recurse */
	fprintf(stderr, "panic: %s:%d: must(%s)\n", file, line, cond);
	if (hook)
		hook(file, line, cond);
	abort();
}
