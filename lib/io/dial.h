/*
 * dial -- a host name and a port to a connected TCP socket.
 *
 * Looks the name up (lookup.h), tries the addresses in turn, IPv6 and IPv4
 * interleaved, starting the next after 250 ms (RFC 8305), keeps the first that
 * answers.  A name that can't be looked up may be replaced by the address that
 * answered last.  TCP_NODELAY is set.  Not TLS, no proxy.
 */
#ifndef LIB_IO_DIAL_H
#define LIB_IO_DIAL_H

#include "lib/io/loop/loop.h"

struct dial;

enum dial_phase { DIAL_RESOLVING, DIAL_CONNECTING };

struct dial_result {
	int fd;		       /* >= 0: connected, the callback's owner takes it; else -1 */
	enum dial_phase phase; /* where it failed */
	struct fault why;      /* ERR_NAME, _TIMEOUT, _FULL, _SYS: names host, port and reason */
	uint64_t resolve_ns, connect_ns; /* time spent in each phase */
	char address[64];		 /* numeric address and port that answered */
	bool is_remembered;		 /* that address is of an earlier look-up */
};

typedef void dial_done_fn(void *user, struct dial_result *result);

struct dial_options {
	const char *host; /* name or numeric, no brackets; copied */
	uint16_t port;
	uint64_t timeout_ns; /* whole dial; 0 = 10 s */
	/* Addresses are tried from now on; for a numeric host called by dial_start()
	 * itself.  Must not cancel.  May be NULL. */
	void (*on_resolved)(void *user);
	/* The addresses of an earlier answer for this name, at most this old, are tried when
	 * the name server gives none, or none within two seconds: an outage of it is none of
	 * ours.  0: never; UINT64_MAX: whatever their age, for a peer that proves itself. */
	uint64_t stale_ns;
	/* The name server is asked even if it answered a moment ago: what is reached may have
	 * moved because of the failure that makes us dial. */
	bool ask_anew;
};

/* Calls done exactly once, later, unless cancelled.  While names that nobody answers for
 * hold all threads, another name waits for its turn, and fails with ERR_FULL when that did
 * not come.  ERR_NOMEM, ERR_NAME, ERR_FULL. */
MUST_USE int dial_start(struct dial **out, struct loop *l, const struct dial_options *options,
			dial_done_fn *done, void *user, struct fault *why);
void dial_cancel(struct dial *d); /* done is not called any more; accepts NULL */

#endif
