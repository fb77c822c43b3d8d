/* A TLS client against the bytes of a peer: a clear handshake, then whatever. */
#include "lib/proto/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static SSL_CTX *ctx;
	const struct tls_options o = { .verify_name = "good.example" };
	struct tls_event ev;
	struct tls *t;
	size_t at = 0;

	if (!ctx) {
		ctx = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	}
	must(tls_new(&t, ctx, &o, &mem_heap, 0, NULL) == 0);
	must(tls_pending(t).n > 0);
	tls_sent(t, tls_pending(t).n);
	while (at < n) {
		const int rc = tls_feed(t, p + at, min_size(n - at, 1 + p[at] * 8u), 0);
		must((rc < 0) == (tls_fault(t)->code != 0));
		while (tls_next(t, &ev) == 1)
			must(ev.kind != TLS_EVENT_OPEN); /* nobody can prove that name */
		if (rc < 0)
			break;
		at += (size_t)rc;
		tls_sent(t, tls_pending(t).n);
	}
	must(!tls_fault(t)->code || tls_fault(t)->why[0]);
	tls_free(t);
	return 0;
}
