/*
 * url.c reads a URL from left to right: scheme, user and password, host and
 * port, path.  Which schemes a caller takes, and what a text without one means,
 * are the caller's rules; nothing here knows what a URL is for.
 */
#include "lib/proto/url.h"

#include <stdio.h>
#include <strings.h>

#include "lib/base/escape.h"
#include "lib/base/must.h"

static const struct {
	const char *name;
	uint16_t port;
	bool tls, ssh;
} schemes[URL_SCHEMES] = {
	[URL_HTTPS] = { "https", 443, true, false },
	[URL_WSS] = { "wss", 443, true, false },
	[URL_HTTP] = { "http", 80, false, false },
	[URL_WS] = { "ws", 80, false, false },
	[URL_SSH] = { "ssh", 22, false, true },
	[URL_SOCKS] = { "socks", 1080, false, false },
	[URL_SOCKS5] = { "socks5", 1080, false, false },
	[URL_SOCKS5H] = { "socks5h", 1080, false, false },
};

/* ---- refusals ---- */

/* A password may hold any of "@/?#", and so may a query: what can't be told apart
 * is not shown. */
static int refuse(struct fault *why, const char *text, const char *reason)
{
	char shown[120];
	const size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");
	const int scheme =
		letters <= 8 && strncmp(text + letters, "://", 3) == 0 ? (int)letters + 3 : 0;
	const char *rest = text + scheme, *at = strrchr(rest, '@'), *query = strpbrk(rest, "?#");
	bool unclear = at && query && query < at;

	rest = at ? at + 1 : rest;
	/* user:password whose host was forgotten looks like host:port */
	const char *colon = rest[0] == '[' ? NULL : strpbrk(rest, ":/?#");
	if (colon && *colon == ':' && strcspn(colon + 1, "/?#") > strspn(colon + 1, "0123456789"))
		unclear = true;
	escape_text(shown, sizeof(shown), span_of(rest, unclear ? 0 : strcspn(rest, "?#")));
	return fault_set(why, ERR_USAGE, "URL \"%.*s%s%s\": %s", scheme, text, unclear ? "..." : "",
			 shown, reason);
}

/* "the scheme must be https, wss, http or ws" */
static int refuse_scheme(struct fault *why, const char *text, unsigned taken)
{
	char list[100] = "the scheme must be ";
	size_t n = strlen(list);

	for (unsigned i = 0, left = taken; i < URL_SCHEMES; i++) {
		if (!(left & URL_OF(i)))
			continue;
		left &= ~URL_OF(i);
		const char *before = left == (taken & ~URL_OF(i)) ? "" : left ? ", " : " or ";
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", before, schemes[i].name);
	}
	return refuse(why, text, list);
}

static int refuse_host(struct fault *why, const char *text, const char *example)
{
	char reason[160];

	snprintf(reason, sizeof(reason), "needs a host and an optional port, like %s", example);
	return refuse(why, text, reason);
}

/* ---- pieces ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

bool url_decode(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		const bool is_code = *p == '%';
		const int high = is_code ? hex_digit(p[1]) : 0,
			  low = is_code && high >= 0 ? hex_digit(p[2]) : 0;

		if (high < 0 || low < 0)
			return false;
		*to = is_code ? (char)(high * 16 + low) : *p;
		if ((unsigned char)*to++ < ' ')
			return false;
		p += is_code ? 2 : 0;
	}
	*to = '\0';
	return true;
}

uint16_t url_read_port(struct span s)
{
	unsigned v = 0;

	if (!s.n || s.n > 5)
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		v = v * 10 + (s.p[i] - '0');
	}
	return v <= UINT16_MAX ? (uint16_t)v : 0;
}

static bool is_host_byte(uint8_t c, bool bracketed)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

int url_read_host(char to[URL_HOST_MAX + 1], struct span s)
{
	const bool bracketed = s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';

	if (bracketed)
		s = span_of(s.p + 1, s.n - 2);
	if (!s.n || s.n > URL_HOST_MAX)
		return ERR_USAGE;
	bool numeric = true;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_host_byte(s.p[i], bracketed))
			return ERR_USAGE;
		numeric = numeric && s.p[i] >= '0' && s.p[i] <= '9';
	}
	/* A lone number is a port out of range; brackets are for IPv6. */
	if (numeric || (bracketed && !memchr(s.p, ':', s.n)))
		return ERR_USAGE;
	memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	return 0;
}

static bool is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

size_t url_write_host(char *to, size_t n, const char *host)
{
	return (size_t)snprintf(to, n, strchr(host, ':') ? "[%s]" : "%s", host);
}

