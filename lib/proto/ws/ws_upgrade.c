/*
 * ws_upgrade -- the HTTP/1.1 exchange that opens a WebSocket (RFC 6455, section 4):
 * requests and responses written and judged, both roles, and what a refusal means
 * to an operator.  Frames are ws_frame's.
 */
#include "lib/proto/ws/ws_upgrade.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "lib/base/escape.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

enum { KEY_TEXT = 24 }; /* base64 of the 16 bytes of a key */

static int compute_accept(char to[WS_ACCEPT_TEXT], struct span key)
{
	uint8_t in[KEY_TEXT + sizeof(GUID)], digest[EVP_MAX_MD_SIZE];

	must(key.n == KEY_TEXT);
	memcpy(in, key.p, key.n);
	memcpy(in + key.n, GUID, sizeof(GUID) - 1);
	if (!EVP_Digest(in, key.n + sizeof(GUID) - 1, digest, NULL, EVP_sha1(), NULL))
		return ERR_CRYPTO;
	EVP_EncodeBlock((unsigned char *)to, digest, 20);
	return 0;
}

/* The field's value when it is there exactly once, else p = NULL: two of them
 * may be read differently by two readers. */
static struct span only_field(const struct http1_head *h, const char *name)
{
	struct span found = { 0 };

	for (size_t i = 0; i < h->fields_n; i++) {
		const struct http1_field *f = &h->fields[i];

		if (f->name.n != strlen(name) ||
		    strncasecmp((const char *)f->name.p, name, f->name.n) != 0)
			continue;
		if (found.p)
			return span_of(NULL, 0);
		found = f->value;
	}
	return found;
}

/* ---- client ---- */

static int write_line(struct buf *to, const char *line)
{
	char name[128];
	const char *colon = strchr(line, ':');

	if (!colon || (size_t)(colon - line) >= sizeof(name))
		return ERR_USAGE;
	snprintf(name, sizeof(name), "%.*s", (int)(colon - line), line);
	return http1_write_field(to, name, colon + 1 + strspn(colon + 1, " "));
}

int ws_upgrade_write_request(struct buf *to, const struct ws_options *o,
			     char accept[WS_ACCEPT_TEXT])
{
	uint8_t nonce[16];
	char key[KEY_TEXT + 1];

	o->random(o->random_ctx, nonce, sizeof(nonce));
	EVP_EncodeBlock((unsigned char *)key, nonce, sizeof(nonce));
	int rc = compute_accept(accept, span_of(key, KEY_TEXT));
	if (rc >= 0)
		rc = http1_write_request(to, "GET", o->path ? o->path : "/");
	if (rc >= 0)
		rc = http1_write_field(to, "Host", o->host);
	if (rc >= 0)
		rc = http1_write_field(to, "Upgrade", "websocket");
	if (rc >= 0)
		rc = http1_write_field(to, "Connection", "Upgrade");
	if (rc >= 0)
		rc = http1_write_field(to, "Sec-WebSocket-Key", key);
	if (rc >= 0)
		rc = http1_write_field(to, "Sec-WebSocket-Version", "13");
	if (rc >= 0 && o->protocol)
		rc = http1_write_field(to, "Sec-WebSocket-Protocol", o->protocol);
	for (size_t i = 0; rc >= 0 && o->headers && o->headers[i]; i++)
		rc = write_line(to, o->headers[i]);
	return rc < 0 ? rc : http1_write_end(to);
}

int ws_upgrade_check_answer(const struct http1_head *h, const char *accept, const char *protocol,
			    struct fault *why)
{
	const struct span agreed = only_field(h, "Sec-WebSocket-Protocol");
	struct http1_body body;

