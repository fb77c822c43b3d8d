/*
 * server_listen -- where a server listens: a word or an address to listening sockets.
 *
 *	*              every address of both families; IPv4 alone where there is no IPv6
 *	::  [::]       the same, but IPv6 has to be there
 *	localhost      127.0.0.1 and ::1, as far as they are there
 *	an address     that one, IPv6 with or without brackets; 0.0.0.0 is all of IPv4
 *
 * It blocks, at start only.  No names are looked up.
 */
#ifndef LIB_HTTP_SERVER_LISTEN_H
#define LIB_HTTP_SERVER_LISTEN_H

#include <sys/socket.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

enum { SERVER_LISTEN_MAX = 2 };

struct server_listen {
	struct sockaddr_storage at[SERVER_LISTEN_MAX];
	size_t n;
	bool first_only; /* the others are for when the first can't be had */
	char text[64];	 /* as the user wrote it */
};

/* ERR_CONFIG: a sentence that names the forms which work. */
MUST_USE int server_listen_read(struct server_listen *out, const char *bind, uint16_t port,
				struct fault *why);
socklen_t server_listen_length(const struct sockaddr_storage *at);

/* Opens the sockets, non-blocking, into fds[0..) and returns how many; *port is the one they got.
 * busy_ns: how long to try again, asleep, when the port is in use.  ERR_SYS. */
MUST_USE int server_listen_open(const struct server_listen *w, int fds[SERVER_LISTEN_MAX],
				uint16_t *port, uint64_t busy_ns, struct fault *why);

/* Where a process of the same machine reaches what listens there, in the order to try. */
size_t server_listen_own(const struct server_listen *w,
			 struct sockaddr_storage to[SERVER_LISTEN_MAX]);

#endif
