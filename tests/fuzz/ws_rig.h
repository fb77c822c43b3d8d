/*
 * ws_rig -- one end of a WebSocket against any bytes: pieces as they ask for,
 * answers and ends freely.
 */
#ifndef TESTS_FUZZ_WS_RIG_H
#define TESTS_FUZZ_WS_RIG_H

#include "lib/proto/ws/ws.h"

static inline void ws_rig_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	memcpy(p, "the sample nonce", min_size(n, 16)); /* RFC 6455, 1.3 */
	if (n > 16)
		memset((uint8_t *)p + 16, 7, n - 16);
}

static inline void ws_rig_draw(struct ws *w, uint8_t whim)
{
	struct ws_event ev;
	int rc;

	while ((rc = ws_next(w, &ev)) == 1) {
		if (ev.kind == WS_EVENT_REQUEST && whim % 8 != 1)
			ws_accept(w);
		else if (ev.kind == WS_EVENT_REQUEST)
			ws_refuse(w, 403, "no\n");
		else if (ev.kind == WS_EVENT_DATA && ev.payload.n)
			ev.payload.p[0] ^= 1; /* changeable */
	}
	must(rc == (int)ws_fault(w)->code);
	if (whim % 4 == 1)
		ws_sent(w, ws_pending(w).n);
	if (whim == 0x66 && ws_is_open(w))
		ws_close(w, 1000, "done");
	if (whim == 0x65)
		ws_ping(w, span_str("ping"));
}

static inline void ws_rig_run(bool server, const uint8_t *p, size_t n)
{
	const struct ws_options o = { .server = server, .host = "x", .protocol = "chisel-v3",
				      .random = ws_rig_random };
	struct ws *w;
	uint64_t now = 0;

	must(ws_new(&w, &o, &mem_heap, 0, NULL) == 0);
	while (n > 1 && !ws_fault(w)->code) {
		/* Long pieces, but for those that a byte below 32 asks for. */
		const uint8_t whim = p[0];
		const size_t piece = min_size(n - 1, whim < 32 ? whim + 1u : 4096);
		uint8_t copy[4096];
		size_t at = 0;

		memcpy(copy, p + 1, piece);
		while (at < piece) {
			const int rc = ws_feed(w, copy + at, piece - at, now);
			must(rc <= (int)(piece - at));
			ws_rig_draw(w, whim);
			if (rc < 0)
				break;
			at += (size_t)rc;
		}
		p += 1 + piece;
		n -= 1 + piece;
		now += 1000000;
	}
	must(ws_pending(w).n <= 65536 + 256);
	ws_free(w);
}

#endif
