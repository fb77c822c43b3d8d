/* The control plane's answer to a registration: the first byte picks the status. */
#include "control-agent/plane/register.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const int statuses[] = { 200, 201, 409, 500 };
	struct register_answer a;
	struct fault why = { 0 };

	if (!n)
		return 0;
	const int status = statuses[p[0] % array_len(statuses)];
	if (register_answer_read(&a, status, span_of(p + 1, n - 1), &why) < 0)
		must(why.why[0]);
	else
		must(identity_is_id(a.cluster_id) && status != 500);
	return 0;
}
