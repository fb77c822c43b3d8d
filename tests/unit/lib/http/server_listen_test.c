/* What a bind setting may say, and who reaches what listens there. */
#include "lib/http/server_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/support/cases.h"

static bool has_ipv6(void)
{
	const struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	const int fd = socket(AF_INET6, SOCK_STREAM, 0);
	const bool has = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

static bool reaches(const char *address, uint16_t port)
{
	struct sockaddr_storage at = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;

	if (strchr(address, ':')) {
		v6->sin6_family = AF_INET6;
		must(inet_pton(AF_INET6, address, &v6->sin6_addr) == 1);
	} else {
		v4->sin_family = AF_INET;
		must(inet_pton(AF_INET, address, &v4->sin_addr) == 1);
	}
	v4->sin_port = htons(port);
	const int fd = socket(at.ss_family, SOCK_STREAM, 0);
	const bool good =
		fd >= 0 && connect(fd, (struct sockaddr *)&at, server_listen_length(&at)) == 0;
	if (fd >= 0)
		close(fd);
	return good;
}

static const struct {
	const char *bind;
	bool v4, v6; /* who reaches it */
} good[] = {
	{ "*", true, true },
	{ "::", true, true },
	{ "[::]", true, true },
	{ "0.0.0.0", true, false },
	{ "127.0.0.1", true, false },
	{ "::1", false, true },
	{ "[::1]", false, true },
	{ "localhost", true, true },
	{ "::ffff:127.0.0.1", true, false },
};

static void test_good(void)
{
	for (size_t i = 0; i < array_len(good); i++) {
		struct server_listen w;
		struct sockaddr_storage own[SERVER_LISTEN_MAX];
		struct fault why = { 0 };
		uint16_t port = 0;
		int fds[SERVER_LISTEN_MAX];

		check_row(good[i].bind, server_listen_read(&w, good[i].bind, 0, &why) == 0);
		if (!has_ipv6() && !good[i].v4)
			continue;
		const int n = server_listen_open(&w, fds, &port, 0, &why);
		if (!check_row(good[i].bind, n >= 1)) {
			puts(why.why);
			continue;
		}
		check_row(good[i].bind, port != 0);
		check_row(good[i].bind, reaches("127.0.0.1", port) == good[i].v4);
		if (has_ipv6())
			check_row(good[i].bind, reaches("::1", port) == good[i].v6);
		/* and the probe finds it */
		check_row(good[i].bind, server_listen_read(&w, good[i].bind, port, &why) == 0);
		const size_t own_n = server_listen_own(&w, own);
		bool found = false;
		for (size_t k = 0; k < own_n && !found; k++) {
			const int fd = socket(own[k].ss_family, SOCK_STREAM, 0);

			found = fd >= 0 && connect(fd, (struct sockaddr *)&own[k],
						   server_listen_length(&own[k])) == 0;
			if (fd >= 0)
				close(fd);
		}
		check_row(good[i].bind, found);
		for (int k = 0; k < n; k++)
			close(fds[k]);
	}
}

static void test_refused(void)
{
	static const char *const bad[] = { "",		 "example.com",	 "0.0.0.0:8080",
					   "[::]:8080",	 "[127.0.0.1]",	 "[",
					   "[]",	 "Localhost ",	 "1.2.3",
					   "::1%lo",	 "127.0.0.1 ",	 "*:8080" };

	for (size_t i = 0; i < array_len(bad); i++) {
		struct server_listen w;
		struct fault why = { 0 };

		check_row(bad[i], server_listen_read(&w, bad[i], 80, &why) == ERR_CONFIG);
		check_row(bad[i], strstr(why.why, "say * for all, localhost") != NULL);
	}
}

/* Two sockets of one server have one port; where it is taken in one family, none stays open. */
static void test_port_in_use(void)
{
	struct server_listen w;
	struct fault why = { 0 };
	uint16_t port = 0, same = 0;
	int fds[SERVER_LISTEN_MAX], more[SERVER_LISTEN_MAX];

	must(server_listen_read(&w, "127.0.0.1", 0, NULL) == 0);
	must(server_listen_open(&w, fds, &port, 0, NULL) == 1);
	static const char *const others[] = { "127.0.0.1", "localhost", "*", "0.0.0.0" };
	for (size_t i = 0; i < array_len(others); i++) {
		why = (struct fault){ 0 };
		must(server_listen_read(&w, others[i], port, NULL) == 0);
		check_row(others[i], server_listen_open(&w, more, &same, 0, &why) == ERR_SYS);
		check_row(others[i], why.sys == EADDRINUSE && strstr(why.why, "already in use"));
		check_row(others[i], strstr(why.why, others[i]) != NULL);
	}
	close(fds[0]);
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "good", test_good },
		{ "refused", test_refused },
		{ "port in use", test_port_in_use },
	};
	return run_cases("server_listen", cases, array_len(cases));
}
