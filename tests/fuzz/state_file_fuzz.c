/* The state file: what is read can be written, and reads back the same. */
#include "control-agent/identity/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct identity s, back;
	struct fault why = { 0 };
	struct buf b;

	if (identity_read(&s, span_of(p, n), &why) < 0) {
		must(why.why[0]);
		return 0;
	}
	buf_init(&b, &mem_heap, IDENTITY_FILE_MAX);
	must(identity_write(&b, &s) == 0);
	must(identity_read(&back, span_of(buf_bytes(&b).p, buf_len(&b)), NULL) == 0);
	must(strcmp(s.agent_id, back.agent_id) == 0 && strcmp(s.cluster_id, back.cluster_id) == 0 &&
	     strcmp(s.cluster_token, back.cluster_token) == 0);
	buf_fini(&b);
	return 0;
}
