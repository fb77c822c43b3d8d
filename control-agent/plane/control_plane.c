/*
 * URL, trust, token and proxy of the one origin, and a request to it.  What is asked for and what
 * an answer means stands in the other files of plane/ and in tunnel/.
 */
#include "control-agent/plane/control_plane.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/app/log.h"
#include "lib/app/program.h"
#include "lib/io/file.h"
#include "lib/io/tls_context.h"
#include "lib/proto/proxy_env.h"

int control_plane_url(struct url *to, const struct config *c, struct fault *why)
{
	static const struct url_rules rules = {
		.schemes = URL_OF(URL_HTTPS) | URL_OF(URL_HTTP),
		.unwritten = URL_HTTPS,
		.example = "https://api.example.com",
	};
	struct fault inner = { 0 };

	if (strncasecmp(c->api_url, "ws", 2) == 0 && strstr(c->api_url, "://"))
		return fault_set(
			why, ERR_CONFIG,
			"pipeops.api_url (PIPEOPS_API_URL) must start with https://, not ws");
	if (strpbrk(c->api_url, "?#"))
		return fault_set(
			why, ERR_CONFIG,
			"pipeops.api_url (PIPEOPS_API_URL) takes no query and no fragment");
	if (url_read(to, c->api_url, &rules, &inner) < 0)
		return fault_set(why, ERR_CONFIG, "pipeops.api_url (PIPEOPS_API_URL): %.180s",
				 inner.why);
	if (to->has_user)
		return fault_set(
			why, ERR_CONFIG,
			"pipeops.api_url (PIPEOPS_API_URL) takes no user and password: the token "
			"is set as PIPEOPS_TOKEN");
	if (!to->tls && !to->is_loopback && c->tls_enabled && !c->allow_plain)
		return fault_set(why, ERR_CONFIG,
				 "pipeops.api_url is plain http to a host that is not this "
				 "machine: the token "
				 "would be readable on the way. Use https://, or set "
				 "pipeops.tls.allow_plain");
	return 0;
}

/* The environment's; said once, without credentials. */
static int find_proxy(struct control_plane *cp, struct fault *why)
{
	struct proxy_env_choice choice;
	const int rc = proxy_env_choose(&choice, (const char *const *)environ,
					cp->url.tls ? PROXY_ENV_TLS : PROXY_ENV_PLAIN, cp->url.host,
					cp->url.port, why);

	if (rc < 0)
		return rc;
	cp->proxy = choice.url;
	if (choice.variable)
		log_info("proxy",
			 choice.url.kind ? "the control plane is reached through a proxy"
					 : "the control plane is reached directly; the configured "
					   "proxy is not used",
			 L_STR("proxy", choice.url.kind ? choice.url.host : "none"),
			 L_INT("port", choice.url.port), L_STR("because", choice.variable),
			 L_STR("server", cp->url.host_header));
	explicit_bzero(&choice, sizeof(choice));
	return 0;
}

int control_plane_init(struct control_plane *cp, struct loop *l, const struct config *c,
		       struct fault *why)
{
	*cp = (struct control_plane){ .loop = l, .config = c, .service_token = "" };
	const int rc = control_plane_url(&cp->url, c, why);
	if (rc < 0)
		return rc;
	size_t n = strlen(cp->url.path);
	while (n && cp->url.path[n - 1] == '/')
		n--;
	memcpy(cp->prefix, cp->url.path, n);
	cp->prefix[n] = '\0';
	snprintf(cp->user_agent, sizeof(cp->user_agent), "pipeops-agent/%s", program_version);
	const int found = find_proxy(cp, why);
	if (found < 0 || !cp->url.tls)
		return found;
	return tls_context_new(&cp->tls,
			       &(struct tls_context_options){
				       .ca_file = c->ca_file[0] ? c->ca_file : NULL,
				       .skip_verify = c->tls_skip_verify,
			       },
			       why);
}

void control_plane_fini(struct control_plane *cp)
{
	SSL_CTX_free(cp->tls);
	explicit_bzero(&cp->proxy, sizeof(cp->proxy));
	*cp = (struct control_plane){ 0 };
}

static int read_token_file(const char *path, struct secret *to, struct fault *why)
{
	struct fault inner = { 0 };
	const int n =
		file_read(to->text, sizeof(to->text), path, FILE_TEXT | FILE_TRIM, NULL, &inner);

	if (n < 0)
		return fault_set(why, ERR_CONFIG, "token file (PIPEOPS_TOKEN_FILE) %.220s",
				 inner.why);
	return n ? config_check_left_over(to->text, "token file (PIPEOPS_TOKEN_FILE)", ERR_CONFIG,
					  why)
		 : fault_set(why, ERR_CONFIG, "token file %.150s is empty", path);
}

int control_plane_token(const struct config *c, struct secret *to, struct fault *why)
{
	if (c->token_file[0]) {
		const int rc = read_token_file(c->token_file, to, why);
		if (rc < 0)
			return rc;
	} else {
		memcpy(to, &c->token, sizeof(*to));
	}
	if (!to->text[0])
		return fault_set(
			why, ERR_CONFIG,
			"no token for the control plane: set PIPEOPS_TOKEN, PIPEOPS_TOKEN_FILE or "
			"pipeops.token in the configuration file");
	for (const char *p = to->text; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return fault_set(why, ERR_CONFIG,
					 "the token (%s) holds white space or other characters "
					 "that no token has",
					 c->token_file[0] ? "of the token file" : "PIPEOPS_TOKEN");
	return 0;
}

int control_plane_client(const struct control_plane *cp, struct http_client **out,
			 struct fault *why)
{
	const struct http_client_options options = {
		.tls = cp->url.tls,
		.host = cp->url.host,
		.port = cp->url.port,
		.host_header = cp->url.host_header,
		.tls_ctx = cp->tls,
		.proxy = cp->proxy.kind ? &cp->proxy : NULL,
		.user_agent = cp->user_agent,
		.timeout_ns = cp->config->timeout_ns,
	};

	return http_client_new(out, cp->loop, &options, why);
}

/* A heartbeat says what is so now, a GET changes nothing: both may be repeated.  A
 * registration may make a cluster. */
static bool is_repeatable(const char *method, const char *path)
{
	return strcmp(method, "GET") == 0 || strstr(path, "/heartbeat");
}

int control_plane_send(const struct control_plane *cp, struct http_client *client,
		       const char *method, const char *path, struct span body, http_done_fn *done,
		       void *user, struct fault *why)
{
	char whole[sizeof(cp->prefix) + 640];
	struct secret token;

	int rc = control_plane_token(cp->config, &token, why);
	if (rc < 0)
		return rc;
	snprintf(whole, sizeof(whole), "%s%s", cp->prefix, path);
	const struct http_request_out request = {
		.method = method,
		.path = whole,
		.bearer = token.text,
		.content_type = body.n ? "application/json" : NULL,
		.body = body,
		.repeatable = is_repeatable(method, path),
	};
	rc = http_client_send(client, &request, done, user, why);
	explicit_bzero(&token, sizeof(token));
	return rc;
}

void control_plane_show(const struct control_plane *cp, char to[REDACT_BODY_MAX + 1],
			struct span body)
{
	struct secret token = { 0 };

	if (control_plane_token(cp->config, &token, NULL) < 0)
		token.text[0] = '\0';
	redact(to, REDACT_BODY_MAX + 1, body,
	       (const char *const[]){ token.text, cp->config->token.text, cp->service_token }, 3);
	explicit_bzero(&token, sizeof(token));
}
