/* The control plane's answer to the tunnel poll: whatever it says, only
 * configured forwards, a checked URL and whole credentials come out. */
#include <stdio.h>

#include "control-agent/plane/redact.h"
#include "control-agent/tunnel/tunnel_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct config config;
	struct tunnel_answer a = { 0 };
	struct fault why = { 0 };
	char shown[128];

	config.forwards_n = 2;
	snprintf(config.forwards[0].name, sizeof(config.forwards[0].name), "kubernetes-api");
	snprintf(config.forwards[1].name, sizeof(config.forwards[1].name), "kubelet-metrics");
	redact(shown, sizeof(shown), span_of(p, n), (const char *const[]){ "ready" }, 1);
	must(strlen(shown) < sizeof(shown));
	if (tunnel_answer_read(&a, &config, 200, span_of(p, n), &why) < 0) {
		must(why.why[0] && !a.desired.n);
		return 0;
	}
	if (a.desired.op == BUS_DESIRED_DOWN)
		return 0;
	must(a.desired.n > 0 && a.desired.n <= BUS_FORWARDS_MAX && a.desired.url[0]);
	for (uint64_t i = 0; i < a.desired.n; i++)
		must(a.desired.forward[i].remote_port &&
		     a.desired.forward[i].target < config.forwards_n);
	must(!a.credentials[0] || strchr(a.credentials, ':'));
	must(!strpbrk(a.desired.url, "@?#\r\n"));
	return 0;
}
