/* A WebSocket client against a peer's bytes. */
#include "tests/fuzz/ws_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	ws_rig_run(false, p, n);
	return 0;
}
