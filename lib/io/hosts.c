/*
 * Reads the hosts file anew for each question: it is a page or less, a kubelet
 * may rewrite it at any time, and a look-up is followed by a connect, which
 * costs more.  Not a resolver: no name server is asked here.
 */
#include "lib/io/hosts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { FILE_MAX = 64 * 1024 };

static const char blanks[] = " \t\r\f\v";

/* A name's final dot says that it is complete; the file has names without. */
static bool is_name(const char *a, size_t a_len, const char *b)
{
	size_t b_len = strlen(b);

	if (b_len && b[b_len - 1] == '.')
		b_len--;
	return b_len && a_len == b_len && strncasecmp(a, b, b_len) == 0;
}

/* An address without a scope; one with a scope is left to the system's resolver. */
static bool read_address(struct sockaddr_storage *out, const char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	else
		return false;
	return true;
}

static bool names_it(char *line, const char *name, struct sockaddr_storage *out)
{
	char *word = line + strspn(line, blanks);
	size_t n = strcspn(word, blanks);
	char *rest = word + n;

	if (!n || !*rest)
		return false;
	*rest++ = '\0';
	if (!read_address(out, word))
		return false;
	for (;;) {
		rest += strspn(rest, blanks);
		n = strcspn(rest, blanks);
		if (!n)
			return false;
		if (is_name(rest, n, name))
			return true;
		rest += n;
	}
}

/* IPv6 addresses go before the others; within a family the file's order stays. */
static size_t put(struct sockaddr_storage *out, size_t n, size_t *n6,
		  const struct sockaddr_storage *a)
{
	const size_t at = a->ss_family == AF_INET6 ? (*n6)++ : n;

	memmove(&out[at + 1], &out[at], (n - at) * sizeof(*out));
	out[at] = *a;
	return n + 1;
}

static size_t read_file(const char *path, char *text)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t n = 0;

	if (fd < 0)
		return 0;
	for (ssize_t got = 1; got > 0 && n <= FILE_MAX; n += got > 0 ? (size_t)got : 0)
		got = read(fd, text + n, FILE_MAX + 1 - n);
	close(fd);
	return n <= FILE_MAX ? n : 0;
}

size_t hosts_find(const char *path, const char *name, struct sockaddr_storage *out, size_t max)
{
	static const char *const loopback[] = { "::1", "127.0.0.1" };
	static _Thread_local char text[FILE_MAX + 2];
	struct sockaddr_storage a;
	size_t n = 0, n6 = 0;

	text[read_file(path, text)] = '\0';
	for (char *line = text, *next; line && n < max; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line[strcspn(line, "#")] = '\0';
		if (names_it(line, name, &a))
			n = put(out, n, &n6, &a);
	}
	if (n || !is_name("localhost", 9, name))
		return n;
	for (size_t i = 0; i < 2 && n < max; i++)
		if (read_address(&a, loopback[i]))
			n = put(out, n, &n6, &a);
	return n;
}
