/*
 * escape -- bytes of a peer made into one printable line: what is not plain
 * UTF-8 becomes \xNN. It knows no JSON and no metrics, which have escapes of
 * their own.
 */
#include "lib/base/escape.h"

#include "lib/base/must.h"

size_t escape_text(char *to, size_t n, struct span in)
{
	static const char hex[] = "0123456789abcdef";
	static const char cut[] = "...";
	size_t at = 0, fits = 0; /* fits: where a cut would start */

	must(n >= sizeof(cut));
	for (size_t i = 0; i < in.n; i++) {
		const uint8_t c = in.p[i];
		const bool plain = c >= 0x20 && c < 0x7f && c != '\\';
		const size_t need = plain ? 1 : 4;

		if (at + need >= n) {
			memcpy(to + fits, cut, sizeof(cut));
			return fits + sizeof(cut) - 1;
		}
		if (plain) {
			to[at] = (char)c;
		} else {
			to[at] = '\\';
			to[at + 1] = 'x';
			to[at + 2] = hex[c >> 4];
			to[at + 3] = hex[c & 15];
		}
		at += need;
		if (at + sizeof(cut) <= n)
			fits = at;
	}
	to[at] = '\0';
	return at;
}
