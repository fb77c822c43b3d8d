/*
 * proxy -- the way through a proxy: HTTP CONNECT (RFC 9110, 9.3.6; Basic) or
 * SOCKS5 (RFC 1928, RFC 1929), sans-I/O.  Once open, it is done: what follows
 * belongs to the connection.
 *
 * Names are resolved by the proxy.  Not here: proxies over TLS, NTLM, Negotiate.
 */
#ifndef LIB_PROTO_PROXY_H
#define LIB_PROTO_PROXY_H

#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/mem.h"

enum proxy_kind { PROXY_NONE, PROXY_HTTP, PROXY_SOCKS5 };

struct proxy_url {
	enum proxy_kind kind;
	char host[256]; /* without brackets */
	uint16_t port;
	char user[128], password[256]; /* "" without */
};

/* http://[user:pass@]host[:port], socks://, socks5://, socks5h://.  ERR_USAGE;
 * the sentence never holds the password. */
MUST_USE int proxy_url_read(struct proxy_url *out, const char *text, struct fault *why);

struct proxy;

struct proxy_options {
	const struct proxy_url *url; /* used during proxy_new() only */
	const char *host;	     /* of the target, without brackets */
	uint16_t port;
};

MUST_USE int proxy_new(struct proxy **out, const struct proxy_options *options,
		       const struct mem *mem, struct fault *why);
void proxy_free(struct proxy *p); /* accepts NULL; wipes the credentials */

/* Bytes taken, never past the proxy's last one; ERR_REFUSED (what the proxy
 * said), ERR_AUTH (407 and what it wants, SOCKS password refused), ERR_PROTO. */
MUST_USE int proxy_feed(struct proxy *p, const uint8_t *in, size_t n);
bool proxy_is_open(const struct proxy *p);
struct span proxy_pending(struct proxy *p); /* stays where it is until proxy_sent() */
void proxy_sent(struct proxy *p, size_t n);
bool proxy_is_sending(const struct proxy *p); /* pending was handed out, sent not yet said */
const struct fault *proxy_fault(const struct proxy *p);

#endif
