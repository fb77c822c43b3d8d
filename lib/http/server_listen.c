/*
 * From the text of a bind setting to listening sockets, and to the addresses at which the same
 * machine reaches them.  No connection is accepted here.
 */
#include "lib/http/server_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 128 };

socklen_t server_listen_length(const struct sockaddr_storage *at)
{
	return at->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* The port stands at the same place in both families. */
static in_port_t *port_of(struct sockaddr_storage *at)
{
	return &((struct sockaddr_in *)at)->sin_port;
}

static bool read_address(struct sockaddr_storage *to, const char *text, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	else
		return false;
	*port_of(to) = htons(port);
	return true;
}

int server_listen_read(struct server_listen *out, const char *bind, uint16_t port,
		       struct fault *why)
{
	static const struct {
		const char *word, *at[SERVER_LISTEN_MAX];
		bool first_only;
	} words[] = {
		{ "*", { "::", "0.0.0.0" }, true },
		{ "localhost", { "127.0.0.1", "::1" }, false },
	};
	const size_t n = strlen(bind);
	char text[sizeof(out->text)];

	*out = (struct server_listen){ 0 };
	snprintf(out->text, sizeof(out->text), "%s", bind);
	for (size_t i = 0; i < array_len(words); i++)
		if (strcmp(bind, words[i].word) == 0) {
			out->first_only = words[i].first_only;
			for (; out->n < SERVER_LISTEN_MAX; out->n++)
				must(read_address(&out->at[out->n], words[i].at[out->n], port));
			return 0;
		}
	const bool brackets = n > 2 && bind[0] == '[' && bind[n - 1] == ']';
	if (n < sizeof(text)) {
		snprintf(text, sizeof(text), "%.*s", (int)(brackets ? n - 2 : n), bind + brackets);
		if (read_address(&out->at[0], text, port) &&
		    (!brackets || out->at[0].ss_family == AF_INET6)) {
			out->n = 1;
			return 0;
		}
	}
	return fault_set(why, ERR_CONFIG,
			 "\"%.64s\" is no address to listen on: say * for all, localhost, or a "
			 "numeric address without a port",
			 bind);
}

/* The kernel frees the listening socket of a killed process some milliseconds
 * after its io_uring, and who restarts it may be quicker. */
static int bind_patiently(int fd, const struct sockaddr_storage *at, uint64_t busy_ns)
{
	static const struct timespec nap = { .tv_nsec = 10000000 };

	while (bind(fd, (const struct sockaddr *)at, server_listen_length(at)) < 0) {
		if (errno != EADDRINUSE || !busy_ns)
			return -1;
		nanosleep(&nap, NULL);
		busy_ns -= min_u64(busy_ns, (uint64_t)nap.tv_nsec);
	}
	return 0;
}

/* A listening socket, or -1 with errno. */
static int open_one(struct sockaddr_storage *at, uint64_t busy_ns)
{
	socklen_t n = sizeof(*at);
	const int on = 1, off = 0;
	const int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* :: is both families whatever net.ipv6.bindv6only says */
	if (at->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind_patiently(fd, at, busy_ns) || listen(fd, BACKLOG) ||
	    getsockname(fd, (struct sockaddr *)at, &n)) {
		const int sys = errno;

		close(fd);
		errno = sys;
		return -1;
	}
	return fd;
}

static int cannot_listen(const struct server_listen *w, int sys, struct fault *why)
{
	struct sockaddr_storage at = w->at[0];
	const unsigned port = ntohs(*port_of(&at));

	if (sys != EADDRINUSE && sys != EACCES)
		return fault_set_sys(why, sys, "listen on port %u of %s", port, w->text);
	const int rc = fault_set(why, ERR_SYS, "port %u on %s is %s", port, w->text,
				 sys == EACCES ? "not allowed to this user" : "already in use");
	if (why)
		why->sys = sys;
	return rc;
}

int server_listen_open(const struct server_listen *w, int fds[SERVER_LISTEN_MAX], uint16_t *port,
		       uint64_t busy_ns, struct fault *why)
{
	int n = 0, sys = 0;

	for (size_t i = 0; i < w->n; i++) {
		struct sockaddr_storage at = w->at[i];

		if (n) /* where any would do, the second takes the port of the first */
			*port_of(&at) = htons(*port);
		const int fd = open_one(&at, busy_ns);
		if (fd >= 0) {
			fds[n++] = fd;
			*port = ntohs(*port_of(&at));
			if (w->first_only)
				break;
		} else if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) {
			sys = errno;
			break;
		} else if (!sys) {
			sys = errno;
		}
	}
	if (n && (!sys || sys == EAFNOSUPPORT || sys == EADDRNOTAVAIL))
		return n;
	while (n)
		close(fds[--n]);
	return cannot_listen(w, sys, why);
}

size_t server_listen_own(const struct server_listen *w,
			 struct sockaddr_storage to[SERVER_LISTEN_MAX])
{
	static const char *const loopback[] = { "127.0.0.1", "::1" };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&w->at[0];
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&w->at[0];
	const uint16_t port = ntohs(v4->sin_port);
	const bool all_v4 = v4->sin_family == AF_INET && v4->sin_addr.s_addr == INADDR_ANY;
	const bool all = v4->sin_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
	size_t n = 0;

	if (!all && !all_v4) {
		memcpy(to, w->at, w->n * sizeof(w->at[0]));
		return w->n;
	}
	for (; n < (all ? array_len(loopback) : 1); n++)
		must(read_address(&to[n], loopback[n], port));
	return n;
}
