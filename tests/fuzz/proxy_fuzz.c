#include "lib/proto/proxy.h"

/* First byte: which proxy; the rest: what it says. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const urls[] = { "http://u:p@p", "socks://p", "socks://u:p@p" };
	struct proxy_url url;
	struct proxy *p;

	if (!n || proxy_url_read(&url, urls[data[0] % 3], NULL) < 0 ||
	    proxy_new(&p, &(struct proxy_options){ &url, "host", 1 }, &mem_heap, NULL) < 0)
		return 0;
	for (size_t at = 1; at < n;) {
		const struct span out = proxy_pending(p);
		proxy_sent(p, out.n);
		const int rc = proxy_feed(p, data + at, min_size(n - at, 1 + data[at] % 64));
		if (rc <= 0)
			break;
		at += (size_t)rc;
	}
	must(!proxy_is_open(p) || !proxy_fault(p)->code);
	proxy_free(p);
	return 0;
}
