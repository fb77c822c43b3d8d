#include "lib/io/dial.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

#include "lib/io/race.h"
#include "tests/unit/lib/io/rig.h"

/* ---- a name server of our own: this getaddrinfo() takes the C library's place ---- */

static struct sockaddr_in answers[4];
static size_t count_answers;
static sem_t hold, entered; /* "stuck.test" and "stuck2.test" … wait for `hold` */
static _Atomic bool is_silent;	    /* so do all others */
static _Atomic int asked;	    /* names that a thread was asked for */
static int inside;	    /* threads between the two */
static int signals_open;    /* of the helper thread; must stay 0 */

static struct addrinfo *entry(const struct sockaddr *a, socklen_t n)
{
	struct addrinfo *e = calloc(1, sizeof(*e));

	e->ai_family = a->sa_family;
	e->ai_addrlen = n;
	e->ai_addr = calloc(1, n);
	memcpy(e->ai_addr, a, n);
	return e;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = in.sin_port };

	*out = NULL;
	if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
		return *out = entry((struct sockaddr *)&in, sizeof(in)), 0;
	if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1)
		return *out = entry((struct sockaddr *)&in6, sizeof(in6)), 0;
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;

	sigset_t blocked;
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1))
		__atomic_add_fetch(&signals_open, 1, __ATOMIC_RELAXED);
	asked++;
	if (strncmp(host, "stuck", 5) == 0 || is_silent) {
		__atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED);
		sem_post(&entered);
		sem_wait(&hold);
		__atomic_sub_fetch(&inside, 1, __ATOMIC_RELAXED);
		return EAI_AGAIN;
	}
	if (strcmp(host, "many.test") != 0)
		return EAI_NONAME;
	struct addrinfo **end = out;
	for (size_t i = 0; i < count_answers; i++, end = &(*end)->ai_next)
		*end = entry((struct sockaddr *)&answers[i], sizeof(answers[i]));
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;
		free(list->ai_addr);
		free(list);
		list = next;
	}
}

/* Lets n stuck look-ups go, and waits until no token is left for a later one. */
static void release(int n)
{
	for (int i = 0; i < n; i++)
		sem_wait(&entered);
	for (int i = 0; i < n; i++)
		sem_post(&hold);
	while (__atomic_load_n(&inside, __ATOMIC_RELAXED))
		sched_yield();
}

/* ---- what a dial told ---- */

struct told {
	int calls;
	struct dial_result r;
};

static void done(void *user, struct dial_result *r)
{
	struct told *t = user;

	t->calls++;
	t->r = *r;
}

static struct dial *start(struct loop *l, const char *host, uint16_t port, uint64_t timeout_ns,
			  struct told *t)
{
	const struct dial_options o = { .host = host, .port = port, .timeout_ns = timeout_ns };
	struct fault why = { 0 };
	struct dial *d;

	*t = (struct told){ 0 };
	if (!check(dial_start(&d, l, &o, done, t, &why) == 0))
		puts(why.why);
	check(t->calls == 0);
	return d;
}

/* A port that nobody listens on. */
static struct sockaddr_in nobody(void)
{
	struct sockaddr_in at;

	close(listen_somewhere(1, &at));
	return at;
}

static void expect_success(struct loop *l, const char *host, const struct sockaddr_in *at, int x)
{
	struct told t;
	char want[64];
	int nodelay = 0;
	socklen_t n = sizeof(nodelay);

	(void)start(l, host, ntohs(at->sin_port), 0, &t);
	until(l, t.calls == 1);
	snprintf(want, sizeof(want), "127.0.0.1:%u", ntohs(at->sin_port));
	check_row(host, t.r.fd >= 0 && t.r.phase == DIAL_CONNECTING);
	check_row(host, strcmp(t.r.address, want) == 0);
	check_row(host, t.r.why.code == 0);
	check(getsockopt(t.r.fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &n) == 0 && nodelay);
	check((fcntl(t.r.fd, F_GETFL) & O_NONBLOCK) && (fcntl(t.r.fd, F_GETFD) & FD_CLOEXEC));
	const int peer = accept4(x, NULL, NULL, SOCK_CLOEXEC);
	check(write(t.r.fd, "hi", 2) == 2);
	char got[2];
	check(read(peer, got, 2) == 2);
	close(peer);
	close(t.r.fd);
}

