#include "tests/unit/lib/io/rig.h"

/* ---- back pressure: unasked, nothing comes ---- */

static void unasked(struct loop *l)
{
	struct end *p[2];
	end_pair(l, p);
	end_send(p[0], "0123456789", 10);
	until(l, p[0]->sent == 1);
	for (int i = 0; i < 5; i++)
		step(l);
	check(p[1]->data == 0);
	check(!sock_is_receiving(p[1]->s));
	p[1]->max = 4;
	sock_recv(p[1]->s, 4);
	sock_recv(p[1]->s, 400); /* armed already: changes nothing */
	check(p[1]->data == 0 && sock_is_receiving(p[1]->s));
	until(l, p[1]->data == 1);
	check(p[1]->got_n == 4);
	for (int i = 0; i < 3; i++)
		step(l);
	check(p[1]->data == 1);
	sock_recv(p[1]->s, 4);
	until(l, p[1]->got_n == 8);
	sock_recv(p[1]->s, 4);
	until(l, p[1]->got_n == 10);
	check(memcmp(p[1]->got, "0123456789", 10) == 0);
	end_free(l, p[0]);
	end_free(l, p[1]);
}

static void test_unasked(void)
{
	on_both(unasked);
}

/* ---- ends of a stream ---- */

static void half_close(struct loop *l)
{
	struct end *p[2];
	end_pair(l, p);
	end_send(p[0], "last words", 10);
	sock_shutdown_write(p[0]->s); /* after the send, though asked at once */
	p[1]->rearm = true;
	sock_recv(p[1]->s, 16384);
	until(l, p[1]->eof);
	check(p[1]->got_n == 10 && p[0]->sent == 1);

	sock_recv(p[0]->s, 16384);
	end_send(p[1], "heard", 5);
	until(l, p[0]->got_n == 5);
	sock_recv(p[1]->s, 16384); /* the end stays the end */
	until(l, p[1]->data == 3);
	check(p[1]->errors == 0);
	end_free(l, p[1]);
	sock_recv(p[0]->s, 16384);
	until(l, p[0]->eof);
	end_free(l, p[0]);
}

static void test_half_close(void)
{
	on_both(half_close);
}

/* Data and FIN that arrive together before anybody asks. */
static void data_with_fin(struct loop *l)
{
	int fd[2];
	tcp_pair(fd);
	struct end *e = end_new(l, fd[1]);
	sock_recv(e->s, 16384);
	step(l);
	check(write(fd[0], "abc", 3) == 3);
	until(l, e->data == 1);
	check(write(fd[0], "def", 3) == 3);
	close(fd[0]);
	for (int i = 0; i < 3; i++)
		step(l);
	sock_recv(e->s, 16384);
	until(l, e->data == 2);
	check(e->got_n == 6);
	sock_recv(e->s, 16384);
	until(l, e->eof);
	end_free(l, e);
}

static void test_data_with_fin(void)
{
	on_both(data_with_fin);
}

/* recv() stops at an urgent mark: what is behind it must not wait for ever. */
static void urgent(struct loop *l)
{
	int fd[2];
	tcp_pair(fd);
	struct end *e = end_new(l, fd[1]);
	e->rearm = true;
	check(send(fd[0], "abc!", 4, MSG_OOB) == 4);
	check(send(fd[0], "def", 3, 0) == 3);
	sock_recv(e->s, 16384);
	until(l, e->got_n == 6);
	check(memcmp(e->got, "abcdef", 6) == 0);
	close(fd[0]);
	end_free(l, e);
}

static void test_urgent(void)
{
	on_both(urgent);
}

static void reset_comes(struct loop *l)
{
	struct end *p[2];
	end_pair(l, p);
	sock_recv(p[0]->s, 16384);
	step(l);
	sock_close(p[1]->s, true);
	until(l, p[0]->errors == 1);
	check(p[0]->sys == ECONNRESET);
	check(!sock_is_receiving(p[0]->s));
	sock_recv(p[0]->s, 16384); /* ignored: only fit for closing */
	end_send(p[0], "x", 1);
	for (int i = 0; i < 3; i++)
		step(l);
	check(p[0]->errors == 1 && p[0]->data == 0 && p[0]->sent == 0);
	end_free(l, p[0]);
	end_free(l, p[1]);
}

static void test_reset_comes(void)
{
	on_both(reset_comes);
}

/* Both directions are under way when the reset comes: told once. */
static void reset_in_full_flight(struct loop *l)
{
	const size_t n = 16 << 20;
	uint8_t *bytes = calloc(1, n);
	struct end *p[2];
	end_pair(l, p);
	sock_recv(p[0]->s, 16384);
	end_send(p[0], bytes, n);
	for (int i = 0; i < 5; i++)
		step(l);
	check(p[0]->sent == 0);
	sock_close(p[1]->s, true);
	until(l, p[0]->errors == 1);
	free(bytes); /* on_error gives them back: the sanitizer watches */
	for (int i = 0; i < 3; i++)
		step(l);
	check(p[0]->errors == 1 && p[0]->sent == 0);
	end_free(l, p[0]);
	end_free(l, p[1]);
}

