/*
 * One request to the status server of the same machine, and what its answer says, as one sentence.
 * It blocks: the process does nothing else.
 */
#include "status-server/probe.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/escape.h"
#include "lib/http/server_listen.h"
#include "lib/proto/http/http1.h"

enum { ANSWER_MAX = 16 * 1024 };

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

/* The response of whatever listens at one of these addresses; its length, or < 0 with errno. */
static ssize_t ask(const struct server_listen *where, const char *path, uint8_t answer[ANSWER_MAX])
{
	const struct timeval patience = { .tv_sec = 2 };
	struct sockaddr_storage at[SERVER_LISTEN_MAX];
	const size_t n = server_listen_own(where, at);
	int sys = ENOENT;

	for (size_t i = 0; i < n; i++) {
		const int fd = socket(at[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ssize_t got = -1;
		bool connected = false;

		if (fd >= 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
		    connect(fd, (struct sockaddr *)&at[i], server_listen_length(&at[i])) == 0) {
			connected = true;
			got = exchange(fd, path, answer);
		}
		/* that the second family is missing is no news */
		if (i == 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
			sys = errno;
		if (fd >= 0)
			close(fd);
		if (connected) {
			errno = sys;
			return got;
		}
	}
	errno = sys;
	return -1;
}

bool probe_ask(const struct config *c, bool ready, char text[PROBE_TEXT_MAX])
{
	uint8_t answer[ANSWER_MAX];
	struct server_listen where;
	struct fault why = { 0 };

	if (server_listen_read(&where, c->status_bind, (uint16_t)c->status_port, &why) < 0) {
		snprintf(text, PROBE_TEXT_MAX, "status.bind: %s", why.why);
		return false;
	}
	const ssize_t n = ask(&where, ready ? "/ready" : "/health", answer);
	if (n < 0) {
		snprintf(text, PROBE_TEXT_MAX, "the status server does not answer on port %d: %s",
			 (int)c->status_port,
			 errno == EAGAIN || errno == EINPROGRESS ? "nothing within 2 s"
								 : strerror(errno));
		return false;
	}
	return judge(text, ready, answer, (size_t)n);
}
