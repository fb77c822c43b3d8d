/*
 * life -- one life of a tunnel under torture: it starts, comes up, serves a
 * visitor, and ends, while the calls that a plan names fail; when the failures
 * stop it must serve a visitor byte for byte, or have ended with a reason.
 */
#ifndef TESTS_TORTURE_LIFE_H
#define TESTS_TORTURE_LIFE_H

#include "lib/base/fault.h"
#include "lib/io/loop/loop.h"
#include "tests/torture/fail.h"
#include "tests/torture/world.h"

enum life_end {
	LIFE_UNTOUCHED, /* the plan's call never came */
	LIFE_UNMOVED,   /* a call failed and no connection did */
	LIFE_RECOVERED, /* the tunnel came back */
	LIFE_REFUSED,   /* the program's part ended, and said why */
	LIFE_STUCK,     /* … and these are bugs */
	LIFE_WRONG_BYTES,
	LIFE_LEAKED,
	LIFE_ENDS_N,
};

struct life {
	enum life_end end;
	struct fault why; /* of the first failure after the plan's */
	char note[160];   /* of a bug */
};

/* `of_world`: it is the world's calls that fail, and the tunnel's never. */
void life_run(struct life *out, struct world *w, enum loop_choice io, const char *bus_dir,
	      const struct fail_plan *plan, bool of_world);

#endif
