/*
 * What Landlock is asked for, by a kernel of the test's own that writes it down,
 * for each ABI; and once by the real one, where there is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/app/sandbox/sandbox_private.h"
#include "tests/support/cases.h"

/* Where the fake kernel fails. */
enum step { STEP_NONE, STEP_VERSION, STEP_CREATE, STEP_RULE, STEP_RESTRICT };

static struct {
	long abi;
	enum step fails;
	int ruleset;
	uint64_t attr[3];
	size_t rules, restricted;
	struct {
		int type;
		uint64_t access, port;
		char path[PATH_MAX];
	} rule[8];
} fake;

static long fail(int sys)
{
	errno = sys;
	return -1;
}

static long fake_create(const void *attr, size_t size, uint32_t flags)
{
	if (flags == 1 && !attr && !size)
		return fake.fails == STEP_VERSION ? fail(ENOSYS) : fake.abi;
	must(flags == 0 && size == sizeof(fake.attr));
	memcpy(fake.attr, attr, size);
	if (fake.fails == STEP_CREATE)
		return fail(EMFILE);
	fake.ruleset = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fake.ruleset;
}

static long fake_add_rule(int fd, int type, const void *rule)
{
	if (fake.fails == STEP_RULE)
		return fail(ENOMEM);
	must(fd == fake.ruleset && fake.rules < array_len(fake.rule));
	const size_t i = fake.rules++;
	fake.rule[i].type = type;
	memcpy(&fake.rule[i].access, rule, 8);
	if (type == 2) {
		memcpy(&fake.rule[i].port, (const char *)rule + 8, 8);
		return 0;
	}
	char link[64];
	int32_t file;
	memcpy(&file, (const char *)rule + 8, 4); /* the kernel's struct is packed: no gap */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	const ssize_t n = readlink(link, fake.rule[i].path, sizeof(fake.rule[i].path) - 1);
	must(n > 0);
	fake.rule[i].path[n] = '\0';
	return 0;
}

static long fake_restrict(int fd)
{
	must(fd == fake.ruleset);
	fake.restricted++;
	return fake.fails == STEP_RESTRICT ? fail(E2BIG) : 0;
}

static const struct sandbox_landlock kernel = { fake_create, fake_add_rule, fake_restrict };

