/*
 * redact -- a peer's answer as a log line may show it: cut, printable, and
 * without secrets.
 */
#ifndef CONTROL_AGENT_PLANE_REDACT_H
#define CONTROL_AGENT_PLANE_REDACT_H

#include "lib/base/bytes.h"

#define REDACT_BODY_MAX 1024 /* bytes of an answer that a log line shows */

/* Writes body to `to` (cap bytes with the NUL; cut with "...").  Each occurrence
 * of a secret (NULL and texts shorter than 4 bytes are skipped) becomes "***",
 * and so does the value of each JSON member whose name ends in token, password,
 * secret or credentials; bytes that do not print become '?'. */
void redact(char *to, size_t cap, struct span body, const char *const *secrets, size_t secrets_n);

#endif
