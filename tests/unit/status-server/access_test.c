/* Who may read pages with words of others, by Host and Origin. */
#include "status-server/access.h"

#include <stdio.h>

#include "tests/support/cases.h"

static const char listed[] = "status.example.com, .corp.example,x.test";

static const struct {
	const char *host, *origin;
	enum access want;
} rows[] = {
	/* what kubelet, Prometheus, kubectl port-forward, curl and people in the pod say */
	{ NULL, NULL, ACCESS_GRANTED },
	{ "10.1.2.3:8080", NULL, ACCESS_GRANTED },
	{ "10.1.2.3", NULL, ACCESS_GRANTED },
	{ "[2001:db8::7]:8080", NULL, ACCESS_GRANTED },
	{ "[::1]", NULL, ACCESS_GRANTED },
	{ "localhost:8080", NULL, ACCESS_GRANTED },
	{ "LocalHost", NULL, ACCESS_GRANTED },
	{ "a.localhost:1", NULL, ACCESS_GRANTED },
	{ "pipeops-agent:8080", NULL, ACCESS_GRANTED },
	{ "pipeops-agent.pipeops-system.svc:8080", NULL, ACCESS_GRANTED },
	{ "pipeops-agent.pipeops-system.svc.cluster.local.", NULL, ACCESS_GRANTED },
	{ "status.example.com", NULL, ACCESS_GRANTED },
	{ "STATUS.example.com:443", NULL, ACCESS_GRANTED },
	{ "a.b.corp.example", NULL, ACCESS_GRANTED },
	{ "x.test", NULL, ACCESS_GRANTED },
	/* names that a stranger can own */
	{ "evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "evil.example:8080", NULL, ACCESS_FOREIGN_HOST },
	{ "corp.example", NULL, ACCESS_FOREIGN_HOST },
	{ "xcorp.example", NULL, ACCESS_FOREIGN_HOST },
	{ "status.example.com.evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "x.svc.evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "x.svc.cluster.local.evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "localhost.evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "10.1.2.3.evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "10.1.2.3.4", NULL, ACCESS_FOREIGN_HOST },
	/* what is no host at all */
	{ "", NULL, ACCESS_FOREIGN_HOST },
	{ ".", NULL, ACCESS_FOREIGN_HOST },
	{ ".svc", NULL, ACCESS_FOREIGN_HOST },
	{ "localhost:80a", NULL, ACCESS_FOREIGN_HOST },
	{ "localhost:800000", NULL, ACCESS_FOREIGN_HOST },
	{ "localhost@evil", NULL, ACCESS_FOREIGN_HOST },
	{ "evil.example/localhost", NULL, ACCESS_FOREIGN_HOST },
	{ "[::1", NULL, ACCESS_FOREIGN_HOST },
	{ "[::1].evil.example", NULL, ACCESS_FOREIGN_HOST },
	{ "[evil]", NULL, ACCESS_FOREIGN_HOST },
	{ "::1", NULL, ACCESS_FOREIGN_HOST },
	{ "a b", NULL, ACCESS_FOREIGN_HOST },
	{ "a,b", NULL, ACCESS_FOREIGN_HOST },
	/* pages in a browser */
	{ "10.1.2.3:8080", "http://10.1.2.3:8080", ACCESS_GRANTED },
	{ "Localhost:8080", "http://localhost:8080", ACCESS_GRANTED },
	{ "status.example.com", "https://status.example.com", ACCESS_GRANTED },
	{ "10.1.2.3:8080", "http://evil.example", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "http://10.1.2.3", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "http://10.1.2.3:8081", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "null", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "10.1.2.3:8080", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "http://10.1.2.3:8080/", ACCESS_FOREIGN_ORIGIN },
	{ "10.1.2.3:8080", "http://", ACCESS_FOREIGN_ORIGIN },
	{ NULL, "http://10.1.2.3:8080", ACCESS_FOREIGN_ORIGIN },
	{ "evil.example", "http://evil.example", ACCESS_FOREIGN_HOST }, /* rebinding */
};

static struct span field(const char *text)
{
	return text ? span_str(text) : span_of(NULL, 0);
}

static void test_rows(void)
{
	for (size_t i = 0; i < array_len(rows); i++)
		check_row(rows[i].host ? rows[i].host : "(none)",
			  access_judge(field(rows[i].host), field(rows[i].origin), listed) ==
				  rows[i].want);
}

static void test_nothing_listed(void)
{
	check(access_judge(span_str("status.example.com"), span_of(NULL, 0), "") ==
	      ACCESS_FOREIGN_HOST);
	check(access_judge(span_str("status.example.com"), span_of(NULL, 0), ", ,,") ==
	      ACCESS_FOREIGN_HOST);
	check(access_judge(span_str("10.0.0.1"), span_of(NULL, 0), "") == ACCESS_GRANTED);
}

static void test_long(void)
{
	static char name[9000];

	memset(name, 'a', sizeof(name) - 1);
	check(access_judge(span_str(name), span_of(NULL, 0), "") == ACCESS_FOREIGN_HOST);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "rows", test_rows },
		{ "nothing listed", test_nothing_listed },
		{ "long", test_long },
	};
	return run_cases("access", cases, array_len(cases));
}
