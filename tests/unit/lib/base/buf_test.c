#include "lib/base/buf.h"

#include "tests/support/cases.h"
#include "tests/support/famine.h"

static void test_queue_keeps_order_through_growth(void)
{
	struct famine f;
	famine_init(&f, 0);
	struct buf b;
	buf_init(&b, &f.mem, 100000);

	uint32_t put = 0, got = 0;
	for (int round = 0; round < 2000; round++) {
		for (int i = 0; i < round % 7; i++) {
			check(buf_append(&b, &put, sizeof(put)) == 0);
			put++;
		}
		while (buf_len(&b) > 100) {
			uint32_t v;
			memcpy(&v, buf_bytes(&b).p, sizeof(v));
			check(v == got++);
			buf_consume(&b, sizeof(v));
		}
	}
	buf_consume(&b, buf_len(&b));
	check(f.live == 0); /* an empty queue holds nothing */
	buf_fini(&b);
	check(f.live == 0);
}

static void test_bound_refuses_whole(void)
{
	struct buf b;
	buf_init(&b, &mem_heap, 10);
	check(buf_append(&b, "0123456789", 10) == 0);
	check(buf_append(&b, "x", 1) == ERR_LIMIT);
	check(buf_len(&b) == 10);
	buf_consume(&b, 3);
	check(buf_append(&b, "abcd", 4) == ERR_LIMIT);
	check(buf_append(&b, "abc", 3) == 0);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), "3456789abc"));
	buf_fini(&b);
}

static void test_famine_changes_nothing(void)
{
	struct famine f;
	famine_init(&f, 2);
	struct buf b;
	buf_init(&b, &f.mem, 1 << 20);
	check(buf_append(&b, "kept", 4) == 0);
	uint8_t *room;
	check(buf_reserve(&b, 5000, &room) == ERR_NOMEM);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), "kept"));
	buf_fini(&b);
	check(f.live == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "order through growth", test_queue_keeps_order_through_growth },
		{ "bound", test_bound_refuses_whole },
		{ "famine", test_famine_changes_nothing },
	};
	return run_cases("buf", cases, array_len(cases));
}
