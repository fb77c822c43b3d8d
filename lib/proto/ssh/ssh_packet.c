/*
 * ssh_packet -- the binary packet protocol (RFC 4253, section 6): lengths,
 * padding, sequence numbers, a queue of sealed packets. It does not look into
 * payloads.
 */
#include "lib/proto/ssh/ssh_packet.h"

enum {
	PAD_MIN = 4,
	CLEAR_BLOCK = 8,
	CLEAR_LEN_MIN = 12, /* RFC 4253, 6: a packet is 16 bytes or more */
	ALIGN = 8,
};

void ssh_rx_init(struct ssh_rx *rx, const struct mem *mem)
{
	*rx = (struct ssh_rx){ 0 };
	buf_init(&rx->part, mem, SSH_PACKET_MAX + SSH_CIPHER_LENGTH_LEN + SSH_CIPHER_TAG_LEN);
	rx->part.keep = true; /* a stream of cut packets takes no memory per packet */
}

void ssh_rx_fini(struct ssh_rx *rx)
{
	ssh_cipher_fini(&rx->cipher);
	buf_fini(&rx->part);
}

/* Before anything else is done with a packet: is its length one at all? */
static int check_length(struct ssh_rx *rx, const uint8_t *head, struct fault *why)
{
	if (ssh_cipher_length(&rx->cipher, rx->seq, head, &rx->len) < 0)
		return fault_set(why, ERR_CRYPTO, "cannot decrypt a packet length");
	const struct ssh_cipher_kind *kind = rx->cipher.kind;
	const uint32_t min = kind ? (uint32_t)kind->block : CLEAR_LEN_MIN;
	const size_t whole = kind ? rx->len % kind->block
				  : (rx->len + (size_t)SSH_CIPHER_LENGTH_LEN) % CLEAR_BLOCK;

	if (rx->len < min || rx->len > SSH_PACKET_MAX || whole != 0)
		return fault_set(why, ERR_PROTO, "packet %u has the impossible length %u",
				 (unsigned)rx->seq, (unsigned)rx->len);
	rx->len_known = true;
	return 0;
}

static size_t total(const struct ssh_rx *rx)
{
	return SSH_CIPHER_LENGTH_LEN + (size_t)rx->len + ssh_cipher_tag_len(&rx->cipher);
}

static int open_packet(struct ssh_rx *rx, uint8_t *packet, struct mspan *payload, struct fault *why)
{
	const uint32_t len = rx->len;

	rx->len_known = false;
	if (rx->packets >= UINT32_MAX)
		return fault_set(why, ERR_PROTO, "the peer used one key for 2^32 packets");
	const int rc = ssh_cipher_open(&rx->cipher, rx->seq, packet, len);
	if (rc == ERR_PROTO)
		return fault_set(why, rc, "packet %u is not authentic", (unsigned)rx->seq);
	if (rc < 0)
		return fault_set(why, ERR_CRYPTO, "cannot decrypt a packet");
	const uint8_t pad = packet[SSH_CIPHER_LENGTH_LEN];
	if (pad < PAD_MIN || pad + 1u >= len)
		return fault_set(why, ERR_PROTO, "packet %u of length %u has %u bytes of padding",
				 (unsigned)rx->seq, (unsigned)len, (unsigned)pad);
	*payload = (struct mspan){ packet + SSH_CIPHER_LENGTH_LEN + 1, len - 1 - pad };
	rx->seq++;
	rx->packets++;
	rx->bytes += len;
	return 1;
}

/* Moves bytes into the part until it has `want`; true when it has. */
static int collect(struct ssh_rx *rx, size_t want, const uint8_t *in, size_t n, size_t *taken,
		   struct fault *why)
{
	const size_t more = min_size(want - buf_len(&rx->part), n - *taken);

	if (buf_append(&rx->part, in + *taken, more) < 0)
		return fault_set(why, ERR_NOMEM, "no memory for a packet that comes in pieces");
	*taken += more;
	return buf_len(&rx->part) == want;
}

int ssh_rx_feed(struct ssh_rx *rx, uint8_t *in, size_t n, size_t *taken, struct mspan *payload,
		struct fault *why)
{
	int rc;

