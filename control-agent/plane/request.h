/*
 * request -- JSON bodies for the control plane, and their times.
 */
#ifndef CONTROL_AGENT_PLANE_REQUEST_H
#define CONTROL_AGENT_PLANE_REQUEST_H

#include <json-c/json.h>

#include "lib/base/buf.h"

/* Adds a member; empty texts are left out.  False when memory was refused. */
bool request_text(struct json_object *o, const char *name, const char *value);
bool request_number(struct json_object *o, const char *name, uint64_t value);
/* Takes `value`, also when it fails or is NULL (false then). */
bool request_take(struct json_object *o, const char *name, struct json_object *value);
/* RFC 3339, UTC, whole seconds. */
void request_time(char to[32], int64_t now_s);
/* Appends *o as text and frees it.  ERR_NOMEM when !good, errors of buf_append. */
MUST_USE int request_finish_take(struct buf *to, struct json_object *o, bool good);

#endif