	if (h->minor != 1 || !http1_field_has(h, "Upgrade", "websocket") ||
	    !http1_field_has(h, "Connection", "upgrade"))
		return fault_set(why, ERR_PROTO,
				 "the upgrade's answer is no upgrade to a WebSocket");
	if (!span_is(only_field(h, "Sec-WebSocket-Accept"), accept))
		return fault_set(why, ERR_PROTO,
				 "the upgrade's answer has a wrong Sec-WebSocket-Accept: "
				 "a cache or proxy answers in the server's place");
	/* No bytes of a body may stand where frames are awaited (RFC 9112, 6.1). */
	const struct span length = http1_field(h, "Content-Length");
	if (http1_field(h, "Transfer-Encoding").p || (length.p && !span_is(length, "0")))
		return fault_set(why, ERR_PROTO,
				 "the upgrade's answer announces a body (Content-Length or "
				 "Transfer-Encoding)");
	if (http1_field(h, "Sec-WebSocket-Extensions").p)
		return fault_set(why, ERR_PROTO,
				 "the server agreed to an extension that was not offered");
	/* Official chisel servers want the subprotocol but don't repeat it; another one
	 * than was offered is refused (RFC 6455, 4.1). */
	if (http1_field(h, "Sec-WebSocket-Protocol").p && (!protocol || !span_is(agreed, protocol)))
		return fault_set(why, ERR_PROTO,
				 "the upgrade's answer agrees to another subprotocol%s%s: "
				 "is it a chisel server?",
				 protocol ? " than " : "", protocol ? protocol : "");
	return http1_body_start(&body, h, false, why);
}

/* "https://host/path" cut to the part that names the host. */
static struct span location_host(struct span url)
{
	const uint8_t *at = url.n > 3 ? memmem(url.p, url.n, "://", 3) : NULL;

	if (!at)
		return url;
	const size_t start = (size_t)(at - url.p) + 3;
	size_t end = start;
	while (end < url.n && !memchr("/?#", url.p[end], 3))
		end++;
	return span_of(url.p, end);
}

unsigned ws_upgrade_retry_after(const struct http1_head *h)
{
	const struct span text = only_field(h, "Retry-After");
	unsigned seconds = 0;

	/* A date is not obeyed: whose clock is right?  Our own waits are kind enough. */
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return 0;
		seconds = seconds * 10 + text.p[i] - '0';
		if (seconds > LIMIT_RETRY_AFTER_S)
			seconds = LIMIT_RETRY_AFTER_S;
	}
	return seconds;
}

/* What a status means where a chisel server was awaited: most are answers of a
 * front (ingress, load balancer, CDN), not of the server. */
static const struct {
	int from, to;
	enum err code;
	const char *advice;
} refusals[] = {
	{ 400, 400, ERR_REFUSED,
	  "something on the way takes no WebSocket upgrade: does every proxy let them through?" },
	{ 401, 401, ERR_AUTH,
	  "the front of the server wants credentials of its own: give them as a header, "
	  "\"Authorization: …\"" },
	{ 403, 403, ERR_REFUSED,
	  "the front of the server forbids it: look at its access rules (addresses, paths, "
	  "credentials as a header \"Authorization: …\")" },
	{ 407, 407, ERR_AUTH, "a proxy on the way wants credentials" },
	{ 408, 408, ERR_REFUSED, "the front of the server did not wait for the request" },
	{ 425, 425, ERR_REFUSED, "the front of the server asks to try again later" },
	{ 426, 426, ERR_REFUSED,
	  "the server speaks another version of WebSocket or HTTP, or a proxy on the way has "
	  "taken the upgrade out" },
	{ 429, 429, ERR_REFUSED, "the front of the server counts too many requests" },
	{ 500, 501, ERR_REFUSED, "the server, or a front of it, is broken: look at its log" },
	{ 502, 502, ERR_REFUSED, "the front does not reach the server behind it" },
	{ 503, 503, ERR_REFUSED, "the server is not there at the moment, says its front" },
	{ 504, 504, ERR_REFUSED, "the front got no answer from the server behind it" },
};

static const char other_advice[] = "is this a chisel server, and does every proxy on the way let "
				   "WebSockets through?";

/* The first line of the body, when it is one for people: not a page. */
static void read_words(char *to, size_t n, struct span body)
{
	const uint8_t *end = body.n ? memchr(body.p, '\n', body.n) : NULL;

	if (end)
		body.n = (size_t)(end - body.p);
	while (body.n && (body.p[body.n - 1] == '\r' || body.p[body.n - 1] == ' '))
		body.n--;
	escape_text(to, n, body.n && body.p[0] == '<' ? span_of(NULL, 0) : body);
}

