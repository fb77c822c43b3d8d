#include "tests/support/cases.h"

#include <CUnit/Basic.h>
#include <stdio.h>

int check_at(int ok, const char *file, int line, const char *row, const char *cond)
{
	char text[512];

	snprintf(text, sizeof(text), "%s%s%s", row, *row ? ": " : "", cond);
	CU_assertImplementation(ok ? CU_TRUE : CU_FALSE, (unsigned)line, text, file, "", CU_FALSE);
	return ok;
}

int run_cases(const char *suite, const struct test_case *cases, size_t n)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite s = CU_add_suite(suite, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		if (!s || !CU_add_test(s, cases[i].name, cases[i].run))
			return 1;
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	const int bad = CU_get_number_of_failures() != 0 || CU_get_number_of_asserts() == 0;
	CU_cleanup_registry();
	return bad;
}
