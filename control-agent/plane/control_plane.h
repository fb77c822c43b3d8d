/*
 * control_plane -- the one origin this program talks to: its URL, trust and
 * token, and requests to it.
 */
#ifndef CONTROL_AGENT_PLANE_CONTROL_PLANE_H
#define CONTROL_AGENT_PLANE_CONTROL_PLANE_H

#include "control-agent/plane/redact.h"
#include "lib/app/config/config.h"
#include "lib/http/client_whole.h"
#include "lib/proto/url.h"

struct control_plane {
	struct loop *loop;
	const struct config *config;
	const char *service_token; /* for redaction; "" or the one that was sent */
	struct url url;
	char prefix[512]; /* the URL's path without its last "/" */
	char user_agent[64];
	struct proxy_url proxy; /* PROXY_NONE: reached directly */
	SSL_CTX *tls;
};

/* ERR_CONFIG: a URL or a CA file that can't be used, with the setting to change. */
MUST_USE int control_plane_init(struct control_plane *cp, struct loop *l, const struct config *c,
				struct fault *why);
void control_plane_fini(struct control_plane *cp); /* after its clients; accepts a zeroed cp */

/* The token, from its file when there is one.  ERR_CONFIG says what to set. */
MUST_USE int control_plane_token(const struct config *c, struct secret *to, struct fault *why);

/* The URL of the configuration, checked: https, or http where that is allowed. */
MUST_USE int control_plane_url(struct url *to, const struct config *c, struct fault *why);

/* A connection of its own: requests on one client go one after another. */
MUST_USE int control_plane_client(const struct control_plane *cp, struct http_client **out,
				  struct fault *why);
/* `body` may be empty. */
MUST_USE int control_plane_send(const struct control_plane *cp, struct http_client *client,
				const char *method, const char *path, struct span body,
				http_done_fn *done, void *user, struct fault *why);

/* An answer's body for the log: cut, printable, without our secrets. */
void control_plane_show(const struct control_plane *cp, char to[REDACT_BODY_MAX + 1],
			struct span body);

#endif
