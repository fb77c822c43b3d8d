/* One value of a row: what may stand there, and the sentence when it does not.  Not
 * here: where texts come from, and lists. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"
#include "lib/base/trim.h"
#include "lib/base/units.h"

static int wrong(struct fault *why, enum err code, const char *what, const char *text,
		 const char *expected)
{
	char shown[80];

	escape_text(shown, sizeof(shown), span_str(text));
	return fault_set(why, code, "%s: \"%s\" is not %s", what, shown, expected);
}

static bool flag_read(const char *text, bool *to)
{
	static const char *const words[] = { "true", "yes", "on", "1", "false", "no", "off", "0" };

	for (size_t i = 0; i < array_len(words); i++)
		if (strcasecmp(text, words[i]) == 0) {
			*to = i < array_len(words) / 2;
			return true;
		}
	return false;
}

bool config_count(const char *text, const char *bounds, int64_t *to)
{
	char *end;
	long long low, high;

	low = strtoll(bounds, &end, 10);
	must(end[0] == '.' && end[1] == '.');
	high = strtoll(end + 2, NULL, 10);
	errno = 0;
	const long long v = strtoll(text, &end, 10);
	/* strtoll() would take a space or a plus sign as well. */
	if (errno || !*text || *end || strspn(text, "0123456789-") != strlen(text) || v < low ||
	    v > high)
		return false;
	*to = v;
	return true;
}

bool config_has_word(const char *words, const char *text)
{
	for (const char *w = words; w; w = strchr(w, '|')) {
		w += *w == '|';
		const size_t n = strcspn(w, "|");

		if (strlen(text) == n && strncmp(w, text, n) == 0)
			return true;
	}
	return false;
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

/* ---- what is left in place of a value ---- */

/* "$(NAME)": Kubernetes puts in variables that are defined before, and leaves the
 * others as they are. */
static bool has_unexpanded(const char *text)
{
	for (const char *at = strstr(text, "$("); at; at = strstr(at + 1, "$(")) {
		const size_t n =
			strspn(at + 2, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789_-.");
		if (n && at[2 + n] == ')')
			return true;
	}
	return false;
}

int config_check_left_over(const char *text, const char *what, enum err code, struct fault *why)
{
	const size_t n = strlen(text);

	if (strstr(text, "<no value>"))
		return fault_set(
			why, code,
			"%s: \"<no value>\" is what a template leaves where it was given no "
			"value: set one, or leave the key out",
			what);
	if (has_unexpanded(text))
		return fault_set(
			why, code,
			"%s: $(...) was not expanded: Kubernetes puts in only variables that "
			"are defined before it in the same container",
			what);
	if (n > 1 && (*text == '"' || *text == '\'') && text[n - 1] == *text)
		return fault_set(
			why, code,
			"%s: the value has quotes around it, which an --env-file keeps: write "
			"it without them",
			what);
	return 0;
}

/* ---- types ---- */

static int read_text(char *to, const char *text, const char *what, enum err code, struct fault *why)
{
	if (strlen(text) >= CONFIG_TEXT_MAX || !is_printable(text))
		return fault_set(why, code,
				 "%s: too long, or has a line break or control character", what);
	memset(to, 0, CONFIG_TEXT_MAX);
	memcpy(to, text, strlen(text));
	return 0;
}

/* What is refused here is not shown: it may be a password or a token. */
static int read_url(char *to, const char *text, const char *what, enum err code, struct fault *why)
{
	if (strpbrk(text, "?#"))
		return fault_set(why, code, "%s: a URL without a query and a fragment is wanted",
				 what);
	if (strchr(text, '@'))
		return fault_set(
			why, code,
			"%s: a URL without user and password is wanted: the token is set as "
			"PIPEOPS_TOKEN",
			what);
	return read_text(to, text, what, code, why);
}

static int read_value(char *at, const struct config_row *row, const char *text, const char *what,
		      enum err code, struct fault *why)
{
	char expected[160];
	uint64_t ns;

	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_TEXT_OR_NONE:
	case CONFIG_SECRET:
		return read_text(at, text, what, code, why);
	case CONFIG_URL:
		return read_url(at, text, what, code, why);
	case CONFIG_FLAG:
		return flag_read(text, (bool *)at) ? 0
						   : wrong(why, code, what, text, "true or false");
	case CONFIG_COUNT:
		snprintf(expected, sizeof(expected), "a whole number in %s", row->extra);
		return config_count(text, row->extra, (int64_t *)at)
			       ? 0
			       : wrong(why, code, what, text, expected);
	case CONFIG_DURATION:
		if (config_duration(text, &ns, NULL) < 0)
			return wrong(why, code, what, text,
				     "a duration like 250ms, 30s, 5m or 1h30m");
		*(uint64_t *)at = ns;
		return 0;
	case CONFIG_CHOICE:
		snprintf(expected, sizeof(expected), "one of %s", row->extra);
		if (!config_has_word(row->extra, text))
			return wrong(why, code, what, text, expected);
		snprintf(at, CONFIG_NAME_MAX + 1, "%s", text);
		return 0;
	case CONFIG_LIST:
	case CONFIG_MAP:
		break;
	}
	return fault_set(why, code, "%s is a list or a map: it stands in the file only", what);
}

int config_set(void *c, const struct config_row *row, const char *text, const char *what,
	       enum err code, struct fault *why)
{
	_Alignas(uint64_t) char nowhere[CONFIG_TEXT_MAX];
	char own[2 * CONFIG_TEXT_MAX]; /* longer than any value: such ones are too long still */
	const struct span trimmed = trim_text(span_str(text));
	int rc;

	snprintf(own, sizeof(own), "%.*s", (int)min_size(trimmed.n, sizeof(own) - 1),
		 (const char *)trimmed.p);
	rc = config_check_left_over(own, what, code, why);
	/* On the command line an empty text is meant: it takes back what the file says. */
	if (rc >= 0 && (*own || row->type == CONFIG_TEXT_OR_NONE || code == ERR_USAGE))
		rc = read_value(c ? (char *)c + row->offset : nowhere, row, own, what, code, why);
	explicit_bzero(nowhere, sizeof(nowhere));
	explicit_bzero(own, sizeof(own));
	return rc;
}

/* ---- durations ---- */

static const struct duration_unit {
	const char *unit;
	uint64_t ns;
} duration_units[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "\xc2\xb5s", 1000 }, /* the micro sign */
	{ "\xce\xbcs", 1000 }, /* the letter mu */
	{ "ms", 1000000 },
	{ "s", NS_PER_S },
	{ "m", 60000000000ull },
	{ "h", 3600000000000ull },
};

