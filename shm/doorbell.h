/*
 * doorbell -- a reader's ear: a thread that sleeps until control publishes.
 *
 * Only a hint.  What is wanted stands in the record, and who polls it misses
 * nothing; the doorbell makes the wait shorter.  The thread sleeps on the word
 * in a read-only map of its own, and a writer that rings without end, or not at
 * all, changes nothing but how often `rung` is called: DOORBELL_PAUSE_MS apart
 * at least.
 */
#ifndef SHM_DOORBELL_H
#define SHM_DOORBELL_H

#include "shm/reader.h"

#define DOORBELL_PAUSE_MS 20

struct doorbell;

/* `rung` comes from the thread, also once when a segment begins to be heard.
 * ERR_NOMEM, ERR_SYS: then the poll has to do. */
MUST_USE int doorbell_new(struct doorbell **out, void (*rung)(void *user), void *user,
			  struct fault *why);
/* At each look: listens to the segment that `r` holds now.  Nothing happens
 * while that is the same. */
void doorbell_follow(struct doorbell *d, const struct bus_reader *r); /* accepts NULL */
/* No call of `rung` comes afterwards.  Accepts NULL. */
void doorbell_free(struct doorbell *d);

#endif
