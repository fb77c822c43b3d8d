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

static void test_trim_gives_back_what_is_kept(void)
{
	struct famine f;
	famine_init(&f, 0);
	struct buf b;
	buf_init(&b, &f.mem, 100000);
	b.keep = true;

	check(buf_append(&b, "0123456789", 10) == 0);
	buf_consume(&b, 4);
	buf_trim(&b);
	check(span_is(span_of(buf_bytes(&b).p, buf_len(&b)), "456789")); /* in use */
	buf_consume(&b, 6);
	check(f.live == 1);
	buf_trim(&b);
	check(f.live == 0);
	check(b.keep && buf_room(&b) == 100000);
	check(buf_append(&b, "x", 1) == 0);
	buf_fini(&b);
	check(f.live == 0);
}

static void test_heap_is_counted(void)
{
	const struct mem_use before = mem_heap_use();
	void *a = mem_alloc_zeroed(&mem_heap, 1000), *b = mem_alloc(&mem_heap, 1);
	const struct mem_use with = mem_heap_use();

	check(with.blocks == before.blocks + 2 && with.bytes >= before.bytes + 1001);
	mem_free(&mem_heap, NULL);
	mem_free(&mem_heap, a);
	check(mem_heap_use().blocks == before.blocks + 1);
	mem_free(&mem_heap, b);
	check(mem_heap_use().blocks == before.blocks && mem_heap_use().bytes == before.bytes);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "order through growth", test_queue_keeps_order_through_growth },
		{ "bound", test_bound_refuses_whole },
		{ "famine", test_famine_changes_nothing },
		{ "trim", test_trim_gives_back_what_is_kept },
		{ "the heap is counted", test_heap_is_counted },
	};
	return run_cases("buf", cases, array_len(cases));
}
