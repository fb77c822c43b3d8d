/*
 * bus -- what the three programs publish to each other: the types.
 *
 * One segment file per writer (tunnel/segment, control/segment below the bus
 * directory), one writer each, any number of readers.  README.md draws the
 * segment; fields.def is the one list of numbers in it.  No secret ever
 * enters it.
 */
#ifndef SHM_BUS_H
#define SHM_BUS_H

#include <stdint.h>

#include "lib/base/fault.h"

enum bus_role { BUS_TUNNEL = 1, BUS_CONTROL = 2 };
#define BUS_ROLES 2
#define BUS_ANY	  0 /* of a record: each role publishes one of its own */

#define BUS_FORWARDS_MAX 32
#define BUS_NAME_MAX	 64
#define BUS_TEXT_MAX	 256

enum bus_phase { BUS_INIT, BUS_RUNNING, BUS_DRAINING, BUS_STOPPED, BUS_FAILED };

/* The tunnel's states; names in bus_state_name(). */
#define BUS_STATES(X)                                                                              \
	X(IDLE, "idle")                                                                            \
	X(RESOLVING, "resolving")                                                                  \
	X(CONNECTING, "connecting")                                                                \
	X(TLS, "tls")                                                                              \
	X(UPGRADING, "upgrading")                                                                  \
	X(SSH, "ssh")                                                                              \
	X(CONFIGURING, "configuring")                                                              \
	X(UP, "up")                                                                                \
	X(DRAINING, "draining")                                                                    \
	X(BACKOFF, "backoff")                                                                      \
	X(FAILED, "failed")
enum bus_state {
#define X(id, name) BUS_STATE_##id,
	BUS_STATES(X)
#undef X
		BUS_STATES_N
};

/* Why the tunnel is not connected; one list for the label `cause`.  The first is
 * its opposite. */
#define BUS_CAUSES(X)                                                                              \
	X(CONNECTED, "none")		  /* the forwards are agreed */                            \
	X(NOT_WANTED, "not_wanted")	  /* the control plane wants no tunnel (yet) */            \
	X(IDLE_CLOSED, "idle_closed")	  /* closed by the inactivity timeout */                   \
	X(STARTING, "starting")		  /* first attempt at what is wanted now */                \
	X(DNS, "dns")			  /* the name gave no address */                           \
	X(TCP, "tcp")			  /* no connection to an address, or to the proxy */       \
	X(PROXY, "proxy")		  /* the proxy refused or failed */                        \
	X(TLS, "tls")			  /* handshake or certificate */                           \
	X(UPGRADE, "upgrade")		  /* no WebSocket was granted */                           \
	X(SSH, "ssh")			  /* key exchange failed */                                \
	X(AUTH, "auth")			  /* our credentials were refused */                       \
	X(FINGERPRINT, "fingerprint")	  /* the host key is not the pinned one */                 \
	X(CONFIG, "config")		  /* the forwards were refused */                          \
	X(CANNOT_LISTEN, "cannot_listen") /* the server could not bind a forward's port */         \
	X(DEAD_LINK, "dead_link")	  /* a session got no more bytes from the server */        \
	X(PEER_CLOSED, "peer_closed")	  /* a session was ended by the server */                  \
	X(RESET, "reset")		  /* a session's connection broke */                       \
	X(PROTOCOL, "protocol")		  /* a session broke its wire format */                    \
	X(LOCAL, "local")		  /* this program's own limits: memory, descriptors */     \
	X(DRAINED, "drained")		  /* the program was asked to end */
enum bus_cause {
#define X(id, name) BUS_CAUSE_##id,
	BUS_CAUSES(X)
#undef X
		BUS_CAUSES_N
};

/* Why a channel that the server asked for was refused. */
#define BUS_REFUSALS(X)                                                                            \
	X(FORBIDDEN, "forbidden")                                                                  \
	X(DRAINING, "draining") X(BUSY, "busy") X(FAILING, "failing") X(MEMORY, "memory")
enum bus_refusal {
#define X(id, name) BUS_REFUSAL_##id,
	BUS_REFUSALS(X)
#undef X
		BUS_REFUSALS_N
};

/* The numbers: BUS_<id>.  Rows: see fields.def. */
enum bus_field {
#define BUS_FIELD(id, role, kind, labels, name, unit, help) BUS_##id,
#include "shm/fields.def"
#undef BUS_FIELD
	BUS_FIELDS_N
};

/* ---- records: whole or not at all: README.md, "Records" ---- */

enum bus_desired_op { BUS_DESIRED_DOWN = 0, BUS_DESIRED_UP = 1 };
struct bus_ports {
	uint16_t remote_port;
	uint16_t target; /* index into tunnel.forwards of the configuration */
};

/* struct bus_session, bus_observed, bus_registration, bus_desired: records.def
 * says what each field is. */
#define BUS_RECORD(ID, name, role, strict)	 struct bus_##name {
#define BUS_VALUE(record, kind, field, key, max) uint64_t field;
#define BUS_TEXT(record, field, key, size)	 char field[size];
#define BUS_BYTES(record, field, key, size)	 uint8_t field[size];
#define BUS_PORTS(record, field, key, n)	 struct bus_ports field[n];
#define BUS_RECORD_END(ID, name)                                                                   \
	}                                                                                          \
	;
#include "shm/records.def"

enum bus_record_id {
#define BUS_RECORD(ID, name, role, strict) BUS_RECORD_##ID,
#include "shm/records.def"
	BUS_RECORDS_N
};

const char *bus_state_name(uint64_t state); /* "unknown" for other values */
const char *bus_cause_name(uint64_t cause);
const char *bus_phase_name(uint64_t phase);

#endif