int ws_upgrade_explain_refusal(const struct http1_head *h, struct span body, struct fault *why)
{
	char words[48], more[64];
	const struct span location = http1_field(h, "Location");
	const char *advice = other_advice;
	enum err code = ERR_REFUSED;

	if (h->status >= 300 && h->status < 400 && location.n) {
		/* Credentials are never sent to another origin; the path may hold
		 * secrets, the host is enough to act on. */
		escape_text(words, sizeof(words), location_host(location));
		return fault_set(
			why, ERR_REFUSED,
			"the server answered the upgrade with %d and points to %s: redirects are "
			"not followed, name that URL",
			h->status, words);
	}
	for (size_t i = 0; i < array_len(refusals); i++)
		if (h->status >= refusals[i].from && h->status <= refusals[i].to) {
			advice = refusals[i].advice;
			code = refusals[i].code;
		}
	escape_text(words, sizeof(words), h->reason);
	read_words(more, sizeof(more), body);
	return fault_set(why, code, "the server answered the upgrade with %d%s%s%s%s: %s",
			 h->status, *words ? " " : "", words, *more ? ": " : "", more, advice);
}

/* ---- server ---- */

static bool is_key(struct span key)
{
	uint8_t raw[18];

	/* Two '=' at the end: 16 bytes, as EVP_DecodeBlock does not tell. */
	return key.n == KEY_TEXT && key.p[22] == '=' && key.p[23] == '=' && key.p[21] != '=' &&
	       EVP_DecodeBlock(raw, key.p, KEY_TEXT) == (int)sizeof(raw);
}

int ws_upgrade_check_request(const struct http1_head *h, const char *path, const char *protocol,
			     char accept[WS_ACCEPT_TEXT])
{
	const struct span key = only_field(h, "Sec-WebSocket-Key");
	struct http1_body body;

	if (!span_is(h->method, "GET") || h->minor != 1 || !only_field(h, "Host").n)
		return 400;
	if (http1_body_start(&body, h, false, NULL) < 0 || body.framing != HTTP1_NO_BODY)
		return 400;
	if (path && !span_is(h->target, path))
		return 404;
	if (!http1_field_has(h, "Upgrade", "websocket") ||
	    !http1_field_has(h, "Connection", "upgrade") ||
	    !span_is(only_field(h, "Sec-WebSocket-Version"), "13"))
		return 426;
	if (!is_key(key) || (protocol && !http1_field_has(h, "Sec-WebSocket-Protocol", protocol)))
		return 400;
	return compute_accept(accept, key) < 0 ? 500 : 0;
}

int ws_upgrade_write_answer(struct buf *to, const char *accept, const char *protocol)
{
	int rc = http1_write_response(to, 101);

	if (rc >= 0)
		rc = http1_write_field(to, "Upgrade", "websocket");
	if (rc >= 0)
		rc = http1_write_field(to, "Connection", "Upgrade");
	if (rc >= 0)
		rc = http1_write_field(to, "Sec-WebSocket-Accept", accept);
	if (rc >= 0 && protocol)
		rc = http1_write_field(to, "Sec-WebSocket-Protocol", protocol);
	return rc < 0 ? rc : http1_write_end(to);
}

int ws_upgrade_write_refusal(struct buf *to, int status, const char *text)
{
	char length[24];

	snprintf(length, sizeof(length), "%zu", strlen(text));
	int rc = http1_write_response(to, status);
	if (rc >= 0 && status == 426) /* RFC 6455, 4.4 */
		rc = http1_write_field(to, "Sec-WebSocket-Version", "13");
	if (rc >= 0)
		rc = http1_write_field(to, "Content-Type", "text/plain; charset=utf-8");
	if (rc >= 0)
		rc = http1_write_field(to, "Content-Length", length);
	if (rc >= 0)
		rc = http1_write_field(to, "Connection", "close");
	if (rc >= 0)
		rc = http1_write_end(to);
	return rc < 0 ? rc : buf_append(to, text, strlen(text));
}
