/*
 * request -- what lib/base/json_write.h does not know of bodies for the control plane: texts that
 * are left out, and its form of a time.
 */
#ifndef CONTROL_AGENT_PLANE_REQUEST_H
#define CONTROL_AGENT_PLANE_REQUEST_H

#include "lib/base/json_write.h"

/* Adds a member; an empty text is left out. */
void request_text(struct json_writer *j, const char *name, const char *value);
/* Adds a time: RFC 3339, UTC, whole seconds. */
void request_time(struct json_writer *j, const char *name, int64_t at_s);

#endif
