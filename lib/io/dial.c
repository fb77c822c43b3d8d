#include "lib/io/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/io/loop/loop_backend.h"
#include "lib/io/race.h"

enum { LOOKUPS_MAX = 8, HOST_MAX = 255 };
#define STALE_NS 2000000000ull /* no word of the name server for this long: the address of before  \
				*/
#define TURN_NS                                                                                    \
	5000000 /* a look-up that was cancelled ends without a word: so it is asked for again */

static const uint64_t default_timeout_ns = 10000000000ull;

/* Counts threads, not dials: one that a dead name server holds up lives on
 * after its dial was cancelled. */
static int lookups_alive;

/* One look-up, owned by its thread and its dial together.  The thread touches
 * the loop only under the lock and only while `loop` is set; the dial clears
 * it, so a cancelled look-up can outlive the loop. */
struct lookup {
	pthread_mutex_t lock;
	int refs;
	struct loop *loop;
	struct dial *dial; /* loop thread only */
	struct loop_wake wake;
	int gai, sys;
	size_t n;
	struct sockaddr_storage found[RACE_MAX];
	char port[8];
	char host[HOST_MAX + 1];
};

struct dial {
	struct loop *loop;
	struct loop_end end;
	struct timer deadline;
	struct timer turn;  /* while other look-ups hold all threads */
	struct timer stale; /* until the remembered address is tried beside the look-up */
	struct dial_memory *memory;
	struct lookup *lookup;
	struct race *race;
	dial_done_fn *done;
	void *user;
	uint64_t timeout_ns, began_ns, resolved_ns;
	enum dial_phase phase;
	bool is_waiting;      /* for a thread */
	bool is_asking;	      /* the look-up has not ended */
	bool is_stale;	      /* the race is to the remembered address */
	struct fault unnamed; /* why there are no addresses */
	void (*on_resolved)(void *user);
	uint16_t port;
	char host[HOST_MAX + 1];
	char name[128]; /* "host:port", printable, for faults */
};

/* ---- look-up ---- */

static int resolve(const char *host, const char *port, int flags, struct sockaddr_storage *out,
		   size_t *n, int *sys)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = flags | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	const int rc = getaddrinfo(host, port, &hints, &list);

	*sys = rc == EAI_SYSTEM ? errno : 0;
	*n = 0;
	if (rc)
		return rc;
	for (struct addrinfo *a = list; a && *n < RACE_MAX; a = a->ai_next) {
		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		memset(&out[*n], 0, sizeof(*out));
		memcpy(&out[(*n)++], a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(list);
	return *n ? 0 : EAI_NONAME;
}

static void lookup_drop(struct lookup *k)
{
	pthread_mutex_lock(&k->lock);
	const int left = --k->refs;
	pthread_mutex_unlock(&k->lock);
	if (left)
		return;
	pthread_mutex_destroy(&k->lock);
	mem_free(&mem_heap, k);
}

static void *lookup_main(void *arg)
{
	struct lookup *k = arg;

	k->gai = resolve(k->host, k->port, 0, k->found, &k->n, &k->sys);
	/* Before the wake: whoever is told may dial again at once. */
	__atomic_sub_fetch(&lookups_alive, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&k->lock);
	if (k->loop)
		loop_wake(k->loop, &k->wake);
	pthread_mutex_unlock(&k->lock);
	lookup_drop(k);
	return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(struct lookup *k)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;

	int sys = pthread_attr_init(&attr);
	if (sys)
		return sys;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	sys = pthread_create(&thread, &attr, lookup_main, k);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return sys;
}

static void on_resolved(struct loop_wake *w);

static int say_full(const struct dial *d, struct fault *why)
{
	return fault_set(why, ERR_FULL, "resolve %s: %d look-ups are waiting already", d->name,
			 LOOKUPS_MAX);
}

static int lookup_start(struct dial *d, struct fault *why)
{
	if (__atomic_add_fetch(&lookups_alive, 1, __ATOMIC_RELAXED) > LOOKUPS_MAX) {
		__atomic_sub_fetch(&lookups_alive, 1, __ATOMIC_RELAXED);
		return say_full(d, why);
	}
	struct lookup *k = mem_alloc_zeroed(&mem_heap, sizeof(*k));
	int sys = ENOMEM;
	if (k) {
		pthread_mutex_init(&k->lock, NULL);
		k->refs = 2;
		k->loop = d->loop;
		k->dial = d;
		k->wake.call = on_resolved;
		snprintf(k->host, sizeof(k->host), "%s", d->host);
		snprintf(k->port, sizeof(k->port), "%u", d->port);
		sys = start_thread(k);
	}
	if (sys) {
		__atomic_sub_fetch(&lookups_alive, 1, __ATOMIC_RELAXED);
		mem_free(&mem_heap, k);
		(void)fault_set_sys(why, sys, "start the look-up of %s", d->name);
		return ERR_NOMEM;
	}
	d->lookup = k;
	return 0;
}

static void lookup_cancel(struct dial *d)
{
	struct lookup *k = d->lookup;

	d->lookup = NULL;
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->loop = NULL;
	pthread_mutex_unlock(&k->lock);
	loop_wake_cancel(d->loop, &k->wake);
	lookup_drop(k);
}

/* ---- dial ---- */

void dial_cancel(struct dial *d)
{
	if (!d)
		return;
	lookup_cancel(d);
	race_cancel(d->race);
	timer_clear(d->loop, &d->deadline);
	timer_clear(d->loop, &d->turn);
	timer_clear(d->loop, &d->stale);
	loop_end_clear(d->loop, &d->end);
	mem_free(&mem_heap, d);
}

static void on_loop_end(struct loop_end *e)
{
	dial_cancel((struct dial *)((char *)e - offsetof(struct dial, end)));
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
	if (fd < 0 && d->is_stale && d->is_asking)
		return;
	if (fd < 0 && d->is_stale)
		d->phase = DIAL_RESOLVING; /* that is what is wrong */
	if (fd < 0) {
		r.why = d->is_stale ? d->unnamed : *why;
	} else {
		race_address_text(r.address, sizeof(r.address), winner);
		r.is_remembered = d->is_stale;
		if (d->memory) {
			memcpy(d->memory->host, d->host, sizeof(d->host));
			d->memory->address = *winner;
		}
	}
	finish(d, &r);
}

static int start_race(struct dial *d, const struct sockaddr_storage *to, size_t n,
		      struct fault *why)
{
	const bool is_first = d->phase == DIAL_RESOLVING;

	d->phase = DIAL_CONNECTING;
	d->resolved_ns = loop_now(d->loop);
	timer_clear(d->loop, &d->stale);
	race_cancel(d->race);
	const int rc = race_start(&d->race, d->loop, to, n, d->name, on_connected, d, why);
	if (rc >= 0 && is_first && d->on_resolved)
		d->on_resolved(d->user);
	return rc;
}

static bool has_memory(const struct dial *d)
{
	const struct dial_memory *m = d->memory;

	return m && m->address.ss_family && strcmp(m->host, d->host) == 0;
}

static int start_stale(struct dial *d, struct fault *why)
{
	struct sockaddr_storage to = d->memory->address;
	const in_port_t port = htons(d->port);

	if (to.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&to)->sin6_port = port;
	else
		((struct sockaddr_in *)&to)->sin_port = port;
	d->is_stale = true;
	return start_race(d, &to, 1, why);
}

static void on_stale(struct timer *t)
{
	struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, stale));
	struct dial_result r = { .fd = -1 };

	if (start_stale(d, &r.why) < 0)
		finish(d, &r);
}

