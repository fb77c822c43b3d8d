/*
 * exchange -- one request that a server has received, and its response.
 *
 * The owner begins the response, writes the body in pieces and ends it, at once or later (from a
 * timer, or when other bytes arrive).  A body need not be whole in memory: what the client has
 * not taken is bounded, and on_room says when to go on.  A body that is whole already is given
 * away with http_exchange_reply().
 *
 * No call from here calls the owner back; callbacks come from the loop.  The exchange does not
 * know how it is framed: HTTP/1.1 does that below (server_h1.c), HTTP/2 could.
 */
#ifndef LIB_HTTP_EXCHANGE_H
#define LIB_HTTP_EXCHANGE_H

#include "lib/base/buf.h"
#include "lib/base/limits.h"

struct http_exchange;

/* ---- the request: spans are good until the request function returns ---- */

enum http_method { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_OTHER = 4 };

struct span http_exchange_path(const struct http_exchange *x); /* as sent, without the query */
struct span http_exchange_query(const struct http_exchange *x);
/* The first field of that name, in any case; p = NULL when there is none. */
struct span http_exchange_field(const struct http_exchange *x, const char *name);

/* ---- who follows an exchange that is not answered at once ---- */

struct http_exchange_handler {
	/* There is room again after a write that was not taken whole.  May be NULL. */
	void (*on_room)(struct http_exchange *x, void *user);
	/* The client or the server went away before http_exchange_end(): *x is gone.  A client that
	 * only closes its sending side counts as gone, as in most servers: a browser that leaves
	 * an event stream does no more than that.  The last callback; none after end or abort. */
	void (*on_gone)(void *user);
};

/* Needed where the request function returns before the exchange has ended. */
void http_exchange_follow(struct http_exchange *x, const struct http_exchange_handler *handler,
			  void *user);

/* ---- the response ---- */

struct http_field {
	const char *name, *value;
};

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

/* The fields are copied.  Date, connection and framing are the server's; it adds nosniff, a closed
 * Content-Security-Policy and "Cache-Control: no-store" unless `fields` has one of that name.
 * ERR_USAGE (a value with a line break), ERR_LIMIT, ERR_NOMEM: nothing was begun, another response
 * may be. */
MUST_USE int http_exchange_begin(struct http_exchange *x, int status,
				 const struct http_field *fields, size_t n, uint64_t length);
/* Takes as much of p[0..n) as there is room for and returns how much; on_room follows when that
 * was not all.  Never more than the length that was promised (a must).  ERR_NOMEM. */
MUST_USE int http_exchange_write(struct http_exchange *x, const void *p, size_t n);
/* What a write would take now: LIMIT_HTTP_UNSENT less what the client has not taken. */
size_t http_exchange_room(const struct http_exchange *x);
/* The body is complete; what waits is sent.  Fewer bytes than promised: as http_exchange_abort().
 * The exchange is the server's from now. */
void http_exchange_end(struct http_exchange *x);
/* Cuts the response, so that the client sees that it is not whole. */
void http_exchange_abort(struct http_exchange *x);

/* Begins, gives the whole body away and ends.  Takes what `body` holds (on mem_heap) and leaves
 * it empty, also where the server answers 503 instead because too much waits for slow clients.
 * A body of at most LIMIT_HTTP_SMALL_BODY is never refused so. */
void http_exchange_reply(struct http_exchange *x, int status, const struct http_field *fields,
			 size_t n, struct buf *body);
/* The same with a text of one line. */
void http_exchange_reply_text(struct http_exchange *x, int status, const struct http_field *fields,
			      size_t n, const char *text);

/* Whether a response that takes work may be made for this client.  Always, unless connections had
 * to end because of its address and it has had its part of the server's time for now: then a cheap
 * refusal (503) leaves the time to others.  Asking counts. */
MUST_USE bool http_exchange_may_cost(struct http_exchange *x);

/* Whether the method is one of `methods` (enum http_method, or-ed).  If not, it is answered with
 * 405 and `allow` ("GET, HEAD"), and the connection closes after it. */
MUST_USE bool http_exchange_allow(struct http_exchange *x, unsigned methods, const char *allow);

#endif
