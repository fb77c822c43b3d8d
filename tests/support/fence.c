#include "tests/support/fence.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/must.h"

void fence_init(struct fence *f, const void *bytes, size_t n)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t body = (n + page - 1) / page * page;

	f->map_n = body + page;
	f->map = mmap(NULL, f->map_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(f->map != MAP_FAILED);
	must(mprotect((uint8_t *)f->map + body, page, PROT_NONE) == 0);
	f->p = (uint8_t *)f->map + body - n;
	f->n = n;
	if (n)
		memcpy(f->p, bytes, n);
}

void fence_fini(struct fence *f)
{
	munmap(f->map, f->map_n);
	*f = (struct fence){ 0 };
}