static void on_resolved(struct loop_wake *w)
{
	struct lookup *k = (struct lookup *)((char *)w - offsetof(struct lookup, wake));
	struct dial *d = k->dial;
	struct dial_result r = { .fd = -1 };

	d->is_asking = false;
	if (!k->gai) {
		d->is_stale = false;
		if (start_race(d, k->found, k->n, &r.why) == 0)
			return;
		finish(d, &r);
		return;
	}
	(void)fault_set(&d->unnamed, ERR_NAME, "resolve %s: %s", d->name,
			k->gai == EAI_SYSTEM ? strerror(k->sys) : gai_strerror(k->gai));
	if (d->race) /* to the remembered address, since a while */
		return;
	if (!d->is_stale && has_memory(d) && start_stale(d, &r.why) == 0)
		return;
	if (!r.why.code)
		r.why = d->unnamed;
	d->phase = DIAL_RESOLVING;
	finish(d, &r);
}

static void on_deadline(struct timer *t)
{
	struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, deadline));
	struct dial_result r = { .fd = -1 };

	if (d->is_waiting)
		(void)say_full(d, &r.why);
	if (d->is_stale)
		d->phase = DIAL_RESOLVING;
	(void)fault_set(&r.why, ERR_TIMEOUT, "%s %s: no answer within %" PRIu64 " ms",
			d->phase == DIAL_RESOLVING ? "resolve" : "connect to", d->name,
			d->timeout_ns / 1000000);
	finish(d, &r);
}

/* Starts the look-up or waits for its turn: as many connections at once as a
 * peer likes must not be refused for naming their host. */
static int look_up(struct dial *d, struct fault *why)
{
	struct fault full = { 0 };
	const int rc = lookup_start(d, &full);

	d->is_waiting = rc == ERR_FULL;
	if (d->is_waiting)
		timer_set(d->loop, &d->turn, loop_now(d->loop) + TURN_NS);
	else if (rc < 0)
		*why = full;
	return d->is_waiting ? 0 : rc;
}

static void on_turn(struct timer *t)
{
	struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, turn));
	struct dial_result r = { .fd = -1 };

	if (look_up(d, &r.why) < 0)
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

int dial_start(struct dial **out, struct loop *l, const struct dial_options *o, dial_done_fn *done,
	       void *user, struct fault *why)
{
	struct sockaddr_storage to[RACE_MAX];
	char port[8];
	size_t n;
	int sys;

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
	d->turn.fire = on_turn;
	d->stale.fire = on_stale;
	d->on_resolved = o->on_resolved;
	d->memory = o->memory;
	d->port = o->port;
	loop_at_end(l, &d->end);
	write_name(d, o);

	int rc;
	snprintf(port, sizeof(port), "%u", o->port);
	snprintf(d->host, sizeof(d->host), "%s", o->host);
	if (strlen(o->host) > HOST_MAX)
		rc = fault_set(why, ERR_NAME, "resolve %s: the name is too long", d->name);
	else if (resolve(o->host, port, AI_NUMERICHOST, to, &n, &sys) == 0)
		rc = start_race(d, to, n, why);
	else
		rc = look_up(d, why);
	if (rc < 0) {
		dial_cancel(d);
		return rc;
	}
	d->is_asking = d->phase == DIAL_RESOLVING;
	if (d->is_asking && has_memory(d))
		timer_set(l, &d->stale, d->began_ns + STALE_NS);
	timer_set(l, &d->deadline, d->began_ns + d->timeout_ns);
	*out = d;
	return 0;
}
