/*
 * handoff -- the tunnel's credentials, handed over in small files.
 *
 * The directory is a memory volume that control writes and tunnel reads; status does not mount
 * it.  A file `cred-<generation>` is complete when it is there and never changes.  The bus names
 * the generation and never holds the secret.
 *
 * The volume is small and outlives this program, so files are removed before one is written,
 * not after the tunnel has taken one: it may refuse every state.  There are never more than
 * HANDOFF_FILES_MAX.
 */
#ifndef CONTROL_AGENT_TUNNEL_HANDOFF_H
#define CONTROL_AGENT_TUNNEL_HANDOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"

#define HANDOFF_DIR_MAX	  1024
#define HANDOFF_KEEP_MAX  4
#define HANDOFF_FILES_MAX 8 /* those kept, the newest, the next, and room */

struct handoff {
	char dir[HANDOFF_DIR_MAX];
	uint64_t gen;	  /* the newest, 0: none yet */
	char newest[512]; /* what it holds; a secret */
};

/* Generations whose files the tunnel may still open; 0 stands for none. */
struct handoff_keep {
	uint64_t gen[HANDOFF_KEEP_MAX];
};

/* Finds what an earlier life left: its newest file is still the one in use.
 * ERR_SYS names the directory. */
MUST_USE int handoff_init(struct handoff *h, const char *dir, struct fault *why);
void handoff_fini(struct handoff *h); /* wipes the memory; the files stay for the tunnel */

/* The generation whose file holds `credentials` already; 0: none does. */
uint64_t handoff_find(const struct handoff *h, const char *credentials);

/* Writes `credentials` ("user:pass", not empty) as a new generation, *gen, after all files but the
 * newest and those of `keep` were removed; where the volume is full, all but those of `keep`.
 * ERR_SYS, ERR_LIMIT. */
MUST_USE int handoff_put(struct handoff *h, const char *credentials, struct handoff_keep keep,
			 uint64_t *gen, struct fault *why);
/* Removes all files but those of `keep`. */
void handoff_prune(const struct handoff *h, struct handoff_keep keep);

#endif
