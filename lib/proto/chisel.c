/*
 * chisel.c reads remotes as chisel's command line has them and writes what the
 * protocol says about them.  Server URLs are read by url.c, under chisel's rules.
 */
#include "lib/proto/chisel.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

#include "lib/base/escape.h"

#define EXAMPLE "like R:8000:localhost:6443"
enum { PARTS_MAX = 4 };

/* ---- remotes ---- */

static int refuse(struct fault *why, const char *text, const char *reason)
{
	char shown[80];

	escape_text(shown, sizeof(shown), span_str(text));
	return fault_set(why, ERR_USAGE, "remote \"%s\": %s", shown, reason);
}

/* Splits at colons outside of brackets; the number of parts, or ERR_USAGE. */
static int split(struct span parts[PARTS_MAX], struct span s)
{
	int n = 0;

	while (n < PARTS_MAX) {
		size_t end = 0;
		bool inside = false;

		for (; end < s.n && (inside || s.p[end] != ':'); end++) {
			if (s.p[end] == '[')
				inside = true;
			else if (s.p[end] == ']')
				inside = false;
		}
		if (inside || !end)
			return ERR_USAGE;
		parts[n++] = span_of(s.p, end);
		if (end == s.n)
			return n;
		s = span_of(s.p + end + 1, s.n - end - 1);
	}
	return ERR_USAGE;
}

/* "/tcp" goes, behind whichever part it stands. */
static int strip_protocol(struct span *s, const char *text, struct fault *why)
{
	if (s->n < 4 || s->p[s->n - 4] != '/')
		return 0;
	if (strncasecmp((const char *)s->p + s->n - 3, "tcp", 3) != 0)
		return refuse(why, text, "unknown protocol after the slash; " EXAMPLE);
	s->n -= 4;
	return 0;
}

static int assign(struct chisel_remote *r, const struct span *parts, int n, const char *text,
		  struct fault *why)
{
	/* From the back: port of the target, its host, our port, our address. */
	const uint16_t port = url_read_port(parts[n - 1]);
	int at = n - 2;

	if (!port)
		return refuse(why, text, "the last part must be a port from 1 to 65535, " EXAMPLE);
	r->port = r->bind_port = port;
	snprintf(r->host, sizeof(r->host), "127.0.0.1");
	snprintf(r->bind_host, sizeof(r->bind_host), "0.0.0.0");
	if (at >= 0 && !url_read_port(parts[at])) {
		if (url_read_host(r->host, parts[at]) < 0)
			return refuse(why, text,
				      "the host is not a name or address; IPv6 stands in brackets, "
				      "like R:8000:[::1]:6443");
		at--;
	}
	if (at >= 0) {
		r->bind_port = url_read_port(parts[at]);
		if (!r->bind_port)
			return refuse(why, text,
				      "the server's port must be from 1 to 65535, " EXAMPLE);
		at--;
	}
	if (at >= 0) {
		/* chisel takes "R:name:port:port" for a target's name where everybody
		 * reads it as an address to listen on. */
		if (n < PARTS_MAX)
			return refuse(why, text,
				      "name the target's host too: R:address:port:host:port, "
				      "like R:0.0.0.0:8000:localhost:6443");
		if (url_read_port(parts[at]) || url_read_host(r->bind_host, parts[at]) < 0)
			return refuse(why, text,
				      "the server's address is not a name or address, "
				      "like R:0.0.0.0:8000:localhost:6443");
		at--;
	}
	return at < 0 ? 0 : refuse(why, text, "too many parts; " EXAMPLE);
}

