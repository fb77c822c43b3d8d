/*
 * cases -- a CUnit program in one table: rows of {name, function}, one call.
 *
 *	static const struct test_case cases[] = { { "empty", test_empty }, … };
 *	int main(void) { return run_cases("buf", cases, array_len(cases)); }
 */
#ifndef TESTS_SUPPORT_CASES_H
#define TESTS_SUPPORT_CASES_H

#include <CUnit/CUnit.h>
#include <stddef.h>

#include "lib/base/must.h"

struct test_case {
	const char *name;
	void (*run)(void);
};

/* Runs all; returns main's exit code: 0 only when at least one assertion ran
 * and none failed. */
int run_cases(const char *suite, const struct test_case *cases, size_t n);

/* CU_ASSERT that prints the row's name when it fails. */
#define check_row(name, cond) check_at((cond), __FILE__, __LINE__, (name), #cond)
#define check(cond) check_at((cond), __FILE__, __LINE__, "", #cond)
int check_at(int ok, const char *file, int line, const char *row, const char *cond);

#endif
