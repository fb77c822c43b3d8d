/*
 * Three things: queries (a thread each, in getaddrinfo), names (a table with what was
 * answered, and who waits), and the dials that wait.  A query is owned by its thread and
 * its name together, and can outlive the loop.
 */
#include "lib/io/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/hosts.h"
#include "lib/io/loop/loop_backend.h"

#define HOSTS_FILE "/etc/hosts"
#define POLL_NS	   5000000ull	 /* all threads are taken: one whose loop is gone sends no wake */
#define AGAIN_NS   2000000000ull /* a name server that said nothing for this long is asked anew */

/* One call of getaddrinfo().  The thread touches the loop only under the lock and only
 * while `loop` is set. */
struct query {
	pthread_mutex_t lock;
	int refs;
	struct loop *loop;
	struct loop_wake wake;
	struct lookup_name *name; /* loop thread only, as is next */
	struct query *next;
	uint64_t began_ns;
	int gai, sys;
	struct lookup_answer answer;
	char host[LOOKUP_HOST_MAX + 1];
};

struct lookup_name {
	struct loop *loop; /* NULL: free */
	struct loop_end end;
	struct timer again; /* runs while somebody waits */
	struct lookup *waiting;
	struct query *queries; /* newest first */
	uint64_t used_ns, answered_ns;
	bool is_fresh;
	size_t n;
	size_t accepted;		  /* index + 1 of the address that accepted last */
	struct sockaddr_in6 to[RACE_MAX]; /* large enough for either family */
	char host[LOOKUP_HOST_MAX + 1];
};

static struct lookup_name names[LOOKUP_NAMES_MAX];

/* Counts threads, also those whose loop is gone. */
static int threads_alive;

/* ---- a query ---- */

static void query_drop(struct query *q)
{
	pthread_mutex_lock(&q->lock);
	const int left = --q->refs;
	pthread_mutex_unlock(&q->lock);
	if (left)
		return;
	pthread_mutex_destroy(&q->lock);
	mem_free(&mem_heap, q);
}

static void ask(struct query *q)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	struct lookup_answer *out = &q->answer;

	q->gai = getaddrinfo(q->host, "0", &hints, &list);
	q->sys = q->gai == EAI_SYSTEM ? errno : 0;
	if (q->gai)
		return;
	for (struct addrinfo *a = list; a && out->n < RACE_MAX; a = a->ai_next)
		if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
			memcpy(&out->to[out->n++], a->ai_addr, a->ai_addrlen);
	freeaddrinfo(list);
	if (!out->n)
		q->gai = EAI_NONAME;
}

static void *query_main(void *arg)
{
	struct query *q = arg;

	ask(q);
	/* Before the wake: whoever is told may ask again at once. */
	__atomic_sub_fetch(&threads_alive, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&q->lock);
	if (q->loop)
		loop_wake(q->loop, &q->wake);
	pthread_mutex_unlock(&q->lock);
	query_drop(q);
	return NULL;
}

/* Signals are for the loop's thread. */
static int start_thread(struct query *q)
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
	sys = pthread_create(&thread, &attr, query_main, q);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return sys;
}

static void on_answer(struct loop_wake *w);

/* ERR_FULL: no thread is free for it.  ERR_NOMEM. */
static int query_start(struct lookup_name *m, int threads_max, struct fault *why)
{
	if (__atomic_add_fetch(&threads_alive, 1, __ATOMIC_RELAXED) > threads_max) {
		__atomic_sub_fetch(&threads_alive, 1, __ATOMIC_RELAXED);
		return ERR_FULL;
	}
	struct query *q = mem_alloc_zeroed(&mem_heap, sizeof(*q));
	int sys = ENOMEM;
	if (q) {
		pthread_mutex_init(&q->lock, NULL);
		q->refs = 2;
		q->loop = m->loop;
		q->wake.call = on_answer;
		q->name = m;
		q->began_ns = loop_now(m->loop);
		memcpy(q->host, m->host, sizeof(q->host));
		sys = start_thread(q);
	}
	if (sys) {
		__atomic_sub_fetch(&threads_alive, 1, __ATOMIC_RELAXED);
		mem_free(&mem_heap, q);
		(void)fault_set_sys(why, sys, "start the look-up of a name");
		return ERR_NOMEM;
	}
	q->next = m->queries;
	m->queries = q;
	return 0;
}

