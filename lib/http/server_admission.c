/*
 * The judgement over connections of the HTTP server: shares by address, the reserve, and the order
 * in which connections end when there is no room.  Nothing here ends one.
 */
#include "lib/http/server_admission.h"
#include "lib/base/units.h"

#include <netinet/in.h>

/* ---- addresses ---- */

void server_peer_read(struct server_peer *out, const struct sockaddr_storage *from)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;

	*out = (struct server_peer){ 0 };
	if (from->ss_family == AF_INET) {
		memcpy(out->address, mapped, sizeof(mapped));
		memcpy(out->address + sizeof(mapped), &v4->sin_addr, 4);
	} else if (from->ss_family == AF_INET6) {
		const bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);

		/* A host has a whole /64 to itself and can come from each address of it. */
		memcpy(out->address, &v6->sin6_addr, is_v4 ? 16 : 8);
	}
}

static struct server_peer *find_peer(struct server_admission *a, const struct server_peer *from)
{
	for (size_t i = 0; i < array_len(a->peers); i++)
		if (a->peers[i].held &&
		    memcmp(a->peers[i].address, from->address, sizeof(from->address)) == 0)
			return &a->peers[i];
	return NULL;
}

static size_t most_held(const struct server_admission *a)
{
	size_t most = 0;

	for (size_t i = 0; i < array_len(a->peers); i++)
		if (a->peers[i].held > most)
			most = a->peers[i].held;
	return most;
}

/* ---- order ---- */

bool server_seat_is_worn(const struct server_seat *seat, uint64_t now_ns)
{
	return seat->responses >= LIMIT_HTTP_WORN_RESPONSES ||
	       now_ns - seat->accepted_ns >= LIMIT_HTTP_WORN_MS * NS_PER_MS;
}

/* In the order in which they end.  From NEW on they are within their grace: a connection that was
 * just accepted has had no chance to ask, and what was just sent last may still be on its way. */
enum rank { LINGERS, IDLE, IN_HEAD, WORN, SLOW, ANSWERED, NEW, NEW_ANSWERED };

static enum rank rank_of(const struct server_seat *s, uint64_t now_ns)
{
	const bool answered = s->state == SERVER_CONN_SENDING || s->state == SERVER_CONN_EXCHANGE;
	const uint64_t from = s->state == SERVER_CONN_LINGER ? s->since_ns : s->accepted_ns;

	if (now_ns - from < LIMIT_HTTP_GRACE_MS * NS_PER_MS)
		return answered ? NEW_ANSWERED : NEW;
	if (s->state == SERVER_CONN_LINGER)
		return LINGERS;
	if (!answered)
		return s->state == SERVER_CONN_HEAD ? IN_HEAD : IDLE;
	if (server_seat_is_worn(s, now_ns))
		return WORN;
	return now_ns - s->since_ns >= LIMIT_HTTP_SLOW_MS * NS_PER_MS ? SLOW : ANSWERED;
}

/* The seat of an address which holds `held` that ends first: of `only`, or of any; none beyond
 * `worst`.  Of two that rank alike the one that came first. */
static struct server_seat *find_victim(const struct server_admission *a, size_t held,
				       const struct server_peer *only, enum rank worst,
				       uint64_t now_ns)
{
	struct server_seat *found = NULL;
	enum rank best = worst;

	for (struct server_seat *s = a->first; s; s = s->next) {
		if (only ? s->peer != only : s->peer->held != held)
			continue;
		const enum rank rank = rank_of(s, now_ns);

		if (rank < best || (rank == best && !found)) {
			found = s;
			best = rank;
		}
	}
	return found;
}

/* ---- the questions ---- */

bool server_admission_ask(struct server_admission *a, const struct server_peer *from,
			  uint64_t now_ns, struct server_seat **victim)
{
	const struct server_peer *own = find_peer(a, from);
	const size_t held = own ? own->held : 0, most = most_held(a);
	const size_t free_for_all = LIMIT_HTTP_CONNECTIONS - LIMIT_HTTP_RESERVED;

	*victim = NULL;
	if (held < LIMIT_HTTP_PEER_CONNECTIONS &&
	    a->count < (held ? free_for_all : LIMIT_HTTP_CONNECTIONS))
		return true;
	a->pressed_until_ns = now_ns + LIMIT_HTTP_PRESSED_MS * NS_PER_MS;
	/* Within one share grace is a preference only: else 64 new connections a second would
	 * lock out everybody behind that address. */
	if (held >= LIMIT_HTTP_PEER_CONNECTIONS || held >= most)
		*victim = find_victim(a, held, own, NEW_ANSWERED, now_ns);
	else
		*victim = find_victim(a, most, NULL, held ? ANSWERED : NEW_ANSWERED, now_ns);
	return *victim != NULL;
}

void server_admission_add(struct server_admission *a, struct server_seat *seat,
			  const struct server_peer *from, uint64_t now_ns)
{
	struct server_peer *peer = find_peer(a, from);

	for (size_t i = 0; !peer && i < array_len(a->peers); i++)
		if (!a->peers[i].held) {
			peer = &a->peers[i];
			*peer = *from;
			peer->held = 0;
		}
	must(peer); /* each entry has a connection, and ask() has left room for one more */
	peer->held++;
	*seat = (struct server_seat){ .prev = a->last,
				      .peer = peer,
				      .state = SERVER_CONN_IDLE,
				      .accepted_ns = now_ns,
				      .since_ns = now_ns };
	*(a->last ? &a->last->next : &a->first) = seat;
	a->last = seat;
	a->count++;
}

void server_admission_remove(struct server_admission *a, struct server_seat *seat)
{
	*(seat->prev ? &seat->prev->next : &a->first) = seat->next;
	*(seat->next ? &seat->next->prev : &a->last) = seat->prev;
	seat->prev = seat->next = NULL;
	seat->peer->held--;
	seat->peer = NULL;
	a->count--;
}

bool server_admission_is_pressed(const struct server_admission *a, const struct server_seat *seat,
				 uint64_t now_ns)
{
	return now_ns < a->pressed_until_ns &&
	       (seat->peer->held > LIMIT_HTTP_PEER_CONNECTIONS / 2 ||
		a->count >= LIMIT_HTTP_CONNECTIONS - LIMIT_HTTP_RESERVED);
}
