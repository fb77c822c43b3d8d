/*
 * http1 -- HTTP/1.1 message heads and body framing (RFC 9110, RFC 9112), strict.
 *
 * Pure functions on spans and one small body reader.  What is ambiguous is
 * refused: both Content-Length and Transfer-Encoding, repeated or differing
 * lengths, folded fields, bare CR or LF, NUL, empty or spaced names.
 */
#ifndef LIB_PROTO_HTTP_HTTP1_H
#define LIB_PROTO_HTTP_HTTP1_H

#include "lib/base/buf.h"
#include "lib/base/limits.h"

enum {
	HTTP1_FIELDS_MAX = LIMIT_HTTP_FIELDS,
	HTTP1_REQUEST_HEAD_MAX = 8 * 1024,
	HTTP1_RESPONSE_HEAD_MAX = LIMIT_HTTP_HEAD,
	HTTP1_CHUNK_LINE_MAX = 256,
};

struct http1_field {
	struct span name, value; /* value without surrounding space */
};

struct http1_head {
	struct span method, target; /* request */
	int status;		    /* response; 0 in a request */
	struct span reason;
	int minor; /* HTTP/1.<minor> */
	struct http1_field fields[HTTP1_FIELDS_MAX];
	size_t fields_n;
};

/* Reads the head at the front of in[0..n): its length, 0 when more bytes are
 * needed, ERR_PROTO or ERR_LIMIT with the reason.  Spans point into `in`.
 * *out is complete on success only. */
MUST_USE int http1_read_request(struct http1_head *out, const uint8_t *in, size_t n,
				struct fault *why);
MUST_USE int http1_read_response(struct http1_head *out, const uint8_t *in, size_t n,
				 struct fault *why);

/* The first field of that name (any case); p = NULL when there is none. */
struct span http1_field(const struct http1_head *h, const char *name);
/* Whether a comma separated list field holds the token (any case), over all
 * fields of the name. */
bool http1_field_has(const struct http1_head *h, const char *name, const char *token);
/* Whether the connection stays open after this message. */
bool http1_is_keep_alive(const struct http1_head *h);

enum http1_framing { HTTP1_NO_BODY, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE };

struct http1_body {
	enum http1_framing framing;
	uint64_t left; /* LENGTH: of the body; CHUNKED: of this chunk */
	int state;     /* of the chunk reader */
	size_t line;   /* bytes of the chunk line or trailer seen */
	bool done;
};

/* Decides the framing of the body after this head (RFC 9112, 6.3).  For a
 * response say whether the request was HEAD.  ERR_PROTO. */
MUST_USE int http1_body_start(struct http1_body *b, const struct http1_head *h,
			      bool response_to_head, struct fault *why);
/* Reads from in[0..n): returns bytes taken; *payload is the piece of body among
 * them (n = 0: none).  To be called until nothing more is taken or b->done. */
MUST_USE int http1_body_read(struct http1_body *b, const uint8_t *in, size_t n,
			     struct span *payload, struct fault *why);

/* Start line, fields, end.  A value with CR, LF or NUL, or a target with space
 * or control bytes, is refused: ERR_USAGE.  Errors of buf_append. */
MUST_USE int http1_write_request(struct buf *to, const char *method, const char *target);
MUST_USE int http1_write_response(struct buf *to, int status);
MUST_USE int http1_write_field(struct buf *to, const char *name, const char *value);
MUST_USE int http1_write_end(struct buf *to);
const char *http1_reason(int status);

#endif
