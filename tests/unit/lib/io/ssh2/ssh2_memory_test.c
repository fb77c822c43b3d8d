#include "lib/io/ssh2/ssh2_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cases.h"

static void test_bound(void)
{
	struct ssh2_memory m = { .max = 1000 };
	char *a = ssh2_memory_take(&m, 500);

	check(a && !m.refused);
	check(!ssh2_memory_take(&m, 500) && m.refused);
	check(!ssh2_memory_take(&m, SIZE_MAX) && !ssh2_memory_take(&m, SIZE_MAX - 8));
	const size_t used = m.used;
	check(!ssh2_memory_resize(&m, a, 900) && m.used == used); /* refused: the old one stays */
	memset(a, 1, 500);
	ssh2_memory_give(&m, a);
	check(m.used == 0);
	a = ssh2_memory_take(&m, 500); /* what went may be had again */
	check(a != NULL);
	ssh2_memory_give(&m, a);
	ssh2_memory_give(&m, NULL);
}

static void test_zeroes_behind_a_block(void)
{
	struct ssh2_memory m = { .max = 1000 };
	static const char none[64];
	char *p = ssh2_memory_take(&m, 3);

	memset(p, 'x', 3);
	check(memcmp(p + 3, none, sizeof(none)) == 0);
	p = ssh2_memory_resize(&m, p, 5);
	check(p && memcmp(p, "xxx", 3) == 0 && memcmp(p + 5, none, sizeof(none)) == 0);
	ssh2_memory_give_all(&m);
}

static void test_all_is_given_back(void)
{
	struct ssh2_memory m = { .max = 100000 };
	void *p[10];

	for (size_t i = 0; i < 10; i++)
		p[i] = ssh2_memory_take(&m, i);
	ssh2_memory_give(&m, p[0]); /* the last of the list, */
	ssh2_memory_give(&m, p[9]); /* its first, */
	ssh2_memory_give(&m, p[5]); /* and one between */
	check(m.used && m.first);
	ssh2_memory_give_all(&m);
	check(m.used == 0 && !m.first);
	ssh2_memory_give_all(&m);
}

static void test_resize_keeps_the_bytes(void)
{
	struct ssh2_memory m = { .max = 100000 };
	char *p = ssh2_memory_resize(&m, NULL, 4);

	memcpy(p, "abcd", 4);
	p = ssh2_memory_resize(&m, p, 4000);
	check(p && memcmp(p, "abcd", 4) == 0);
	p = ssh2_memory_resize(&m, p, 2);
	check(p && memcmp(p, "ab", 2) == 0);
	ssh2_memory_give(&m, p);
	check(m.used == 0);
}

/* What libssh2 1.11.1 does to the public half of an ECDSA key. */
static void test_plain_blocks_are_mallocs(void)
{
	struct ssh2_memory m = { .max = 100000, .plain = true };
	static const char none[64];

	for (size_t n = 0; n < 300; n += 33) {
		char *p = ssh2_memory_take(&m, n);
		check(p && memcmp(p + n, none, sizeof(none)) == 0);
		free(p);
	}
	m.used = 0;
	char *p = ssh2_memory_resize(&m, NULL, 4);
	memcpy(p, "abcd", 4);
	p = ssh2_memory_resize(&m, p, 4000);
	check(p && memcmp(p, "abcd", 4) == 0);
	m.plain = false; /* it is given back later, as one that is kept */
	p = ssh2_memory_resize(&m, p, 4);
	check(p && memcmp(p, "abcd", 4) == 0 && m.first);
	ssh2_memory_give(&m, p);
	check(m.used == 0);

	m.plain = true;
	check(!ssh2_memory_take(&m, 100001) && m.refused);
	p = ssh2_memory_take(&m, 100);
	m.plain = false;
	m.wipe = true;
	ssh2_memory_give(&m, p);
	check(m.used == 0);
	m.used = m.max + 1; /* what was freed without us is still counted */
	check(!ssh2_memory_take(&m, 1));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "bound", test_bound },
		{ "zeroes", test_zeroes_behind_a_block },
		{ "all is given back", test_all_is_given_back },
		{ "resize", test_resize_keeps_the_bytes },
		{ "plain blocks", test_plain_blocks_are_mallocs },
	};

	return run_cases("ssh2_memory", cases, array_len(cases));
}
