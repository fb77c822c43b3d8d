/*
 * libssh2_client -- libssh2 as the client of our server role: password, one
 * direct-tcpip channel, --bytes through it and back, compared.
 *
 *   libssh2-client PORT USER PASSWORD BYTES [kex [host-key [cipher]]]
 *
 * Prints the negotiated names as one JSON line.  Exit code 77: this libssh2
 * does not have an algorithm that was asked for; it says which.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(LIBSSH2_SESSION *s, const char *what)
{
	char *text = "";
	if (s)
		libssh2_session_last_error(s, &text, NULL, 0);
	fprintf(stderr, "libssh2-client: %s: %s\n", what, text);
	return 1;
}

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)((at * 2654435761u) >> 13 ^ at % 251);
}

static void wait_for(LIBSSH2_SESSION *s, int fd)
{
	int way = libssh2_session_block_directions(s);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (way & LIBSSH2_SESSION_BLOCK_OUTBOUND)
		p.events = (short)(p.events | POLLOUT);
	poll(&p, 1, 1000);
}

/* Sends and reads at once: with a window on each side neither may wait. */
static int echo(LIBSSH2_SESSION *s, LIBSSH2_CHANNEL *c, int fd, uint64_t bytes)
{
	static char out[32768], in[32768];
	uint64_t sent = 0, got = 0;
	libssh2_session_set_blocking(s, 0);
	while (got < bytes) {
		bool moved = false;
		ssize_t n;
		if (sent < bytes) {
			size_t want =
				bytes - sent < sizeof(out) ? (size_t)(bytes - sent) : sizeof(out);
			for (size_t i = 0; i < want; i++)
				out[i] = (char)pattern(sent + i);
			n = libssh2_channel_write(c, out, want);
			if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
				return fail(s, "write");
			if (n > 0)
				moved = true, sent += (uint64_t)n;
		}
		while ((n = libssh2_channel_read(c, in, sizeof(in))) > 0) {
			moved = true;
			for (ssize_t i = 0; i < n; i++)
				if ((uint8_t)in[i] != pattern(got + (uint64_t)i))
					return fail(NULL, "a byte differs");
			got += (uint64_t)n;
		}
		if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
			return fail(s, "read");
		if (n == 0 && libssh2_channel_eof(c) && got < bytes)
			return fail(NULL, "the stream ended early");
		if (!moved)
			wait_for(s, fd);
	}
	libssh2_session_set_blocking(s, 1);
	return 0;
}

static int prefer(LIBSSH2_SESSION *s, int method, const char *name)
{
	if (!name || !name[0] || libssh2_session_method_pref(s, method, name) == 0)
		return 0;
	printf("libssh2 %s does not have %s\n", libssh2_version(0), name);
	return 77;
}

static int use(LIBSSH2_SESSION *s, int fd, char *argv[], int argc)
{
	static const int methods[] = { LIBSSH2_METHOD_KEX, LIBSSH2_METHOD_HOSTKEY,
				       LIBSSH2_METHOD_CRYPT_CS };
	for (int i = 5; i < argc && i < 8; i++) {
		int r = prefer(s, methods[i - 5], argv[i]);
		if (!r && i == 7)
			r = prefer(s, LIBSSH2_METHOD_CRYPT_SC, argv[i]);
		if (r)
			return r;
	}
	if (libssh2_session_handshake(s, fd))
		return fail(s, "handshake");
	printf("{\"event\":\"negotiated\",\"kex\":\"%s\",\"host_key\":\"%s\",\"cipher\":\"%s\","
	       "\"version\":\"%s\"}\n",
	       libssh2_session_methods(s, LIBSSH2_METHOD_KEX),
	       libssh2_session_methods(s, LIBSSH2_METHOD_HOSTKEY),
	       libssh2_session_methods(s, LIBSSH2_METHOD_CRYPT_CS), libssh2_version(0));
	if (libssh2_userauth_password(s, argv[2], argv[3]))
		return fail(s, "password");
	LIBSSH2_CHANNEL *c = libssh2_channel_direct_tcpip(s, "127.0.0.1", 7);
	if (!c)
		return fail(s, "direct-tcpip");
	int r = echo(s, c, fd, strtoull(argv[4], NULL, 10));
	if (r == 0 && (libssh2_channel_send_eof(c) || libssh2_channel_wait_eof(c)))
		r = fail(s, "end of the stream");
	libssh2_channel_free(c);
	libssh2_session_disconnect(s, "done");
	return r;
}

int main(int argc, char *argv[])
{
	if (argc < 5) {
		fputs("usage: libssh2-client PORT USER PASSWORD BYTES [kex [host-key [cipher]]]\n",
		      stderr);
		return 2;
	}
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return fail(NULL, "cannot connect");
	if (libssh2_init(0))
		return fail(NULL, "init");
	LIBSSH2_SESSION *s = libssh2_session_init();
	if (!s)
		return fail(NULL, "no session");
	int r = use(s, fd, argv, argc);
	libssh2_session_free(s);
	libssh2_exit();
	close(fd);
	return r;
}
