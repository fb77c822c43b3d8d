/*
 * identity -- who this agent is, across restarts: one small YAML file.
 *
 * The first writable of the usual places holds it (or the one the operator
 * names).  Mode 0600, replaced as a whole.  Nothing of it is ever lost in
 * silence: a file that can't be read or understood is moved aside to
 * <file>.corrupt, with a sentence.
 */
#ifndef CONTROL_AGENT_IDENTITY_IDENTITY_H
#define CONTROL_AGENT_IDENTITY_IDENTITY_H

#include "lib/base/buf.h"

#define IDENTITY_FILE_MAX (32 * 1024)
#define IDENTITY_PATH_MAX 1280

struct identity {
	char agent_id[128];
	char cluster_id[64];
	char cluster_token[8192]; /* a secret */
};

/* The file's text and back.  An empty file is an empty state.  ERR_PROTO,
 * ERR_LIMIT: the sentence holds line numbers and key names, never a value. */
MUST_USE int identity_read(struct identity *out, struct span yaml, struct fault *why);
MUST_USE int identity_write(struct buf *to, const struct identity *s); /* errors of buf_append */

/* One value by its key: 1, 0 for a key we don't know, ERR_PROTO, ERR_LIMIT. */
MUST_USE int identity_set(struct identity *s, const char *key, struct span value,
			  struct fault *why);

/* Ids go into URLs, file names and logs: letters, digits and ._:- only,
 * starting with a letter or digit. */
bool identity_is_id(const char *text);

struct identity_places {
	const char *file; /* the operator's one place, or "" for the usual ones */
	const char *root; /* before absolute places: "" but in tests */
	const char *here; /* the working directory: "." but in tests */
};

struct identity_store {
	char path[IDENTITY_PATH_MAX]; /* where it is saved; "": nowhere is writable, kept in memory
				       */
	char from[IDENTITY_PATH_MAX]; /* where it was read; "": a fresh state */
	struct fault trouble; /* about a file that was moved aside or left out; code 0: none */
};

/* Finds and reads the state; *out is empty when there is none.  Legacy files
 * (agent-id, cluster-id, cluster-token) are folded in when no state file exists. */
void identity_load(struct identity_store *store, struct identity *out,
		   const struct identity_places *places);
/* ERR_SYS names the file; the one before is then untouched.  ERR_CONFIG when no
 * place is writable. */
MUST_USE int identity_save(const struct identity_store *store, const struct identity *s,
			   struct fault *why);

#endif
