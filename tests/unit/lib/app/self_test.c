#include "lib/app/self.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "tests/support/cases.h"

static void test_descriptors(void)
{
	const uint64_t before = self_count_fds();
	int fds[300]; /* more than one read of the folder brings */

	check(before >= 3);
	for (size_t i = 0; i < array_len(fds); i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		must(fds[i] >= 0);
	}
	check(self_count_fds() == before + array_len(fds));
	for (size_t i = 0; i < array_len(fds); i++)
		close(fds[i]);
	check(self_count_fds() == before);
}

static void measure(uint64_t numbers[SELF_NUMBERS_N])
{
	self_measure(numbers, (struct loop_counts){
				      .socks = 1, .timers = 2, .in_flight = 3, .in_kernel = 4 });
}

static void test_memory(void)
{
	uint64_t was[SELF_NUMBERS_N], now[SELF_NUMBERS_N];

	measure(was);
	void *own = mem_alloc(&mem_heap, 1000);
	char *theirs = OPENSSL_malloc(10);
	theirs = OPENSSL_realloc(theirs, 5000);
	char *more = OPENSSL_realloc(NULL, 1);
	measure(now);
	check(now[SELF_HEAP_BLOCKS] == was[SELF_HEAP_BLOCKS] + 1);
	check(now[SELF_HEAP_BYTES] >= was[SELF_HEAP_BYTES] + 1000);
	check(now[SELF_LIBRARY_BLOCKS] == was[SELF_LIBRARY_BLOCKS] + 2);
	check(now[SELF_LIBRARY_BYTES] >= was[SELF_LIBRARY_BYTES] + 5001);
	mem_free(&mem_heap, own);
	OPENSSL_free(theirs);
	check(OPENSSL_realloc(more, 0) == NULL);
	OPENSSL_free(NULL);
	measure(now);
	for (size_t i = 0; i < SELF_NUMBERS_N; i++)
		check(now[i] == was[i]);
}

static void test_loop(void)
{
	uint64_t n[SELF_NUMBERS_N];

	measure(n);
	check(n[SELF_SOCKETS] == 1 && n[SELF_TIMERS] == 2);
	check(n[SELF_OPERATIONS] == 3 && n[SELF_KERNEL_OPERATIONS] == 4);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "descriptors", test_descriptors },
		{ "memory", test_memory },
		{ "loop", test_loop },
	};

	self_start();
	return run_cases("self", cases, array_len(cases));
}
