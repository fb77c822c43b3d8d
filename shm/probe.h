/*
 * probe -- "is this container alive?", asked by a short-lived process of the
 * same container through its own segment.  Needs no network and no other
 * container.
 */
#ifndef SHM_PROBE_H
#define SHM_PROBE_H

#include "shm/reader.h"

/* Attaches and watches the beat, for at most 4 s.  True when the writer lives;
 * *text says what was seen.  On true, *out is the attached reader (the
 * caller's), or pass NULL. */
bool bus_probe(struct bus_reader **out, const char *dir, enum bus_role role, char text[256]);

#endif