static void success(struct loop *l)
{
	struct sockaddr_in at;
	const int x = listen_somewhere(8, &at);

	answers[0] = at;
	count_answers = 1;
	expect_success(l, "127.0.0.1", &at, x);
	expect_success(l, "many.test", &at, x);

	/* An answer is fresh for a while: nobody is asked again, until it leads nowhere. */
	const int before = asked;
	expect_success(l, "many.test", &at, x);
	check(asked == before);
	struct told t;
	(void)start(l, "many.test", ntohs(nobody().sin_port), 0, &t);
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.phase == DIAL_CONNECTING && asked == before);

	answers[0] = nobody(); /* refused: the next at once */
	answers[1] = at;
	count_answers = 2;
	expect_success(l, "many.test", &at, x);
	close(x);
}

static void test_success(void)
{
	on_both(success);
}

static void refused(struct loop *l)
{
	const struct sockaddr_in at = nobody();
	char want[128];
	struct told t;

	(void)start(l, "127.0.0.1", ntohs(at.sin_port), 0, &t);
	until(l, t.calls == 1);
	check(t.r.fd == -1 && t.r.phase == DIAL_CONNECTING);
	check(t.r.why.code == ERR_SYS && t.r.why.sys == ECONNREFUSED);
	snprintf(want, sizeof(want), "connect to 127.0.0.1:%u (127.0.0.1:%u): Connection refused",
		 ntohs(at.sin_port), ntohs(at.sin_port));
	check(strcmp(t.r.why.why, want) == 0);
}

static void test_refused(void)
{
	on_both(refused);
}

static void bad_names(struct loop *l)
{
	static const struct {
		const char *host, *name;
	} rows[] = {
		{ "nowhere.test", "resolve nowhere.test:80: " },
		{ "", "resolve :80: " },
		{ "a b\n\x80%s", "resolve a?b??%s:80: " },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		struct told t;
		(void)start(l, rows[i].host, 80, 0, &t);
		until(l, t.calls == 1);
		check_row(rows[i].name, t.r.fd == -1 && t.r.phase == DIAL_RESOLVING);
		check_row(rows[i].name, t.r.why.code == ERR_NAME);
		check_row(rows[i].name,
			  strncmp(t.r.why.why, rows[i].name, strlen(rows[i].name)) == 0);
	}

	struct told t; /* an answer without an address that we can use */
	count_answers = 0;
	(void)start(l, "many.test", 80, 0, &t);
	until(l, t.calls == 1);
	check(t.r.why.code == ERR_NAME);

	char longest[400];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const struct dial_options o = { .host = longest, .port = 1 };
	struct fault why = { 0 };
	struct dial *d;
	check(dial_start(&d, l, &o, done, NULL, &why) == ERR_NAME && !d);
}

static void test_bad_names(void)
{
	on_both(bad_names);
}

/* An address that swallows SYNs: the queue of its listener is full. */
struct dead {
	struct sockaddr_in at;
	int x, fillers[3];
};

static void dead_open(struct dead *d)
{
	d->x = listen_somewhere(0, &d->at);
	for (size_t i = 0; i < array_len(d->fillers); i++) {
		d->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(d->fillers[i], (struct sockaddr *)&d->at, sizeof(d->at));
	}
}

static void dead_close(struct dead *d)
{
	for (size_t i = 0; i < array_len(d->fillers); i++)
		close(d->fillers[i]);
	close(d->x);
}

static void dead_first_address(struct loop *l)
{
	struct sockaddr_in at;
	struct dead dead;
	const int x = listen_somewhere(8, &at);

	dead_open(&dead);
	answers[0] = dead.at;
	answers[1] = at;
	count_answers = 2;
	expect_success(l, "many.test", &at, x);

	/* Alone, it runs into the deadline. */
	struct told t;
	(void)start(l, "127.0.0.1", ntohs(dead.at.sin_port), 20000000, &t);
	until(l, t.calls == 1);
	check(t.r.fd == -1 && t.r.why.code == ERR_TIMEOUT && t.r.phase == DIAL_CONNECTING);
	check(strstr(t.r.why.why, "no answer within 20 ms") != NULL);
	dead_close(&dead);
	close(x);
}

