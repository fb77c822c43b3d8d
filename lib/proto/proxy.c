/*
 * proxy.c writes what opens the way through a proxy and reads the proxy's reply.
 * It moves no bytes of the connection itself, and knows no socket.
 */
#include "lib/proto/proxy.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "lib/base/buf.h"
#include "lib/base/escape.h"
#include "lib/proto/http/http1.h"
#include "lib/proto/url.h"

enum {
	TX_MAX = 2048,
	REPLY_MAX = 4 + 1 + 255 + 2, /* SOCKS5, with the longest address */
};

enum proxy_state {
	PROXY_HTTP_RESPONSE,
	PROXY_SOCKS_METHOD,
	PROXY_SOCKS_AUTH,
	PROXY_SOCKS_REPLY,
	PROXY_OPEN
};

struct proxy {
	const struct mem *mem;
	enum proxy_state state;
	struct fault fault;
	struct buf head, tx, flight;
	char host[256];
	uint16_t port;
	char user[128], password[256];
};

/* ---- the URL ---- */

int proxy_url_read(struct proxy_url *out, const char *text, struct fault *why)
{
	static const struct url_rules rules = {
		.schemes = URL_OF(URL_HTTP) | URL_OF(URL_SOCKS) | URL_OF(URL_SOCKS5) |
			   URL_OF(URL_SOCKS5H),
		.unwritten = URL_SCHEMES,
		.example = "http://host:port",
	};
	struct url u;

	if (url_read(&u, text, &rules, NULL) < 0)
		return fault_set(why, ERR_USAGE,
				 "the proxy must be http://host:port or socks://host:port, with "
				 "user:pass@ if needed "
				 "(proxies over TLS are not supported)");
	*out = (struct proxy_url){ .kind = u.scheme == URL_HTTP ? PROXY_HTTP : PROXY_SOCKS5,
				   .port = u.port };
	memcpy(out->host, u.host, sizeof(out->host));
	memcpy(out->user, u.user, sizeof(out->user));
	memcpy(out->password, u.password, sizeof(out->password));
	url_wipe(&u);
	if (url_decode(out->user) && url_decode(out->password))
		return 0;
	return fault_set(
		why, ERR_USAGE,
		"the proxy's user or password has a %% that begins no code: write it %%25");
}

/* ---- what we say ---- */

static int write_connect(struct proxy *p)
{
	char target[300], plain[400], value[600] = "Basic ";

	url_write_authority(target, sizeof(target), p->host, p->port);
	int rc = http1_write_request(&p->tx, "CONNECT", target);
	if (rc >= 0)
		rc = http1_write_field(&p->tx, "Host", target);
	if (rc >= 0 && p->user[0]) {
		const int n = snprintf(plain, sizeof(plain), "%s:%s", p->user, p->password);
		EVP_EncodeBlock((unsigned char *)value + 6, (unsigned char *)plain, n);
		rc = http1_write_field(&p->tx, "Proxy-Authorization", value);
		OPENSSL_cleanse(plain, sizeof(plain));
		OPENSSL_cleanse(value, sizeof(value));
	}
	return rc < 0 ? rc : http1_write_end(&p->tx);
}

/* RFC 1928, 3: without a password, and with one where we have it. */
static int write_greeting(struct proxy *p)
{
	const uint8_t wire[] = { 5, p->user[0] ? 2 : 1, 0, 2 };

	return buf_append(&p->tx, wire, p->user[0] ? 4 : 3);
}

/* RFC 1929, 2. */
static int write_password(struct proxy *p)
{
	uint8_t wire[2 + 128 + 1 + 256];
	const size_t user = strlen(p->user), password = strlen(p->password);

	wire[0] = 1;
	wire[1] = (uint8_t)user;
	memcpy(wire + 2, p->user, user);
	wire[2 + user] = (uint8_t)password;
	memcpy(wire + 3 + user, p->password, password);
	const int rc = buf_append(&p->tx, wire, 3 + user + password);
	OPENSSL_cleanse(wire, sizeof(wire));
	return rc;
}

/* RFC 1928, 4: CONNECT to an address or a name. */
static int write_socks_connect(struct proxy *p)
{
	uint8_t wire[REPLY_MAX] = { 5, 1, 0 };
	size_t n = 4;

	if (inet_pton(AF_INET, p->host, wire + n) == 1) {
		wire[3] = 1;
		n += 4;
	} else if (inet_pton(AF_INET6, p->host, wire + n) == 1) {
		wire[3] = 4;
		n += 16;
	} else {
		const size_t len = strlen(p->host);

		wire[3] = 3;
		wire[n++] = (uint8_t)len;
		memcpy(wire + n, p->host, len);
		n += len;
	}
	put_be(wire + n, 2, p->port);
	return buf_append(&p->tx, wire, n + 2);
}

