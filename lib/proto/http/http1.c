/*
 * http1 -- heads and bodies of HTTP/1.1 (RFC 9112) read and written, strictly.
 * It has no connections, routing or policy: those are in lib/http.
 */
#include "lib/proto/http/http1.h"

#include <stdio.h>
#include <strings.h>

/* ---- bytes ---- */

/* RFC 9110, 5.6.2: what a token is made of. */
static bool is_token_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_token_byte(s.p[i]))
			return false;
	return s.n > 0;
}

/* Visible bytes, space, tab and obs-text; never CR, LF, NUL. */
static bool is_value_byte(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_same(struct span s, const char *name)
{
	return s.n == strlen(name) && strncasecmp((const char *)s.p, name, s.n) == 0;
}

static struct span trim(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_of(s.p + 1, s.n - 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* ---- heads ---- */

static int bad(struct fault *why, const char *text)
{
	return fault_set(why, ERR_PROTO, "HTTP: %s", text);
}

/* The line at the front, without CR LF: its whole length, 0 for not yet. */
static int read_line(struct span *line, const uint8_t *in, size_t n, struct fault *why)
{
	for (size_t i = 0; i < n; i++) {
		if (in[i] == '\n')
			return bad(why, "a line ends in LF without CR");
		if (in[i] == '\r') {
			if (i + 1 == n)
				return 0;
			if (in[i + 1] != '\n')
				return bad(why, "CR inside a line");
			*line = span_of(in, i);
			return (int)(i + 2);
		}
		if (!is_value_byte(in[i]))
			return bad(why, "control byte in the head");
	}
	return 0;
}

static int read_field(struct http1_head *h, struct span line, struct fault *why)
{
	const uint8_t *colon = memchr(line.p, ':', line.n);

	if (line.p[0] == ' ' || line.p[0] == '\t')
		return bad(why, "folded field");
	if (!colon)
		return bad(why, "field without a colon");
	const struct span name = span_of(line.p, (size_t)(colon - line.p));
	if (!is_token(name))
		return bad(why, "field name is empty or holds bytes that none may");
	if (h->fields_n == HTTP1_FIELDS_MAX)
		return fault_set(why, ERR_LIMIT, "HTTP: more than %d fields", HTTP1_FIELDS_MAX);
	h->fields[h->fields_n++] = (struct http1_field){
		.name = name,
		.value = trim(span_of(colon + 1, line.n - name.n - 1)),
	};
	return 0;
}

static int read_version(struct span s, int *minor)
{
	if (s.n != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || (s.p[7] != '0' && s.p[7] != '1'))
		return ERR_PROTO;
	*minor = s.p[7] - '0';
	return 0;
}

static int read_request_line(struct http1_head *h, struct span line, struct fault *why)
{
	const uint8_t *first = memchr(line.p, ' ', line.n);
	const uint8_t *last = memrchr(line.p, ' ', line.n);

	if (!first || first == last)
		return bad(why, "request line is not method, target, version");
	h->method = span_of(line.p, (size_t)(first - line.p));
	h->target = span_of(first + 1, (size_t)(last - first) - 1);
	if (!is_token(h->method))
		return bad(why, "method is no token");
	if (!h->target.n)
		return bad(why, "empty target");
	for (size_t i = 0; i < h->target.n; i++)
		if (h->target.p[i] <= ' ' || h->target.p[i] > '~')
			return bad(why, "target holds bytes that none may");
	if (read_version(span_of(last + 1, line.n - (size_t)(last + 1 - line.p)), &h->minor) < 0)
		return bad(why, "version is not HTTP/1.0 or HTTP/1.1");
	return 0;
}

static int read_status_line(struct http1_head *h, struct span line, struct fault *why)
{
	if (line.n < 12 || read_version(span_of(line.p, 8), &h->minor) < 0 || line.p[8] != ' ')
		return bad(why,
			   "the response does not begin with HTTP/1.0 or HTTP/1.1 and a status");
	for (size_t i = 9; i < 12; i++) {
		if (line.p[i] < '0' || line.p[i] > '9')
			return bad(why, "status is no number");
		h->status = h->status * 10 + (line.p[i] - '0');
	}
	if (h->status < 100 || (line.n > 12 && line.p[12] != ' '))
		return bad(why, "status is no number of three digits");
	h->reason = line.n > 13 ? span_of(line.p + 13, line.n - 13) : span_of(line.p, 0);
	return 0;
}

static int read_head(struct http1_head *out, const uint8_t *in, size_t n, size_t max, bool request,
		     struct fault *why)
{
	struct http1_head h = { 0 };
	size_t at = 0;

	for (bool first = true;; first = false) {
		struct span line;
		int rc = read_line(&line, in + at, min_size(n, max) - at, why);

		if (rc == 0)
			return n >= max ? fault_set(why, ERR_LIMIT, "HTTP: head above %zu bytes",
						    max)
					: 0;
		if (rc < 0)
			return rc;
		at += (size_t)rc;
		if (first)
			rc = request ? read_request_line(&h, line, why)
				     : read_status_line(&h, line, why);
		else if (line.n == 0)
			break;
		else
			rc = read_field(&h, line, why);
		if (rc < 0)
			return rc;
	}
	*out = h;
	return (int)at;
}

int http1_read_request(struct http1_head *out, const uint8_t *in, size_t n, struct fault *why)
{
	return read_head(out, in, n, HTTP1_REQUEST_HEAD_MAX, true, why);
}

int http1_read_response(struct http1_head *out, const uint8_t *in, size_t n, struct fault *why)
{
	return read_head(out, in, n, HTTP1_RESPONSE_HEAD_MAX, false, why);
}

struct span http1_field(const struct http1_head *h, const char *name)
{
	for (size_t i = 0; i < h->fields_n; i++)
		if (is_same(h->fields[i].name, name))
			return h->fields[i].value;
	return span_of(NULL, 0);
}

bool http1_field_has(const struct http1_head *h, const char *name, const char *token)
{
	for (size_t i = 0; i < h->fields_n; i++) {
		struct span s = h->fields[i].value;

		if (!is_same(h->fields[i].name, name))
			continue;
		while (s.n) {
			const uint8_t *comma = memchr(s.p, ',', s.n);
			const size_t n = comma ? (size_t)(comma - s.p) : s.n;

			if (is_same(trim(span_of(s.p, n)), token))
				return true;
			s = comma ? span_of(comma + 1, s.n - n - 1) : span_of(NULL, 0);
		}
	}
	return false;
}

bool http1_is_keep_alive(const struct http1_head *h)
{
	if (http1_field_has(h, "Connection", "close"))
		return false;
	return h->minor == 1 || http1_field_has(h, "Connection", "keep-alive");
}

/* ---- bodies ---- */

static int read_length(uint64_t *to, struct span s)
{
	uint64_t v = 0;

	if (!s.n || s.n > 18)
		return ERR_PROTO;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return ERR_PROTO;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*to = v;
	return 0;
}

/* Up to CHUNK_LF they are of the line that HTTP1_CHUNK_LINE_MAX bounds. */
enum {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_LF,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_END_LF,
	TRAILER,
	TRAILER_LINE,
	TRAILER_LF,
	LAST_LF,
};

int http1_body_start(struct http1_body *b, const struct http1_head *h, bool response_to_head,
		     struct fault *why)
{
	bool has_length = false, has_encoding = false;

	*b = (struct http1_body){ .framing = HTTP1_NO_BODY };
	for (size_t i = 0; i < h->fields_n; i++) {
		if (is_same(h->fields[i].name, "Content-Length")) {
			if (has_length)
				return bad(why, "more than one Content-Length");
			has_length = true;
			if (read_length(&b->left, h->fields[i].value) < 0)
				return bad(why, "Content-Length is no plain number");
		} else if (is_same(h->fields[i].name, "Transfer-Encoding")) {
			if (has_encoding || !is_same(h->fields[i].value, "chunked"))
				return bad(why, "Transfer-Encoding is not just chunked");
			has_encoding = true;
		}
	}
	if (has_length && has_encoding)
		return bad(why, "both Content-Length and Transfer-Encoding");
	if (has_encoding && h->minor == 0)
		return bad(why, "Transfer-Encoding in HTTP/1.0");
	if (response_to_head ||
	    (h->status && (h->status < 200 || h->status == 204 || h->status == 304)))
		b->left = 0;
	else if (has_encoding)
		b->framing = HTTP1_CHUNKED;
	else if (has_length && b->left)
		b->framing = HTTP1_LENGTH;
	else if (!has_length && h->status)
		b->framing = HTTP1_UNTIL_CLOSE;
	b->done = b->framing == HTTP1_NO_BODY;
	return 0;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int chunk_size_byte(struct http1_body *b, uint8_t c, struct fault *why)
{
	const int digit = hex_digit(c);

	if (digit >= 0) {
		if (b->left >> 56)
			return bad(why, "chunk size too large");
		b->left = b->left << 4 | (unsigned)digit;
	} else if (b->line < 2) {
		return bad(why, "chunk without a size");
	} else if (c == ';' || c == ' ' || c == '\t') {
		b->state = CHUNK_EXTENSION;
	} else if (c == '\r') {
		b->state = CHUNK_LF;
	} else {
		return bad(why, "chunk size is no hexadecimal number");
	}
	return 0;
}

/* One byte of the framing around chunks. */
static int chunk_byte(struct http1_body *b, uint8_t c, struct fault *why)
{
	if (++b->line > HTTP1_CHUNK_LINE_MAX && b->state <= CHUNK_LF)
		return fault_set(why, ERR_LIMIT, "HTTP: chunk line above %d bytes",
				 HTTP1_CHUNK_LINE_MAX);
	if (b->line > HTTP1_RESPONSE_HEAD_MAX)
		return fault_set(why, ERR_LIMIT, "HTTP: trailer above %d bytes",
				 HTTP1_RESPONSE_HEAD_MAX);
	switch (b->state) {
	case CHUNK_SIZE:
		return chunk_size_byte(b, c, why);
	case CHUNK_EXTENSION:
		if (c == '\r')
			b->state = CHUNK_LF;
		return c == '\r' || is_value_byte(c) ? 0 : bad(why, "control byte in a chunk line");
	case CHUNK_LF:
		b->state = b->left ? CHUNK_DATA : TRAILER;
		b->line = 0;
		return c == '\n' ? 0 : bad(why, "CR without LF in a chunk line");
	case CHUNK_CR:
		b->state = CHUNK_END_LF;
		return c == '\r' ? 0 : bad(why, "chunk longer than its size");
	case CHUNK_END_LF:
		b->state = CHUNK_SIZE;
		b->line = 0;
		return c == '\n' ? 0 : bad(why, "chunk longer than its size");
	case TRAILER:
	case TRAILER_LINE:
		if (c == '\r')
			b->state = b->state == TRAILER ? LAST_LF : TRAILER_LF;
		else
			b->state = TRAILER_LINE;
		return c == '\r' || is_value_byte(c) ? 0 : bad(why, "control byte in a trailer");
	case TRAILER_LF:
		b->state = TRAILER;
		return c == '\n' ? 0 : bad(why, "CR without LF in a trailer");
	default:
		b->done = true;
		return c == '\n' ? 0 : bad(why, "CR without LF at the end");
	}
}

static int read_chunked(struct http1_body *b, const uint8_t *in, size_t n, struct span *payload,
			struct fault *why)
{
	size_t at = 0;

	while (at < n && !b->done) {
		if (b->state == CHUNK_DATA) {
			*payload = span_of(in + at, (size_t)min_u64(b->left, n - at));
			b->left -= payload->n;
			if (!b->left) {
				b->state = CHUNK_CR;
				b->line = 0;
			}
			return (int)(at + payload->n);
		}
		const int rc = chunk_byte(b, in[at++], why);
		if (rc < 0)
			return rc;
	}
	return (int)at;
}

int http1_body_read(struct http1_body *b, const uint8_t *in, size_t n, struct span *payload,
		    struct fault *why)
{
	*payload = span_of(in, 0);
	n = min_size(n, 1u << 30);
	switch (b->framing) {
	case HTTP1_NO_BODY:
		return 0;
	case HTTP1_UNTIL_CLOSE:
		*payload = span_of(in, n);
		return (int)n;
	case HTTP1_LENGTH:
		*payload = span_of(in, (size_t)min_u64(b->left, n));
		b->left -= payload->n;
		b->done = !b->left;
		return (int)payload->n;
	case HTTP1_CHUNKED:
		return read_chunked(b, in, n, payload, why);
	}
	return 0;
}

/* ---- writing ---- */

const char *http1_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} rows[] = {
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 204, "No Content" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 426, "Upgrade Required" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < array_len(rows); i++)
		if (rows[i].status == status)
			return rows[i].reason;
	return "Unknown";
}

static int append_all(struct buf *to, const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const int rc = buf_append(to, texts[i], strlen(texts[i]));
		if (rc < 0)
			return rc;
	}
	return 0;
}

int http1_write_request(struct buf *to, const char *method, const char *target)
{
	if (!is_token(span_str(method)) || !*target)
		return ERR_USAGE;
	for (const char *c = target; *c; c++)
		if (*c <= ' ' || *c > '~')
			return ERR_USAGE;
	const char *const texts[] = { method, " ", target, " HTTP/1.1\r\n" };
	return append_all(to, texts, array_len(texts));
}

int http1_write_response(struct buf *to, int status)
{
	char line[96];

	const int n =
		snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", status, http1_reason(status));
	return buf_append(to, line, (size_t)n);
}

int http1_write_field(struct buf *to, const char *name, const char *value)
{
	if (!is_token(span_str(name)))
		return ERR_USAGE;
	for (const char *c = value; *c; c++)
		if (!is_value_byte((uint8_t)*c))
			return ERR_USAGE;
	const char *const texts[] = { name, ": ", value, "\r\n" };
	return append_all(to, texts, array_len(texts));
}

int http1_write_end(struct buf *to)
{
	return buf_append(to, "\r\n", 2);
}