static void test_dead_first_address(void)
{
	on_both(dead_first_address);
}

static void cancel(struct loop *l)
{
	struct dead dead;
	struct told t;

	dead_open(&dead);
	for (int wait = 0; wait < 3; wait++) { /* before the first round, and later */
		struct dial *d = start(l, "127.0.0.1", ntohs(dead.at.sin_port), 0, &t);
		for (int i = 0; i < wait; i++)
			step(l);
		dial_cancel(d);
		for (int i = 0; i < 3; i++)
			step(l);
		check(t.calls == 0);
	}
	dead_close(&dead);
	dial_cancel(NULL);
}

static void test_cancel(void)
{
	on_both(cancel);
}

/* Names nobody answers for: a deadline, a bound, and threads that outlive
 * their dials. */
static void stuck(struct loop *l)
{
	enum { LOOKUPS = 8 };
	struct told t[LOOKUPS], more, turn;
	struct dial *d[LOOKUPS];
	char name[32];

	for (int i = 0; i < LOOKUPS; i++) {
		snprintf(name, sizeof(name), "stuck%d.test", i);
		d[i] = start(l, name, 80, i ? 0 : 5000000, &t[i]);
	}
	until(l, t[0].calls == 1);
	check(t[0].r.why.code == ERR_TIMEOUT && t[0].r.phase == DIAL_RESOLVING);
	check(strcmp(t[0].r.why.why, "resolve stuck0.test:80: no answer within 5 ms") == 0);

	/* All threads are taken: later ones wait for their turn, until their deadline. */
	(void)start(l, "none.test", 80, 5000000, &more);
	(void)start(l, "none.test", 80, 0, &turn);
	until(l, more.calls == 1);
	check(more.r.why.code == ERR_FULL && more.r.phase == DIAL_RESOLVING);
	check(strcmp(more.r.why.why, "resolve none.test:80: 8 look-ups are waiting already") == 0);
	check(turn.calls == 0);
	for (int i = 1; i < 4; i++)
		dial_cancel(d[i]);
	release(LOOKUPS); /* they answer at last */
	for (int i = 4; i < LOOKUPS; i++) {
		until(l, t[i].calls == 1);
		check(t[i].r.why.code == ERR_NAME);
	}
	check(t[0].calls == 1 && t[1].calls == 0);

	/* The places come back, each when its thread is through. */
	until(l, turn.calls == 1);
	check(turn.r.why.code == ERR_NAME);
}

/* A name that nobody answers for takes one thread, whoever asks and however often they
 * give up; another name has its own. */
static void one_for_all(struct loop *l)
{
	enum { MANY = 100 };
	struct told t[MANY], other;
	struct dial *d[MANY];
	const int before = asked;

	for (int i = 0; i < MANY; i++) {
		d[i] = start(l, "stuck.test", 80, 0, &t[i]);
		if (i < MANY / 2)
			dial_cancel(d[i]);
	}
	(void)start(l, "none.test", 80, 0, &other);
	until(l, other.calls == 1);
	/* On a slow machine the silent name is asked for again, by half of the threads at most. */
	check(other.r.why.code == ERR_NAME && asked <= before + 1 + 8 / 2);
	release(1);
	for (int i = MANY / 2; i < MANY; i++) {
		until(l, t[i].calls == 1);
		check(t[i].r.why.code == ERR_NAME);
	}
	check(t[0].calls == 0 && asked >= before + 2 && asked <= before + 1 + 8 / 2);
}

static void test_one_for_all(void)
{
	on_both(one_for_all);
}

static void no_thread(struct loop *l)
{
	static const char *const rows[] = { "localhost", "LocalHost", "localhost.", "127.0.0.1",
					    "::1" };
	const int before = asked;

	is_silent = true;
	for (size_t i = 0; i < array_len(rows); i++) {
		struct told t;
		(void)start(l, rows[i], ntohs(nobody().sin_port), 0, &t);
		until(l, t.calls == 1);
		check_row(rows[i], t.r.phase == DIAL_CONNECTING);
	}
	is_silent = false;
	check(asked == before);
}

