#include "tests/support/writing.h"

#include "tests/support/cases.h"
#include "tests/support/famine.h"

enum { ROOM = 65536 };

void check_written(writing_fn *write, const void *what, const char *want)
{
	struct buf b;

	buf_init(&b, &mem_heap, ROOM);
	check(write(&b, what) == 0);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), want));
	buf_fini(&b);
}

void check_writing_in_famine(writing_fn *write, const void *what)
{
	for (size_t at = 1;; at++) {
		struct famine f;
		struct buf b;

		famine_init(&f, at);
		buf_init(&b, &f.mem, ROOM);
		const int rc = write(&b, what);
		buf_fini(&b);
		check(f.live == 0);
		if (f.requests < at) {
			check(rc == 0);
			break;
		}
		check(rc == ERR_NOMEM);
	}
}
