/*
 * proxy_env -- which proxy the environment names for a server.  Pure: the
 * environment is an argument.
 *
 * As Go's net/http and curl do: https_proxy for TLS, http_proxy for plain HTTP,
 * all_proxy for what has none; no_proxy lists the hosts that are reached directly.
 * The lower-case name goes before the upper-case one, an empty value is none, and
 * HTTP_PROXY is ignored in a CGI program, where a client sets it.  This machine
 * itself (localhost, 127.0.0.0/8, ::1) is never reached through a proxy.
 *
 * no_proxy: "*" all; "example.com" it and what is below; ".example.com" and
 * "*.example.com" what is below; addresses; networks like 10.0.0.0/8, fd00::/8;
 * each with :port it counts for that port alone.  Names are compared as written,
 * none is looked up.
 */
#ifndef LIB_PROTO_PROXY_ENV_H
#define LIB_PROTO_PROXY_ENV_H

#include "lib/proto/proxy.h"

enum proxy_env_kind { PROXY_ENV_TLS, PROXY_ENV_PLAIN, PROXY_ENV_OTHER, PROXY_ENV_KINDS };

struct proxy_env_choice {
	struct proxy_url url; /* PROXY_NONE: directly */
	const char *variable; /* the one that decided; NULL: no variable names a proxy */
};

/* env is like environ: NULL-ended "NAME=value".  The proxy for servers of this
 * kind, whatever their name.  ERR_CONFIG: a variable holds no proxy we know; the
 * sentence names it, and never its value's password. */
MUST_USE int proxy_env_read(struct proxy_env_choice *out, const char *const *env,
			    enum proxy_env_kind kind, struct fault *why);
/* The same for one server; host without brackets. */
MUST_USE int proxy_env_choose(struct proxy_env_choice *out, const char *const *env,
			      enum proxy_env_kind kind, const char *host, uint16_t port,
			      struct fault *why);

/* Whether a no_proxy list names this server. */
bool proxy_env_is_direct(const char *no_proxy, const char *host, uint16_t port);

#endif
