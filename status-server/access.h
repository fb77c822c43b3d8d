/*
 * access -- whether a request may read pages that hold words of others (log lines, bodies of the
 * control plane): not when a web page in somebody's browser could have made it.  Pure.
 *
 * A page of another site sends its own Origin.  A page whose name was made to point here (DNS
 * rebinding) sends that name as Host; so Host has to be an address, localhost, a name that no
 * stranger can own (without a dot, *.svc, *.svc.cluster.local), or listed.
 */
#ifndef STATUS_SERVER_ACCESS_H
#define STATUS_SERVER_ACCESS_H

#include "lib/base/bytes.h"

enum access { ACCESS_GRANTED, ACCESS_FOREIGN_HOST, ACCESS_FOREIGN_ORIGIN };

/* The fields as sent, p = NULL when absent.  `allowed`: names, or .suffixes, separated by commas
 * (status.allowed_hosts). */
enum access access_judge(struct span host, struct span origin, const char *allowed);

#endif
