#include "lib/proto/chisel.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
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

/* 1..65535 in plain digits, as chisel's isPort; 0 for anything else. */
static uint16_t read_port(struct span s)
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

static bool is_host_byte(uint8_t c, bool bracketed)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

static int read_host(char to[CHISEL_HOST_MAX + 1], struct span s)
{
	const bool bracketed = s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';

	if (bracketed)
		s = span_of(s.p + 1, s.n - 2);
	if (!s.n || s.n > CHISEL_HOST_MAX)
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

/* "/tcp" goes. */
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
	const uint16_t port = read_port(parts[n - 1]);
	int at = n - 2;

	if (!port)
		return refuse(why, text, "the last part must be a port from 1 to 65535, " EXAMPLE);
	r->port = r->bind_port = port;
	snprintf(r->host, sizeof(r->host), "127.0.0.1");
	snprintf(r->bind_host, sizeof(r->bind_host), "0.0.0.0");
	if (at >= 0 && !read_port(parts[at])) {
		if (read_host(r->host, parts[at]) < 0)
			return refuse(why, text,
				      "the host is not a name or address; IPv6 stands in brackets, "
				      "like R:8000:[::1]:6443");
		at--;
	}
	if (at >= 0) {
		r->bind_port = read_port(parts[at]);
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
		if (read_port(parts[at]) || read_host(r->bind_host, parts[at]) < 0)
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
	int rc = strip_protocol(&s, text, why);
	if (rc < 0)
		return rc;
	const int n = split(parts, s);
	if (n < 0)
		return refuse(why, text, "not of the form R:[address:]port:host:port, " EXAMPLE);
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

/* A host as it stands before ":port". */
static const char *open_bracket(const char *host)
{
	return strchr(host, ':') ? "[" : "";
}

static const char *close_bracket(const char *host)
{
	return strchr(host, ':') ? "]" : "";
}

size_t chisel_target_write(const struct chisel_remote *r, char *to, size_t n)
{
	return (size_t)snprintf(to, n, "%s%s%s:%u", open_bracket(r->host), r->host,
				close_bracket(r->host), r->port);
}

size_t chisel_remote_write(const struct chisel_remote *r, char *to, size_t n)
{
	char target[CHISEL_HOST_MAX + 16], bind[CHISEL_HOST_MAX + 16] = "";

	chisel_target_write(r, target, sizeof(target));
	if (strcmp(r->bind_host, "0.0.0.0") != 0)
		snprintf(bind, sizeof(bind), "%s%s%s:", open_bracket(r->bind_host), r->bind_host,
			 close_bracket(r->bind_host));
	return (size_t)snprintf(to, n, "R:%s%u=>%s", bind, r->bind_port,
				strncmp(target, "127.0.0.1:", 10) == 0 ? target + 10 : target);
}

/* ---- config ---- */

static int append_text(struct buf *to, const char *text)
{
	return buf_append(to, text, strlen(text));
}

/* As a JSON string; the caller's hosts need not come from chisel_remote_read(). */
static int append_json(struct buf *to, const char *before, const char *text, const char *after)
{
	static const char hex[] = "0123456789abcdef";
	int rc = append_text(to, "\"");

	if (rc >= 0)
		rc = append_text(to, before);
	for (const char *c = text; rc >= 0 && *c; c++) {
		const uint8_t byte = (uint8_t)*c;
		const char escaped[] = { '\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15] };

		if (byte < 0x20 || byte == '"' || byte == '\\')
			rc = buf_append(to, escaped, sizeof(escaped));
		else
			rc = buf_append(to, c, 1);
	}
	if (rc >= 0)
		rc = append_text(to, after);
	return rc < 0 ? rc : append_text(to, "\"");
}

static int append_host(struct buf *to, const char *key, const char *host)
{
	const int rc = append_text(to, key);

	return rc < 0 ? rc : append_json(to, open_bracket(host), host, close_bracket(host));
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
		rc = append_json(to, "", version, "");
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

static int refuse_url(struct fault *why, const char *text, const char *reason)
{
	char shown[120];
	const char *at = strrchr(text, '@'); /* what stands before may be a password */
	const size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz");
	const int n =
		at && scheme <= 8 && strncmp(text + scheme, "://", 3) == 0 ? (int)scheme + 3 : 0;

	escape_text(shown, sizeof(shown), span_str(at ? at + 1 : text));
	return fault_set(why, ERR_USAGE, "URL \"%.*s%s\": %s", n, text, shown, reason);
}

static bool is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static int read_scheme(struct chisel_url *u, const char **at, bool tls_default, bool gateway)
{
	static const struct {
		const char *name;
		bool tls, ssh;
	} schemes[] = { { "https", true, false },
			{ "wss", true, false },
			{ "http", false, false },
			{ "ws", false, false },
			{ "ssh", false, true } };
	const char *colon = strstr(*at, "://");

	u->tls = tls_default;
	if (!colon)
		return 0;
	for (size_t i = 0; i < array_len(schemes); i++)
		if ((gateway || !schemes[i].ssh) &&
		    (size_t)(colon - *at) == strlen(schemes[i].name) &&
		    strncasecmp(*at, schemes[i].name, strlen(schemes[i].name)) == 0) {
			u->tls = schemes[i].tls;
			u->ssh = schemes[i].ssh;
			*at = colon + 3;
			return 0;
		}
	return ERR_USAGE;
}

static int read_user(struct chisel_url *u, struct span *authority)
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
	memcpy(u->user, authority->p, user);
	if (colon)
		memcpy(u->password, colon + 1, password);
	authority->n -= n + 1;
	authority->p = at + 1;
	return 0;
}

static uint16_t default_port(const struct chisel_url *u)
{
	return u->ssh ? 22 : u->tls ? 443 : 80;
}

static int read_authority(struct chisel_url *u, struct span s)
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
	if (read_host(u->host, span_of(s.p, end)) < 0)
		return ERR_USAGE;
	u->port = default_port(u);
	if (colon) {
		u->port = *colon == ':' ? read_port(span_of(colon + 1, s.n - end - 1)) : 0;
		if (!u->port)
			return ERR_USAGE;
	}
	return 0;
}

static int read_url(struct chisel_url *out, const char *text, bool tls_default, bool gateway,
		    struct fault *why)
{
	struct chisel_url u;
	const char *at = text;

	memset(&u, 0, sizeof(u));
	if (read_scheme(&u, &at, tls_default, gateway) < 0)
		return refuse_url(why, text,
				  gateway ? "the scheme must be https, wss, http, ws or ssh"
					  : "the scheme must be https, wss, http or ws");
	const size_t n = strcspn(at, "/?#");
	struct span authority = span_of(at, n);
	if (read_user(&u, &authority) < 0)
		return refuse_url(why, text, "user or password is too long");
	if (read_authority(&u, authority) < 0)
		return refuse_url(
			why, text,
			u.ssh ? "needs a host and an optional port, like ssh://user@host:22"
			      : "needs a host and an optional port, like "
				"https://tunnel.example.com:443");
	for (const char *c = at + n; *c; c++)
		if (*c <= ' ' || *c > '~' || *c == '#')
			return refuse_url(why, text, "has a path with characters that no URL has");
	if (strlen(at + n) + 2 > sizeof(u.path))
		return refuse_url(why, text, "has too long a path");
	snprintf(u.path, sizeof(u.path), "%s%s", at[n] == '/' ? "" : "/", at + n);
	if (u.ssh && strcmp(u.path, "/") != 0)
		return refuse_url(why, text, "an SSH server has no path: ssh://user@host:22");
	if (u.port == default_port(&u))
		snprintf(u.host_header, sizeof(u.host_header), "%s%s%s", open_bracket(u.host),
			 u.host, close_bracket(u.host));
	else
		snprintf(u.host_header, sizeof(u.host_header), "%s%s%s:%u", open_bracket(u.host),
			 u.host, close_bracket(u.host), u.port);
	u.is_loopback = is_loopback(u.host);
	memcpy(out, &u, sizeof(u));
	return 0;
}

int chisel_url_read(struct chisel_url *out, const char *text, bool tls_default, struct fault *why)
{
	return read_url(out, text, tls_default, false, why);
}

int chisel_gateway_read(struct chisel_url *out, const char *text, bool tls_default,
			struct fault *why)
{
	return read_url(out, text, tls_default, true, why);
}

/* ---- fingerprints ---- */

void chisel_fingerprint_write(const uint8_t digest[32], char to[45])
{
	EVP_EncodeBlock((unsigned char *)to, digest, 32);
}

/* The 43 characters without prefix and padding. */
static int strip_fingerprint(struct span *s)
{
	if (s->n > 7 && strncasecmp((const char *)s->p, "SHA256:", 7) == 0)
		*s = span_of(s->p + 7, s->n - 7);
	if (s->n == 44 && s->p[43] == '=')
		s->n = 43;
	return s->n == 43 ? 0 : ERR_USAGE;
}

bool chisel_fingerprint_is(const char *text, const uint8_t digest[32])
{
	char want[45];
	struct span s = span_str(text);

	chisel_fingerprint_write(digest, want);
	return strip_fingerprint(&s) == 0 && CRYPTO_memcmp(s.p, want, 43) == 0;
}

int chisel_fingerprint_check(const char *text, struct fault *why)
{
	struct span s = span_str(text);
	bool good = strip_fingerprint(&s) == 0;

	for (size_t i = 0; good && i < s.n; i++)
		good = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		       (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '+' || s.p[i] == '/';
	if (good)
		return 0;
	return fault_set(
		why, ERR_USAGE,
		"the fingerprint must be the base64 of a SHA-256, 44 characters that end in '=' "
		"(MD5 fingerprints are not accepted)");
}