static void test_reset_in_full_flight(void)
{
	on_both(reset_in_full_flight);
}

/* Whether `reset` makes an RST or a FIN, as a plain peer sees it. */
static void how_we_close(struct loop *l)
{
	for (int reset = 0; reset < 2; reset++) {
		int fd[2];
		tcp_pair(fd);
		struct end *e = end_new(l, fd[1]);
		sock_recv(e->s, 16384);
		step(l);
		sock_close(e->s, reset);
		until(l, e->closed == 1);
		char c;
		const ssize_t n = read(fd[0], &c, 1);
		check(reset ? n < 0 && errno == ECONNRESET : n == 0);
		close(fd[0]);
		end_free(l, e);
	}
}

static void test_how_we_close(void)
{
	on_both(how_we_close);
}

/* A peer that never reads: closing gives the bytes back. */
static void close_with_send_in_flight(struct loop *l)
{
	const size_t n = 32 << 20;
	for (int reset = 0; reset < 2; reset++) {
		uint8_t *bytes = malloc(n);
		memset(bytes, 'x', n);
		int fd[2];
		tcp_pair(fd);
		struct end *e = end_new(l, fd[1]);
		end_send(e, bytes, n);
		for (int i = 0; i < 5; i++)
			step(l);
		check(e->sent == 0 && sock_is_sending(e->s));
		sock_close(e->s, reset);
		check(e->closed == 0);
		until(l, e->closed == 1);
		free(bytes);
		check(e->sent == 0 && e->errors == 0);
		close(fd[0]);
		end_free(l, e);
	}
}

static void test_close_with_send_in_flight(void)
{
	on_both(close_with_send_in_flight);
}

static void close_in_callbacks(struct loop *l)
{
	struct end *p[2];

	end_pair(l, p); /* on_data, with a send of its own waiting too */
	p[1]->close_in_callback = true;
	sock_recv(p[1]->s, 16384);
	end_send(p[0], "x", 1);
	until(l, p[1]->closed == 1);
	check(p[1]->data == 1);
	end_free(l, p[0]);
	end_free(l, p[1]);

	end_pair(l, p); /* on_sent */
	p[0]->close_in_callback = true;
	sock_recv(p[0]->s, 16384);
	end_send(p[0], "x", 1);
	until(l, p[0]->closed == 1);
	check(p[0]->sent == 1 && p[0]->data == 0);
	end_free(l, p[0]);
	end_free(l, p[1]);

	end_pair(l, p); /* on_error */
	p[0]->close_in_callback = true;
	sock_recv(p[0]->s, 16384);
	step(l);
	sock_close(p[1]->s, true);
	until(l, p[0]->closed == 1);
	check(p[0]->errors == 1);
	end_free(l, p[0]);
	end_free(l, p[1]);
}

static void test_close_in_callbacks(void)
{
	on_both(close_in_callbacks);
}

/* Two sockets ready in the same round; the first callback closes the other. */
static struct end *victim;

static void closes_the_other(struct sock *s, void *user, struct mspan data)
{
	struct end *e = user;

	(void)s;
	(void)data;
	e->data++;
	if (victim->s && victim != e)
		sock_close(victim->s, false);
}

static void close_each_other(struct loop *l)
{
	struct sock_handler h = end_handler;
	h.on_data = closes_the_other;
	struct end *e[2];
	int fd[2][2];
	for (int i = 0; i < 2; i++) {
		tcp_pair(fd[i]);
		e[i] = calloc(1, sizeof(*e[i]));
		check(sock_new(&e[i]->s, l, fd[i][1], &h, e[i], NULL) == 0);
		sock_recv(e[i]->s, 100);
	}
	step(l);
	victim = e[1];
	for (int i = 0; i < 2; i++)
		check(write(fd[i][0], "x", 1) == 1);
	until(l, e[1]->closed == 1);
	check(e[0]->data + e[1]->data >= 1);
	for (int i = 0; i < 2; i++) {
		close(fd[i][0]);
		end_free(l, e[i]);
	}
}

static void test_close_each_other(void)
{
	on_both(close_each_other);
}

/* ---- sending ---- */

