/*
 * Lists of words with weights, as Accept and Accept-Encoding carry them, and the choice between the
 * forms that /metrics has.  It reads spans and keeps nothing.
 */
#include "status-server/negotiate.h"

#include <strings.h>

/* ---- lists of words with parameters ---- */

static struct span trim(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_of(s.p + 1, s.n - 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Takes the piece up to `mark` off the front of *rest; marks in quoted strings
 * don't count. */
static struct span take_piece(struct span *rest, uint8_t mark)
{
	bool quoted = false;
	size_t n = 0;

	for (; n < rest->n && (quoted || rest->p[n] != mark); n++) {
		if (rest->p[n] == '"')
			quoted = !quoted;
		else if (quoted && rest->p[n] == '\\' && n + 1 < rest->n)
			n++;
	}
	const struct span piece = trim(span_of(rest->p, n));
	const size_t used = min_size(n + 1, rest->n);
	*rest = span_of(rest->p + used, rest->n - used);
	return piece;
}

static bool is_word(struct span s, const char *word)
{
	return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0;
}

static struct span unquote(struct span s)
{
	return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? span_of(s.p + 1, s.n - 2) : s;
}

/* A weight in thousandths; -1 when it is none (RFC 9110, 12.4.2). */
static int read_weight(struct span s)
{
	int v = 0;

	if (!s.n || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
		return -1;
	for (size_t i = 0, place = 1000; i < 5; i++) {
		if (i == 1)
			continue;
		if (i < s.n && (s.p[i] < '0' || s.p[i] > '9'))
			return -1;
		v += i < s.n ? (int)place * (s.p[i] - '0') : 0;
		place /= 10;
	}
	return v <= 1000 ? v : -1;
}

struct choice {
	struct span word, version;
	int weight; /* < 0: to be passed over */
};

static struct choice take_choice(struct span *list)
{
	struct span rest = take_piece(list, ',');
	struct choice c = { .word = take_piece(&rest, ';'), .weight = 1000 };

	while (rest.n) {
		struct span value = take_piece(&rest, ';');
		const struct span name = take_piece(&value, '=');

		if (is_word(name, "q"))
			c.weight = read_weight(value);
		else if (is_word(name, "version"))
			c.version = unquote(value);
	}
	return c;
}

/* ---- the two questions ---- */

/* The weight of one type: that of the most specific range that holds it. */
static int weigh_type(struct span accept, const char *type, const char *any, const char *version)
{
	int best = -1, weight = 0;

	while (accept.n) {
		const struct choice c = take_choice(&accept);
		int rank = -1;

		if (is_word(c.word, type))
			rank = !c.version.n ? 2 : span_is(c.version, version) ? 3 : -1;
		else if (is_word(c.word, any) || is_word(c.word, "*/*"))
			rank = is_word(c.word, any);
		if (rank > best && c.weight >= 0) {
			best = rank;
			weight = c.weight;
		}
	}
	return weight;
}

enum exposition_format negotiate_format(struct span accept)
{
	const int text = weigh_type(accept, "text/plain", "text/*", "0.0.4");
	const int openmetrics =
		weigh_type(accept, "application/openmetrics-text", "application/*", "1.0.0");

	return openmetrics > text ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
}

bool negotiate_gzip(struct span accept_encoding)
{
	int gzip = -1, identity = -1, any = -1;

	while (accept_encoding.n) {
		const struct choice c = take_choice(&accept_encoding);

		if (is_word(c.word, "gzip") || is_word(c.word, "x-gzip"))
			gzip = c.weight;
		else if (is_word(c.word, "identity"))
			identity = c.weight;
		else if (is_word(c.word, "*"))
			any = c.weight;
	}
	if (gzip < 0)
		gzip = any;
	return gzip > 0 && gzip >= identity;
}
