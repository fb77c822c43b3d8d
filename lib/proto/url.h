/*
 * url -- the one URL parser (RFC 3986, as far as addresses of servers need it):
 * scheme, user, password, host, port, path.  Pure functions.
 *
 * What is read is fit for a Host field, a request line and a dial.  Not here:
 * relative references, dot segments, what a path or a query means.
 *
 * The sentence of a refusal shows scheme, host and path only: never what stands
 * before an "@", nor a query or a fragment, where people put secrets.
 */
#ifndef LIB_PROTO_URL_H
#define LIB_PROTO_URL_H

#include <openssl/crypto.h>

#include "lib/base/bytes.h"
#include "lib/base/fault.h"

#define URL_HOST_MAX 255

enum url_scheme {
	URL_HTTPS,
	URL_WSS,
	URL_HTTP,
	URL_WS,
	URL_SSH,
	URL_SOCKS,
	URL_SOCKS5,
	URL_SOCKS5H,
	URL_SCHEMES,
};
#define URL_OF(scheme) (1u << (scheme))

struct url {
	enum url_scheme scheme;
	bool tls, ssh;		       /* what the scheme means; neither: plain TCP */
	bool has_user;		       /* an "@" was written */
	char user[128], password[256]; /* as written, see url_decode(); "" without */
	char host[URL_HOST_MAX + 1];   /* without brackets */
	uint16_t port;
	bool has_port;	/* it was written; else `port` is the scheme's */
	char path[512]; /* "/" at least, with the query */
	bool has_query;
	char host_header[URL_HOST_MAX +
			 16]; /* with brackets; with a port that is not the scheme's */
	bool is_loopback;     /* localhost, 127.0.0.0/8, ::1 */
};

/* What one caller takes. */
struct url_rules {
	unsigned schemes;	   /* URL_OF() of each */
	enum url_scheme unwritten; /* of a text without a scheme; URL_SCHEMES: refused */
	const char *example;	   /* for the sentence: "https://tunnel.example.com:443" */
};

/* ERR_USAGE with the reason; *out is written on success only.  It may hold a
 * password: url_wipe(). */
MUST_USE int url_read(struct url *out, const char *text, const struct url_rules *rules,
		      struct fault *why);
static inline void url_wipe(struct url *u)
{
	OPENSSL_cleanse(u, sizeof(*u));
}

/* Decodes %XX in place (RFC 3986, 2.1).  False for a "%" that begins no code and
 * for control characters. */
bool url_decode(char *text);

/* The pieces, for texts that are no URLs.  A port of 1 to 65535 in plain digits,
 * else 0. */
uint16_t url_read_port(struct span s);
/* A name or an address; IPv6 in brackets, which go.  ERR_USAGE; a number alone is
 * none: it is a port at the wrong place. */
MUST_USE int url_read_host(char to[URL_HOST_MAX + 1], struct span s);
/* "host:port", IPv6 in brackets; the length, as snprintf(). */
size_t url_write_authority(char *to, size_t n, const char *host, uint16_t port);
/* The host as it stands before ":port". */
size_t url_write_host(char *to, size_t n, const char *host);

#endif
