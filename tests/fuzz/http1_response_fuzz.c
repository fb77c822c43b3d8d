/* Answers. */
#include "tests/fuzz/http1_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	http1_rig_run(http1_read_response, p, n);
	return 0;
}
