/*
 * publication -- a new file, locked and whole before anybody can see it.
 *
 * Each life of a writer makes a new inode and renames it over the old name, so
 * readers of the old one keep what they have and no state of a predecessor is
 * ever repaired.  The segment of the life before stays readable as `previous`,
 * one file however many lives there were.  A crash at any step leaves at most one
 * temporary name, which the next life removes.
 */
#ifndef SHM_PUBLICATION_H
#define SHM_PUBLICATION_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/fault.h"
#include "shm/bus.h"

struct bus_publication {
	int dir, owner, fd; /* -1: not open */
	void *map;	    /* NULL: none */
	size_t len;
	char temp[32]; /* "" once renamed or removed */
};

void bus_publication_init(struct bus_publication *p);

/* Makes and maps <root>/<role>/.tmp.<nonce>, len zero bytes, locked.
 * ERR_FULL: a living writer of this role holds the owner's lock after
 * wait_ms.  ERR_SYS: the step that failed stands in *why. */
MUST_USE int bus_publication_open(struct bus_publication *p, const char *root, enum bus_role role,
				  size_t len, uint64_t nonce, unsigned wait_ms, struct fault *why);

/* Makes the filled file visible; its first immutable_len bytes can't be
 * written from here on.  ERR_SYS. */
MUST_USE int bus_publication_commit(struct bus_publication *p, size_t immutable_len,
				    struct fault *why);

/* ERR_CLOSED when another file took our name, or it was removed. */
MUST_USE int bus_publication_check(const struct bus_publication *p);

/* Gives up the file, keeps the owner's lock: no second writer of the role. */
void bus_publication_abandon(struct bus_publication *p);
void bus_publication_fini(struct bus_publication *p);

const char *bus_role_name(enum bus_role role);

#endif