static void send_vectors(struct loop *l)
{
	static uint8_t bytes[64 * 1000];
	struct iovec iov[SOCK_IOV_MAX];
	struct end *p[2];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31 >> 3);
	for (int i = 0; i < SOCK_IOV_MAX; i++) { /* some of them empty */
		const size_t k = i % 5 ? (size_t)(i * 17 % 1000) : 0;
		iov[i] = (struct iovec){ .iov_base = bytes + n, .iov_len = k };
		n += k;
	}
	end_pair(l, p);
	p[1]->rearm = true;
	sock_recv(p[1]->s, p[1]->max);
	sock_send(p[0]->s, iov, SOCK_IOV_MAX);
	memset(iov, 0, sizeof(iov)); /* the vector was copied */
	until(l, p[1]->got_n == n && p[0]->sent == 1);
	check(memcmp(p[1]->got, bytes, n) == 0);

	sock_send(p[0]->s, iov, 3); /* nothing at all is sent at once, but later */
	check(p[0]->sent == 1);
	until(l, p[0]->sent == 2);
	sock_send(p[0]->s, NULL, 0);
	until(l, p[0]->sent == 3);
	end_free(l, p[0]);
	end_free(l, p[1]);
}

static void test_send_vectors(void)
{
	on_both(send_vectors);
}

/* ---- connecting ---- */

static void connect_to(struct loop *l)
{
	struct sockaddr_in at;
	const int x = listen_somewhere(8, &at);

	struct end *e = end_new(l, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	sock_connect(e->s, (struct sockaddr *)&at, sizeof(at));
	sock_recv(e->s, 16384);
	check(e->connected == 0);
	until(l, e->connected == 1);
	check(e->sys == 0);
	const int fd = accept4(x, NULL, NULL, SOCK_CLOEXEC);
	check(write(fd, "hi", 2) == 2);
	until(l, e->got_n == 2); /* asked before it was connected */
	close(fd);
	end_free(l, e);

	close(x); /* nobody there any more */
	e = end_new(l, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	e->close_in_callback = true;
	sock_connect(e->s, (struct sockaddr *)&at, sizeof(at));
	until(l, e->closed == 1);
	check(e->connected == 1 && e->sys == ECONNREFUSED && e->errors == 0);
	end_free(l, e);
}

static void test_connect(void)
{
	on_both(connect_to);
}

/* A listener whose queue is full answers no SYN. */
static void connect_and_close(struct loop *l)
{
	struct sockaddr_in at;
	const int x = listen_somewhere(0, &at);
	struct end *e[4];

	for (int i = 0; i < 4; i++) {
		e[i] = end_new(l, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
		sock_connect(e[i]->s, (struct sockaddr *)&at, sizeof(at));
	}
	for (int i = 0; i < 10; i++)
		step(l);
	check(e[3]->connected == 0);
	for (int i = 0; i < 4; i++)
		end_free(l, e[i]);
	close(x);
}

static void test_connect_and_close(void)
{
	on_both(connect_and_close);
}

/* ---- the loop goes first ---- */

static void free_with_sockets(enum loop_choice choice)
{
	const size_t before = count_fds();
	struct loop *l;
	if (loop_new(&l, choice, NULL) < 0)
		return;
	const size_t n = 16 << 20;
	uint8_t *bytes = calloc(1, n);
	int fd[2], pipes[2];
	tcp_pair(fd);
	must(pipe(pipes) == 0);
	struct end *e = end_new(l, fd[0]), *unused = end_new(l, dup(fd[1]));
	sock_recv(e->s, 16384);
	end_send(e, bytes, n);
	struct watch *w;
	check(watch_new(&w, l, pipes[0], (watch_ready_fn *)abort, NULL, NULL) == 0);
	for (int i = 0; i < 3; i++)
		step(l);
	check(write(pipes[1], "x", 1) == 1); /* not told any more */
	loop_free(l);
	check(e->closed == 1 && unused->closed == 1);
	free(bytes);
	free(e);
	free(unused);
	close(fd[1]);
	close(pipes[0]);
	close(pipes[1]);
	check(count_fds() == before);
}

static void test_free_with_sockets(void)
{
	free_with_sockets(LOOP_EPOLL);
	free_with_sockets(LOOP_URING);
	free_with_sockets(LOOP_AUTO);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "unasked, nothing comes", test_unasked },
		{ "half close", test_half_close },
		{ "data with FIN", test_data_with_fin },
		{ "urgent data", test_urgent },
		{ "reset comes", test_reset_comes },
		{ "reset in full flight", test_reset_in_full_flight },
		{ "how we close", test_how_we_close },
		{ "close with send in flight", test_close_with_send_in_flight },
		{ "close inside callbacks", test_close_in_callbacks },
		{ "close each other", test_close_each_other },
		{ "send vectors", test_send_vectors },
		{ "connect", test_connect },
		{ "connect and close", test_connect_and_close },
		{ "loop goes first", test_free_with_sockets },
	};
	return run_cases("sock", cases, array_len(cases));
}
