#include "tests/support/library_famine.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "lib/base/must.h"

static bool (*is_refused)(void);

static void *take(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return is_refused() ? NULL : malloc(n);
}

static void give(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
	if (n)
		return is_refused() ? NULL : realloc(p, n);
	give(p, file, line);
	return NULL;
}

void library_famine_start(bool (*refuses)(void))
{
	is_refused = refuses;
	must(CRYPTO_set_mem_functions(take, resize, give) == 1);
}