int chisel_remote_read(struct chisel_remote *out, const char *text, struct fault *why)
{
	struct chisel_remote r = { 0 };
	struct span parts[PARTS_MAX], s;

	if (strncmp(text, "R:", 2) != 0)
		return refuse(why, text,
			      strncmp(text, "stdio:", 6) == 0
				      ? "stdio is not supported by this program; reverse forwards "
					"are, " EXAMPLE
				      : "only reverse forwards (R:…) are supported by this "
					"program, " EXAMPLE);
	s = span_str(text + 2);
	if (strcasestr(text, "/udp"))
		return refuse(
			why, text,
			"UDP forwards are not supported by this program; TCP ones are, " EXAMPLE);
	const int n = split(parts, s);
	if (n < 0)
		return refuse(why, text, "not of the form R:[address:]port:host:port, " EXAMPLE);
	int rc = 0;
	for (int i = 0; rc >= 0 && i < n; i++)
		rc = strip_protocol(&parts[i], text, why);
	if (rc < 0)
		return rc;
	if (span_is(parts[n - 1], "socks"))
		return refuse(
			why, text,
			"SOCKS is not supported by this program; fixed targets are, " EXAMPLE);
	if (span_is(parts[0], "stdio"))
		return refuse(why, text, "stdio can't be reversed; " EXAMPLE);
	rc = assign(&r, parts, n, text, why);
	if (rc >= 0)
		*out = r;
	return rc;
}

static const uint8_t all_v6[16], all_v4[16] = { [10] = 0xff, [11] = 0xff };

/* An address as 16 bytes, IPv4 as IPv6 writes it (RFC 4291, 2.5.5.2); false for a name. */
static bool read_address(uint8_t to[16], const char *text)
{
	memcpy(to, all_v4, 16);
	if (strcasecmp(text, "localhost") == 0)
		text = "127.0.0.1";
	return inet_pton(AF_INET, text, to + 12) == 1 || inet_pton(AF_INET6, text, to) == 1;
}

/* Whether a listener there takes a port at the other place, too: 0.0.0.0 is all of IPv4, "::"
 * everything. */
static bool covers(const uint8_t *address, const uint8_t *other)
{
	if (!address)
		return false;
	return memcmp(address, all_v6, 16) == 0 ||
	       (memcmp(address, all_v4, 16) == 0 && (!other || memcmp(other, all_v4, 12) == 0));
}

/* Whether a listener at one address keeps the other from this port.  Two names are
 * compared as they are written. */
static bool overlap(const char *a, const char *b)
{
	uint8_t bytes[2][16];
	const uint8_t *const one = read_address(bytes[0], a) ? bytes[0] : NULL,
			     *const two = read_address(bytes[1], b) ? bytes[1] : NULL;

	if (covers(one, two) || covers(two, one))
		return true;
	return one && two ? memcmp(one, two, 16) == 0 : strcasecmp(a, b) == 0;
}

int chisel_remotes_check(const struct chisel_remote *remotes, size_t n, struct fault *why)
{
	char one[2 * CHISEL_HOST_MAX + 40], two[2 * CHISEL_HOST_MAX + 40];

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			if (remotes[i].bind_port != remotes[j].bind_port ||
			    !overlap(remotes[i].bind_host, remotes[j].bind_host))
				continue;
			chisel_remote_write(&remotes[j], one, sizeof(one));
			chisel_remote_write(&remotes[i], two, sizeof(two));
			return fault_set(why, ERR_USAGE,
					 "the remotes %.80s and %.80s both want port %u of the "
					 "server: give each its own",
					 one, two, remotes[i].bind_port);
		}
	return 0;
}

size_t chisel_target_write(const struct chisel_remote *r, char *to, size_t n)
{
	return url_write_authority(to, n, r->host, r->port);
}

size_t chisel_remote_write(const struct chisel_remote *r, char *to, size_t n)
{
	char target[CHISEL_HOST_MAX + 16], bind[CHISEL_HOST_MAX + 16];

	chisel_target_write(r, target, sizeof(target));
	if (strcmp(r->bind_host, "0.0.0.0") != 0)
		url_write_authority(bind, sizeof(bind), r->bind_host, r->bind_port);
	else
		snprintf(bind, sizeof(bind), "%u", r->bind_port);
	return (size_t)snprintf(to, n, "R:%s=>%s", bind,
				strncmp(target, "127.0.0.1:", 10) == 0 ? target + 10 : target);
}