	*taken = 0;
	if (rx->part_done) {
		buf_consume(&rx->part, buf_len(&rx->part));
		rx->part_done = false;
	}
	if (buf_len(&rx->part) == 0 && n >= SSH_CIPHER_LENGTH_LEN) {
		if ((rc = check_length(rx, in, why)) < 0)
			return rc;
		if (n >= total(rx)) {
			*taken = total(rx);
			return open_packet(rx, in, payload, why);
		}
	}
	if (!rx->len_known) {
		rc = collect(rx, SSH_CIPHER_LENGTH_LEN, in, n, taken, why);
		if (rc <= 0)
			return rc;
		if ((rc = check_length(rx, buf_bytes(&rx->part).p, why)) < 0)
			return rc;
	}
	rc = collect(rx, total(rx), in, n, taken, why);
	if (rc <= 0)
		return rc;
	rx->part_done = true;
	return open_packet(rx, buf_bytes(&rx->part).p, payload, why);
}

void ssh_rx_rekey(struct ssh_rx *rx, struct ssh_cipher *next, bool reset_seq)
{
	ssh_cipher_fini(&rx->cipher);
	rx->cipher = *next;
	*next = (struct ssh_cipher){ 0 };
	rx->packets = rx->bytes = 0;
	if (reset_seq)
		rx->seq = 0;
}

void ssh_rx_trim(struct ssh_rx *rx)
{
	if (buf_len(&rx->part) && !rx->part_done)
		return;
	const struct mem *mem = rx->part.mem;
	const size_t max = rx->part.max;
	buf_fini(&rx->part);
	buf_init(&rx->part, mem, max);
	rx->part.keep = true;
	rx->part_done = false;
}

/*
 * Sealed packets wait in blocks, in records of {length, headroom, packet}.
 * A block that has been sent is kept for the next one until ssh_tx_trim().
 */
struct ssh_tx_block {
	struct ssh_tx_block *next;
	size_t start, end, cap;
	uint8_t p[];
};

static size_t record_size(const struct ssh_tx *tx, size_t packet)
{
	return (sizeof(uint32_t) + tx->headroom + packet + ALIGN - 1) / ALIGN * ALIGN;
}

size_t ssh_tx_cost(const struct ssh_tx *tx, size_t n)
{
	return record_size(tx, SSH_CIPHER_LENGTH_LEN + 1 + n + PAD_MIN + 16 + SSH_CIPHER_TAG_LEN);
}

void ssh_tx_init(struct ssh_tx *tx, const struct mem *mem, size_t headroom)
{
	*tx = (struct ssh_tx){ .mem = mem, .headroom = headroom };
}

static void give_chain(struct ssh_tx *tx, struct ssh_tx_block **chain)
{
	while (*chain) {
		struct ssh_tx_block *b = *chain;
		*chain = b->next;
		mem_free(tx->mem, b);
	}
}

void ssh_tx_fini(struct ssh_tx *tx)
{
	ssh_cipher_fini(&tx->cipher);
	give_chain(tx, &tx->head);
	give_chain(tx, &tx->spare);
	tx->tail = NULL;
}

/* A block at the tail with room for one more record. */
static struct ssh_tx_block *block_for(struct ssh_tx *tx, size_t record)
{
	struct ssh_tx_block *b = tx->tail;

	if (b && record <= b->cap - b->end)
		return b;
	if (b && b->end == 0) { /* the only one: nothing may be in front of what is sent next */
		tx->head = tx->tail = NULL;
		b->next = tx->spare;
		tx->spare = b;
	}
	if (tx->spare && record <= tx->spare->cap) {
		b = tx->spare;
		tx->spare = b->next;
	} else {
		/* A request may be larger than any data, and then has a block to itself. */
		const size_t two = 2 * ssh_tx_cost(tx, SSH_PAYLOAD_MAX),
			     cap = record > two ? record : two;
		must(record <= ssh_tx_cost(tx, SSH_REQUEST_MAX + 512));
		b = mem_alloc(tx->mem, sizeof(*b) + cap);
		if (!b)
			return NULL;
		b->cap = cap;
	}
	b->next = NULL;
	b->start = b->end = 0;
	if (tx->tail)
		tx->tail->next = b;
	else
		tx->head = b;
	tx->tail = b;
	return b;
}

