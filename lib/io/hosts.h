/*
 * hosts -- the addresses that a hosts file gives to a name (hosts(5)), and those
 * of `localhost` (RFC 6761, 6.3): what needs no name server.
 *
 * It reads one small file and answers from it.  The order of nsswitch.conf is not
 * looked at: the file goes first, as on every system with its default.
 */
#ifndef LIB_IO_HOSTS_H
#define LIB_IO_HOSTS_H

#include <stddef.h>
#include <sys/socket.h>

/* Up to `max` addresses of `name` with port 0, IPv6 first (RFC 6724); how many that are.
 * 0: the file does not know the name, can't be read, or is larger than 64 KiB, and the
 * name is not localhost. */
size_t hosts_find(const char *path, const char *name, struct sockaddr_storage *out, size_t max);

#endif
