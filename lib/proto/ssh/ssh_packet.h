/*
 * ssh_packet -- the binary packet protocol (RFC 4253, section 6): bytes to
 * payloads, payloads to a queue of sealed packets.
 *
 * Knows lengths, padding, sequence numbers and ciphers, and nothing of what a
 * payload means.
 */
#ifndef LIB_PROTO_SSH_SSH_PACKET_H
#define LIB_PROTO_SSH_SSH_PACKET_H

#include "lib/base/buf.h"
#include "lib/base/limits.h"
#include "lib/proto/ssh/ssh_cipher.h"

enum {
	SSH_PACKET_MAX = LIMIT_SSH_PACKET,    /* packet_length of what we accept */
	SSH_DATA_MAX = LIMIT_SSH_DATA,	      /* channel data in one packet, either direction */
	SSH_PAYLOAD_MAX = SSH_DATA_MAX + 512, /* of what we send */
	/* Payload of a global request of ours; other implementations end packets at 256 KiB, too.
	 */
	SSH_REQUEST_MAX = LIMIT_SSH_PACKET - 1024,
	SSH_PAD_POOL = 32,
};

struct ssh_rx {
	struct ssh_cipher cipher;
	uint32_t seq;		 /* of the next packet */
	uint64_t packets, bytes; /* under the keys in force */
	struct buf part;	 /* a packet that has not come whole */
	uint32_t len;		 /* its packet_length, when known */
	bool len_known, part_done;
};

void ssh_rx_init(struct ssh_rx *rx, const struct mem *mem);
void ssh_rx_fini(struct ssh_rx *rx);
/* Takes bytes of in[0..n), *taken of them, and decrypts in place.  1: *payload
 * is one payload, good until the next call; 0: more bytes are needed. */
MUST_USE int ssh_rx_feed(struct ssh_rx *rx, uint8_t *in, size_t n, size_t *taken,
			 struct mspan *payload, struct fault *why);
/* Takes over *next, which is left empty. */
void ssh_rx_rekey(struct ssh_rx *rx, struct ssh_cipher *next, bool reset_seq);
void ssh_rx_trim(struct ssh_rx *rx); /* gives back memory that waits for use */

struct ssh_tx_block;

struct ssh_tx {
	const struct mem *mem;
	struct ssh_cipher cipher;
	uint32_t seq;
	uint64_t packets, bytes;
	size_t headroom;
	struct ssh_tx_block *head, *tail, *spare;
	size_t held;	/* what the waiting packets cost, with headroom */
	size_t waiting; /* their bytes */
	uint8_t pad[SSH_PAD_POOL];
};

void ssh_tx_init(struct ssh_tx *tx, const struct mem *mem, size_t headroom);
void ssh_tx_fini(struct ssh_tx *tx);
/* Seals head and body as one payload.  ERR_NOMEM, ERR_CRYPTO, ERR_LIMIT (the
 * keys are used up). */
MUST_USE int ssh_tx_seal(struct ssh_tx *tx, struct span head, struct span body);
/* The same without any packet form: the identification line. */
MUST_USE int ssh_tx_raw(struct ssh_tx *tx, struct span line);
/* An upper bound of what a payload of n bytes adds to tx->held. */
size_t ssh_tx_cost(const struct ssh_tx *tx, size_t n);
struct mspan ssh_tx_front(struct ssh_tx *tx);
void ssh_tx_pop(struct ssh_tx *tx);
void ssh_tx_rekey(struct ssh_tx *tx, struct ssh_cipher *next, bool reset_seq);
void ssh_tx_trim(struct ssh_tx *tx);
bool ssh_tx_is_trim(const struct ssh_tx *tx);

#endif
