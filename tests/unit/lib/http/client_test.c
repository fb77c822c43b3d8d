#include "lib/http/client_whole.h"

#include <signal.h>

#include "tests/unit/lib/http/origin.h"
#include "tests/unit/lib/io/rig.h"

static SSL_CTX *server_tls, *good_ca, *other_ca;

struct got {
	int calls, status, code;
	char body[4096], why[FAULT_WHY_MAX], location[256];
	uint64_t retry_after_s;
	struct http_client *again; /* send once more from inside the callback */
	bool freed;                /* free the client inside the callback */
};

static const struct http_request_out get = { .method = "GET", .path = "/x?y=1",
					     .repeatable = true };

static void on_done(void *user, const struct http_result *r)
{
	struct got *g = user;

	g->calls++;
	g->status = r->status;
	g->code = r->why.code;
	g->retry_after_s = r->retry_after_s;
	snprintf(g->location, sizeof(g->location), "%s", r->location);
	snprintf(g->why, sizeof(g->why), "%s", r->why.why);
	if (g->again && !g->freed) {
		struct http_client *c = g->again;

		g->again = NULL;
		check(!http_client_is_busy(c));
		check(http_client_send(c, &get, on_done, g, NULL) == 0);
	} else if (g->freed) {
		http_client_free(g->again);
	}
	const size_t n = min_size(r->body.n, sizeof(g->body) - 1); /* still good after that */
	if (n)
		memcpy(g->body, r->body.p, n);
	g->body[n] = '\0';
}

static struct http_client *client_new(struct loop *l, const struct origin *o, SSL_CTX *ca)
{
	struct http_client *c;
	const struct http_client_options options = {
		.tls = ca,
		.host = "127.0.0.1",
		.port = o->port,
		.host_header = "api.example:443",
		.tls_ctx = ca,
		.user_agent = "test/1",
		.timeout_ns = 20000000000,
		.body_max = 500,
	};

	must(http_client_new(&c, l, &options, NULL) == 0);
	return c;
}

static void ask(struct loop *l, struct http_client *c, const struct http_request_out *r,
		struct got *g)
{
	const int before = g->calls;

	check(http_client_send(c, r, on_done, g, NULL) == 0);
	check(g->calls == before); /* later, never inside */
	check(http_client_is_busy(c));
	until(l, g->calls > before);
}

static void end_all(struct loop *l, struct http_client *c, struct origin *o)
{
	http_client_free(c);
	until(l, loop_counts(l).socks == 0);
	origin_stop(o);
}

/* ---- answers, plain and over TLS ---- */

struct row {
	const char *name;
	struct act act;
	int status;       /* 0: none, then */
	int code;
	const char *text; /* of the body, or of the fault */
};

#define TEXT_100                                            \
	"01234567890123456789012345678901234567890123456789" \
	"01234567890123456789012345678901234567890123456789"
#define HEAD_100 "HTTP/1.1 100 C\r\n\r\n"

