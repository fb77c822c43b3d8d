#include "tests/support/fakes/fake_loop.h"

#include <stdlib.h>

enum { TIMERS_MAX = 2048, FD_FIRST = 1 << 20 /* none that is open */ };

struct loop {
	uint64_t now_ns;
	struct timer *timers[TIMERS_MAX];
	size_t timers_n;
	struct sock *socks;
	struct dial *dials;
	bool calling; /* a callback of ours is under way */
	int fds;      /* given out */
	bool no_dials, is_remembered;
};

struct sock {
	struct sock *next;
	const struct sock_handler *handler;
	void *user;
	int fd;
	size_t recv_max; /* 0: not asked */
	struct iovec iov[SOCK_IOV_MAX];
	int iov_n;
	bool sending, shut, closing, failed, ended;
};

struct dial {
	struct dial *next;
	char host[256];
	uint16_t port;
	dial_done_fn *done;
	void (*on_resolved)(void *user);
	void *user;
};

static struct loop the_loop = { .now_ns = 1000000000 };

struct loop *fake_loop(void)
{
	return &the_loop;
}

uint64_t loop_now(const struct loop *l)
{
	return l->now_ns;
}

void loop_stop(struct loop *l)
{
	(void)l;
}

const char *loop_backend(const struct loop *l)
{
	(void)l;
	return "fake";
}

const char *loop_backend_reason(const struct loop *l)
{
	(void)l;
	return "";
}

void loop_trim(struct loop *l)
{
	(void)l;
}

struct loop_counts loop_counts(const struct loop *l)
{
	return (struct loop_counts){ .timers = l->timers_n };
}

/* ---- timers ---- */

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns)
{
	const bool was_set = t->at_ns != 0;

	/* As in the real one: the past is the next round's. */
	if (l->calling && at_ns <= l->now_ns)
		at_ns = l->now_ns + 1;
	t->at_ns = at_ns ? at_ns : 1;
	if (was_set)
		return;
	must(l->timers_n < TIMERS_MAX);
	l->timers[l->timers_n++] = t;
}

void timer_clear(struct loop *l, struct timer *t)
{
	if (!t->at_ns)
		return;
	t->at_ns = 0;
	for (size_t i = 0; i < l->timers_n; i++)
		if (l->timers[i] == t) {
			l->timers[i] = l->timers[--l->timers_n];
			return;
		}
	must(!"a timer that is set is the loop's");
}

size_t fake_timers(void)
{
	return the_loop.timers_n;
}

void fake_pass(uint64_t ns)
{
	struct loop *l = &the_loop;

	l->now_ns += ns;
	l->calling = true;
	for (;;) {
		struct timer *due = NULL;

		for (size_t i = 0; i < l->timers_n; i++)
			if (l->timers[i]->at_ns <= l->now_ns &&
			    (!due || l->timers[i]->at_ns < due->at_ns))
				due = l->timers[i];
		if (!due)
			break;
		timer_clear(l, due);
		due->fire(due);
	}
	l->calling = false;
}

/* ---- sockets: the part's side ---- */

int sock_new(struct sock **out, struct loop *l, int fd, const struct sock_handler *handler,
	     void *user, struct fault *why)
{
	struct sock *s = calloc(1, sizeof(*s)), **at = &l->socks;

	*out = NULL;
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for a socket");
	s->fd = fd;
	s->handler = handler;
	s->user = user;
	while (*at)
		at = &(*at)->next;
	*at = s;
	*out = s;
	return 0;
}

void sock_recv(struct sock *s, size_t max)
{
	if (s->closing || s->failed || s->recv_max)
		return;
	must(max > 0);
	s->recv_max = min_size(max, SOCK_RECV_MAX);
}

bool sock_is_receiving(const struct sock *s)
{
	return s->recv_max != 0;
}

void sock_send(struct sock *s, const struct iovec *iov, int n)
{
	if (s->closing || s->failed)
		return;
	must(!s->sending && !s->shut && n >= 0 && n <= SOCK_IOV_MAX);
	memcpy(s->iov, iov, (size_t)n * sizeof(*iov));
	s->iov_n = n;
	s->sending = true;
}

bool sock_is_sending(const struct sock *s)
{
	return s->sending && !s->closing && !s->failed;
}

void sock_shutdown_write(struct sock *s)
{
	s->shut = true;
}

void sock_close(struct sock *s, bool reset)
{
	(void)reset;
	s->closing = true;
	s->recv_max = 0;
}

int sock_fd(const struct sock *s)
{
	return s->fd;
}

/* ---- sockets: the test's side ---- */

size_t fake_socks(void)
{
	size_t n = 0;

	for (struct sock *s = the_loop.socks; s; s = s->next)
		n++;
	return n;
}