/* ---- who waits ---- */

static void unlink_waiting(struct lookup *w)
{
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	w->name = NULL;
	w->next = NULL;
}

static void link_waiting(struct lookup_name *m, struct lookup *w)
{
	w->name = m;
	w->at = &m->waiting;
	w->next = m->waiting;
	if (w->next)
		w->next->at = &w->next;
	m->waiting = w;
}

/* All that wait now; who begins to wait meanwhile waits for the next answer. */
static void tell(struct lookup_name *m, const struct lookup_answer *answer)
{
	struct lookup *told = m->waiting;

	m->waiting = NULL;
	if (told)
		told->at = &told;
	while (told) {
		struct lookup *w = told;

		unlink_waiting(w);
		w->done(w, answer);
	}
}

/* ---- a name ---- */

/* Starts what look-ups there may be, and comes again while somebody waits. */
static int drive(struct lookup_name *m, struct fault *why)
{
	const uint64_t now = loop_now(m->loop);
	int rc = 0;

	if (!m->waiting)
		return 0;
	if (!m->queries)
		rc = query_start(m, LOOKUPS_MAX, why);
	else if (now - m->queries->began_ns >= AGAIN_NS)
		rc = query_start(m, LOOKUPS_MAX / 2, why);
	if (!m->queries && rc != ERR_FULL)
		return rc;
	timer_set(m->loop, &m->again,
		  !m->queries	   ? now + POLL_NS
		  : rc == ERR_FULL ? now + AGAIN_NS
				   : m->queries->began_ns + AGAIN_NS);
	return 0;
}

static void on_again(struct timer *t)
{
	struct lookup_name *m = owner_of(t, struct lookup_name, again);
	struct fault why = { 0 };

	if (drive(m, &why) < 0)
		tell(m, &(struct lookup_answer){ .why = why });
}

static void remember(struct lookup_name *m, const struct lookup_answer *answer)
{
	m->n = answer->n;
	m->accepted = 0;
	m->is_fresh = true;
	m->answered_ns = loop_now(m->loop);
	for (size_t i = 0; i < answer->n; i++)
		memcpy(&m->to[i], &answer->to[i], sizeof(m->to[i]));
}

/* A failure counts when it is the last word: a younger look-up may find a server that has
 * come back. */
static void on_answer(struct loop_wake *w)
{
	struct query *q = owner_of(w, struct query, wake);
	struct lookup_name *m = q->name;
	struct query **at = &m->queries;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	if (!q->gai)
		remember(m, &q->answer);
	else
		(void)fault_set(&q->answer.why, ERR_NAME, "%s",
				q->gai == EAI_SYSTEM ? strerror(q->sys) : gai_strerror(q->gai));
	if (!q->gai || !m->queries) {
		timer_clear(m->loop, &m->again);
		tell(m, &q->answer);
	}
	query_drop(q);
}

static void forget(struct lookup_name *m)
{
	while (m->waiting)
		unlink_waiting(m->waiting);
	for (struct query *q = m->queries, *next; q; q = next) {
		next = q->next;
		pthread_mutex_lock(&q->lock);
		q->loop = NULL;
		pthread_mutex_unlock(&q->lock);
		loop_wake_cancel(m->loop, &q->wake);
		query_drop(q);
	}
	timer_clear(m->loop, &m->again);
	loop_end_clear(m->loop, &m->end);
	*m = (struct lookup_name){ 0 };
}

static void on_loop_end(struct loop_end *e)
{
	forget(owner_of(e, struct lookup_name, end));
}

static struct lookup_name *find(const struct loop *l, const char *host)
{
	for (size_t i = 0; i < array_len(names); i++)
		if (names[i].loop == l && strcmp(names[i].host, host) == 0)
			return &names[i];
	return NULL;
}

