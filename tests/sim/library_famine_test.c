/*
 * OpenSSL's allocations are refused one by one while a session comes about and
 * its keys are changed: both ends live, or whoever does not says why; and all
 * that was taken is given back.
 */
#include <stdio.h>

#include "tests/support/cases.h"
#include "tests/support/library_famine.h"
#include "tests/support/wire_pair.h"

static struct {
	bool on;
	size_t requests, refuse_at;
} library;

static bool refuses(void)
{
	return library.on && ++library.requests == library.refuse_at;
}

static void rekey(struct wire_pair *p)
{
	for (int side = 0; side < 2; side++)
		if (p->end[side].rc == 0)
			ssh_rekey(chisel_stack_ssh(p->end[side].stack));
	p->until_ns = p->now_ns;
	wire_pair_run(p);
}

/* Whether there was an n-th request. */
static bool starve(const char *cipher, size_t nth)
{
	const struct wire_pair_options o = { .seed = 1, .ciphers = cipher,
					     .wire = { wire_perfect, wire_perfect } };
	struct wire_pair p;

	library.requests = 0;
	library.refuse_at = nth;
	wire_pair_init(&p, &o);
	library.on = true;
	while (!wire_pair_is_ready(&p) && wire_pair_round(&p))
		;
	if (wire_pair_is_ready(&p))
		rekey(&p);
	library.on = false;
	const bool refused = library.requests >= nth;
	const int rc[2] = { p.end[0].rc, p.end[1].rc };
	check(wire_pair_is_ready(&p) || rc[0] < 0 || rc[1] < 0);
	check(refused || (rc[0] == 0 && rc[1] == 0));
	for (int i = 0; i < 2; i++)
		if (rc[i] < 0)
			check(chisel_stack_fault(p.end[i].stack)->code == (enum err)rc[i] &&
			      strlen(chisel_stack_fault(p.end[i].stack)->why) > 10);
	wire_pair_fini(&p);
	sim_ran(cipher, nth);
	return refused;
}

static void test_gcm(void)
{
	for (size_t nth = 1; starve("aes128-gcm@openssh.com", nth);)
		nth += 1;
}

static void test_chacha(void)
{
	for (size_t nth = 1; starve("chacha20-poly1305@openssh.com", nth);)
		nth += 1;
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "aes-gcm", test_gcm },
		{ "chacha20-poly1305", test_chacha },
	};

	library_famine_start(refuses);
	sim_arguments(argc, argv);
	return run_cases("sim library famine", cases, array_len(cases));
}