static void begin(long abi, enum step fails)
{
	memset(&fake, 0, sizeof(fake));
	fake.abi = abi;
	fake.fails = fails;
	fake.ruleset = -1;
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A right that the kernel's ABI does not know is EINVAL there; one that it knows
 * and is not asked for stays open. */
static void test_files(void)
{
	static const struct {
		long abi;
		uint64_t files, scope;
	} rows[] = { { 1, 0x1fff, 0 }, { 2, 0x3fff, 0 }, { 3, 0x7fff, 0 }, { 4, 0x7fff, 0 },
		     { 5, 0xffff, 0 }, { 6, 0xffff, 3 }, { 7, 0xffff, 3 }, { 99, 0xffff, 3 } };
	static const char *const read[] = { "/etc", "/no/such/path", "/etc/passwd" };

	for (size_t i = 0; i < array_len(rows); i++) {
		char name[16];
		const int fds = count_fds();

		snprintf(name, sizeof(name), "ABI %ld", rows[i].abi);
		begin(rows[i].abi, STEP_NONE);
		check_row(name, sandbox_landlock_files(&kernel, read, array_len(read)) == 0);
		check_row(name, fake.attr[0] == rows[i].files && !fake.attr[1] &&
					fake.attr[2] == rows[i].scope);
		check_row(name, fake.rules == 2 && fake.restricted == 1);
		check_row(name,
			  fake.rule[0].type == 1 && fake.rule[0].access == (1u << 2 | 1u << 3));
		check_row(name, strcmp(fake.rule[0].path, "/etc") == 0);
		/* A folder's right on a file is EINVAL. */
		check_row(name, fake.rule[1].access == 1u << 2 &&
					strcmp(fake.rule[1].path, "/etc/passwd") == 0);
		check_row(name, count_fds() == fds);
	}
}

static void test_ports(void)
{
	static const uint16_t ports[] = { 53, 443, 65535 };

	for (long abi = 1; abi < 4; abi++) {
		begin(abi, STEP_NONE);
		check(sandbox_landlock_ports(&kernel, ports, array_len(ports)) == ENOTSUP);
		check(!fake.restricted);
	}
	begin(4, STEP_NONE);
	check(sandbox_landlock_ports(&kernel, ports, array_len(ports)) == 0);
	check(!fake.attr[0] && fake.attr[1] == 3 && !fake.attr[2]); /* to bind: no port at all */
	check(fake.rules == 3 && fake.restricted == 1);
	for (size_t i = 0; i < fake.rules; i++)
		check(fake.rule[i].type == 2 && fake.rule[i].access == 2 &&
		      fake.rule[i].port == ports[i]);
}

static void test_failures(void)
{
	static const struct {
		const char *name;
		enum step fails;
		int want;
	} rows[] = {
		{ "no Landlock", STEP_VERSION, ENOSYS },
		{ "no descriptor", STEP_CREATE, EMFILE },
		{ "rule", STEP_RULE, ENOMEM },
		{ "too many layers", STEP_RESTRICT, E2BIG },
	};
	static const char *const read[] = { "/etc" };
	static const uint16_t ports[] = { 443 };

	for (size_t i = 0; i < array_len(rows); i++) {
		const int fds = count_fds();

		begin(7, rows[i].fails);
		check_row(rows[i].name, sandbox_landlock_files(&kernel, read, 1) == rows[i].want);
		check_row(rows[i].name, fake.restricted == (rows[i].fails == STEP_RESTRICT));
		begin(7, rows[i].fails);
		check_row(rows[i].name, sandbox_landlock_ports(&kernel, ports, 1) == rows[i].want);
		check_row(rows[i].name, count_fds() == fds);
	}
}

/* 0, or the errno of a connect to a port of this machine where nobody listens. */
static int try_connect(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int sys = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;

	close(fd);
	return sys;
}

static bool opens(const char *path, int flags)
{
	const int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int judge_kernel(const char *dir)
{
	const char *const read[] = { dir };
	static const uint16_t ports[] = { 2 };
	char path[64];

	snprintf(path, sizeof(path), "%s/file", dir);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || !opens(path, O_RDWR | O_CREAT))
		return 2;
	int sys = sandbox_landlock_files(&sandbox_landlock_kernel, read, 1);
	if (sys == ENOSYS || sys == EOPNOTSUPP)
		return 77;
	if (sys || !opens(path, O_RDONLY) || !opens(dir, O_RDONLY | O_DIRECTORY))
		return 3;
	if (opens(path, O_WRONLY) || opens("/etc/passwd", O_RDONLY) || unlink(path) == 0)
		return 4;
	sys = sandbox_landlock_ports(&sandbox_landlock_kernel, ports, 1);
	if (sys == ENOTSUP)
		return 78;
	if (sys || try_connect(1) != EACCES || try_connect(2) == EACCES)
		return 5;
	return 0;
}

static void test_kernel(void)
{
	char dir[] = "/tmp/landlock-test-XXXXXX", path[64];
	int status = -1;

	must(mkdtemp(dir));
	fflush(stdout);
	const pid_t child = fork();
	if (child == 0)
		_exit(judge_kernel(dir));
	check(waitpid(child, &status, 0) == child && WIFEXITED(status));
	const int code = WEXITSTATUS(status);
	if (code == 77 || code == 78)
		printf(" [%s skipped: this kernel does not have it] ",
		       code == 77 ? "Landlock" : "ports");
	else
		check(code == 0);
	if (code)
		printf("judged %d\n", code);
	snprintf(path, sizeof(path), "%s/file", dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "files, by ABI", test_files },
		{ "ports, by ABI", test_ports },
		{ "failures", test_failures },
		{ "the kernel", test_kernel },
	};
	return run_cases("sandbox landlock", cases, array_len(cases));
}