/* NULL: of each somebody waits for the answer. */
static struct lookup_name *make_room(void)
{
	struct lookup_name *oldest = NULL;

	for (size_t i = 0; i < array_len(names); i++) {
		struct lookup_name *m = &names[i];

		if (!m->loop)
			return m;
		if (!m->waiting && !m->queries && (!oldest || m->used_ns < oldest->used_ns))
			oldest = m;
	}
	if (oldest)
		forget(oldest);
	return oldest;
}

static struct lookup_name *find_or_add(struct loop *l, const char *host)
{
	struct lookup_name *m = find(l, host);

	if (!m) {
		m = make_room();
		if (!m)
			return NULL;
		m->loop = l;
		m->end.call = on_loop_end;
		m->again.fire = on_again;
		snprintf(m->host, sizeof(m->host), "%s", host);
		loop_at_end(l, &m->end);
	}
	m->used_ns = loop_now(l);
	return m;
}

static size_t copy(const struct lookup_name *m, struct sockaddr_storage to[RACE_MAX])
{
	memset(to, 0, m->n * sizeof(*to));
	for (size_t i = 0; i < m->n; i++)
		memcpy(&to[i], &m->to[i], sizeof(m->to[i]));
	return m->n;
}

/* ---- for dials ---- */

size_t lookup_remembered(struct loop *l, const char *host, uint64_t max_age_ns,
			 struct sockaddr_storage to[RACE_MAX])
{
	const struct lookup_name *m = find(l, host);

	if (!m || !m->n || loop_now(l) - m->answered_ns > max_age_ns)
		return 0;
	const size_t n = copy(m, to);
	if (!m->accepted)
		return n;
	to[0] = to[m->accepted - 1];
	return 1;
}

void lookup_note(struct loop *l, const char *host, const struct sockaddr_storage *accepted)
{
	struct lookup_name *m = find(l, host);

	if (!m)
		return;
	if (!accepted)
		m->is_fresh = false;
	for (size_t i = 0; accepted && i < m->n; i++) {
		struct sockaddr_in6 a;

		memcpy(&a, accepted, sizeof(a));
		((struct sockaddr_in *)&a)->sin_port = 0; /* sin6_port lies there, too */
		if (memcmp(&a, &m->to[i],
			   a.sin6_family == AF_INET6 ? sizeof(a) : sizeof(struct sockaddr_in)) == 0)
			m->accepted = i + 1;
	}
}

int lookup_start(struct lookup *w, struct loop *l, const char *host, struct lookup_answer *answer,
		 struct fault *why)
{
	if (strlen(host) > LOOKUP_HOST_MAX)
		return fault_set(why, ERR_NAME, "the name is too long");
	answer->why = (struct fault){ 0 };
	answer->n = hosts_find(HOSTS_FILE, host, answer->to, RACE_MAX);
	if (answer->n)
		return 1;
	struct lookup_name *m = find_or_add(l, host);
	if (!m)
		return fault_set(why, ERR_FULL, "%d other names are looked up", LOOKUP_NAMES_MAX);
	if (m->is_fresh && loop_now(l) - m->answered_ns < LOOKUP_FRESH_NS) {
		answer->n = copy(m, answer->to);
		return 1;
	}
	link_waiting(m, w);
	const int rc = drive(m, why);
	if (rc < 0)
		lookup_cancel(w);
	return rc;
}

void lookup_cancel(struct lookup *w)
{
	struct lookup_name *m = w->name;

	if (!m)
		return;
	unlink_waiting(w);
	if (!m->waiting)
		timer_clear(m->loop, &m->again);
}

bool lookup_is_queued(const struct lookup *w)
{
	return w->name && !w->name->queries;
}

uint64_t lookup_asked_ns(const struct lookup *w)
{
	uint64_t oldest = 0;

	for (const struct query *q = w->name ? w->name->queries : NULL; q; q = q->next)
		oldest = q->began_ns;
	return oldest;
}