int proxy_new(struct proxy **out, const struct proxy_options *options, const struct mem *mem,
	      struct fault *why)
{
	struct proxy *p = mem_alloc_zeroed(mem, sizeof(*p));
	int rc = ERR_NOMEM;

	if (!p)
		return fault_set(why, ERR_NOMEM, "no memory for the proxy");
	p->mem = mem;
	p->port = options->port;
	snprintf(p->host, sizeof(p->host), "%s", options->host);
	memcpy(p->user, options->url->user, sizeof(p->user));
	memcpy(p->password, options->url->password, sizeof(p->password));
	buf_init(&p->head, mem, HTTP1_RESPONSE_HEAD_MAX + 1);
	buf_init(&p->tx, mem, TX_MAX);
	buf_init(&p->flight, mem, TX_MAX);
	p->state = options->url->kind == PROXY_HTTP ? PROXY_HTTP_RESPONSE : PROXY_SOCKS_METHOD;
	rc = p->state == PROXY_HTTP_RESPONSE ? write_connect(p) : write_greeting(p);
	if (rc < 0) {
		proxy_free(p);
		return fault_set(why, (enum err)rc, "the request to the proxy can't be written");
	}
	*out = p;
	return 0;
}

static void wipe(struct buf *b)
{
	if (b->p)
		OPENSSL_cleanse(b->p, b->cap);
	buf_fini(b);
}

void proxy_free(struct proxy *p)
{
	if (!p)
		return;
	buf_fini(&p->head);
	wipe(&p->tx);
	wipe(&p->flight);
	OPENSSL_cleanse(p->password, sizeof(p->password));
	mem_free(p->mem, p);
}

/* ---- what the proxy says ---- */

/* The schemes of one Proxy-Authenticate, as in "NTLM, Basic realm=x": each word
 * that stands alone or has parameters behind it (RFC 9110, 11.6.1). */
static void note_schemes(char *list, size_t size, bool *basic, struct span value)
{
	const char *p = (const char *)value.p, *end = p + value.n;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		size_t n = 0;
		while (p + n < stop && p[n] != ' ' && p[n] != '=' && p[n] != '\t')
			n++;
		const bool is_parameter = p + n < stop && p[n] == '=';
		if (n && !is_parameter && n < 24) {
			char word[4 * 24 + 1];
			const size_t at = strlen(list);

			escape_text(word, sizeof(word), span_of(p, n));
			*basic |= n == 5 && strncasecmp(p, "Basic", 5) == 0;
			snprintf(list + at, size - at, "%s%s", at ? " or " : "", word);
		}
		p = stop + 1;
	}
}

static int refuse_http(struct proxy *p, const struct http1_head *h)
{
	char words[80], schemes[100] = "";
	bool basic = false;

	escape_text(words, sizeof(words), h->reason);
	if (h->status != 407)
		return fault_set(&p->fault, ERR_REFUSED,
				 "the proxy refused the way to %.120s:%u: %d %s", p->host, p->port,
				 h->status, words);
	for (size_t i = 0; i < h->fields_n; i++) {
		const struct http1_field *f = &h->fields[i];

		if (f->name.n == 18 &&
		    strncasecmp((const char *)f->name.p, "Proxy-Authenticate", 18) == 0)
			note_schemes(schemes, sizeof(schemes), &basic, f->value);
	}
	if (schemes[0] && !basic)
		return fault_set(&p->fault, ERR_AUTH,
				 "the proxy answers 407 and wants %s, which this program does not "
				 "speak: use a proxy "
				 "that takes Basic",
				 schemes);
	return fault_set(&p->fault, ERR_AUTH, "the proxy answers 407: %s",
			 p->user[0]
				 ? "user or password is wrong"
				 : "it wants a user and password, like http://user:pass@host:port");
}

static int read_http(struct proxy *p)
{
	const struct mspan in = buf_bytes(&p->head);
	struct http1_head h;
	const int n = http1_read_response(&h, in.p, in.n, &p->fault);

	if (n <= 0)
		return n;
	if (h.status >= 200 && h.status < 300) {
		p->state = PROXY_OPEN;
		return n;
	}
	return h.status < 200 ? fault_set(&p->fault, ERR_PROTO, "the proxy answers with status %d",
					  h.status)
			      : refuse_http(p, &h);
}

