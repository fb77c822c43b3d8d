/*
 * The judgement over Host (RFC 9110, 7.2) and Origin (RFC 6454, 7).  It looks no name up: what a
 * name points to is what an attacker would choose.
 */
#include "status-server/access.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

enum { HOST_MAX = 256 };

static bool is_same(struct span a, struct span b)
{
	return a.n == b.n && strncasecmp((const char *)a.p, (const char *)b.p, a.n) == 0;
}

static bool ends_in(struct span s, struct span end)
{
	return s.n > end.n && is_same(span_of(s.p + s.n - end.n, end.n), end);
}

static bool is_address(struct span s, int family)
{
	uint8_t address[16];
	char text[INET6_ADDRSTRLEN];

	if (!s.n || s.n >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)s.n, (const char *)s.p);
	return inet_pton(family, text, address) == 1;
}

static bool is_port(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n <= 5;
}

/* What a name is made of; anything else is no name, whatever a browser makes of it. */
static bool is_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		const uint8_t c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '-' || c == '_'))
			return false;
	}
	return s.n > 0 && s.p[0] != '.';
}

static bool is_listed(struct span name, const char *list)
{
	for (const char *at = list; *at;) {
		const struct span entry = span_of(at, strcspn(at, ", "));

		if (entry.n && (entry.p[0] == '.' ? ends_in(name, entry) : is_same(name, entry)))
			return true;
		at += entry.n + (at[entry.n] != '\0');
	}
	return false;
}

/* Names below these are given out by the cluster, or by nobody. */
static bool is_own_name(struct span name)
{
	static const char *const ends[] = { ".localhost", ".svc", ".svc.cluster.local" };

	if (!memchr(name.p, '.', name.n))
		return true; /* "localhost", "pipeops-agent": no public name is without a dot */
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_in(name, span_str(ends[i])))
			return true;
	return false;
}

static bool is_own_host(struct span host, const char *allowed)
{
	const uint8_t *mark;

	if (!host.n || host.n > HOST_MAX)
		return false;
	if (host.p[0] == '[') {
		mark = memchr(host.p, ']', host.n);
		if (!mark)
			return false;
		const size_t n = (size_t)(mark - host.p) + 1;
		const struct span rest = span_of(host.p + n, host.n - n);

		return is_address(span_of(host.p + 1, n - 2), AF_INET6) &&
		       (!rest.n || (rest.p[0] == ':' && is_port(span_of(rest.p + 1, rest.n - 1))));
	}
	mark = memchr(host.p, ':', host.n);
	struct span name = span_of(host.p, mark ? (size_t)(mark - host.p) : host.n);
	if (mark && !is_port(span_of(mark + 1, host.n - name.n - 1)))
		return false;
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	return is_address(name, AF_INET) ||
	       (is_name(name) && (is_own_name(name) || is_listed(name, allowed)));
}

/* Whether the page that asks was loaded from here: its origin is this very host and port. */
static bool is_own_origin(struct span origin, struct span host)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		const struct span scheme = span_str(schemes[i]);

		if (origin.n > scheme.n && is_same(span_of(origin.p, scheme.n), scheme))
			return is_same(span_of(origin.p + scheme.n, origin.n - scheme.n), host);
	}
	return false;
}

enum access access_judge(struct span host, struct span origin, const char *allowed)
{
	/* No browser leaves Host out; HTTP/1.0 clients do. */
	if (host.p && !is_own_host(host, allowed))
		return ACCESS_FOREIGN_HOST;
	if (origin.p && !is_own_origin(origin, host))
		return ACCESS_FOREIGN_ORIGIN;
	return ACCESS_GRANTED;
}
