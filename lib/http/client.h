/*
 * client -- requests to one origin: several under way at once, each with head,
 * body in pieces and end, back pressure both ways and deadlines of its own.
 * HTTP/1.1 over TLS, or plain where the caller allows it.
 *
 * Connections are kept and used again, one request on each at a time, within
 * connections_max; what finds none waits its turn.  Not here: redirects, cookies,
 * caches, compressed bodies (`Accept-Encoding: identity` is sent, and a compressed
 * response is refused).  Bodies as a whole: client_whole.h.
 *
 * Nothing is ever sent twice unless its caller says that it may be (`repeatable`);
 * then once more, on a fresh connection, where a kept one ended before one byte of
 * response (RFC 9112, 9.3.1): load balancers drop kept connections.
 */
#ifndef LIB_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_H

#include <openssl/ssl.h>

#include "lib/io/loop/loop.h"
#include "lib/proto/http/http1.h"
#include "lib/proto/proxy.h"

#define HTTP_WRITE_MAX (64 * 1024) /* most bytes that one http_request_write() takes */

struct http_client;
struct http_request;

struct http_client_options {
	bool tls;
	const char *host; /* without brackets */
	uint16_t port;
	const char *host_header;
	SSL_CTX *tls_ctx; /* with tls; kept by the caller */
	const char *user_agent;
	const struct proxy_url *proxy; /* NULL: directly; kept by the caller */
	uint64_t timeout_ns;	       /* whole request; 0 = 30 s */
	size_t body_max;	       /* client_whole.h: of a response; 0 = 1 MiB */
	size_t connections_max;	       /* 0 = 4 */
	size_t waiting_max;	       /* requests without a connection; 0 = 64 */
};

struct http_request_out {
	const char *method, *path; /* path with query */
	const char *bearer;	   /* token or NULL; never logged */
	const char *accept;	   /* NULL: application/json */
	const char *content_type;  /* with a body */
	struct span body;	   /* copied */
	bool repeatable;	   /* may be sent once more, see above; not with `streams` */
	/* The body follows by http_request_write(): `length` bytes, chunked where < 0. */
	bool streams;
	int64_t length;
	uint64_t timeout_ns; /* whole request; 0: the client's; UINT64_MAX: none */
	uint64_t idle_ns;    /* no byte either way, but for a pause of ours; 0: not limited */
};

struct http_response {
	int status;
	const struct http1_field *fields; /* good until the callback returns */
	size_t fields_n;
	uint64_t retry_after_s; /* of Retry-After in seconds; 0 when absent */
	bool has_length;
	uint64_t length; /* of the body, where it was announced */
};

struct http_request_end {
	struct fault why; /* code 0: the response was whole; names the phase */
	bool answered;	  /* the peer began to respond */
	bool repeated;
	uint64_t elapsed_ns;
};

/* Called from the loop, never from inside a call of this header. */
struct http_request_handler {
	/* May be NULL. */
	void (*on_head)(void *user, const struct http_response *r);
	/* Never while paused. */
	void (*on_body)(void *user, struct span piece);
	/* http_request_write() takes bytes now; for `streams`. */
	void (*on_room)(void *user);
	/* The last call: the request is gone already. */
	void (*on_end)(void *user, const struct http_request_end *end);
	/* Instead of on_end, from inside http_client_free().  May be NULL. */
	void (*on_cancel)(void *user);
};

/* The first field of that name (any case); p = NULL when there is none. */
struct span http_response_field(const struct http_response *r, const char *name);

MUST_USE int http_client_new(struct http_client **out, struct loop *l,
			     const struct http_client_options *options, struct fault *why);
/* Cancels every request; sockets go later.  Before the loop, and also from inside
 * a callback.  Accepts NULL. */
void http_client_free(struct http_client *c);
bool http_client_is_busy(const struct http_client *c); /* a request is under way or waits */

/* ERR_USAGE (bytes that none may: CR, LF, spaces), ERR_LIMIT, ERR_NOMEM, ERR_FULL:
 * then no callback comes. */
MUST_USE int http_request_new(struct http_request **out, struct http_client *c,
			      const struct http_request_out *request,
			      const struct http_request_handler *handler, void *user,
			      struct fault *why);
/* Ends it without a callback; also from inside one of its own but on_end.  Accepts NULL. */
void http_request_cancel(struct http_request *r);
/* While paused no on_body comes and at most CONN_HELD_MAX bytes are held; on_end
 * comes after the last byte was handed out. */
void http_request_pause(struct http_request *r, bool paused);
/* Returns how many bytes were taken: 0 until the next on_room; ERR_NOMEM, and
 * ERR_USAGE beyond `length`. */
MUST_USE int http_request_write(struct http_request *r, struct span data, struct fault *why);
/* The body is whole.  A must: `length` bytes were written. */
void http_request_finish(struct http_request *r);

#endif
