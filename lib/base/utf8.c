#include "lib/base/utf8.h"

size_t utf8_read(struct span s, uint32_t *c)
{
	const uint8_t first = s.p[0];
	const size_t n = first < 0x80   ? 1
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
	if (c == 0x61c || c == 0x200e || c == 0x200f)
		return false; /* direction marks */
	return !((c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069));
}