size_t url_write_authority(char *to, size_t n, const char *host, uint16_t port)
{
	return (size_t)snprintf(to, n, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

/* ---- the whole ---- */

static int read_scheme(struct url *u, const char **at, const struct url_rules *rules)
{
	const char *colon = strstr(*at, "://");

	u->scheme = colon ? URL_SCHEMES : rules->unwritten;
	for (unsigned i = 0; colon && i < URL_SCHEMES; i++)
		if ((rules->schemes & URL_OF(i)) &&
		    (size_t)(colon - *at) == strlen(schemes[i].name) &&
		    strncasecmp(*at, schemes[i].name, strlen(schemes[i].name)) == 0)
			u->scheme = (enum url_scheme)i;
	if (u->scheme == URL_SCHEMES)
		return ERR_USAGE;
	u->tls = schemes[u->scheme].tls;
	u->ssh = schemes[u->scheme].ssh;
	*at = colon ? colon + 3 : *at;
	return 0;
}

static int read_user(struct url *u, struct span *authority)
{
	const uint8_t *at = memrchr(authority->p, '@', authority->n);
	if (!at)
		return 0;
	const size_t n = (size_t)(at - authority->p);
	const uint8_t *colon = memchr(authority->p, ':', n);
	const size_t user = colon ? (size_t)(colon - authority->p) : n;
	const size_t password = colon ? n - user - 1 : 0;

	if (user >= sizeof(u->user) || password >= sizeof(u->password))
		return ERR_USAGE;
	u->has_user = true;
	memcpy(u->user, authority->p, user);
	if (colon)
		memcpy(u->password, colon + 1, password);
	authority->n -= n + 1;
	authority->p = at + 1;
	return 0;
}

static int read_authority(struct url *u, struct span s)
{
	size_t end = s.n;
	const bool bracketed = s.n && s.p[0] == '[';
	const uint8_t *colon = NULL;

	if (bracketed) {
		const uint8_t *close = memchr(s.p, ']', s.n);
		if (!close)
			return ERR_USAGE;
		end = (size_t)(close - s.p) + 1;
		if (end < s.n)
			colon = s.p + end;
	} else {
		colon = memchr(s.p, ':', s.n);
		if (colon)
			end = (size_t)(colon - s.p);
	}
	if (url_read_host(u->host, span_of(s.p, end)) < 0)
		return ERR_USAGE;
	u->port = schemes[u->scheme].port;
	u->has_port = colon;
	if (colon)
		u->port = *colon == ':' ? url_read_port(span_of(colon + 1, s.n - end - 1)) : 0;
	return u->port ? 0 : ERR_USAGE;
}

static int read_path(struct url *u, const char *at, const char *text, struct fault *why)
{
	for (const char *c = at; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '#')
			return refuse(why, text, "has a path with characters that no URL has");
	if (strlen(at) + 2 > sizeof(u->path))
		return refuse(why, text, "has too long a path");
	snprintf(u->path, sizeof(u->path), "%s%s", *at == '/' ? "" : "/", at);
	u->has_query = strchr(at, '?');
	return 0;
}

static int read_all(struct url *u, const char *text, const struct url_rules *rules,
		    struct fault *why)
{
	const char *at = text;

	if (read_scheme(u, &at, rules) < 0)
		return refuse_scheme(why, text, rules->schemes);
	const size_t n = strcspn(at, "/?#");
	struct span authority = span_of(at, n);
	if (read_user(u, &authority) < 0)
		return refuse(why, text, "user or password is too long");
	if (read_authority(u, authority) < 0)
		return refuse_host(why, text, u->ssh ? "ssh://user@host:22" : rules->example);
	const int rc = read_path(u, at + n, text, why);
	if (rc < 0)
		return rc;
	if (u->port == schemes[u->scheme].port)
		url_write_host(u->host_header, sizeof(u->host_header), u->host);
	else
		url_write_authority(u->host_header, sizeof(u->host_header), u->host, u->port);
	u->is_loopback = is_loopback(u->host);
	return 0;
}

int url_read(struct url *out, const char *text, const struct url_rules *rules, struct fault *why)
{
	struct url u;

	must(rules->unwritten == URL_SCHEMES || rules->schemes & URL_OF(rules->unwritten));
	memset(&u, 0, sizeof(u));
	const int rc = read_all(&u, text, rules, why);
	if (rc >= 0)
		memcpy(out, &u, sizeof(u));
	url_wipe(&u);
	return rc;
}
