#include "lib/proto/http/http1.h"

#include <stdlib.h>

#include "tests/support/cases.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

#define REQ "GET / HTTP/1.1\r\n"
#define ANS "HTTP/1.1 200 OK\r\n"

struct head_row {
	const char *name, *wire;
	enum err err; /* 0: good */
	int status, minor;
	size_t fields;
};

static const struct head_row requests[] = {
	{ "plain", "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", 0, 0, 1, 1 },
	{ "no fields", REQ "\r\n", 0, 0, 1, 0 },
	{ "1.0", "HEAD / HTTP/1.0\r\n\r\n", 0, 0, 0, 0 },
	{ "empty value", REQ "A:\r\n\r\n", 0, 0, 1, 1 },
	{ "obs-text in a value", REQ "A: \xff\x80\r\n\r\n", 0, 0, 1, 1 },
	{ "tab in a value", REQ "A: a\tb\r\n\r\n", 0, 0, 1, 1 },
	{ "bare LF", "GET / HTTP/1.1\nHost: x\n\n", ERR_PROTO, 0, 0, 0 },
	{ "bare LF after a field", REQ "A: b\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "bare CR in a value", REQ "A: b\rC: d\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "control byte in a value", REQ "A: b\x01\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "DEL in a value", REQ "A: b\x7f\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "folded", REQ "A: b\r\n c\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "folded with tab", REQ "A: b\r\n\tc\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "space before the colon", REQ "Content-Length : 5\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "tab before the colon", REQ "Host\t: x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "empty name", REQ ": x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "name with space", REQ "A B: x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "name with slash", REQ "A/B: x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "name above ASCII", REQ "\xc3\xa4: x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "no colon", REQ "Host x\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "two spaces", "GET  / HTTP/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "space in the target", "GET /a b HTTP/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "target above ASCII", "GET /\xff HTTP/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "empty target", "GET  HTTP/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "0.9", "GET /\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "2.0", "GET / HTTP/2.0\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "1.2", "GET / HTTP/1.2\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "1.10", "GET / HTTP/1.10\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "lower case version", "GET / http/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "method with a bracket", "G(T / HTTP/1.1\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "leading empty line", "\r\n" REQ "\r\n", ERR_PROTO, 0, 0, 0 },
	{ "leading space", " " REQ "\r\n", ERR_PROTO, 0, 0, 0 },
	{ "TLS hello", "\x16\x03\x01\x02\x00\x01", ERR_PROTO, 0, 0, 0 },
};

static const struct head_row answers[] = {
	{ "plain", ANS "Content-Length: 5\r\n\r\n", 0, 200, 1, 1 },
	{ "no reason", "HTTP/1.1 204\r\n\r\n", 0, 204, 1, 0 },
	{ "empty reason", "HTTP/1.1 204 \r\n\r\n", 0, 204, 1, 0 },
	{ "1.0", "HTTP/1.0 502 Bad Gateway\r\n\r\n", 0, 502, 0, 0 },
	{ "101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 0, 101, 1, 1 },
	{ "status of two digits", "HTTP/1.1 20 OK\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "status 099", "HTTP/1.1 099 X\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "status -12", "HTTP/1.1 -12 X\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "two spaces", "HTTP/1.1  200 OK\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "SSH", "SSH-2.0-OpenSSH_9.2\r\n", ERR_PROTO, 0, 0, 0 },
	{ "2", "HTTP/2 200\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "reason with an escape", "HTTP/1.1 200 \x1b[2J\r\n\r\n", ERR_PROTO, 0, 0, 0 },
	{ "bare LF", "HTTP/1.1 200 OK\n\n", ERR_PROTO, 0, 0, 0 },
};

typedef int read_fn(struct http1_head *, const uint8_t *, size_t, struct fault *);

/* A good head is "not yet" at every cut; a bad one never becomes good. */
static void run_heads(const struct head_row *rows, size_t rows_n, read_fn *read)
{
	for (size_t i = 0; i < rows_n; i++) {
		const struct head_row *r = &rows[i];
		const size_t len = strlen(r->wire);

		for (size_t n = 0; n <= len; n++) {
			struct http1_head h = { .status = 77 };
			struct fault why = { 0 };
			struct fence in;
			fence_init(&in, r->wire, n);
			const int rc = read(&h, in.p, n, &why);

			if (rc <= 0)
				check_row(r->name, h.status == 77 && rc == (int)why.code);
			if (r->err && n == len)
				check_row(r->name, rc == (int)r->err && why.why[0]);
			else if (r->err)
				check_row(r->name, rc == (int)r->err || rc == 0);
			else if (n < len)
				check_row(r->name, rc == 0);
			else
				check_row(r->name, rc == (int)len && h.status == r->status &&
							   h.minor == r->minor &&
							   h.fields_n == r->fields);
			fence_fini(&in);
		}
	}
}

static void test_request_heads(void)
{
	run_heads(requests, array_len(requests), http1_read_request);
}

static void test_answer_heads(void)
{
	run_heads(answers, array_len(answers), http1_read_response);
}

static void test_NUL_is_refused_anywhere(void)
{
	static const char good[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char bad[sizeof(good)];
		struct http1_head h;
		memcpy(bad, good, sizeof(good));
		bad[i] = '\0';
		check(http1_read_request(&h, (uint8_t *)bad, sizeof(good) - 1, NULL) == ERR_PROTO);
	}
}

static void test_fields_are_found(void)
{
	static const char wire[] =
		"GET /path?x=1 HTTP/1.1\r\nHOST:  a.example \t\r\nconnection: keep-alive\r\n"
		"Connection: foo ,\tUpgrade,\r\nX: Upgrade2\r\n\r\nbody";
	struct http1_head h;

	check(http1_read_request(&h, (const uint8_t *)wire, sizeof(wire) - 1, NULL) ==
	      sizeof(wire) - 5);
	check(span_is(h.method, "GET"));
	check(span_is(h.target, "/path?x=1"));
	check(span_is(http1_field(&h, "Host"), "a.example"));
	check(http1_field(&h, "Hos").p == NULL);
	check(http1_field_has(&h, "Connection", "upgrade"));
	check(http1_field_has(&h, "Connection", "keep-alive"));
	check(!http1_field_has(&h, "Connection", "grade"));
	check(!http1_field_has(&h, "X", "upgrade"));
	check(!http1_field_has(&h, "Y", "upgrade"));
}

static void test_bounds(void)
{
	enum { BIG = HTTP1_RESPONSE_HEAD_MAX + 100 };
	char *big = malloc(BIG);
	struct http1_head h;
	struct fault why = { 0 };
	size_t n = sizeof(REQ) - 1; /* grows beyond the bound without an end */

	memcpy(big, REQ, n);
	memset(big + n, 'a', BIG - n);
	check(http1_read_request(&h, (uint8_t *)big, HTTP1_REQUEST_HEAD_MAX - 1, &why) == 0);
	check(http1_read_request(&h, (uint8_t *)big, HTTP1_REQUEST_HEAD_MAX, &why) == ERR_LIMIT);
	memcpy(big, "HTTP/1.1 200 O\r\n", 16);
	check(http1_read_response(&h, (uint8_t *)big, HTTP1_RESPONSE_HEAD_MAX - 1, NULL) == 0);
	check(http1_read_response(&h, (uint8_t *)big, BIG, NULL) == ERR_LIMIT);

	n = sizeof(REQ) - 1;
	memcpy(big, REQ, n);
	for (int i = 0; i < HTTP1_FIELDS_MAX; i++, n += 6)
		memcpy(big + n, "A: b\r\n", 6);
	memcpy(big + n, "\r\n", 2);
	check(http1_read_request(&h, (uint8_t *)big, n + 2, NULL) == (int)n + 2);
	memcpy(big + n, "A: b\r\n\r\n", 8);
	check(http1_read_request(&h, (uint8_t *)big, n + 8, NULL) == ERR_LIMIT);
	free(big);
}

static void test_keep_alive(void)
{
	static const struct {
		const char *wire;
		bool want;
	} rows[] = {
		{ ANS "\r\n", true },
		{ ANS "Connection: close\r\n\r\n", false },
		{ ANS "Connection: Keep-Alive, CLOSE\r\n\r\n", false },
		{ "HTTP/1.0 200 OK\r\n\r\n", false },
		{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", true },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct http1_head h;
		check(http1_read_response(&h, (const uint8_t *)rows[i].wire, strlen(rows[i].wire),
					  NULL) > 0);
		check_row(rows[i].wire, http1_is_keep_alive(&h) == rows[i].want);
	}
}

/* ---- bodies ---- */

static const struct framing_row {
	const char *name, *wire;
	bool to_head;
	int want; /* enum http1_framing, or enum err */
	uint64_t left;
} framings[] = {
	{ "length", ANS "Content-Length: 5\r\n\r\n", false, HTTP1_LENGTH, 5 },
	{ "length 0", ANS "Content-Length: 0\r\n\r\n", false, HTTP1_NO_BODY, 0 },
	{ "chunked", ANS "Transfer-Encoding: CHUNKED\r\n\r\n", false, HTTP1_CHUNKED, 0 },
	{ "until close", ANS "\r\n", false, HTTP1_UNTIL_CLOSE, 0 },
	{ "until close 1.0", "HTTP/1.0 200 OK\r\n\r\n", false, HTTP1_UNTIL_CLOSE, 0 },
	{ "to HEAD", ANS "Content-Length: 5\r\n\r\n", true, HTTP1_NO_BODY, 0 },
	{ "204", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", false, HTTP1_NO_BODY, 0 },
	{ "304", "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", false, HTTP1_NO_BODY, 0 },
	{ "101", "HTTP/1.1 101 S\r\n\r\n", false, HTTP1_NO_BODY, 0 },
	{ "request without", REQ "\r\n", false, HTTP1_NO_BODY, 0 },
	{ "request with", REQ "Content-Length: 999999999999999999\r\n\r\n", false, HTTP1_LENGTH,
	  999999999999999999 },
	{ "both", ANS "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, ERR_PROTO,
	  0 },
	{ "both to HEAD", ANS "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", true,
	  ERR_PROTO, 0 },
	{ "both, other order", REQ "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", false,
	  ERR_PROTO, 0 },
	{ "two equal lengths", ANS "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", false,
	  ERR_PROTO, 0 },
	{ "two lengths", ANS "Content-Length: 5\r\ncontent-length: 6\r\n\r\n", false, ERR_PROTO,
	  0 },
	{ "list of lengths", ANS "Content-Length: 5, 5\r\n\r\n", false, ERR_PROTO, 0 },
	{ "+5", ANS "Content-Length: +5\r\n\r\n", false, ERR_PROTO, 0 },
	{ "-5", ANS "Content-Length: -5\r\n\r\n", false, ERR_PROTO, 0 },
	{ "0x5", ANS "Content-Length: 0x5\r\n\r\n", false, ERR_PROTO, 0 },
	{ "5 5", ANS "Content-Length: 5 5\r\n\r\n", false, ERR_PROTO, 0 },
	{ "empty length", ANS "Content-Length:\r\n\r\n", false, ERR_PROTO, 0 },
	{ "2^64", ANS "Content-Length: 18446744073709551616\r\n\r\n", false, ERR_PROTO, 0 },
	{ "gzip, chunked", ANS "Transfer-Encoding: gzip, chunked\r\n\r\n", false, ERR_PROTO, 0 },
	{ "chunked twice", ANS "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	  false, ERR_PROTO, 0 },
	{ "xchunked", REQ "Transfer-Encoding: xchunked\r\n\r\n", false, ERR_PROTO, 0 },
	{ "identity", ANS "Transfer-Encoding: identity\r\n\r\n", false, ERR_PROTO, 0 },
	{ "chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false,
	  ERR_PROTO, 0 },
};

static void test_framing_decisions(void)
{
	for (size_t i = 0; i < array_len(framings); i++) {
		const struct framing_row *r = &framings[i];
		const uint8_t *wire = (const uint8_t *)r->wire;
		const bool answer = r->wire[0] == 'H';
		struct fault why = { 0 };
		struct http1_head h;
		struct http1_body b;

		check_row(r->name, (answer ? http1_read_response : http1_read_request)(
					   &h, wire, strlen(r->wire), NULL) > 0);
		const int rc = http1_body_start(&b, &h, r->to_head, &why);
		if (r->want < 0)
			check_row(r->name, rc == r->want && why.why[0]);
		else
			check_row(r->name, rc == 0 && (int)b.framing == r->want &&
						   b.left == r->left &&
						   b.done == (r->want == HTTP1_NO_BODY));
	}
}

static const struct body_row {
	const char *name;
	enum http1_framing framing;
	uint64_t left;
	const char *wire, *want;
	enum err err;
	size_t rest; /* bytes behind the body, to be left alone */
} bodies[] = {
	{ "length", HTTP1_LENGTH, 5, "helloNEXT", "hello", 0, 4 },
	{ "until close", HTTP1_UNTIL_CLOSE, 0, "hello", "hello", 0, 0 },
	{ "chunks", HTTP1_CHUNKED, 0, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nNEXT", "hello world",
	  0, 4 },
	{ "no chunks", HTTP1_CHUNKED, 0, "0\r\n\r\n", "", 0, 0 },
	{ "hex, both cases", HTTP1_CHUNKED, 0, "0a\r\n0123456789\r\nA\r\nabcdefghij\r\n000\r\n\r\n",
	  "0123456789abcdefghij", 0, 0 },
	{ "extension", HTTP1_CHUNKED, 0, "5;a=\"b\"\r\nhello\r\n0;x\r\n\r\n", "hello", 0, 0 },
	{ "trailers", HTTP1_CHUNKED, 0, "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nN", "x", 0, 1 },
	{ "payload that looks like framing", HTTP1_CHUNKED, 0, "5\r\n0\r\n\r\n\r\n0\r\n\r\n",
	  "0\r\n\r\n", 0, 0 },
	{ "no size", HTTP1_CHUNKED, 0, "\r\nhello", "", ERR_PROTO, 0 },
	{ "extension without a size", HTTP1_CHUNKED, 0, ";a\r\nhello", "", ERR_PROTO, 0 },
	{ "negative", HTTP1_CHUNKED, 0, "-5\r\nhello", "", ERR_PROTO, 0 },
	{ "0x", HTTP1_CHUNKED, 0, "0x5\r\nhello", "", ERR_PROTO, 0 },
	{ "not hex", HTTP1_CHUNKED, 0, "5g\r\nhello", "", ERR_PROTO, 0 },
	{ "2^64", HTTP1_CHUNKED, 0, "10000000000000005\r\nhello", "", ERR_PROTO, 0 },
	{ "bare LF after the size", HTTP1_CHUNKED, 0, "5\nhello", "", ERR_PROTO, 0 },
	{ "bare CR after the size", HTTP1_CHUNKED, 0, "5\rhello", "", ERR_PROTO, 0 },
	{ "LF in an extension", HTTP1_CHUNKED, 0, "5;a\nhello", "", ERR_PROTO, 0 },
	{ "longer than said", HTTP1_CHUNKED, 0, "5\r\nhello!\r\n", "hello", ERR_PROTO, 0 },
	{ "LF only after the data", HTTP1_CHUNKED, 0, "5\r\nhello\n", "hello", ERR_PROTO, 0 },
	{ "CR only after the data", HTTP1_CHUNKED, 0, "5\r\nhello\rX", "hello", ERR_PROTO, 0 },
	{ "bare LF in a trailer", HTTP1_CHUNKED, 0, "0\r\nA: b\n\r\n", "", ERR_PROTO, 0 },
	{ "bare CR in a trailer", HTTP1_CHUNKED, 0, "0\r\nA: b\rC\r\n\r\n", "", ERR_PROTO, 0 },
	{ "bare CR at the end", HTTP1_CHUNKED, 0, "0\r\n\rX", "", ERR_PROTO, 0 },
};

struct reading {
	struct http1_body b;
	char got[64];
	size_t got_n, at;
	int rc;
};

static void read_all(struct reading *r, const uint8_t *in, size_t n)
{
	const size_t end = r->at + n;

	while (r->rc >= 0 && !r->b.done && r->at < end) {
		struct span piece;
		struct fault why = { 0 };
		r->rc = http1_body_read(&r->b, in, end - r->at, &piece, &why);
		if (r->rc < 0) {
			check(why.code == (enum err)r->rc && why.why[0]);
			return;
		}
		must(r->got_n + piece.n <= sizeof(r->got));
		memcpy(r->got + r->got_n, piece.p, piece.n);
		r->got_n += piece.n;
		r->at += (size_t)r->rc;
		in += r->rc;
	}
}

static void test_bodies_cut_everywhere(void)
{
	for (size_t i = 0; i < array_len(bodies); i++) {
		const struct body_row *row = &bodies[i];
		const size_t n = strlen(row->wire);

		/* cut == n: whole; cut > n: by bytes */
		for (size_t cut = 0; cut <= n + 1; cut++) {
			struct reading r = { .b = { .framing = row->framing, .left = row->left } };
			struct fence in;
			fence_init(&in, row->wire, n);

			if (cut <= n) {
				read_all(&r, in.p, cut);
				read_all(&r, in.p + r.at, r.b.done ? 0 : n - r.at);
			} else {
				for (size_t j = 0; j < n && r.rc >= 0 && !r.b.done; j++)
					read_all(&r, in.p + j, 1);
			}
			check_row(row->name, span_is(span_of(r.got, r.got_n), row->want));
			if (row->err)
				check_row(row->name, r.rc == (int)row->err);
			else
				check_row(row->name,
					  r.rc >= 0 && r.at == n - row->rest &&
						  r.b.done == (row->framing != HTTP1_UNTIL_CLOSE));
			fence_fini(&in);
		}
	}
}

static void feed_endless(const char *start, char filler, enum err want)
{
	struct http1_body b = { .framing = HTTP1_CHUNKED };
	struct span piece;
	int rc = http1_body_read(&b, (const uint8_t *)start, strlen(start), &piece, NULL);

	check(rc == (int)strlen(start));
	for (int i = 0; rc >= 0 && i < 2 * HTTP1_RESPONSE_HEAD_MAX; i++)
		rc = http1_body_read(&b, (const uint8_t *)&filler, 1, &piece, NULL);
	check_row(start, rc == (int)want);
}

static void test_endless_lines_end(void)
{
	feed_endless("5;", 'a', ERR_LIMIT);
	feed_endless("0", '0', ERR_LIMIT);
	feed_endless("5 ", ' ', ERR_LIMIT);
	feed_endless("0\r\nA: ", 'a', ERR_LIMIT);
}

/* ---- writing ---- */

static void test_what_is_written_reads_back(void)
{
	struct buf b;
	struct http1_head h;
	buf_init(&b, &mem_heap, 4096);

	check(http1_write_request(&b, "POST", "/a?b=%20") == 0);
	check(http1_write_field(&b, "Host", "x:80") == 0);
	check(http1_write_field(&b, "Empty", "") == 0);
	check(http1_write_end(&b) == 0);
	check(http1_read_request(&h, buf_bytes(&b).p, buf_len(&b), NULL) == (int)buf_len(&b));
	check(span_is(h.target, "/a?b=%20") && h.fields_n == 2);
	buf_consume(&b, buf_len(&b));

	check(http1_write_response(&b, 404) == 0);
	check(http1_write_end(&b) == 0);
	check(http1_read_response(&h, buf_bytes(&b).p, buf_len(&b), NULL) == (int)buf_len(&b));
	check(h.status == 404 && span_is(h.reason, "Not Found"));
	buf_fini(&b);
}

static void test_nothing_can_split_a_head(void)
{
	static const char *const values[] = { "a\r\nX: y", "a\nb", "a\rb", "a\x7f", "a\x1b[0m" };
	static const char *const names[] = { "", "A B", "A:", "A\r\n", "\xc3\xa4" };
	static const char *const targets[] = { "", "/a b", "/\r\n", "/\t", "/\xff", "/\x7f" };
	struct buf b;
	buf_init(&b, &mem_heap, 4096);

	for (size_t i = 0; i < array_len(values); i++)
		check_row(values[i], http1_write_field(&b, "A", values[i]) == ERR_USAGE);
	for (size_t i = 0; i < array_len(names); i++)
		check_row(names[i], http1_write_field(&b, names[i], "x") == ERR_USAGE);
	for (size_t i = 0; i < array_len(targets); i++)
		check_row(targets[i], http1_write_request(&b, "GET", targets[i]) == ERR_USAGE);
	check(http1_write_request(&b, "GET /\r\n", "/") == ERR_USAGE);
	check(http1_write_request(&b, "", "/") == ERR_USAGE);
	check(buf_len(&b) == 0);
	buf_fini(&b);
}

static void test_famine_and_bound(void)
{
	struct famine f;
	struct buf b;

	famine_init(&f, 1);
	buf_init(&b, &f.mem, 4096);
	check(http1_write_response(&b, 200) == ERR_NOMEM);
	buf_fini(&b);
	check(f.live == 0);
	buf_init(&b, &mem_heap, 8);
	check(http1_write_request(&b, "GET", "/12345678") == ERR_LIMIT);
	buf_fini(&b);
}

static void test_reasons(void)
{
	check(strcmp(http1_reason(426), "Upgrade Required") == 0);
	check(strcmp(http1_reason(777), "Unknown") == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "request heads", test_request_heads },
		{ "answer heads", test_answer_heads },
		{ "NUL anywhere", test_NUL_is_refused_anywhere },
		{ "fields", test_fields_are_found },
		{ "bounds", test_bounds },
		{ "keep-alive", test_keep_alive },
		{ "framing", test_framing_decisions },
		{ "bodies cut everywhere", test_bodies_cut_everywhere },
		{ "endless lines", test_endless_lines_end },
		{ "round trip", test_what_is_written_reads_back },
		{ "splitting", test_nothing_can_split_a_head },
		{ "famine and bound", test_famine_and_bound },
		{ "reasons", test_reasons },
	};
	return run_cases("http1", cases, array_len(cases));
}
