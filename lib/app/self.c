/*
 * self -- counts what this process holds: descriptors, heap blocks, OpenSSL's
 * memory, timers, operations. The numbers are for the status bus and for leak
 * tests; nothing is limited here.
 */
#include "lib/app/self.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/base/mem.h"

/* ---- OpenSSL's memory ---- */

static uint64_t library_blocks, library_bytes;

static void *note(void *p)
{
	if (p) {
		__atomic_fetch_add(&library_blocks, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&library_bytes, malloc_usable_size(p), __ATOMIC_RELAXED);
	}
	return p;
}

static void forget(size_t bytes)
{
	__atomic_fetch_sub(&library_blocks, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&library_bytes, bytes, __ATOMIC_RELAXED);
}

static void *library_take(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return note(malloc(n));
}

static void library_give(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p)
		forget(malloc_usable_size(p));
	free(p);
}

static void *library_resize(void *p, size_t n, const char *file, int line)
{
	const size_t before = p ? malloc_usable_size(p) : 0;

	if (!n) {
		library_give(p, file, line);
		return NULL;
	}
	void *to = realloc(p, n);
	if (to && p)
		forget(before);
	return note(to);
}

void self_start(void)
{
	/* Refused when OpenSSL holds memory already: it is not counted then. */
	(void)CRYPTO_set_mem_functions(library_take, library_resize, library_give);
}

/* ---- descriptors ---- */

/* By getdents64: opendir() would take 32 KiB from the heap each time. */
uint64_t self_count_fds(void)
{
	_Alignas(struct dirent64) char room[4096];
	uint64_t count = 0;
	long n;
	const int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	while ((n = syscall(SYS_getdents64, fd, room, sizeof(room))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64 *e = (const struct dirent64 *)(room + at);

			count += e->d_name[0] != '.';
			at += e->d_reclen;
		}
	close(fd);
	return count ? count - 1 : 0; /* the folder itself was open */
}

void self_measure(uint64_t numbers[SELF_NUMBERS_N], struct loop_counts c)
{
	const struct mem_use heap = mem_heap_use();

	numbers[SELF_OPEN_FDS] = self_count_fds();
	numbers[SELF_HEAP_BLOCKS] = heap.blocks;
	numbers[SELF_HEAP_BYTES] = heap.bytes;
	numbers[SELF_LIBRARY_BLOCKS] = __atomic_load_n(&library_blocks, __ATOMIC_RELAXED);
	numbers[SELF_LIBRARY_BYTES] = __atomic_load_n(&library_bytes, __ATOMIC_RELAXED);
	numbers[SELF_SOCKETS] = c.socks;
	numbers[SELF_TIMERS] = c.timers;
	numbers[SELF_OPERATIONS] = c.in_flight;
	numbers[SELF_KERNEL_OPERATIONS] = c.in_kernel;
}

void self_log(struct loop_counts c)
{
	uint64_t numbers[SELF_NUMBERS_N];

	self_measure(numbers, c);
	const struct log_field fields[] = {
#define X(id, name, help) L_INT(name, numbers[SELF_##id]),
		SELF_NUMBERS(X)
#undef X
	};
	log_write(LOG_INFO, "holdings", "what this program holds", fields, array_len(fields));
}
