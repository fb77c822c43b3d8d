#include "lib/http/server.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "tests/unit/lib/io/rig.h"

#define MS UINT64_C(1000000)
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n"
#define END "\r\n"
enum { BIG = 4 << 20 };
/* More than any socket buffers hold. */
#define BIG_ONES GET("/big") END GET("/big") END GET("/big") END GET("/big") END

/* Answers with what it was told, so that a test can look. */
static void serve(void *user, struct http_exchange *x)
{
	const struct span path = http_exchange_path(x), query = http_exchange_query(x);
	const struct span accept = http_exchange_field(x, "Accept");
	const struct span encoding = http_exchange_field(x, "ACCEPT-encoding");
	const struct http_field fields[] = { { "Content-Type", "text/plain" },
					     { "X-One", "1" },
					     { "X-Two", "2" },
					     { "cache-control", "max-age=5" } };
	const size_t fields_n = span_is(path, "/extra") ? 4 : 1;
	struct buf body;
	char text[512];

	++*(int *)user;
	if (!http_exchange_allow(x, HTTP_GET | HTTP_HEAD, "GET, HEAD"))
		return;
	buf_init(&body, &mem_heap, BIG);
	if (span_is(path, "/big")) {
		uint8_t *room;
		must(buf_reserve(&body, BIG, &room) == 0);
		memset(room, 'b', BIG);
		buf_commit(&body, BIG);
	} else if (!span_is(path, "/none") && !span_is(path, "/empty")) {
		const int n = snprintf(text, sizeof(text),
				       "path=%.*s query=%.*s accept=%.*s encoding=%.*s\n",
				       (int)path.n, path.p, (int)query.n, query.p, (int)accept.n,
				       accept.p, (int)encoding.n, encoding.p);
		must(buf_append(&body, text, (size_t)n) == 0);
	}
	http_exchange_reply(x, span_is(path, "/none") ? 404 : 200, fields, fields_n, &body);
	check(buf_len(&body) == 0);
}

static int served;

static struct http_server *open_server(struct loop *l, const struct http_server_options *bounds)
{
	struct http_server_options o = bounds ? *bounds : (struct http_server_options){ 0 };
	struct http_server *s;
	struct fault why = { 0 };

	served = 0;
	o.bind = "127.0.0.1";
	o.on_request = serve;
	o.user = &served;
	must(http_server_new(&s, l, &o, &why) == 0);
	check(http_server_port(s) != 0);
	return s;
}

static void close_server(struct loop *l, struct http_server *s)
{
	http_server_free(s);
	until(l, loop_counts(l).socks == 0 && loop_counts(l).listeners == 0);
}

static struct end *dial_server(struct loop *l, const struct http_server *s)
{
	const struct sockaddr_in at = { .sin_family = AF_INET,
					.sin_port = htons(http_server_port(s)),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0);
	must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
	struct end *e = end_new(l, fd);
	e->rearm = true;
	sock_recv(e->s, e->max);
	return e;
}

static void say(struct loop *l, struct end *e, const char *p, size_t n)
{
	const int before = e->sent;

	end_send(e, p, n);
	until(l, e->sent > before || e->errors || e->eof);
}

static const char *text_of(struct end *e)
{
	e->got[min_size(e->got_n, sizeof(e->got) - 1)] = '\0';
	return (const char *)e->got;
}

