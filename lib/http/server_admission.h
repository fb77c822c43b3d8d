/*
 * server_admission -- who may have a connection when there are too many: pure arithmetic on
 * addresses, ages and states; no socket, no clock.
 *
 * Each client address (of IPv6: each /64) has a share of the connections, and some of all are kept
 * for addresses that hold none.  Whoever comes is taken where that is possible; what ends for it
 * is a connection of the address that holds most, by age and by what it has had, never by its
 * progress: a client that takes a little now and then makes progress for ever.
 *
 * Clients behind one address (NAT, a node's kubelet beside Prometheus, a proxy) have one share;
 * within it the oldest connection gives way, so a short request gets through beside a flood.
 */
#ifndef LIB_HTTP_SERVER_ADMISSION_H
#define LIB_HTTP_SERVER_ADMISSION_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/base/bytes.h"
#include "lib/base/limits.h"
#include "lib/base/must.h"

/* What a connection waits for. */
enum server_conn_state {
	SERVER_CONN_IDLE,   /* the first byte of a request */
	SERVER_CONN_HEAD,   /* the rest of its head */
	SERVER_CONN_QUEUED, /* its turn: a pipelined request, while connections are ended for others
			     */
	SERVER_CONN_EXCHANGE, /* the owner of the exchange */
	SERVER_CONN_SENDING,  /* the client to take what was sent */
	SERVER_CONN_LINGER,   /* the client to close, after the last response */
	SERVER_CONN_STATES
};

struct server_peer {
	uint8_t address[16]; /* IPv4 as its mapped form, of IPv6 the first 8 bytes */
	size_t held;	     /* connections; 0: the entry is free */
};

/* The part of a connection that is judged; embedded. */
struct server_seat {
	struct server_seat *prev, *next; /* in the order in which they were accepted */
	struct server_peer *peer;
	enum server_conn_state state; /* the owner's to set, with since_ns */
	uint64_t accepted_ns, since_ns;
	unsigned responses; /* begun on it; the owner's to count */
};

struct server_admission {
	struct server_seat *first, *last;
	size_t count;
	struct server_peer peers[LIMIT_HTTP_CONNECTIONS];
	uint64_t pressed_until_ns;
};

/* The address as one share; `held` is not set. */
void server_peer_read(struct server_peer *out, const struct sockaddr_storage *from);

/* Whether a connection from there may come in.  *victim: the seat that has to end first, or
 * NULL. */
MUST_USE bool server_admission_ask(struct server_admission *a, const struct server_peer *from,
				   uint64_t now_ns, struct server_seat **victim);
/* After the victim has ended. */
void server_admission_add(struct server_admission *a, struct server_seat *seat,
			  const struct server_peer *from, uint64_t now_ns);
void server_admission_remove(struct server_admission *a, struct server_seat *seat);

/* Connections have ended for others within the last second, and this one's address is among those
 * that hold many. */
bool server_admission_is_pressed(const struct server_admission *a, const struct server_seat *seat,
				 uint64_t now_ns);
/* It has had its part: old, or many responses. */
bool server_seat_is_worn(const struct server_seat *seat, uint64_t now_ns);

#endif
