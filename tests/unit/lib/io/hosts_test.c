#include "lib/io/hosts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "tests/support/cases.h"

static char path[] = "/tmp/hosts_test.XXXXXX";

static void write_file(const char *text, size_t n)
{
	FILE *f = fopen(path, "we");

	must(f && fwrite(text, 1, n, f) == n && fclose(f) == 0);
}

/* Addresses of `name` in this file, with blanks between. */
static const char *find(const char *file, const char *name)
{
	static char got[1024];
	struct sockaddr_storage a[8];
	char text[INET6_ADDRSTRLEN];

	if (file)
		write_file(file, strlen(file));
	got[0] = '\0';
	const size_t n = hosts_find(file ? path : "/nowhere/hosts", name, a, array_len(a));
	for (size_t i = 0; i < n; i++) {
		const void *at = a[i].ss_family == AF_INET6
					 ? (void *)&((struct sockaddr_in6 *)&a[i])->sin6_addr
					 : (void *)&((struct sockaddr_in *)&a[i])->sin_addr;

		inet_ntop(a[i].ss_family, at, text, sizeof(text));
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", text);
	}
	return got;
}

static void test_rows(void)
{
	static const struct {
		const char *name, *file, *host, *want;
	} rows[] = {
		{ "plain", "10.0.0.1 a.test\n", "a.test", "10.0.0.1" },
		{ "no newline at the end", "10.0.0.1 a.test", "a.test", "10.0.0.1" },
		{ "another name", "10.0.0.1 a.test\n", "b.test", "" },
		{ "an alias, tabs", "10.0.0.1\tx\ty  a.test\tz\n", "a.test", "10.0.0.1" },
		{ "any case", "10.0.0.1 A.Test\n", "a.tEST", "10.0.0.1" },
		{ "a final dot", "10.0.0.1 a.test\n", "a.test.", "10.0.0.1" },
		{ "CRLF", "10.0.0.1 a.test\r\n", "a.test", "10.0.0.1" },
		{ "a part of a name", "10.0.0.1 aa.test a.tests\n", "a.test", "" },
		{ "a comment", "#10.0.0.1 a.test\n", "a.test", "" },
		{ "a comment behind", "10.0.0.1 b.test # a.test\n", "a.test", "" },
		{ "no address", "10.0.0 a.test\nhello a.test\n", "a.test", "" },
		{ "an address alone", "10.0.0.1\n10.0.0.1 \n", "10.0.0.1", "" },
		{ "the address is no name", "10.0.0.1 b\n", "10.0.0.1", "" },
		{ "IPv6 first", "10.0.0.1 a\n10.0.0.2 a\n::5 a\n::4 a\n", "a",
		  "::5 ::4 10.0.0.1 10.0.0.2" },
		{ "a scope is not ours", "fe80::1%eth0 a\n", "a", "" },
		{ "localhost of the file", "127.0.0.1 localhost\n", "localhost", "127.0.0.1" },
		{ "localhost without", "", "localhost", "::1 127.0.0.1" },
		{ "no file", NULL, "localhost", "::1 127.0.0.1" },
		{ "no file and a name", NULL, "a.test", "" },
		{ "an empty name", "10.0.0.1 a\n", "", "" },
		{ "a dot", "10.0.0.1 .\n", ".", "" },
		{ "more than fit", "1.0.0.1 a\n1.0.0.2 a\n1.0.0.3 a\n1.0.0.4 a\n1.0.0.5 a\n"
				   "1.0.0.6 a\n1.0.0.7 a\n1.0.0.8 a\n1.0.0.9 a\n::1 a\n",
		  "a", "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8" },
	};
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].name,
			  strcmp(find(rows[i].file, rows[i].host), rows[i].want) == 0);
}

/* As large as it may be is read whole, a byte more not at all. */
static void test_size(void)
{
	enum { MOST = 64 * 1024 };
	struct sockaddr_storage a[2];
	char *text = malloc(MOST + 1);

	must(text);
	memset(text, ' ', MOST + 1);
	memcpy(text, "10.0.0.1 a.test\n", 16);
	memcpy(text + MOST - 16, "\n10.0.0.2 a.test", 16);
	write_file(text, MOST);
	check(hosts_find(path, "a.test", a, 2) == 2);
	write_file(text, MOST + 1);
	check(hosts_find(path, "a.test", a, 2) == 0);
	memset(text, 0, MOST); /* NULs end the text, no more */
	write_file(text, MOST);
	check(hosts_find(path, "a.test", a, 2) == 0);
	free(text);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "size", test_size },
	};
	const int fd = mkstemp(path);
	must(fd >= 0);
	close(fd);
	const int rc = run_cases("hosts", cases, array_len(cases));
	unlink(path);
	return rc;
}
