/* A fuzz target without libFuzzer: runs it on each file that is named. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int main(int argc, char **argv)
{
	enum { INPUT_MAX = 1 << 20 };

	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		uint8_t *bytes = malloc(INPUT_MAX);

		must(f && bytes);
		const size_t n = fread(bytes, 1, INPUT_MAX, f);
		fclose(f);
		/* Its own memory again, that ends where the input does. */
		uint8_t *exact = realloc(bytes, n ? n : 1);
		must(exact);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
	return 0;
}