static int read_method(struct proxy *p, struct mspan in)
{
	if (!in.p || in.n < 2)
		return 0;
	if (in.p[0] != 5)
		return fault_set(&p->fault, ERR_PROTO, "the proxy does not speak SOCKS5");
	if (in.p[1] == 0) {
		p->state = PROXY_SOCKS_REPLY;
		return write_socks_connect(p) < 0 ? ERR_NOMEM : 2;
	}
	if (in.p[1] == 2 && p->user[0]) {
		p->state = PROXY_SOCKS_AUTH;
		return write_password(p) < 0 ? ERR_NOMEM : 2;
	}
	return fault_set(&p->fault, ERR_AUTH, "the SOCKS proxy %s",
			 p->user[0]
				 ? "takes none of our ways to authenticate"
				 : "wants a user and password, like socks://user:pass@host:port");
}

static int read_auth(struct proxy *p, struct mspan in)
{
	if (!in.p || in.n < 2)
		return 0;
	if (in.p[1] != 0)
		return fault_set(&p->fault, ERR_AUTH, "the SOCKS proxy refused user or password");
	p->state = PROXY_SOCKS_REPLY;
	return write_socks_connect(p) < 0 ? ERR_NOMEM : 2;
}

static int read_reply(struct proxy *p, struct mspan in)
{
	static const char *const words[] = {
		"succeeded",	       "general failure",	"not allowed by its rules",
		"network unreachable", "host unreachable",	"connection refused",
		"TTL expired",	       "command not supported", "address type not supported",
	};

	if (!in.p || in.n < 5)
		return 0;
	if (in.p[0] != 5)
		return fault_set(&p->fault, ERR_PROTO, "the proxy's reply is no SOCKS5");
	if (in.p[1] != 0)
		return fault_set(&p->fault, ERR_REFUSED,
				 "the SOCKS proxy refused the way to %.120s:%u: %s", p->host,
				 p->port,
				 in.p[1] < array_len(words) ? words[in.p[1]] : "unknown reason");
	const size_t address = in.p[3] == 1   ? 4
			       : in.p[3] == 4 ? 16
			       : in.p[3] == 3 ? 1u + in.p[4]
					      : 0;
	if (!address)
		return fault_set(&p->fault, ERR_PROTO,
				 "the proxy's reply has an unknown address type");
	const size_t n = 4 + address + 2;
	if (in.n < n)
		return 0;
	p->state = PROXY_OPEN;
	return (int)n;
}

static int read_once(struct proxy *p)
{
	const struct mspan in = buf_bytes(&p->head);

	switch (p->state) {
	case PROXY_HTTP_RESPONSE:
		return read_http(p);
	case PROXY_SOCKS_METHOD:
		return read_method(p, in);
	case PROXY_SOCKS_AUTH:
		return read_auth(p, in);
	case PROXY_SOCKS_REPLY:
		return read_reply(p, in);
	case PROXY_OPEN:
		break;
	}
	return 0;
}

int proxy_feed(struct proxy *p, const uint8_t *in, size_t n)
{
	size_t at = 0;

	while (!p->fault.code && p->state != PROXY_OPEN && at < n) {
		const size_t had = buf_len(&p->head), add = min_size(n - at, buf_room(&p->head));
		int rc = add ? buf_append(&p->head, in + at, add) : ERR_LIMIT;

		if (rc >= 0)
			rc = read_once(p);
		if (rc < 0)
			return fault_set(&p->fault, (enum err)rc,
					 "the proxy's response can't be kept");
		if (rc == 0) {
			at += add;
			continue;
		}
		/* What stands behind the message goes back to the caller. */
		at += (size_t)rc - had;
		buf_consume(&p->head, buf_len(&p->head));
	}
	return p->fault.code ? p->fault.code : (int)at;
}

bool proxy_is_open(const struct proxy *p)
{
	return p->state == PROXY_OPEN && !p->fault.code;
}

bool proxy_is_sending(const struct proxy *p)
{
	return buf_len(&p->flight) > 0;
}

struct span proxy_pending(struct proxy *p)
{
	if (!buf_len(&p->flight)) {
		const struct buf empty = p->flight;

		p->flight = p->tx;
		p->tx = empty;
	}
	const struct mspan b = buf_bytes(&p->flight);
	return span_of(b.p, b.n);
}

void proxy_sent(struct proxy *p, size_t n)
{
	if (n && buf_len(&p->flight) == n)
		OPENSSL_cleanse(p->flight.p + p->flight.start, n);
	buf_consume(&p->flight, n);
}

const struct fault *proxy_fault(const struct proxy *p)
{
	return &p->fault;
}