static void test_no_thread(void)
{
	on_both(no_thread);
}

/* More names than are remembered: the one that was not used for longest makes room. */
static void many_names(struct loop *l)
{
	struct told t;
	char name[32];

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "none%d.test", i);
		(void)start(l, name, 80, 0, &t);
		until(l, t.calls == 1);
		check_row(name, t.r.why.code == ERR_NAME);
	}
}

static void test_many_names(void)
{
	on_both(many_names);
}

/* More connections at once to a host that is named than there are threads: what
 * a browser does behind a tunnel. */
static void burst(struct loop *l)
{
	enum { BURST = 64 };
	struct told t[BURST];

	for (int i = 0; i < BURST; i++)
		(void)start(l, "none.test", 80, 0, &t[i]);
	for (int i = 0; i < BURST; i++) {
		until(l, t[i].calls == 1);
		check(t[i].r.why.code == ERR_NAME);
	}
}

static void test_burst(void)
{
	on_both(burst);
}

static void test_stuck(void)
{
	on_both(stuck);
	check(signals_open == 0);
}

/* The loop goes while a look-up and a connect are under way. */
static void test_free_while_dialling(void)
{
	const size_t before = count_fds();
	struct dead dead;
	struct told t[2];
	struct loop *l;

	dead_open(&dead);
	check(loop_new(&l, LOOP_AUTO, NULL) == 0);
	(void)start(l, "stuck.test", 80, 0, &t[0]);
	(void)start(l, "127.0.0.1", ntohs(dead.at.sin_port), 0, &t[1]);
	for (int i = 0; i < 3; i++)
		step(l);
	loop_free(l);
	release(1);
	check(t[0].calls == 0 && t[1].calls == 0);
	dead_close(&dead);
	check(count_fds() == before);
}

/* ---- what is remembered and what is tried again ---- */

static struct dial *start_stale(struct loop *l, const char *host, uint16_t port,
				uint64_t stale_ns, struct told *t)
{
	const struct dial_options o = { .host = host, .port = port, .stale_ns = stale_ns };
	struct fault why = { 0 };
	struct dial *d;

	*t = (struct told){ 0 };
	if (!check(dial_start(&d, l, &o, done, t, &why) == 0))
		puts(why.why);
	return d;
}

/* A connect that leads nowhere: the next dial asks again. */
static void make_old(struct loop *l, const char *host)
{
	struct told t;

	(void)start(l, host, ntohs(nobody().sin_port), 0, &t);
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.phase == DIAL_CONNECTING);
}

static void remembered(struct loop *l)
{
	struct sockaddr_in at, gone = nobody();
	const int x = listen_somewhere(8, &at);
	const uint16_t port = ntohs(at.sin_port);
	struct told t;

	count_answers = 0;
	(void)start_stale(l, "many.test", port, UINT64_MAX, &t);
	until(l, t.calls == 1);
	check(t.r.why.code == ERR_NAME &&
	      t.r.phase == DIAL_RESOLVING); /* nothing to remember yet */

	answers[0] = at;
	count_answers = 1;
	(void)start_stale(l, "many.test", port, UINT64_MAX, &t);
	until(l, t.calls == 1);
	check(t.r.fd >= 0 && !t.r.is_remembered);
	close(t.r.fd);

	make_old(l, "many.test");
	count_answers = 0; /* the name server fails */
	(void)start_stale(l, "many.test", port, UINT64_MAX, &t);
	until(l, t.calls == 1);
	check(t.r.fd >= 0 && t.r.is_remembered);
	close(t.r.fd);

	/* Not for a dial that does not want it, nor when it is too old. */
	(void)start_stale(l, "many.test", port, 0, &t);
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.why.code == ERR_NAME);
	(void)start_stale(l, "many.test", port, 1, &t);
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.why.code == ERR_NAME);

	/* The port is this dial's; and where nobody answers, the name is to blame. */
	(void)start_stale(l, "many.test", ntohs(gone.sin_port), UINT64_MAX, &t);
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.why.code == ERR_NAME && t.r.phase == DIAL_RESOLVING);

	(void)start_stale(l, "nowhere.test", port, UINT64_MAX, &t); /* another host's address */
	until(l, t.calls == 1);
	check(t.r.fd < 0 && t.r.why.code == ERR_NAME);
	close(x);
}

