/*
 * ssh_wire -- the data types of RFC 4251, section 5, read and written within
 * bounds. A reader that ran out of bytes stays bad, so one check at the end is
 * enough.
 */
#include "lib/proto/ssh/ssh_wire.h"

struct span ssh_get_bytes(struct ssh_reader *r, size_t n)
{
	if (r->bad || n > r->n) {
		r->bad = true;
		return (struct span){ 0 };
	}
	const struct span s = span_of(r->p, n);
	r->p += n;
	r->n -= n;
	return s;
}

uint8_t ssh_get_u8(struct ssh_reader *r)
{
	const struct span s = ssh_get_bytes(r, 1);

	return s.n ? s.p[0] : 0;
}

bool ssh_get_bool(struct ssh_reader *r)
{
	return ssh_get_u8(r) != 0;
}

uint32_t ssh_get_u32(struct ssh_reader *r)
{
	const struct span s = ssh_get_bytes(r, 4);

	return s.n ? (uint32_t)get_be(s.p, 4) : 0;
}

struct span ssh_get_string(struct ssh_reader *r)
{
	return ssh_get_bytes(r, ssh_get_u32(r));
}

struct span ssh_get_mpint(struct ssh_reader *r)
{
	struct span s = ssh_get_string(r);

	if (s.n == 0 || s.p[0] & 0x80 || (s.p[0] == 0 && (s.n == 1 || !(s.p[1] & 0x80)))) {
		r->bad = true;
		return (struct span){ 0 };
	}
	if (s.p[0] == 0) {
		s.p++;
		s.n--;
	}
	return s;
}

struct span ssh_get_rest(struct ssh_reader *r)
{
	return ssh_get_bytes(r, r->n);
}

void ssh_put_bytes(struct ssh_writer *w, struct span s)
{
	if (w->full || s.n > w->cap - w->n) {
		w->full = true;
		return;
	}
	if (s.n)
		memcpy(w->p + w->n, s.p, s.n);
	w->n += s.n;
}

void ssh_put_u8(struct ssh_writer *w, uint8_t v)
{
	ssh_put_bytes(w, span_of(&v, 1));
}

void ssh_put_u32(struct ssh_writer *w, uint32_t v)
{
	uint8_t b[4];

	put_be(b, 4, v);
	ssh_put_bytes(w, span_of(b, 4));
}

void ssh_put_string(struct ssh_writer *w, struct span s)
{
	if (s.n > UINT32_MAX) {
		w->full = true;
		return;
	}
	ssh_put_u32(w, (uint32_t)s.n);
	ssh_put_bytes(w, s);
}

void ssh_put_str(struct ssh_writer *w, const char *s)
{
	ssh_put_string(w, span_str(s));
}

void ssh_put_mpint(struct ssh_writer *w, struct span m)
{
	while (m.n && m.p[0] == 0) {
		m.p++;
		m.n--;
	}
	const bool high = m.n && m.p[0] & 0x80;
	ssh_put_u32(w, (uint32_t)(m.n + high));
	if (high)
		ssh_put_u8(w, 0);
	ssh_put_bytes(w, m);
}

bool ssh_list_next(struct span *list, struct span *name)
{
	if (list->n == 0)
		return false;
	const uint8_t *comma = memchr(list->p, ',', list->n);
	const size_t n = comma ? (size_t)(comma - list->p) : list->n;
	const size_t skip = comma ? n + 1 : n;

	*name = span_of(list->p, n);
	list->p += skip;
	list->n -= skip;
	return true;
}

bool ssh_list_has(struct span list, struct span name)
{
	struct span each;

	while (ssh_list_next(&list, &each))
		if (span_eq(each, name))
			return true;
	return false;
}

const char *ssh_text(char *to, size_t cap, struct span text)
{
	must(cap >= 4);
	const size_t n = min_size(text.n, cap - 1);

	for (size_t i = 0; i < n; i++)
		to[i] = text.p[i] >= 0x20 && text.p[i] < 0x7f ? (char)text.p[i] : '?';
	if (n < text.n)
		memcpy(to + n - 3, "...", 3);
	to[n] = '\0';
	return to;
}
