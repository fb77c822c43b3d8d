/* What libyaml complains of, in words that say what to do.  Its sentences speak of
 * tokens and nodes; a release that words one anew is told as "this is no YAML". */
#include <string.h>

#include "lib/app/config/config_private.h"

static const struct {
	const char *theirs, *ours;
} sentences[] = {
	{ "found a tab character", "a tab stands here: YAML is indented with blanks" },
	{ "found character that cannot start any token",
	  "a value can't begin with this character: put it in quotes" },
	{ "found unexpected end of stream",
	  "the file ends inside a quoted text: a quote is missing" },
	{ "found unexpected document indicator",
	  "a line --- or ... stands inside a quoted text: a quote is missing" },
	{ "could not find expected ':'", "a key without a \":\" behind it" },
	{ "mapping values are not allowed in this context",
	  "a \":\" where none may be: one key a line, and quotes around a text that holds \": \"" },
	{ "mapping keys are not allowed in this context", "a key where none may be" },
	{ "block sequence entries are not allowed in this context",
	  "a \"- \" where no list may begin: it stands on a line of its own" },
	{ "did not find expected key", "the indentation fits no key above it" },
	{ "did not find expected '-' indicator",
	  "the indentation fits no entry of the list above it" },
	{ "did not find expected ',' or ']'", "a \",\" or the closing \"]\" is missing" },
	{ "did not find expected ',' or '}'", "a \",\" or the closing \"}\" is missing" },
	{ "did not find expected node content", "a value is missing" },
	{ "did not find expected <document start>", "text behind the end of the document" },
	{ "did not find expected alphabetic or numeric character",
	  "a \"&\" or \"*\" without a name: put the text in quotes" },
	{ "did not find expected comment or line break",
	  "text behind \"|\" or \">\": it begins on the next line" },
	{ "did not find expected whitespace or line break", "a blank is missing behind a tag" },
	{ "found unexpected ':'", "a \":\" inside a text: put it in quotes" },
	{ "found unknown escape character", "an unknown escape behind \"\\\": write \"\\\\\"" },
	{ "did not find expected hexdecimal number", "an escape lacks its hexadecimal digits" },
	{ "found invalid Unicode character escape code", "an escape that is no character" },
	{ "found an indentation indicator equal to 0",
	  "an indentation of 0 behind \"|\" or \">\"" },
	{ "control characters are not allowed", "a control character stands here" },
	{ "invalid leading UTF-8 octet", "a byte that is no UTF-8: save the file as UTF-8" },
	{ "invalid trailing UTF-8 octet", "a byte that is no UTF-8: save the file as UTF-8" },
	{ "invalid length of a UTF-8 sequence", "bytes that are no UTF-8: save the file as UTF-8" },
	{ "incomplete UTF-8 octet sequence", "the file ends inside a character" },
	{ "found an incorrect leading UTF-8 octet", "a tag with an escape that is no UTF-8" },
	{ "found an incorrect trailing UTF-8 octet", "a tag with an escape that is no UTF-8" },
	{ "invalid Unicode character", "bytes that are no character" },
	{ "incomplete UTF-16", "the file ends inside a character" },
	{ "unexpected low surrogate area", "bytes that are no UTF-16: save the file as UTF-8" },
	{ "input is too long", "the file is too long" },
	{ "found undefined tag handle", "tags are not supported here" },
	{ "did not find expected tag URI", "tags are not supported here" },
	{ "did not find expected '!'", "tags are not supported here" },
	{ "did not find the expected '>'", "tags are not supported here" },
	{ "did not find URI escaped octet", "tags are not supported here" },
	{ "found duplicate %", "lines that begin with \"%\" are not supported here" },
	{ "duplicate %TAG", "lines that begin with \"%\" are not supported here" },
	{ "could not find expected directive name",
	  "lines that begin with \"%\" are not supported here" },
	{ "found unknown directive name", "lines that begin with \"%\" are not supported here" },
	{ "found unexpected non-alphabetical character",
	  "lines that begin with \"%\" are not supported here" },
	{ "found incompatible YAML document", "a YAML version that is not 1.1 or 1.2" },
	{ "found extremely long version number", "a YAML version that is not 1.1 or 1.2" },
	{ "did not find expected digit or '.' character", "a YAML version that is not 1.1 or 1.2" },
	{ "did not find expected version number", "a YAML version that is not 1.1 or 1.2" },
	{ "did not find expected whitespace",
	  "a blank is missing in a line that begins with \"%\"" },
};

const char *config_yaml_words(const char *theirs)
{
	for (size_t i = 0; i < array_len(sentences); i++)
		if (strncmp(theirs, sentences[i].theirs, strlen(sentences[i].theirs)) == 0)
			return sentences[i].ours;
	return "this is no YAML";
}