static void test_remembered(void)
{
	on_both(remembered);
}

/* Two seconds, once: a name server that says nothing, and a path that does not. */
static void test_silence(void)
{
	struct sockaddr_in at;
	const int x = listen_somewhere(8, &at);
	struct told t, u;
	struct dead dead;
	struct loop *l;

	check(loop_new(&l, LOOP_EPOLL, NULL) == 0);
	answers[0] = at;
	count_answers = 1;
	(void)start(l, "many.test", ntohs(at.sin_port), 0, &t);
	until(l, t.calls == 1);
	close(t.r.fd);
	make_old(l, "many.test");
	is_silent = true;

	dead_open(&dead);
	struct dial *to_nobody = start(l, "127.0.0.1", ntohs(dead.at.sin_port), 0, &u);
	step(l);
	const size_t fds = count_fds();
	const int before = asked;
	(void)start_stale(l, "many.test", ntohs(at.sin_port), UINT64_MAX, &t);
	until(l, t.calls == 1); /* while the look-up is still asked */
	check(t.r.fd >= 0 && t.r.is_remembered);
	until(l, count_fds() == fds + 2); /* t's, and a second SYN beside the first */
	check(u.calls == 0);
	dial_cancel(to_nobody);
	close(t.r.fd);
	check(count_fds() == fds - 1);

	/* It is known to be silent: the next need not wait so long. */
	const uint64_t since = loop_now(l);
	(void)start_stale(l, "many.test", ntohs(at.sin_port), UINT64_MAX, &t);
	until(l, t.calls == 1);
	check(t.r.fd >= 0 && t.r.is_remembered && loop_now(l) - since < 1500000000);
	close(t.r.fd);
	/* Asked anew every two seconds while somebody waits, by half of the threads. */
	(void)start(l, "many.test", 1, 0, &u);
	until(l, asked >= before + 4);
	for (int i = 0; i < 2500; i++)
		step(l);
	check(asked == before + 4);
	is_silent = false;
	loop_free(l);
	release(4);
	dead_close(&dead);
	close(x);
}

/* ---- the order of families ---- */

static void test_interleave(void)
{
	static const struct {
		const char *in, *want; /* 4 and 6 are families, letters their order */
	} rows[] = {
		{ "6a6b4c4d", "6a4c6b4d" },	{ "4a4b6c", "4a6c4b" },
		{ "4a4b4c", "4a4b4c" },		{ "6a", "6a" },
		{ "6a6b6c6d4e", "6a4e6b6c6d" }, { "4a6b4c6d", "4a6b4c6d" },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		struct sockaddr_storage a[RACE_MAX] = { 0 };
		char got[2 * RACE_MAX + 1] = "";
		const size_t n = strlen(rows[i].in) / 2;
		for (size_t j = 0; j < n; j++) {
			a[j].ss_family = rows[i].in[2 * j] == '4' ? AF_INET : AF_INET6;
			((struct sockaddr_in *)&a[j])->sin_port = (uint16_t)rows[i].in[2 * j + 1];
		}
		race_interleave(a, n);
		for (size_t j = 0; j < n; j++) {
			got[2 * j] = a[j].ss_family == AF_INET ? '4' : '6';
			got[2 * j + 1] = (char)((struct sockaddr_in *)&a[j])->sin_port;
		}
		check_row(rows[i].in, strcmp(got, rows[i].want) == 0);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "success", test_success },
		{ "refused", test_refused },
		{ "bad names", test_bad_names },
		{ "dead first address", test_dead_first_address },
		{ "cancel", test_cancel },
		{ "stuck look-ups", test_stuck },
		{ "one look-up for all", test_one_for_all },
		{ "names without a thread", test_no_thread },
		{ "many names", test_many_names },
		{ "a burst of names", test_burst },
		{ "free while dialling", test_free_while_dialling },
		{ "remembered", test_remembered },
		{ "silence", test_silence },
		{ "interleave", test_interleave },
	};
	sem_init(&hold, 0, 0);
	sem_init(&entered, 0, 0);
	return run_cases("dial", cases, array_len(cases));
}
