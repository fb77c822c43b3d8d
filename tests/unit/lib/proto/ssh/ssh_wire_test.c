#include "lib/proto/ssh/ssh_wire.h"

#include "tests/support/cases.h"
#include "tests/support/fence.h"

/* RFC 4251, 5: the examples of mpint, and what is none. */
static const struct {
	const char *name, *wire;
	size_t n;
	const char *magnitude; /* NULL: bad */
	size_t magnitude_n;
} mpints[] = {
	{ "9a378f9b2e332a7", "\0\0\0\x08\x09\xa3\x78\xf9\xb2\xe3\x32\xa7", 12,
	  "\x09\xa3\x78\xf9\xb2\xe3\x32\xa7", 8 },
	{ "80", "\0\0\0\x02\x00\x80", 6, "\x80", 1 },
	{ "zero", "\0\0\0\0", 4, NULL, 0 },
	{ "-1234", "\0\0\0\x02\xed\xcc", 6, NULL, 0 },
	{ "-deadbeef", "\0\0\0\x05\xff\x21\x52\x41\x11", 9, NULL, 0 },
	{ "needless zero", "\0\0\0\x02\x00\x7f", 6, NULL, 0 },
	{ "only a zero", "\0\0\0\x01\x00", 5, NULL, 0 },
	{ "cut short", "\0\0\0\x09\x01", 5, NULL, 0 },
	{ "no length", "\0\0\0", 3, NULL, 0 },
};

static void test_mpint(void)
{
	for (size_t i = 0; i < array_len(mpints); i++) {
		struct fence f;
		fence_init(&f, mpints[i].wire, mpints[i].n);
		struct ssh_reader r = ssh_reader_of(span_of(f.p, f.n));
		const struct span m = ssh_get_mpint(&r);
		check_row(mpints[i].name, r.bad == !mpints[i].magnitude);
		if (mpints[i].magnitude) {
			check_row(mpints[i].name,
				  span_eq(m, span_of(mpints[i].magnitude, mpints[i].magnitude_n)));
			uint8_t bytes[64];
			struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
			ssh_put_mpint(&w, m);
			check_row(mpints[i].name,
				  span_eq(ssh_written(&w), span_of(mpints[i].wire, mpints[i].n)));
		}
		fence_fini(&f);
	}
}

static void test_reader_stops_at_the_first_bad_value(void)
{
	const uint8_t wire[] = { 7, 0, 0, 0, 2, 'h', 'i', 0xff, 0xff, 0xff, 0xff, 1, 2, 3 };
	for (size_t cut = 0; cut <= sizeof(wire); cut++) {
		struct fence f;
		fence_init(&f, wire, cut);
		struct ssh_reader r = ssh_reader_of(span_of(f.p, f.n));
		const uint8_t first = ssh_get_u8(&r);
		const struct span text = ssh_get_string(&r);
		check(first == (cut > 0 ? 7 : 0));
		check(cut >= 7 ? span_is(text, "hi") : text.n == 0);
		check(ssh_get_string(&r).n == 0 && r.bad); /* claims 4 GiB */
		check(ssh_get_u32(&r) == 0 && ssh_get_rest(&r).n == 0);
		fence_fini(&f);
	}
}

static void test_writer_says_when_it_is_full(void)
{
	uint8_t bytes[8];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));
	ssh_put_str(&w, "1234");
	check(!w.full && w.n == 8);
	ssh_put_u8(&w, 1);
	check(w.full && w.n == 8);
}

static void test_lists(void)
{
	static const struct {
		const char *list, *name;
		bool has;
	} rows[] = {
		{ "a,bc,d", "bc", true }, { "a,bc,d", "d", true }, { "a,bc,d", "b", false },
		{ "", "a", false },	  { ",,a", "a", true },	   { "abc", "abcd", false },
		{ "a,b,", "b", true },
	};
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].list, ssh_list_has(span_str(rows[i].list),
						     span_str(rows[i].name)) == rows[i].has);
}

static void test_text_of_a_peer_is_harmless(void)
{
	char to[8];
	check(strcmp(ssh_text(to, sizeof(to), span_of("a\x1b[\0\xff", 5)), "a?[??") == 0);
	check(strcmp(ssh_text(to, sizeof(to), span_str("1234567")), "1234567") == 0);
	check(strcmp(ssh_text(to, sizeof(to), span_str("12345678")), "1234...") == 0);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "mpint", test_mpint },
		{ "reader", test_reader_stops_at_the_first_bad_value },
		{ "writer", test_writer_says_when_it_is_full },
		{ "lists", test_lists },
		{ "text", test_text_of_a_peer_is_harmless },
	};
	return run_cases("ssh_wire", cases, array_len(cases));
}
