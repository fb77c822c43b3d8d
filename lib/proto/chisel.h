/*
 * chisel -- what chisel says inside SSH: names, remote strings, the `config`
 * request, channel targets.  Protocol "chisel-v3".  Pure functions.
 *
 * Grammar and meaning as in chisel's own help; what this client does not do
 * (local forwards, UDP, SOCKS, stdio) is refused with a sentence that says so.
 */
#ifndef LIB_PROTO_CHISEL_H
#define LIB_PROTO_CHISEL_H

#include "lib/base/buf.h"
#include "lib/base/limits.h"
#include "lib/proto/url.h"

#define CHISEL_PROTOCOL	      "chisel-v3"
#define CHISEL_CLIENT_VERSION "SSH-chisel-v3-client"
#define CHISEL_SERVER_VERSION "SSH-chisel-v3-server"
#define CHISEL_CHANNEL	      "chisel" /* channel type; extra data is the target */
#define CHISEL_REQUEST_CONFIG "config"
#define CHISEL_REQUEST_PING   "ping" /* answered true with payload "pong" */

#define CHISEL_HOST_MAX	   URL_HOST_MAX
#define CHISEL_REMOTES_MAX LIMIT_REMOTES /* of one client; each is some 170 bytes of `config` */
#define CHISEL_CONFIG_MAX  LIMIT_REMOTES_BYTES /* of the whole payload of `config` */

/* One reverse TCP remote: the server listens on bind_host:bind_port, we dial
 * host:port for each connection. */
struct chisel_remote {
	char bind_host[CHISEL_HOST_MAX + 1]; /* without brackets; "0.0.0.0" by default */
	uint16_t bind_port;
	char host[CHISEL_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
};

/* Reads "R:<port>:<host>:<port>" and its short and bind forms.  ERR_USAGE with
 * the reason and a correct example. */
MUST_USE int chisel_remote_read(struct chisel_remote *out, const char *text, struct fault *why);
/* ERR_USAGE where two remotes want the same port of the server at addresses that
 * overlap: the official server would refuse the second and keep the first for ever. */
MUST_USE int chisel_remotes_check(const struct chisel_remote *remotes, size_t n, struct fault *why);
/* The canonical text, as chisel's server prints it: "R:8000=>localhost:6443". */
size_t chisel_remote_write(const struct chisel_remote *r, char *to, size_t n);
/* The channel target the server will name: "localhost:6443", "[::1]:80". */
size_t chisel_target_write(const struct chisel_remote *r, char *to, size_t n);

/* Appends the JSON payload of `config`, for servers at most CHISEL_CONFIG_MAX bytes.
 * Errors of buf_append. */
MUST_USE int chisel_config_write(struct buf *to, const char *version,
				 const struct chisel_remote *remotes, size_t n);

/* A server URL: https://, wss://, http://, ws://, or none of them.
 * `tls_default` says what a text without a scheme means (the control plane's
 * tunnel_url: TLS; chisel's command line: plain).  ERR_USAGE. */
MUST_USE int chisel_url_read(struct url *out, const char *text, bool tls_default,
			     struct fault *why);
/* The same, and ssh://[user@]host[:port] of a gateway that is an SSH server. */
MUST_USE int chisel_gateway_read(struct url *out, const char *text, bool tls_default,
				 struct fault *why);
/* Whether the way there is plain: no TLS, no SSH. */
static inline bool chisel_url_is_plain(const struct url *u)
{
	return !u->tls && !u->ssh;
}

/* Whether only its host key's fingerprint can prove this server: whoever stands on
 * the way could take the credentials otherwise.  `is_verified`: TLS, where the URL
 * has it, checks the certificate. */
static inline bool chisel_url_needs_fingerprint(const struct url *u, bool is_verified)
{
	return !(u->tls && is_verified) && !u->is_loopback;
}

#endif