#define DURATION_MAX (1000ull * 3600 * 1000000000) /* 1000 h: sums stay far from 2^64 */

/* The longest unit that stands at text: "ms" is no "m". */
static const struct duration_unit *find_unit(const char *text)
{
	const struct duration_unit *best = NULL;

	for (size_t i = 0; i < array_len(duration_units); i++) {
		const struct duration_unit *u = &duration_units[i];

		if (strncmp(text, u->unit, strlen(u->unit)) == 0 &&
		    (!best || strlen(u->unit) > strlen(best->unit)))
			best = u;
	}
	return best;
}

/* Reads "1.5s" from *at into *sum, which is at most DURATION_MAX. */
static bool add_part(const char **at, bool is_all, uint64_t *sum)
{
	static const struct duration_unit seconds = { "", NS_PER_S };
	const char *whole = *at;
	const size_t digits = strspn(whole, "0123456789");
	const char *fraction = whole + digits + (whole[digits] == '.');
	const size_t places = fraction > whole + digits ? strspn(fraction, "0123456789") : 0;
	const char *end = fraction + places;
	/* A plain number is seconds. */
	const struct duration_unit *u =
		is_all && !*end && end == whole + digits ? &seconds : find_unit(end);
	const uint64_t v = digits < 12 ? strtoull(whole, NULL, 10) : DURATION_MAX;

	if (!(digits + places) || !u || (digits && v > DURATION_MAX / u->ns))
		return false;
	uint64_t ns = digits ? v * u->ns : 0, place = u->ns;
	for (size_t i = 0; i < places; i++) {
		place /= 10;
		ns += (uint64_t)(fraction[i] - '0') * place;
	}
	if (ns > DURATION_MAX - *sum)
		return false;
	*sum += ns;
	*at = end + strlen(u->unit);
	return true;
}

int config_duration(const char *text, uint64_t *ns, struct fault *why)
{
	uint64_t sum = 0;
	const char *at = text;

	do {
		if (!add_part(&at, at == text, &sum)) {
			char shown[60];

			escape_text(shown, sizeof(shown), span_str(text));
			return fault_set(why, ERR_USAGE,
					 "\"%s\" is no duration: write 250ms, 30s, 5m or 1h30m",
					 shown);
		}
	} while (*at);
	*ns = sum;
	return 0;
}