static const struct row rows[] = {
	{ "length",
	  { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", HOLD },
	  200,
	  0,
	  "hello" },
	{ "empty", { "HTTP/1.1 204 No Content\r\n\r\n", HOLD }, 204, 0, "" },
	{ "chunked",
	  { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: v\r\n\r\n",
	    HOLD },
	  200,
	  0,
	  "hello" },
	{ "until close", { "HTTP/1.1 200 OK\r\n\r\nhello", CLOSE }, 200, 0, "hello" },
	{ "HTTP/1.0",
	  { "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", CLOSE },
	  200,
	  0,
	  "hello" },
	{ "interim answers first",
	  { "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n"
	    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	    HOLD },
	  200,
	  0,
	  "ok" },
	{ "not found",
	  { "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", HOLD },
	  404,
	  0,
	  "no" },
	{ "redirects are not followed",
	  { "HTTP/1.1 302 Found\r\nLocation: /z\r\nContent-Length: 0\r\n\r\n", HOLD },
	  302,
	  0,
	  "" },
	{ "garbage", { "SSH-2.0-OpenSSH_9.2\r\n", HOLD }, 0, ERR_PROTO, "response: HTTP" },
	{ "both lengths",
	  { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	    HOLD },
	  0,
	  ERR_PROTO,
	  "response: HTTP" },
	{ "unasked upgrade",
	  { "HTTP/1.1 101 X\r\n\r\n", HOLD },
	  0,
	  ERR_PROTO,
	  "response: HTTP: interim" },
	{ "endless interim answers",
	  { HEAD_100 HEAD_100 HEAD_100 HEAD_100 HEAD_100 HEAD_100 HEAD_100 HEAD_100 HEAD_100,
	    HOLD },
	  0,
	  ERR_PROTO,
	  "response: HTTP: interim" },
	{ "largest body",
	  { "HTTP/1.1 200 OK\r\n\r\n" TEXT_100 TEXT_100 TEXT_100 TEXT_100 TEXT_100, CLOSE },
	  200,
	  0,
	  TEXT_100 TEXT_100 TEXT_100 TEXT_100 TEXT_100 },
	{ "body above the cap",
	  { "HTTP/1.1 200 OK\r\n\r\n" TEXT_100 TEXT_100 TEXT_100 TEXT_100 TEXT_100 "x", HOLD },
	  0,
	  ERR_LIMIT,
	  "response: HTTP: body above 500 bytes" },
	{ "announced body above the cap",
	  { "HTTP/1.1 200 OK\r\nContent-Length: 501\r\n\r\n", HOLD },
	  0,
	  ERR_LIMIT,
	  "response: HTTP: body above 500 bytes" },
	{ "cut in the head",
	  { "HTTP/1.1 200 OK\r\nConte", CLOSE },
	  0,
	  ERR_CLOSED,
	  "response: the peer closed" },
	{ "cut in the body",
	  { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", CLOSE },
	  0,
	  ERR_CLOSED,
	  "response: the peer closed" },
	{ "cut in a chunk",
	  { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhe", CLOSE },
	  0,
	  ERR_CLOSED,
	  "response: the peer closed" },
	{ "no answer on a fresh connection",
	  { "", CLOSE },
	  0,
	  ERR_CLOSED,
	  "response: the peer closed" },
};

static void run_row(struct loop *l, const struct row *row, bool tls)
{
	const struct act acts[] = { row->act, { NULL, KEEP } };
	struct origin o;
	struct got g = { 0 };

	origin_start(&o, acts, tls ? server_tls : NULL);
	struct http_client *c = client_new(l, &o, tls ? good_ca : NULL);
	ask(l, c, &get, &g);
	check_row(row->name, g.calls == 1);
	check_row(row->name, g.status == row->status);
	check_row(row->name, g.code == row->code);
	check_row(row->name, strcmp(g.body, row->status ? row->text : "") == 0);
	check_row(row->name,
		  row->status ? !g.why[0] : !strncmp(g.why, row->text, strlen(row->text)));
	end_all(l, c, &o);
	check_row(row->name, o.connections == 1 && o.requests == 1);
}

static void answers(struct loop *l)
{
	for (size_t i = 0; i < array_len(rows); i++)
		run_row(l, &rows[i], false);
}

static void answers_over_tls(struct loop *l)
{
	for (size_t i = 0; i < array_len(rows); i++)
		run_row(l, &rows[i], true);
}

static void retry_after(struct loop *l)
{
	static const struct {
		const char *value;
		uint64_t want;
	} values[] = {
		{ "17", 17 }, { "Fri, 31 Dec 1999 23:59:59 GMT", 0 },
		{ "-1", 0 },  { "9999999999", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < array_len(values); i++) {
		char text[128];
		const struct act acts[] = { { text, HOLD }, { NULL, KEEP } };
		struct origin o;
		struct got g = { 0 };

		snprintf(text, sizeof(text),
			 "HTTP/1.1 503 X\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
			 values[i].value);
		origin_start(&o, acts, NULL);
		struct http_client *c = client_new(l, &o, NULL);
		ask(l, c, &get, &g);
		check_row(values[i].value, g.status == 503 && g.retry_after_s == values[i].want);
		end_all(l, c, &o);
	}
}

static void location(struct loop *l)
{
	static const struct {
		const char *status, *fields, *want;
	} redirects[] = {
		{ "301", "Location: https://new.example/api\r\n", "https://new.example/api" },
		{ "308", "Location: /elsewhere\r\n", "/elsewhere" },
		{ "302", "Location: https://idp.example/login?token=secret#x\r\n",
		  "https://idp.example/login" },
		{ "302", "Location: /x#token=secret\r\n", "/x" },
		{ "307", "Location: https://user:secret@new.example/\r\n", "" },
		{ "301", "Location: /a b\r\n", "/a" },
		{ "301", "", "" },
		{ "200", "Location: /a\r\n", "" },
	};
	char text[256];

	for (size_t i = 0; i < array_len(redirects); i++) {
		const struct act acts[] = { { text, HOLD }, { NULL, KEEP } };
		struct origin o;
		struct got g = { 0 };

		snprintf(text, sizeof(text), "HTTP/1.1 %s X\r\n%sContent-Length: 0\r\n\r\n",
			 redirects[i].status, redirects[i].fields);
		origin_start(&o, acts, NULL);
		struct http_client *c = client_new(l, &o, NULL);
		ask(l, c, &get, &g);
		check_row(redirects[i].fields, strcmp(g.location, redirects[i].want) == 0);
		end_all(l, c, &o);
	}
}

/* ---- what is sent ---- */

static void request_text(struct loop *l)
{
	const struct act acts[] = { { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP },
				    { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HOLD },
				    { NULL, KEEP } };
	const struct http_request_out post = {
		.method = "POST",
		.path = "/api/v1",
		.bearer = "s3cret",
		.content_type = "application/json",
		.body = span_of("{\"a\":1}", 7),
	};
	const struct http_request_out head = { .method = "HEAD", .path = "/" };
	struct origin o;
	struct got g = { 0 };

	origin_start(&o, acts, NULL);
	struct http_client *c = client_new(l, &o, NULL);
	ask(l, c, &post, &g);
	check(g.status == 200);
	check(strcmp(o.last,
		     "POST /api/v1 HTTP/1.1\r\nHost: api.example:443\r\nUser-Agent: test/1\r\n"
		     "Accept: application/json\r\nAccept-Encoding: identity\r\n"
		     "Authorization: Bearer s3cret\r\nContent-Type: application/json\r\n"
		     "Content-Length: 7\r\n\r\n{\"a\":1}") == 0);
	ask(l, c, &head, &g); /* its answer has no body, whatever its length says */
	check(g.status == 200 && !g.body[0]);
	end_all(l, c, &o);
	check(strncmp(o.last, "HEAD / HTTP/1.1\r\n", 17) == 0 && !strstr(o.last, "Authorization"));
	check(o.connections == 1 && o.requests == 2);
}

static void refused_requests(struct loop *l)
{
	static char long_token[20000];
	const struct origin nobody = { .port = 1 };
	struct http_client *c = client_new(l, &nobody, NULL);

	memset(long_token, 'x', sizeof(long_token) - 1);
	const struct http_request_out bad[] = {
		{ .method = "GET", .path = "/a\r\nX: y" },
		{ .method = "GET", .path = "/a b" },
		{ .method = "GET", .path = "" },
		{ .method = "GE T", .path = "/" },
		{ .method = "GET", .path = "/", .bearer = "a\r\nX: y" },
		{ .method = "GET", .path = "/", .bearer = "" },
		{ .method = "GET", .path = "/", .bearer = long_token },
		{ .method = "POST", .path = "/", .content_type = "a\r\nX: y" },
	};
	for (size_t i = 0; i < array_len(bad); i++) {
		struct fault why = { 0 };

		check_row(bad[i].path,
			  http_client_send(c, &bad[i], on_done, NULL, &why) == ERR_USAGE);
		check_row(bad[i].path, !strstr(why.why, "X: y") && !strstr(why.why, "xxx"));
		check_row(bad[i].path, !http_client_is_busy(c));
	}
	struct fault why = { 0 };
	const struct http_request_out huge = { .method = "PUT",
					       .path = "/",
					       .body = span_of(long_token, 1 << 20) };
	check(http_client_send(c, &huge, on_done, NULL, &why) == ERR_LIMIT);
	http_client_free(c);
	check(http_client_new(&c, l, &(struct http_client_options){ .host = "" }, NULL) ==
	      ERR_USAGE);
}

/* ---- kept connections ---- */

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void keeps_one_connection(struct loop *l, SSL_CTX *tls, SSL_CTX *ca)
{
	const struct act acts[] = {
		{ ok, KEEP }, { ok, KEEP }, { ok, KEEP }, { ok, HOLD }, { NULL, KEEP }
	};
	struct origin o;
	struct got g = { 0 };

	origin_start(&o, acts, tls);
	struct http_client *c = client_new(l, &o, ca);
	for (int i = 0; i < 2; i++)
		ask(l, c, &get, &g);
	g.again = c; /* the third one sends the fourth from inside its callback */
	ask(l, c, &get, &g);
	until(l, g.calls == 4);
	check(g.status == 200 && strcmp(g.body, "ok") == 0);
	end_all(l, c, &o);
	check(o.connections == 1 && o.requests == 4);
}

static void keeps(struct loop *l)
{
	keeps_one_connection(l, NULL, NULL);
	keeps_one_connection(l, server_tls, good_ca);
}

/* The peer closes a kept connection while it is idle, or in answer to the next
 * request: either way that request is answered, on a second connection. */
static void renews(struct loop *l)
{
	static const struct {
		const char *name;
		struct act acts[4];
		int status, requests;
	} scripts[] = {
		{ "idle", { { ok, CLOSE }, { ok, HOLD } }, 200, 2 },
		{ "in flight", { { ok, KEEP }, { "", CLOSE }, { ok, HOLD } }, 200, 3 },
		{ "in flight, cut", { { ok, KEEP }, { "", CUT }, { ok, HOLD } }, 200, 3 },
		{ "twice in flight", { { ok, KEEP }, { "", CLOSE }, { "", CLOSE } }, 0, 3 },
		{ "after a byte of answer", { { ok, KEEP }, { "H", CLOSE } }, 0, 2 },
		{ "said close",
		  { { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", HOLD },
		    { ok, HOLD } },
		  200,
		  2 },
		{ "said too much",
		  { { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", HOLD },
		    { ok, HOLD } },
		  200,
		  2 },
	};
	const struct http_request_out post = {
		.method = "POST", .path = "/", .bearer = "t", .body = span_of("b", 1),
		.repeatable = true };

	for (size_t i = 0; i < 2 * array_len(scripts); i++) {
		const bool tls = i % 2;
		const char *name = scripts[i / 2].name;
		struct origin o;
		struct got g = { 0 };

		origin_start(&o, scripts[i / 2].acts, tls ? server_tls : NULL);
		struct http_client *c = client_new(l, &o, tls ? good_ca : NULL);
		ask(l, c, &get, &g);
		check_row(name, g.status == 200);
		if (scripts[i / 2].acts[0].after == CLOSE)
			until(l, loop_counts(l).socks == 0);
		ask(l, c, &post, &g);
		check_row(name, g.status == scripts[i / 2].status);
		check_row(name, g.status || g.code == ERR_CLOSED || g.code == ERR_SYS);
		end_all(l, c, &o);
		check_row(name, o.requests == scripts[i / 2].requests);
		check_row(name, o.connections == (strcmp(name, "after a byte of answer") ? 2 : 1));
	}
}

/* ---- what goes wrong ---- */

/* On a machine that stands still the deadline may come in an earlier phase. */
static bool is_deadline(const struct got *g)
{
	const char *colon = strchr(g->why, ':');

	return g->status == 0 && g->code == ERR_TIMEOUT && !g->body[0] && colon &&
	       strcmp(colon, ": not done within 60 ms") == 0;
}

static void deadlines(struct loop *l)
{
	static const struct act scripts[][2] = {
		{ { "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nxx", DRIP } },
		{ { "", HOLD } },
		{ { "HTTP/1.1 200 OK\r\n\r\nnever ends", HOLD } },
	};

	for (size_t i = 0; i < array_len(scripts); i++) {
		struct origin o;
		struct got g = { 0 };
		struct http_client *c;

		origin_start(&o, scripts[i], NULL);
		const struct http_client_options options = {
			.host = "127.0.0.1", .port = o.port, .timeout_ns = 60000000 };
		must(http_client_new(&c, l, &options, NULL) == 0);
		ask(l, c, &get, &g);
		check(is_deadline(&g));
		end_all(l, c, &o);
	}
}

/* A listener that never accepts: TLS stands in its handshake. */
static void silent_tls(struct loop *l)
{
	struct sockaddr_in at;
	const int fd = listen_somewhere(4, &at);
	const struct http_client_options options = { .tls = true,
						     .tls_ctx = good_ca,
						     .host = "127.0.0.1",
						     .port = ntohs(at.sin_port),
						     .timeout_ns = 60000000 };
	struct http_client *c;
	struct got g = { 0 };

	must(http_client_new(&c, l, &options, NULL) == 0);
	ask(l, c, &get, &g);
	check(is_deadline(&g));
	http_client_free(c);
	until(l, loop_counts(l).socks == 0);
	close(fd);
}

static void refused_port(struct loop *l)
{
	struct sockaddr_in at;
	struct origin o = { 0 };
	struct got g = { 0 };

	close(listen_somewhere(1, &at));
	o.port = ntohs(at.sin_port);
	struct http_client *c = client_new(l, &o, NULL);
	for (int i = 1; i <= 2; i++) { /* and the client is fit for more */
		ask(l, c, &get, &g);
		check(g.calls == i && g.status == 0 && g.code == ERR_SYS);
		check(strncmp(g.why, "connect to 127.0.0.1", 20) == 0 && strstr(g.why, "refused"));
	}
	http_client_free(c);
}

/* The token never leaves for a peer that is not proved. */
static void wrong_trust(struct loop *l)
{
	static const struct act acts[] = { { ok, HOLD }, { NULL, KEEP } };
	static const struct act plain[] = { { "HTTP/1.1 400 Bad Request\r\n\r\n", HASTY },
					    { NULL, KEEP } };
	const struct http_request_out secret = { .method = "GET", .path = "/", .bearer = "s3cret" };

	for (int i = 0; i < 2; i++) {
		struct origin o;
		struct got g = { 0 };

		origin_start(&o, i ? plain : acts, i ? NULL : server_tls);
		struct http_client *c = client_new(l, &o, i ? good_ca : other_ca);
		ask(l, c, &secret, &g);
		check(g.status == 0 && g.code == (i ? ERR_PROTO : ERR_TRUST));
		check(strncmp(g.why, "tls: ", 5) == 0 && !strstr(g.why, "s3cret"));
		end_all(l, c, &o);
		check(!strstr(o.last, "s3cret"));
	}
}

/* An end of the connection ends a body only where TLS proves that it is whole. */
static void cut_over_tls(struct loop *l)
{
	static const struct act acts[] = { { "HTTP/1.1 200 OK\r\n\r\nhel", CUT }, { NULL, KEEP } };
	struct origin o;
	struct got g = { 0 };

	origin_start(&o, acts, server_tls);
	struct http_client *c = client_new(l, &o, good_ca);
	ask(l, c, &get, &g);
	check(g.status == 0 && g.code == ERR_CLOSED && strncmp(g.why, "response: ", 10) == 0);
	end_all(l, c, &o);
}

/* ---- cancelled ---- */

static void freed(struct loop *l)
{
	static const struct act acts[] = { { ok, HOLD }, { NULL, KEEP } };
	static const struct act held[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", HOLD }, { NULL, KEEP } };
	struct origin o;
	struct got g = { 0 };

	origin_start(&o, acts, NULL); /* at once: while it dials */
	struct http_client *c = client_new(l, &o, NULL);
	check(http_client_send(c, &get, on_done, &g, NULL) == 0);
	end_all(l, c, &o);
	check(g.calls == 0);

	for (int tls = 0; tls < 2; tls++) {
		origin_start(&o, held, tls ? server_tls : NULL); /* in the middle of the answer */
		c = client_new(l, &o, tls ? good_ca : NULL);
		check(http_client_send(c, &get, on_done, &g, NULL) == 0);
		for (int i = 0; i < 5; i++)
			step(l);
		end_all(l, c, &o);
		check(g.calls == 0);
	}
	origin_start(&o, acts, NULL); /* inside the callback */
	c = client_new(l, &o, NULL);
	g = (struct got){ .again = c, .freed = true };
	check(http_client_send(c, &get, on_done, &g, NULL) == 0);
	until(l, g.calls == 1 && loop_counts(l).socks == 0);
	check(strcmp(g.body, "ok") == 0);
	origin_stop(&o);
	http_client_free(NULL);
}

static void test_answers(void) { on_both(answers); }
static void test_answers_over_tls(void) { on_both(answers_over_tls); }
static void test_retry_after(void) { on_both(retry_after); }
static void test_location(void) { on_both(location); }
static void test_request_text(void) { on_both(request_text); }
static void test_refused_requests(void) { on_both(refused_requests); }
static void test_keeps(void) { on_both(keeps); }
static void test_renews(void) { on_both(renews); }
static void test_deadlines(void) { on_both(deadlines); }
static void test_silent_tls(void) { on_both(silent_tls); }
static void test_refused_port(void) { on_both(refused_port); }
static void test_wrong_trust(void) { on_both(wrong_trust); }
static void test_cut_over_tls(void) { on_both(cut_over_tls); }
static void test_freed(void) { on_both(freed); }

int main(void)
{
	static const struct test_case cases[] = {
		{ "answers", test_answers },
		{ "answers over TLS", test_answers_over_tls },
		{ "retry after", test_retry_after },
		{ "location", test_location },
		{ "what is sent", test_request_text },
		{ "requests that are refused", test_refused_requests },
		{ "one connection for many requests", test_keeps },
		{ "a new connection for a closed one", test_renews },
		{ "deadlines", test_deadlines },
		{ "silence instead of TLS", test_silent_tls },
		{ "refused port", test_refused_port },
		{ "wrong trust", test_wrong_trust },
		{ "body cut over TLS", test_cut_over_tls },
		{ "cancelled", test_freed },
	};

	signal(SIGPIPE, SIG_IGN); /* the origin's OpenSSL writes to closed sockets */
	SSL_CTX *unused = origin_tls(&other_ca);
	SSL_CTX_free(unused);
	server_tls = origin_tls(&good_ca);
	const int bad = run_cases("http_client", cases, array_len(cases));
	SSL_CTX_free(server_tls);
	SSL_CTX_free(good_ca);
	SSL_CTX_free(other_ca);
	return bad;
}
