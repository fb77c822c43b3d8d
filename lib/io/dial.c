/*
 * One dial is a look-up (lookup.h), then a race of connects (race.h), under one deadline.
 * While the name server is silent the address of an earlier answer is tried beside the
 * look-up.  It knows no proxy and no TLS.
 */
#include "lib/io/dial.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/lookup.h"
#include "lib/io/loop/loop_backend.h"
#include "lib/io/race.h"

/* No word of the name server for this long: the address of before. */
#define STALE_NS 2000000000ull

static const uint64_t default_timeout_ns = 10000000000ull;

struct dial {
	struct loop *loop;
	struct loop_end end;
	struct timer deadline;
	struct timer stale; /* until the remembered address is tried beside the look-up */
	struct lookup lookup;
	struct race *race;
	dial_done_fn *done;
	void *user;
	uint64_t timeout_ns, began_ns, resolved_ns;
	uint64_t stale_ns; /* how old an answer may be that is used so */
	enum dial_phase phase;
	bool is_numeric;
	bool is_stale;	      /* the race is to the remembered address */
	struct fault unnamed; /* why there are no addresses */
	void (*on_resolved)(void *user);
	uint16_t port;
	char host[LOOKUP_HOST_MAX + 1];
	char name[128]; /* "host:port", printable, for faults */
};

void dial_cancel(struct dial *d)
{
	if (!d)
		return;
	lookup_cancel(&d->lookup);
	race_cancel(d->race);
	timer_clear(d->loop, &d->deadline);
	timer_clear(d->loop, &d->stale);
	loop_end_clear(d->loop, &d->end);
	mem_free(&mem_heap, d);
}

static void on_loop_end(struct loop_end *e)
{
	dial_cancel(owner_of(e, struct dial, end));
}

static void finish(struct dial *d, struct dial_result *r)
{
	dial_done_fn *done = d->done;
	void *user = d->user;
	const uint64_t now = loop_now(d->loop);

	r->phase = d->phase;
	r->resolve_ns = (d->phase == DIAL_RESOLVING ? now : d->resolved_ns) - d->began_ns;
	r->connect_ns = d->phase == DIAL_RESOLVING ? 0 : now - d->resolved_ns;
	dial_cancel(d);
	done(user, r);
}

static void on_connected(void *user, int fd, const struct sockaddr_storage *winner,
			 const struct fault *why)
{
	struct dial *d = user;
	struct dial_result r = { .fd = fd };

	d->race = NULL;
	if (fd < 0 && d->is_stale && d->lookup.name)
		return;
	if (fd < 0 && d->is_stale)
		d->phase = DIAL_RESOLVING; /* that is what is wrong */
	if (!d->is_numeric && !d->is_stale)
		lookup_note(d->loop, d->host, fd < 0 ? NULL : winner);
	if (fd < 0) {
		r.why = d->is_stale ? d->unnamed : *why;
	} else {
		race_address_text(r.address, sizeof(r.address), winner);
		r.is_remembered = d->is_stale;
	}
	finish(d, &r);
}

static void set_port(struct sockaddr_storage *to, size_t n, uint16_t port)
{
	for (size_t i = 0; i < n; i++)
		if (to[i].ss_family == AF_INET6)
			((struct sockaddr_in6 *)&to[i])->sin6_port = htons(port);
		else
			((struct sockaddr_in *)&to[i])->sin_port = htons(port);
}

static int start_race(struct dial *d, struct sockaddr_storage *to, size_t n, struct fault *why)
{
	const bool is_first = d->phase == DIAL_RESOLVING;

	d->phase = DIAL_CONNECTING;
	d->resolved_ns = loop_now(d->loop);
	timer_clear(d->loop, &d->stale);
	race_cancel(d->race);
	d->race = NULL;
	set_port(to, n, d->port);
	const int rc = race_start(&d->race, d->loop, to, n, d->name, on_connected, d, why);
	if (rc >= 0 && is_first && d->on_resolved)
		d->on_resolved(d->user);
	return rc;
}

/* 0: nothing is remembered. */
static int start_stale(struct dial *d, struct fault *why)
{
	struct sockaddr_storage to[RACE_MAX];
	const size_t n = d->stale_ns ? lookup_remembered(d->loop, d->host, d->stale_ns, to) : 0;

	if (!n)
		return 0;
	d->is_stale = true;
	const int rc = start_race(d, to, n, why);
	return rc < 0 ? rc : 1;
}

static void on_stale(struct timer *t)
{
	struct dial *d = owner_of(t, struct dial, stale);
	struct dial_result r = { .fd = -1 };

	if (start_stale(d, &r.why) < 0)
		finish(d, &r);
}

