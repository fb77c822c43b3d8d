/*
 * utf8 -- strict decoding of one character at a time (RFC 3629): no overlong
 * forms, no surrogates. It normalises and converts nothing.
 */
#include "lib/base/utf8.h"

#include "lib/base/must.h"

size_t utf8_read(struct span s, uint32_t *c)
{
	const uint8_t first = s.p[0];
	const size_t n = first < 0x80	? 1
			 : first < 0xc2 ? 0
			 : first < 0xe0 ? 2
			 : first < 0xf0 ? 3
			 : first < 0xf5 ? 4
					: 0;
	uint32_t v = n == 1 ? first : first & (0x7fu >> n);

	if (!n || n > s.n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s.p[i] & 0x3fu);
	}
	if ((n == 3 && v < 0x800) || (n == 4 && (v < 0x10000 || v > 0x10ffff)) ||
	    (v >= 0xd800 && v < 0xe000))
		return 0;
	*c = v;
	return n;
}

bool utf8_is_plain(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return false;
	/* Soft hyphen, direction marks, what has no width, line ends, embeddings,
	 * isolates, the byte order mark, annotations, tags. */
	static const struct {
		uint32_t first, last;
	} unseen[] = {
		{ 0xad, 0xad },	    { 0x61c, 0x61c },	{ 0x180e, 0x180e },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xe0000, 0xe0fff },
	};
	for (size_t i = 0; i < array_len(unseen); i++)
		if (c >= unseen[i].first && c <= unseen[i].last)
			return false;
	return true;
}
