/* One pass over the body; what it holds is not parsed, as it may be no JSON. */
#include "control-agent/plane/redact.h"

#include <strings.h>

#include "lib/base/must.h"

enum {
	SECRET_MIN = 4,
	LOOK_MAX = 64 * 1024, /* the rest of a longer body is not even looked at */
};

/* The length of the secret that stands at p, or 0. */
static size_t secret_at(const uint8_t *p, size_t n, const char *const *secrets, size_t secrets_n)
{
	for (size_t i = 0; i < secrets_n; i++) {
		const size_t len = secrets[i] ? strlen(secrets[i]) : 0;

		if (len >= SECRET_MIN && len <= n && memcmp(p, secrets[i], len) == 0)
			return len;
	}
	return 0;
}

static bool is_secret_name(const uint8_t *p, size_t n)
{
	static const char *const ends[] = { "token", "password", "secret", "credentials" };

	for (size_t i = 0; i < array_len(ends); i++) {
		const size_t len = strlen(ends[i]);

		if (n >= len && strncasecmp((const char *)p + n - len, ends[i], len) == 0)
			return true;
	}
	return false;
}

/* The end of the JSON text that starts at body.p[at] == '"'; body.n when it is
 * not closed. */
static size_t text_end(struct span body, size_t at)
{
	for (at++; at < body.n && body.p[at] != '"'; at++)
		if (body.p[at] == '\\')
			at++;
	return min_size(at, body.n);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* When a member with a secret's name starts at `at`: where its value's text
 * opens, else 0. */
static size_t secret_value(struct span body, size_t at)
{
	const size_t end = text_end(body, at);

	if (end == body.n || !is_secret_name(body.p + at + 1, end - at - 1))
		return 0;
	for (at = end + 1; at < body.n && is_blank(body.p[at]); at++)
		;
	if (at == body.n || body.p[at] != ':')
		return 0;
	for (at++; at < body.n && is_blank(body.p[at]); at++)
		;
	return at < body.n && body.p[at] == '"' ? at : 0;
}

void redact(char *to, size_t cap, struct span body, const char *const *secrets, size_t secrets_n)
{
	static const char mask[] = "***", cut[] = "...";
	const size_t room = cap - sizeof(cut);
	size_t n = 0, value = 0;

	must(cap > sizeof(mask) + sizeof(cut));
	body.n = min_size(body.n, LOOK_MAX);
	for (size_t at = 0; at < body.n;) {
		const size_t secret = secret_at(body.p + at, body.n - at, secrets, secrets_n);
		const bool is_value = value && at == value;

		if (n + sizeof(mask) > room) {
			memcpy(to + n, cut, sizeof(cut));
			return;
		}
		if (body.p[at] == '"' && !is_value) {
			const size_t next = secret_value(body, at);
			value = next ? next : value;
		}
		if (is_value || secret) {
			memcpy(to + n, mask, sizeof(mask) - 1);
			n += sizeof(mask) - 1;
			at = is_value ? min_size(text_end(body, at) + 1, body.n) : at + secret;
			continue;
		}
		to[n++] = body.p[at] >= 0x20 && body.p[at] < 0x7f ? (char)body.p[at] : '?';
		at++;
	}
	to[n] = '\0';
}
