/* Frame heads: what reads can be written, and is the same again. */
#include "lib/proto/ws/ws_frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t wire[WS_FRAME_HEAD_MAX];
	struct fault why = { 0 };
	struct ws_frame f;
	const int rc = ws_frame_read(&f, p, n, &why);

	must(rc <= (int)n && (rc < 0) == (why.code != 0));
	if (rc <= 0)
		return 0;
	must(ws_frame_write(wire, &f) == (size_t)rc && memcmp(wire, p, (size_t)rc) == 0);
	for (int i = 0; i < rc; i++)
		must(ws_frame_read(&f, p, (size_t)i, NULL) == 0);
	return 0;
}
