/*
 * handoff -- the tunnel's credentials, handed over in small files.
 *
 * The directory is a memory volume that control writes and tunnel reads; status
 * does not mount it.  A file `cred-<generation>` is complete when it is there
 * and never changes.  The bus names the generation and never holds the secret.
 */
#ifndef CONTROL_AGENT_TUNNEL_HANDOFF_H
#define CONTROL_AGENT_TUNNEL_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/fault.h"

#define HANDOFF_DIR_MAX 1024

struct handoff {
	char dir[HANDOFF_DIR_MAX];
	uint64_t gen;	  /* the newest, 0: none yet */
	uint64_t pruned;  /* all below this are gone */
	char newest[512]; /* what it holds; a secret */
};

/* Finds what an earlier life left: its newest file is still the one in use.
 * ERR_SYS names the directory. */
MUST_USE int handoff_init(struct handoff *h, const char *dir, struct fault *why);
void handoff_fini(struct handoff *h); /* wipes the memory; the files stay for the tunnel */

/* Makes sure that a file holds `credentials` ("user:pass", not empty) and puts
 * its generation in *gen: the newest one's when that holds them already.
 * ERR_SYS, ERR_LIMIT. */
MUST_USE int handoff_put(struct handoff *h, const char *credentials, uint64_t *gen,
			 struct fault *why);
/* Removes the files of generations below `gen`. */
void handoff_prune(struct handoff *h, uint64_t gen);

#endif