static void on_resolved(struct lookup *w, const struct lookup_answer *answer)
{
	struct dial *d = owner_of(w, struct dial, lookup);
	struct dial_result r = { .fd = -1 };
	struct sockaddr_storage to[RACE_MAX];

	timer_clear(d->loop, &d->stale);
	if (answer->n) {
		d->is_stale = false;
		memcpy(to, answer->to, sizeof(to));
		if (start_race(d, to, answer->n, &r.why) < 0)
			finish(d, &r);
		return;
	}
	(void)fault_set(&d->unnamed, answer->why.code, "resolve %s: %s", d->name, answer->why.why);
	if (d->race) /* to the remembered address, since a while */
		return;
	if (!d->is_stale && start_stale(d, &r.why) > 0)
		return;
	if (!r.why.code)
		r.why = d->unnamed;
	d->phase = DIAL_RESOLVING;
	finish(d, &r);
}

static void on_deadline(struct timer *t)
{
	struct dial *d = owner_of(t, struct dial, deadline);
	struct dial_result r = { .fd = -1 };

	if (lookup_is_queued(&d->lookup))
		(void)fault_set(&r.why, ERR_FULL, "resolve %s: %d look-ups are waiting already",
				d->name, LOOKUPS_MAX);
	if (d->is_stale)
		d->phase = DIAL_RESOLVING;
	(void)fault_set(&r.why, ERR_TIMEOUT, "%s %s: no answer within %" PRIu64 " ms",
			d->phase == DIAL_RESOLVING ? "resolve" : "connect to", d->name,
			d->timeout_ns / 1000000);
	finish(d, &r);
}

static void write_name(struct dial *d, const struct dial_options *o)
{
	char host[112];

	snprintf(host, sizeof(host), "%s", o->host);
	for (char *p = host; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			*p = '?';
	snprintf(d->name, sizeof(d->name), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, o->port);
}

/* An address needs no look-up, nor does it belong into the table of names. */
static size_t read_numeric(const char *host, struct sockaddr_storage *to)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	struct addrinfo *list = NULL;

	if (getaddrinfo(host, "0", &hints, &list))
		return 0;
	const bool is_ours = list->ai_family == AF_INET || list->ai_family == AF_INET6;
	memset(to, 0, sizeof(*to));
	if (is_ours)
		memcpy(to, list->ai_addr, list->ai_addrlen);
	freeaddrinfo(list);
	return is_ours;
}

static int begin(struct dial *d, const char *host, struct fault *why)
{
	struct lookup_answer answer = { 0 };
	struct fault unnamed = { 0 };
	int rc = 1;

	answer.n = read_numeric(host, answer.to);
	d->is_numeric = answer.n != 0;
	if (!d->is_numeric)
		rc = lookup_start(&d->lookup, d->loop, host, &answer, &unnamed);
	if (rc < 0)
		return fault_set(why, (enum err)rc, "resolve %s: %s", d->name, unnamed.why);
	if (rc)
		return start_race(d, answer.to, answer.n, why);
	if (d->stale_ns) {
		const uint64_t asked = lookup_asked_ns(&d->lookup);
		timer_set(d->loop, &d->stale, (asked ? asked : d->began_ns) + STALE_NS);
	}
	return 0;
}

int dial_start(struct dial **out, struct loop *l, const struct dial_options *o, dial_done_fn *done,
	       void *user, struct fault *why)
{
	*out = NULL;
	struct dial *d = mem_alloc_zeroed(&mem_heap, sizeof(*d));
	if (!d)
		return fault_set(why, ERR_NOMEM, "no memory to dial");
	d->loop = l;
	d->done = done;
	d->user = user;
	d->began_ns = d->resolved_ns = loop_now(l);
	d->timeout_ns = o->timeout_ns ? o->timeout_ns : default_timeout_ns;
	d->end.call = on_loop_end;
	d->deadline.fire = on_deadline;
	d->stale.fire = on_stale;
	d->lookup.done = on_resolved;
	d->on_resolved = o->on_resolved;
	d->stale_ns = o->stale_ns;
	if (o->ask_anew)
		lookup_note(l, o->host, NULL);
	d->port = o->port;
	loop_at_end(l, &d->end);
	write_name(d, o);
	snprintf(d->host, sizeof(d->host), "%s", o->host);
	const int rc = begin(d, o->host, why);
	if (rc < 0) {
		dial_cancel(d);
		return rc;
	}
	timer_set(l, &d->deadline, d->began_ns + d->timeout_ns);
	*out = d;
	return 0;
}
