/*
 * One page through zlib at its fastest level; whether the client wants that is negotiate.c's
 * matter.
 */
#include "status-server/gzip.h"

#include <zlib.h>

int gzip_append(struct buf *to, struct span page)
{
	enum { GZIP = 16 }; /* added to the window bits: a gzip head and trailer */
	z_stream z = { 0 };
	uint8_t *room;

	if (page.n > UINT32_MAX / 2)
		return ERR_LIMIT;
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP + MAX_WBITS, MAX_MEM_LEVEL - 1,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return ERR_NOMEM;
	const size_t most = deflateBound(&z, page.n);
	const int rc = buf_reserve(to, most, &room);
	if (rc == 0) {
		z.next_in = (Bytef *)(uintptr_t)page.p;
		z.avail_in = (uInt)page.n;
		z.next_out = room;
		z.avail_out = (uInt)most;
		must(deflate(&z, Z_FINISH) == Z_STREAM_END); /* deflateBound() promises the room */
		buf_commit(to, most - z.avail_out);
	}
	deflateEnd(&z);
	return rc;
}
