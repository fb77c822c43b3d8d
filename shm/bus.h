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

#define BUS_FORWARDS_MAX 32
#define BUS_NAME_MAX	 64
#define BUS_TEXT_MAX	 256

enum bus_phase { BUS_INIT, BUS_RUNNING, BUS_DRAINING, BUS_STOPPED, BUS_FAILED };

/* The tunnel's states; names in bus_state_name(). */
#define BUS_STATES(X)                                                                              \
	X(IDLE, "idle")                                                                            \
	X(RESOLVING, "resolving") X(CONNECTING, "connecting") X(TLS, "tls")                        \
		X(UPGRADING, "upgrading") X(SSH, "ssh") X(CONFIGURING, "configuring") X(UP, "up")  \
			X(DRAINING, "draining") X(BACKOFF, "backoff") X(FAILED, "failed")
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
	X(DEAD_LINK, "dead_link")	  /* a session fell silent */                              \
	X(PEER_CLOSED, "peer_closed")	  /* a session was ended by the server */                  \
	X(RESET, "reset")		  /* a session's connection broke */                       \
	X(PROTOCOL, "protocol")		  /* a session broke its wire format */                    \
	X(LOCAL, "local")		  /* this program's own limits: memory, descriptors */     \
	X(DRAINED, "drained")		  /* ended for good: the program was told to stop */
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

/* The numbers: BUS_C_<id> counters, BUS_G_<id> gauges, BUS_H_<id> histograms.
 * Rows: see fields.def. */
enum bus_field {
#define BUS_FIELD(id, role, kind, labels, name, unit, help) BUS_##id,
#include "shm/fields.def"
#undef BUS_FIELD
	BUS_FIELDS_N
};

/* ---- records: whole or not at all: README.md, "Records" ---- */

/* tunnel: the session as it is now */
struct bus_session {
	uint64_t state; /* enum bus_state */
	uint64_t since_realtime_ns;
	uint64_t forwards_active;
	uint64_t attempts;		 /* since it was last up */
	uint64_t next_retry_realtime_ns; /* 0: none planned */
	uint64_t idle_closed;		 /* 1: down by policy (inactivity), counts as ready */
	char io_backend[16];
	char io_reason[112];
	char server[BUS_TEXT_MAX];
	char cipher[BUS_NAME_MAX];
	char last_error[BUS_TEXT_MAX]; /* "" when none; escaped */
	char last_error_phase[32];
	char last_error_reason[32]; /* err_name() */
	char cause[32]; /* why it is not connected: bus_cause_name(); "none" when it is */
};

/* control: registration as it is now */
struct bus_registration {
	uint64_t registered; /* 0 or 1 */
	uint64_t since_realtime_ns;
	uint64_t last_heartbeat_realtime_ns; /* last one that was answered well; 0: none */
	uint64_t nodes, pods;		     /* UINT64_MAX when not known */
	char agent_id[BUS_NAME_MAX * 2];
	char cluster_id[BUS_NAME_MAX];
	char cluster_name[BUS_TEXT_MAX];
	char last_error[BUS_TEXT_MAX];
};

/* control -> tunnel */
enum bus_desired_op { BUS_DESIRED_DOWN = 0, BUS_DESIRED_UP = 1 };
struct bus_desired {
	uint64_t gen;		/* grows within one life of the writer; 0: nothing yet */
	uint64_t op;		/* enum bus_desired_op */
	uint64_t cred_gen;	/* names the credentials file in the handoff directory; 0: none */
	uint64_t inactivity_ns; /* 0: never */
	uint64_t n;
	struct {
		uint16_t remote_port;
		uint16_t target; /* index into tunnel.forwards of the configuration */
	} forward[BUS_FORWARDS_MAX];
	char url[BUS_TEXT_MAX];
	char fingerprint[BUS_NAME_MAX]; /* base64 of SHA-256, or "" */
};

/* tunnel -> control */
struct bus_observed {
	uint8_t writer[16]; /* incarnation of the control segment that was read */
	uint64_t gen_seen, gen_applied;
	uint64_t state; /* enum bus_state */
	uint64_t error; /* 0, or -enum err: why gen_seen was refused or the tunnel is not up */
	char error_text[BUS_TEXT_MAX];
};

const char *bus_state_name(uint64_t state); /* "unknown" for other values */
const char *bus_cause_name(uint64_t cause);
const char *bus_phase_name(uint64_t phase);

#endif