/* ---- config ---- */

static int append_text(struct buf *to, const char *text)
{
	return buf_append(to, text, strlen(text));
}

/* As a JSON string; the caller's hosts need not come from chisel_remote_read(). */
static int append_json(struct buf *to, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	int rc = append_text(to, "\"");

	for (const char *c = text; rc >= 0 && *c; c++) {
		const uint8_t byte = (uint8_t)*c;
		const char escaped[] = { '\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15] };

		if (byte < 0x20 || byte == '"' || byte == '\\')
			rc = buf_append(to, escaped, sizeof(escaped));
		else
			rc = buf_append(to, c, 1);
	}
	return rc < 0 ? rc : append_text(to, "\"");
}

static int append_host(struct buf *to, const char *key, const char *host)
{
	char text[CHISEL_HOST_MAX + 3];
	const int rc = append_text(to, key);

	url_write_host(text, sizeof(text), host);
	return rc < 0 ? rc : append_json(to, text);
}

static int append_port(struct buf *to, const char *key, uint16_t port)
{
	char text[48];

	snprintf(text, sizeof(text), "%s\"%u\"", key, port);
	return append_text(to, text);
}

static int append_remote(struct buf *to, const struct chisel_remote *r)
{
	int rc = append_host(to, "{\"LocalHost\":", r->bind_host);

	if (rc >= 0)
		rc = append_port(to, ",\"LocalPort\":", r->bind_port);
	if (rc >= 0)
		rc = append_host(to, ",\"LocalProto\":\"tcp\",\"RemoteHost\":", r->host);
	if (rc >= 0)
		rc = append_port(to, ",\"RemotePort\":", r->port);
	return rc < 0 ? rc
		      : append_text(to, ",\"RemoteProto\":\"tcp\",\"Socks\":false,\"Reverse\":true,"
					"\"Stdio\":false}");
}

int chisel_config_write(struct buf *to, const char *version, const struct chisel_remote *remotes,
			size_t n)
{
	int rc = append_text(to, "{\"Version\":");

	if (rc >= 0)
		rc = append_json(to, version);
	if (rc >= 0)
		rc = append_text(to, ",\"Remotes\":[");
	for (size_t i = 0; rc >= 0 && i < n; i++) {
		if (i)
			rc = append_text(to, ",");
		if (rc >= 0)
			rc = append_remote(to, &remotes[i]);
	}
	return rc < 0 ? rc : append_text(to, "]}");
}

/* ---- URLs ---- */

enum { CHISEL_SCHEMES = URL_OF(URL_HTTPS) | URL_OF(URL_WSS) | URL_OF(URL_HTTP) | URL_OF(URL_WS) };

static int read_server(struct url *out, const char *text, unsigned schemes, bool tls_default,
		       struct fault *why)
{
	const struct url_rules rules = {
		.schemes = schemes,
		.unwritten = tls_default ? URL_HTTPS : URL_HTTP,
		.example = "https://tunnel.example.com:443",
	};
	struct url u;
	int rc = url_read(&u, text, &rules, why);

	if (rc >= 0 && u.ssh && strcmp(u.path, "/") != 0)
		rc = fault_set(why, ERR_USAGE,
			       "URL \"ssh://%s\": an SSH server has no path: "
			       "ssh://user@host:22",
			       u.host_header);
	if (rc >= 0)
		memcpy(out, &u, sizeof(u));
	url_wipe(&u);
	return rc;
}

int chisel_url_read(struct url *out, const char *text, bool tls_default, struct fault *why)
{
	return read_server(out, text, CHISEL_SCHEMES, tls_default, why);
}

int chisel_gateway_read(struct url *out, const char *text, bool tls_default, struct fault *why)
{
	return read_server(out, text, CHISEL_SCHEMES | URL_OF(URL_SSH), tls_default, why);
}