struct sock *fake_sock(size_t i)
{
	struct sock *s = the_loop.socks;

	while (s && i--)
		s = s->next;
	return s;
}

size_t fake_give(struct sock *s, const uint8_t *p, size_t n)
{
	const size_t some = min_size(n, s->recv_max);

	if (!s->recv_max || s->closing || s->failed || s->ended)
		return 0;
	uint8_t *copy = malloc(SOCK_HEADROOM + some + SOCK_HEADROOM);
	must(copy);
	if (some)
		memcpy(copy + SOCK_HEADROOM, p, some);
	s->recv_max = 0;
	s->ended = n == 0;
	the_loop.calling = true;
	s->handler->on_data(s, s->user, (struct mspan){ copy + SOCK_HEADROOM, some });
	the_loop.calling = false;
	free(copy);
	return some;
}

/* Every byte to be sent is there to be read. */
static void look_at(const struct sock *s)
{
	static volatile uint8_t sum;

	for (int i = 0; i < s->iov_n; i++)
		for (size_t at = 0; at < s->iov[i].iov_len; at++)
			sum = (uint8_t)(sum + ((const uint8_t *)s->iov[i].iov_base)[at]);
}

void fake_take(struct sock *s)
{
	if (!sock_is_sending(s))
		return;
	look_at(s);
	s->sending = false;
	the_loop.calling = true;
	s->handler->on_sent(s, s->user);
	the_loop.calling = false;
}

void fake_fail(struct sock *s, int sys)
{
	if (s->closing || s->failed)
		return;
	s->failed = true;
	s->sending = false;
	s->recv_max = 0;
	the_loop.calling = true;
	s->handler->on_error(s, s->user, sys);
	the_loop.calling = false;
}

void fake_reap(void)
{
	for (struct sock **at = &the_loop.socks; *at;) {
		struct sock *s = *at;

		if (!s->closing) {
			at = &s->next;
			continue;
		}
		if (s->sending)
			look_at(s); /* the kernel has read them until now */
		*at = s->next;
		void (*closed)(void *) = s->handler->on_closed;
		void *user = s->user;
		free(s);
		the_loop.calling = true;
		closed(user);
		the_loop.calling = false;
		at = &the_loop.socks; /* that call may have closed others */
	}
}

/* ---- dials ---- */

int dial_start(struct dial **out, struct loop *l, const struct dial_options *o, dial_done_fn *done,
	       void *user, struct fault *why)
{
	struct dial *d = l->no_dials ? NULL : calloc(1, sizeof(*d)), **at = &l->dials;

	*out = NULL;
	if (!d)
		return fault_set(why, ERR_NOMEM, "no memory to dial");
	must(strlen(o->host) < sizeof(d->host));
	memcpy(d->host, o->host, strlen(o->host));
	d->port = o->port;
	d->done = done;
	d->on_resolved = o->on_resolved;
	d->user = user;
	while (*at)
		at = &(*at)->next;
	*at = d;
	*out = d;
	return 0;
}

void dial_cancel(struct dial *d)
{
	struct dial **at = &the_loop.dials;

	if (!d)
		return;
	while (*at != d) {
		must(*at); /* else it has ended */
		at = &(*at)->next;
	}
	*at = d->next;
	free(d);
}

static struct dial *dial_at(size_t i)
{
	struct dial *d = the_loop.dials;

	while (d && i--)
		d = d->next;
	return d;
}

size_t fake_dials(void)
{
	size_t n = 0;

	for (struct dial *d = the_loop.dials; d; d = d->next)
		n++;
	return n;
}

const char *fake_dial_host(size_t i)
{
	return dial_at(i)->host;
}

uint16_t fake_dial_port(size_t i)
{
	return dial_at(i)->port;
}

void fake_dial_end(size_t i, int sys)
{
	struct dial *d = dial_at(i);
	struct dial_result r = { .fd = sys ? -1 : FD_FIRST + the_loop.fds++,
				 .phase = DIAL_CONNECTING,
				 .is_remembered = the_loop.is_remembered };
	dial_done_fn *done = d->done;
	void *user = d->user;

	if (sys)
		(void)fault_set_sys(&r.why, sys, "connect to %s:%u", d->host, d->port);
	dial_cancel(d);
	the_loop.calling = true;
	done(user, &r);
	the_loop.calling = false;
}

void fake_dial_resolved(size_t i)
{
	struct dial *d = dial_at(i);

	the_loop.calling = true;
	d->on_resolved(d->user);
	the_loop.calling = false;
}

void fake_dials_are(bool refused, bool remembered)
{
	the_loop.no_dials = refused;
	the_loop.is_remembered = remembered;
}