static void commit(struct ssh_tx *tx, struct ssh_tx_block *b, size_t packet)
{
	const uint32_t n = (uint32_t)packet;

	memcpy(b->p + b->end, &n, sizeof(n));
	b->end += record_size(tx, packet);
	tx->held += record_size(tx, packet);
	tx->waiting += packet;
}

int ssh_tx_raw(struct ssh_tx *tx, struct span line)
{
	struct ssh_tx_block *b = block_for(tx, record_size(tx, line.n));

	if (!b)
		return ERR_NOMEM;
	memcpy(b->p + b->end + sizeof(uint32_t) + tx->headroom, line.p, line.n);
	commit(tx, b, line.n);
	return 0;
}

/* RFC 4253, 6; AEAD ciphers leave the length out of what is padded. */
static size_t padding_for(const struct ssh_cipher *c, size_t payload)
{
	const size_t block = c->kind ? c->kind->block : CLEAR_BLOCK;
	const size_t n = 1 + payload + (c->kind ? 0 : SSH_CIPHER_LENGTH_LEN);
	size_t pad = block - n % block;

	if (pad < PAD_MIN)
		pad += block;
	if (!c->kind && 1 + payload + pad < CLEAR_LEN_MIN)
		pad += block;
	return pad;
}

int ssh_tx_seal(struct ssh_tx *tx, struct span head, struct span body)
{
	if (tx->packets >= UINT32_MAX)
		return ERR_LIMIT;
	const uint8_t pad = (uint8_t)padding_for(&tx->cipher, head.n + body.n);
	const size_t len = 1 + head.n + body.n + pad;
	const size_t packet = SSH_CIPHER_LENGTH_LEN + len + ssh_cipher_tag_len(&tx->cipher);
	struct ssh_tx_block *b = block_for(tx, record_size(tx, packet));
	if (!b)
		return ERR_NOMEM;

	const struct span parts[] = { span_of(&pad, 1), head, body, span_of(tx->pad, pad) };
	uint8_t *to = b->p + b->end + sizeof(uint32_t) + tx->headroom;
	const int rc = ssh_cipher_seal(&tx->cipher, tx->seq, to, parts, array_len(parts));
	if (rc < 0)
		return rc;
	commit(tx, b, packet);
	tx->seq++;
	tx->packets++;
	tx->bytes += len;
	return 0;
}

static uint32_t front_len(const struct ssh_tx *tx)
{
	uint32_t n;

	memcpy(&n, tx->head->p + tx->head->start, sizeof(n));
	return n;
}

struct mspan ssh_tx_front(struct ssh_tx *tx)
{
	if (tx->held == 0)
		return (struct mspan){ 0 };
	uint8_t *record = tx->head->p + tx->head->start;
	return (struct mspan){ record + sizeof(uint32_t) + tx->headroom, front_len(tx) };
}

void ssh_tx_pop(struct ssh_tx *tx)
{
	must(tx->held > 0);
	struct ssh_tx_block *b = tx->head;
	const size_t packet = front_len(tx);

	b->start += record_size(tx, packet);
	tx->held -= record_size(tx, packet);
	tx->waiting -= packet;
	if (b->start < b->end)
		return;
	b->start = b->end = 0;
	if (!b->next)
		return;
	tx->head = b->next;
	b->next = tx->spare;
	tx->spare = b;
}

void ssh_tx_rekey(struct ssh_tx *tx, struct ssh_cipher *next, bool reset_seq)
{
	ssh_cipher_fini(&tx->cipher);
	tx->cipher = *next;
	*next = (struct ssh_cipher){ 0 };
	tx->packets = tx->bytes = 0;
	if (reset_seq)
		tx->seq = 0;
}

void ssh_tx_trim(struct ssh_tx *tx)
{
	give_chain(tx, &tx->spare);
	if (tx->held == 0) {
		give_chain(tx, &tx->head);
		tx->tail = NULL;
	}
}

bool ssh_tx_is_trim(const struct ssh_tx *tx)
{
	return !tx->spare && (tx->held > 0 || !tx->head);
}
