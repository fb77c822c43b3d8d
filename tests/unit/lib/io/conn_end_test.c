#include "lib/io/conn_end.h"

#include "tests/unit/lib/io/rig.h"

/* One end of a TCP connection as an owner has it; the other is the test's. */
struct owner {
	struct conn_end end;
	int peer, lost, gone;
	size_t heard;
};

static void on_data(struct sock *s, void *user, struct mspan data)
{
	struct owner *o = user;

	if (conn_end_received(&o->end, data.n))
		return;
	o->heard += data.n;
	if (data.n)
		sock_recv(s, SOCK_RECV_MAX);
	else
		o->end.peer_gone = true;
}

static void on_sent(struct sock *s, void *user)
{
	(void)s;
	conn_end_flushed(&((struct owner *)user)->end);
}

static void on_error(struct sock *s, void *user, int sys)
{
	struct owner *o = user;

	(void)s;
	(void)sys;
	o->end.peer_gone = true;
	o->lost += conn_end_lose(&o->end);
}

static void on_closed(void *user)
{
	struct owner *o = user;

	conn_end_fini(&o->end);
	o->gone++;
}

static const struct sock_handler handler = { .on_data = on_data,
					     .on_sent = on_sent,
					     .on_error = on_error,
					     .on_closed = on_closed };

static void owner_new(struct owner *o, struct loop *l)
{
	int fd[2];

	*o = (struct owner){ 0 };
	tcp_pair(fd);
	o->peer = fd[1];
	conn_end_init(&o->end, l);
	must(sock_new(&o->end.sock, l, fd[0], &handler, o, NULL) == 0);
	sock_recv(o->end.sock, SOCK_RECV_MAX);
	check(conn_end_is_open(&o->end) && conn_end_may_send(&o->end));
}

/* The next byte, '.' for the end, '-' for neither; it stays unless it is taken. */
static char peer_sees(const struct owner *o, bool take)
{
	char c = '?';
	const ssize_t n = recv(o->peer, &c, 1, MSG_DONTWAIT | (take ? 0 : MSG_PEEK));

	return n == 1 ? c : n == 0 ? '.' : '-';
}

/* The last words come first, then the FIN; the socket goes with the peer's end. */
static void graceful(struct loop *l)
{
	struct owner o;

	owner_new(&o, l);
	check(conn_end_begin(&o.end) && !conn_end_is_open(&o.end));
	sock_send(o.end.sock, &(struct iovec){ (void *)(uintptr_t)"w", 1 }, 1);
	check(!conn_end_may_send(&o.end));
	until(l, o.end.fin);
	check(!conn_end_begin(&o.end) && !o.gone);
	check(!conn_end_may_send(&o.end));
	until(l, peer_sees(&o, false) == 'w');
	check(peer_sees(&o, true) == 'w');
	until(l, peer_sees(&o, false) == '.');
	check(send(o.peer, "late", 4, MSG_NOSIGNAL) == 4); /* read and dropped: no reset */
	for (int i = 0; i < 5; i++)
		step(l);
	check(send(o.peer, "late", 4, MSG_NOSIGNAL) == 4 && !o.gone && !o.heard);
	close(o.peer);
	until(l, o.gone == 1);
	check(loop_counts(l).timers == 0 && !o.lost);
}

/* A peer that never ends is not waited for. */
static void lingers_no_longer_than_its_bound(struct loop *l)
{
	struct owner o;

	owner_new(&o, l);
	const uint64_t before = loop_now(l);
	check(conn_end_begin(&o.end));
	conn_end_flushed(&o.end);
	for (int i = 0; i < 20000 && !o.gone; i++) {
		(void)!send(o.peer, "more", 4, MSG_NOSIGNAL | MSG_DONTWAIT);
		step(l);
	}
	check(o.gone == 1 && loop_now(l) - before >= 900000000);
	close(o.peer);
}

static void nobody_to_hear(struct loop *l)
{
	struct owner o;

	owner_new(&o, l);
	close(o.peer);
	until(l, o.end.peer_gone);
	check(conn_end_lose(&o.end) && !conn_end_lose(&o.end)); /* told once */
	check(!conn_end_begin(&o.end) && o.end.closed);
	conn_end_close(&o.end);
	until(l, o.gone == 1);

	owner_new(&o, l); /* lost while the last words leave: silent */
	check(conn_end_begin(&o.end));
	check(!conn_end_lose(&o.end) && o.end.closed && !conn_end_begin(&o.end));
	until(l, o.gone == 1);
	close(o.peer);
}

/* loop_free() ends what is in the middle of it. */
static void ended_by_the_loop(void)
{
	for (enum loop_choice c = LOOP_URING; c <= LOOP_EPOLL; c++) {
		struct loop *l;
		struct owner o;

		if (loop_new(&l, c, NULL) < 0)
			continue;
		owner_new(&o, l);
		check(conn_end_begin(&o.end));
		loop_free(l);
		check(o.gone == 1);
		close(o.peer);
	}
}

static void test_sentences(void)
{
	static const struct {
		int sys;
		enum err code;
		const char *says;
	} rows[] = {
		{ ETIMEDOUT, ERR_TIMEOUT, "never acknowledged" },
		{ ECONNRESET, ERR_CLOSED, "the server closed the connection: Connection reset" },
		{ EPIPE, ERR_CLOSED, "the server closed the connection: Broken pipe" },
		{ EHOSTUNREACH, ERR_SYS, "connection lost" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why = { 0 };

		conn_end_sentence(&why, rows[i].sys, "server");
		check_row(rows[i].says, why.code == rows[i].code && why.sys == rows[i].sys);
		check_row(rows[i].says, strstr(why.why, rows[i].says) != NULL);
	}
}

static void test_graceful(void) { on_both(graceful); }
static void test_linger(void) { on_both(lingers_no_longer_than_its_bound); }
static void test_nobody(void) { on_both(nobody_to_hear); }

int main(void)
{
	static const struct test_case cases[] = {
		{ "closed gracefully", test_graceful },
		{ "a peer that never ends", test_linger },
		{ "nobody to hear", test_nobody },
		{ "ended by the loop", ended_by_the_loop },
		{ "sentences", test_sentences },
	};
	return run_cases("conn_end", cases, array_len(cases));
}
