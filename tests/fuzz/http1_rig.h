/*
 * http1_rig -- a message of HTTP: its head, and its body in pieces as the first
 * byte says; the pieces must not change what is read.
 */
#ifndef TESTS_FUZZ_HTTP1_RIG_H
#define TESTS_FUZZ_HTTP1_RIG_H

#include "lib/proto/http/http1.h"

/* The body in steps of `step`; a hash of the payload and where it ended. */
static inline int http1_rig_body(struct http1_body b, const uint8_t *p, size_t n, size_t step,
				 uint64_t *hash)
{
	size_t at = 0;

	*hash = 1;
	while (at < n && !b.done) {
		struct span piece;
		struct fault why = { 0 };
		const int rc = http1_body_read(&b, p + at, min_size(step, n - at), &piece, &why);

		if (rc < 0) {
			must(why.code == (enum err)rc && why.why[0]);
			return rc;
		}
		must(rc > 0 && (size_t)rc <= n - at && piece.n <= (size_t)rc);
		for (size_t i = 0; i < piece.n; i++)
			*hash = (*hash ^ piece.p[i]) * 0x100000001b3ull;
		at += (size_t)rc;
	}
	return (int)at;
}

typedef int http1_rig_head(struct http1_head *out, const uint8_t *p, size_t n, struct fault *why);

static inline void http1_rig_run(http1_rig_head *read_head, const uint8_t *p, size_t n)
{
	struct http1_head h;
	struct fault why = { 0 };
	struct http1_body b;
	uint64_t whole, pieces;

	if (n < 1)
		return;
	const size_t step = 1 + p[0] % 16;
	p++;
	n--;
	const int head = read_head(&h, p, n, &why);
	must((head < 0) == (why.code != 0) && head <= (int)n);
	if (head <= 0)
		return;
	for (size_t i = 0; i < h.fields_n; i++)
		must(h.fields[i].name.n && !memchr(h.fields[i].value.p, '\n', h.fields[i].value.n));
	(void)http1_is_keep_alive(&h);
	if (http1_body_start(&b, &h, false, NULL) < 0)
		return;
	p += head;
	n -= (size_t)head;
	const int a = http1_rig_body(b, p, n, n + 1, &whole),
		  c = http1_rig_body(b, p, n, step, &pieces);
	must(a == c && (a < 0 || whole == pieces));
}

#endif
