#include "status-server/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/escape.h"
#include "lib/proto/http/http1.h"

enum { ANSWER_MAX = 16 * 1024 };

/* Where the server can be reached from inside: an address that stands for all
 * is the loopback of its family. */
static socklen_t own_address(const struct config *c, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, c->status_bind, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)c->status_port);
		if (v4->sin_addr.s_addr == htonl(INADDR_ANY))
			v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, c->status_bind, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)c->status_port);
		if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr))
			v6->sin6_addr = in6addr_loopback;
		return sizeof(*v6);
	}
	return 0;
}

/* The answer up to its end; its length, or < 0 with errno. */
static ssize_t exchange(int fd, const char *path, uint8_t answer[ANSWER_MAX])
{
	char request[128];
	size_t n = 0;
	const int len =
		snprintf(request, sizeof(request),
			 "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);

	if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
		return -1;
	while (n < ANSWER_MAX) {
		const ssize_t got = recv(fd, answer + n, ANSWER_MAX - n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

/* What is missing, of the document that /ready answers with. */
static void tell_reasons(char text[PROBE_TEXT_MAX], struct span body)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *doc =
		t ? json_tokener_parse_ex(t, (const char *)body.p, (int)body.n) : NULL;
	struct json_object *missing = NULL, *reason = NULL;
	size_t n = (size_t)snprintf(text, PROBE_TEXT_MAX, "not ready");

	if (json_object_object_get_ex(doc, "missing", &missing) &&
	    json_object_is_type(missing, json_type_array))
		for (size_t i = 0; i < json_object_array_length(missing) && n < PROBE_TEXT_MAX;
		     i++) {
			struct json_object *row = json_object_array_get_idx(missing, i);
			char shown[256];

			if (!json_object_object_get_ex(row, "reason", &reason))
				continue;
			escape_text(shown, sizeof(shown), span_str(json_object_get_string(reason)));
			n += (size_t)snprintf(text + n, PROBE_TEXT_MAX - n, "%s%s", i ? "; " : ": ",
					      shown);
		}
	json_object_put(doc);
	json_tokener_free(t);
}

static bool judge(char text[PROBE_TEXT_MAX], bool ready, const uint8_t *answer, size_t n)
{
	struct http1_head head;
	struct fault why = { 0 };
	const int rc = http1_read_response(&head, answer, n, &why);

	if (rc <= 0)
		snprintf(text, PROBE_TEXT_MAX, "the status server's answer makes no sense: %s",
			 rc < 0 ? why.why : "it ends too early");
	else if (head.status == 200)
		snprintf(text, PROBE_TEXT_MAX, "%s", ready ? "ready" : "alive");
	else if (ready && head.status == 503)
		tell_reasons(text, span_of(answer + rc, n - (size_t)rc));
	else
		snprintf(text, PROBE_TEXT_MAX, "the status server answers with status %d",
			 head.status);
	return rc > 0 && head.status == 200;
}

bool probe_ask(const struct config *c, bool ready, char text[PROBE_TEXT_MAX])
{
	const struct timeval patience = { .tv_sec = 2 };
	uint8_t answer[ANSWER_MAX];
	struct sockaddr_storage at;
	const socklen_t at_n = own_address(c, &at);

	if (!at_n) {
		snprintf(text, PROBE_TEXT_MAX, "\"%.64s\" is no numeric address", c->status_bind);
		return false;
	}
	const int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n = -1;
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	    connect(fd, (struct sockaddr *)&at, at_n) == 0)
		n = exchange(fd, ready ? "/ready" : "/health", answer);
	const int sys = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		snprintf(text, PROBE_TEXT_MAX, "the status server does not answer on port %d: %s",
			 (int)c->status_port,
			 sys == EAGAIN || sys == EINPROGRESS ? "nothing within 2 s"
							     : strerror(sys));
		return false;
	}
	return judge(text, ready, answer, (size_t)n);
}
