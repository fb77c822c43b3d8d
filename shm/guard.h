/*
 * guard -- reading a map whose file may be truncated underneath.
 *
 * Between enter and leave a SIGBUS inside [base, base + len) puts zero pages
 * there, the load goes on, and leave says so: the map is worthless from then
 * on.  Any other SIGBUS goes to whoever handled it before.  Guards do not
 * nest; each thread has its own.
 */
#ifndef SHM_GUARD_H
#define SHM_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/fault.h"

/* Once per process; later calls do nothing.  ERR_SYS. */
MUST_USE int bus_guard_install(struct fault *why);

void bus_guard_enter(const void *base, size_t len); /* whole pages, mapped by mmap */
MUST_USE bool bus_guard_leave(void); /* true: the map was cut, what was read is not to be used */

#endif