/* Whether a whole answer with a body has come. */
static bool has_answer(struct end *e)
{
	const char *text = text_of(e), *end = strstr(text, "\r\n\r\n");
	const char *length = end ? strcasestr(text, "Content-Length: ") : NULL;

	return length && strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static int status_of(struct end *e)
{
	const char *text = text_of(e);

	return strncmp(text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(text + 9, NULL, 10) : -1;
}

static const struct {
	const char *name, *wire;
	int status;
	bool closes;
	const char *needle;
} requests[] = {
	{ "plain", GET("/a") END, 200, false, "path=/a query= accept= encoding=\n" },
	{ "query", GET("/a?b=c&d") END, 200, false, "path=/a query=b=c&d " },
	{ "empty query", GET("/a?") END, 200, false, "path=/a query= " },
	{ "fields", GET("/a") "Accept: text/plain\r\naccept-encoding: gzip\r\n" END, 200, false,
	  "accept=text/plain encoding=gzip" },
	{ "absolute form", "GET http://x:80/a?q HTTP/1.1\r\nHost: x\r\n" END, 200, false,
	  "path=/a query=q " },
	{ "1.0 closes", "GET /a HTTP/1.0\r\n" END, 200, true, "path=/a" },
	{ "1.0 keeps when asked", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n" END, 200, false,
	  "path=/a" },
	{ "close", GET("/a") "Connection: close\r\n" END, 200, true, "\r\nConnection: close\r\n" },
	{ "empty lines before", "\r\n\r\n" GET("/a") END, 200, false, "path=/a" },
	{ "not found", GET("/none") END, 404, false, "Content-Length: 0\r\n" },
	{ "extra fields", GET("/extra") END, 200, false,
	  "\r\nX-One: 1\r\nX-Two: 2\r\ncache-control: max-age=5\r\n" },
	{ "no body", GET("/empty") END, 200, false, "Content-Length: 0\r\n" },
	{ "length 0", GET("/a") "Content-Length: 0\r\n" END, 200, false, "path=/a" },
	{ "nosniff", GET("/none") END, 404, false, "\r\nX-Content-Type-Options: nosniff\r\n" },
	{ "csp", GET("/none") END, 404, false, "\r\nContent-Security-Policy: default-src 'none'" },
	{ "no store", GET("/none") END, 404, false, "\r\nCache-Control: no-store\r\n" },
	{ "date", GET("/none") END, 404, false, " GMT\r\n" },
	/* refused; each is the last answer of its connection */
	{ "post", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405, true,
	  "\r\nAllow: GET, HEAD\r\n" },
	{ "unknown method", "BREW /a HTTP/1.1\r\nHost: x\r\n" END, 405, true,
	  "\r\nAllow: GET, HEAD\r\n" },
	{ "options *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n" END, 405, true, "Allow:" },
	{ "lower case", "get /a HTTP/1.1\r\nHost: x\r\n" END, 405, true, "Allow:" },
	{ "no host", "GET /a HTTP/1.1\r\n" END, 400, true, "Host" },
	{ "two hosts", GET("/a") "Host: y\r\n" END, 400, true, "Host" },
	{ "body", GET("/a") "Content-Length: 3\r\n\r\nabc", 413, true, "no body" },
	{ "chunked body", GET("/a") "Transfer-Encoding: chunked\r\n" END, 413, true, "no body" },
	{ "both lengths", GET("/a") "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END, 400,
	  true, "ambiguous" },
	{ "length no number", GET("/a") "Content-Length: +3\r\n" END, 400, true, "ambiguous" },
	{ "not a path", "GET a HTTP/1.1\r\nHost: x\r\n" END, 400, true, "no path" },
	{ "authority only", "GET http://x HTTP/1.1\r\nHost: x\r\n" END, 400, true, "no path" },
	{ "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, true, "HTTP/1.1" },
	{ "HTTP/1.2", "GET / HTTP/1.2\r\n" END, 505, true, "HTTP/1.1" },
	{ "HTTP/0.9", "GET /\r\n", 400, true, NULL },
	{ "version is a word", "GET / HTTP/one\r\n", 400, true, NULL },
	{ "bare LF", "GET / HTTP/1.1\nHost: x\n\n", 400, true, "LF without CR" },
	{ "bare CR", "GET / HTTP/1.1\rHost: x\n\n", 400, true, NULL },
	{ "folded", GET("/a") " more\r\n" END, 400, true, "folded" },
	{ "space before colon", "GET / HTTP/1.1\r\nHost : x\r\n" END, 400, true, NULL },
	{ "control byte", "GET / HTTP/1.1\r\nHost: \x01\r\n" END, 400, true, "control" },
	{ "TLS hello", "\x16\x03\x01\x02\x01\x01\x01\x02\n", 400, true, NULL },
};

static void test_requests(struct loop *l)
{
	struct http_server *s = open_server(l, NULL);

	for (size_t i = 0; i < array_len(requests); i++) {
		const char *name = requests[i].name;
		struct end *e = dial_server(l, s);

		say(l, e, requests[i].wire, strlen(requests[i].wire));
		until(l, has_answer(e));
		check_row(name, status_of(e) == requests[i].status);
		check_row(name,
			  !requests[i].needle || strstr(text_of(e), requests[i].needle) != NULL);
		if (requests[i].closes)
			until(l, e->eof);
		check_row(name, e->errors == 0);
		end_free(l, e);
	}
	until(l, http_server_connections(s) == 0);
	close_server(l, s);
}

/* The answer without its date. */
static size_t answer_of(struct end *e, char to[2048])
{
	const char *text = text_of(e), *date = strstr(text, "Date: ");
	const char *after = date ? strstr(date, "\r\n") : NULL;

	if (!after)
		return 0;
	return (size_t)snprintf(to, 2048, "%.*s%s", (int)(date - text), text, after);
}

static void test_chopped(struct loop *l)
{
	static const char wire[] = GET("/chop?x=1") "Accept: a/b\r\n" END;
	const size_t n = sizeof(wire) - 1;
	struct http_server *s = open_server(l, NULL);
	char whole[2048], got[2048];

	for (size_t cut = 0; cut <= n + 1; cut++) { /* n + 1: byte by byte */
		struct end *e = dial_server(l, s);
		const size_t pieces = cut > n ? n : 2;

		for (size_t i = 0; i < pieces; i++) {
			const size_t from = cut > n ? i
					    : i	    ? cut
						    : 0,
				     to = cut > n ? i + 1
					  : i	  ? n
						  : cut;
			if (from == to)
				continue;
			say(l, e, wire + from, to - from);
			step(l); /* the server sees this piece alone */
			check(to == n || e->got_n == 0);
		}
		until(l, has_answer(e));
		const size_t len = answer_of(e, cut ? got : whole);
		check(len > 0 && (!cut || strcmp(got, whole) == 0));
		end_free(l, e);
	}
	close_server(l, s);
}

static void test_keep_alive_and_pipeline(struct loop *l)
{
	static const char wire[] = GET("/one") END GET("/two") END
		"\r\n" GET("/three") "Connection: close\r\n" END GET("/four") END;
	struct http_server *s = open_server(l, NULL);
	struct end *e = dial_server(l, s);

	say(l, e, GET("/zero") END, sizeof(GET("/zero") END) - 1);
	until(l, has_answer(e));
	say(l, e, wire, sizeof(wire) - 1);
	until(l, e->eof);
	const char *at = text_of(e);
	static const char *const order[] = { "path=/zero", "path=/one", "path=/two",
					     "path=/three" };
	for (size_t i = 0; i < array_len(order); i++) {
		at = at ? strstr(at, order[i]) : NULL;
		check_row(order[i], at != NULL);
	}
	check(served == 4); /* nothing after the last one is answered */
	end_free(l, e);
	close_server(l, s);
}

static void test_head(struct loop *l)
{
	static const char wire[] = "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n";
	char length[64];
	static const char post[] = "HEAD /a HTTP/1.1\r\n\r\n";
	struct http_server *s = open_server(l, NULL);
	struct end *e = dial_server(l, s);

	say(l, e, wire, sizeof(wire) - 1);
	until(l, strstr(text_of(e), "\r\n\r\n") != NULL);
	check(status_of(e) == 200);
	snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
		 strlen("path=/a query= accept= encoding=\n"));
	check(strstr(text_of(e), length) != NULL); /* that of the body that GET would bring */
	check(strcmp(strstr(text_of(e), "\r\n\r\n"), "\r\n\r\n") == 0);
	e->got_n = 0;
	say(l, e, post, sizeof(post) - 1); /* refused, and still without a body */
	until(l, e->eof);
	check(status_of(e) == 400);
	check(strcmp(strstr(text_of(e), "\r\n\r\n"), "\r\n\r\n") == 0);
	end_free(l, e);
	close_server(l, s);
}

static void test_big_head(struct loop *l)
{
	static char wire[9000], fields[2000];
	struct http_server *s = open_server(l, NULL);
	struct end *e = dial_server(l, s);

	memset(wire, 'a', sizeof(wire));
	memcpy(wire, "GET /", 5);
	say(l, e, wire, sizeof(wire));
	until(l, e->eof);
	check(status_of(e) == 431);
	check(e->errors == 0); /* the answer comes before the close, not a reset */
	end_free(l, e);

	size_t n = (size_t)snprintf(fields, sizeof(fields), "%s", GET("/a"));
	for (int i = 0; i < 70; i++)
		n += (size_t)snprintf(fields + n, sizeof(fields) - n, "a: b\r\n");
	e = dial_server(l, s);
	say(l, e, fields, n);
	until(l, e->eof);
	check(status_of(e) == 431);
	end_free(l, e);
	check(served == 0);
	close_server(l, s);
}

static void test_slow_head(struct loop *l)
{
	struct http_server *s = open_server(l, &(struct http_server_options){ .head_ns = 30 * MS });
	struct end *e = dial_server(l, s), *lines = dial_server(l, s);

	/* each byte comes quickly, the whole never: the bound is on the whole */
	say(l, e, "GET /", 5);
	for (int i = 0; i < 8000 && !e->eof && !e->errors; i++) {
		if (!sock_is_sending(e->s))
			end_send(e, "a", 1);
		if (!lines->eof && !sock_is_sending(lines->s))
			end_send(lines, "\r\n", 2); /* empty lines are no request either */
		step(l);
	}
	check(status_of(e) == 408);
	check(strstr(text_of(e), "\r\nConnection: close\r\n") != NULL);
	until(l, lines->eof || lines->errors);
	check(served == 0);
	end_free(l, e);
	end_free(l, lines);
	close_server(l, s);
}

static void test_idle_ends_silently(struct loop *l)
{
	struct http_server *s = open_server(l, &(struct http_server_options){ .idle_ns = 10 * MS });
	struct end *e = dial_server(l, s);

	until(l, e->eof);
	check(e->got_n == 0);
	end_free(l, e);
	e = dial_server(l, s);
	say(l, e, GET("/a") END, sizeof(GET("/a") END) - 1);
	until(l, e->eof); /* after its answer */
	check(status_of(e) == 200);
	end_free(l, e);
	close_server(l, s);
}

static void test_client_that_does_not_read(struct loop *l)
{
	struct http_server *s =
		open_server(l, &(struct http_server_options){ .send_ns = 20 * MS });
	struct end *e = dial_server(l, s);

	e->rearm = false; /* the receive that is armed takes one piece, then nothing is read */
	say(l, e, BIG_ONES, sizeof(BIG_ONES) - 1);
	until(l, served >= 1 && http_server_connections(s) == 0);
	check(served < 4);
	end_free(l, e);
	close_server(l, s);
}

static void count_call(void *user)
{
	++*(int *)user;
}

static void test_drain(struct loop *l)
{
	struct http_server *s = open_server(l, NULL);
	struct end *idle = dial_server(l, s), *busy = dial_server(l, s);
	int drained = 0;

	busy->rearm = false;
	say(l, busy, BIG_ONES, sizeof(BIG_ONES) - 1);
	until(l, served >= 1);
	const int before = served;
	http_server_drain(s, count_call, &drained);
	check(drained == 0); /* later */
	until(l, idle->eof);
	check(http_server_connections(s) == 1);
	check(loop_counts(l).listeners == 0);
	busy->rearm = true;
	sock_recv(busy->s, busy->max);
	until(l, busy->eof); /* the answer was finished */
	check(status_of(busy) == 200);
	check(served == before); /* but no further one begun */
	check(drained == 0);
	end_free(l, busy);
	until(l, drained == 1);
	end_free(l, idle);
	close_server(l, s);

	s = open_server(l, NULL); /* nothing to wait for */
	http_server_drain(s, count_call, &drained);
	until(l, drained == 2);
	close_server(l, s);
}

static void test_free_under_way(struct loop *l)
{
	struct http_server *s = open_server(l, NULL);
	struct end *idle = dial_server(l, s), *busy = dial_server(l, s);

	busy->rearm = false;
	say(l, busy, BIG_ONES, sizeof(BIG_ONES) - 1);
	until(l, served >= 1 && http_server_connections(s) == 2);
	http_server_free(s);
	end_free(l, idle);
	end_free(l, busy);
	until(l, loop_counts(l).socks == 0);
}

static void test_addresses(struct loop *l)
{
	struct http_server *s = open_server(l, NULL), *other = NULL;
	struct fault why = { 0 };
	struct http_server_options o = { .bind = "127.0.0.1",
					 .port = http_server_port(s),
					 .on_request = serve };
	char want[160];

	check(http_server_new(&other, l, &o, &why) == ERR_SYS);
	snprintf(want, sizeof(want),
		 "port %u on 127.0.0.1 is already in use", o.port);
	check_row(why.why, strcmp(why.why, want) == 0);
	check(why.sys == EADDRINUSE);
	check(other == NULL);
	why = (struct fault){ 0 };
	o.bind = "example.com";
	check(http_server_new(&other, l, &o, &why) == ERR_CONFIG);
	check(strstr(why.why, "\"example.com\"") != NULL);
	close_server(l, s);
}

#define ON_BOTH(name)                       \
	static void name##_on_both(void)    \
	{                                   \
		on_both(name);              \
	}
static void *close_soon(void *fd)
{
	usleep(50000);
	close(*(int *)fd);
	return NULL;
}

/* Whoever holds the port lets go while we try. */
static void test_port_that_becomes_free(struct loop *l)
{
	struct sockaddr_in at;
	int fd = listen_somewhere(1, &at);
	struct http_server *s;
	struct fault why = { 0 };
	pthread_t thread;
	const struct http_server_options o = { .bind = "127.0.0.1",
					       .port = ntohs(at.sin_port),
					       .on_request = serve,
					       .busy_ns = 60 * UINT64_C(1000000000) };

	must(pthread_create(&thread, NULL, close_soon, &fd) == 0);
	check_row(why.why, http_server_new(&s, l, &o, &why) == 0);
	pthread_join(thread, NULL);
	check(s && http_server_port(s) == o.port);
	http_server_free(s);
}

ON_BOTH(test_requests)
ON_BOTH(test_chopped)
ON_BOTH(test_keep_alive_and_pipeline)
ON_BOTH(test_head)
ON_BOTH(test_big_head)
ON_BOTH(test_slow_head)
ON_BOTH(test_idle_ends_silently)
ON_BOTH(test_client_that_does_not_read)
ON_BOTH(test_drain)
ON_BOTH(test_free_under_way)
ON_BOTH(test_addresses)
ON_BOTH(test_port_that_becomes_free)

int main(void)
{
	static const struct test_case cases[] = {
		{ "requests", test_requests_on_both },
		{ "chopped", test_chopped_on_both },
		{ "keep-alive and pipeline", test_keep_alive_and_pipeline_on_both },
		{ "HEAD", test_head_on_both },
		{ "big head", test_big_head_on_both },
		{ "slow head", test_slow_head_on_both },
		{ "idle", test_idle_ends_silently_on_both },
		{ "client that does not read", test_client_that_does_not_read_on_both },
		{ "drain", test_drain_on_both },
		{ "free under way", test_free_under_way_on_both },
		{ "addresses", test_addresses_on_both },
		{ "port that becomes free", test_port_that_becomes_free_on_both },
	};
	return run_cases("http_server", cases, array_len(cases));
}
