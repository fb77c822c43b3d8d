/*
 * User authentication (RFC 4252), both roles: `none`, then `password`.
 */
#include <openssl/crypto.h>

#include "lib/proto/ssh/ssh_engine.h"

#define SERVICE_AUTH	   "ssh-userauth"
#define SERVICE_CONNECTION "ssh-connection"

enum { TRIES_MAX = 10, CREDENTIAL_MAX = 1024 };

int ssh_auth_init(struct ssh *s)
{
	const struct ssh_config *c = &s->config;
	const char *user = c->user ? c->user : "";

	if (c->role == SSH_SERVER)
		return 0;
	const size_t user_n = strlen(user) + 1;
	const size_t n = user_n + (c->password ? strlen(c->password) + 1 : 0);
	char *p = mem_alloc(c->mem, n);
	if (!p)
		return ERR_NOMEM;
	memcpy(p, user, user_n);
	if (c->password)
		memcpy(p + user_n, c->password, n - user_n);
	s->config.user = p;
	s->config.password = c->password ? p + user_n : NULL;
	s->auth.secrets = p;
	s->auth.secrets_n = n;
	return 0;
}

void ssh_auth_wipe(struct ssh *s)
{
	if (s->auth.secrets)
		OPENSSL_cleanse(s->auth.secrets, s->auth.secrets_n);
	mem_free(s->config.mem, s->auth.secrets);
	s->auth.secrets = NULL;
	s->config.user = s->config.password = NULL;
}

static int send_service(struct ssh *s, uint8_t type)
{
	uint8_t bytes[32];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));

	ssh_put_u8(&w, type);
	ssh_put_str(&w, SERVICE_AUTH);
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

int ssh_auth_start(struct ssh *s)
{
	return s->config.role == SSH_CLIENT ? send_service(s, SSH_MSG_SERVICE_REQUEST) : 0;
}

static int become_open(struct ssh *s)
{
	ssh_auth_wipe(s);
	s->phase = SSH_PHASE_OPEN;
	s->slot = (struct ssh_event){ .kind = SSH_EVENT_READY };
	return 0;
}

/* --- client --- */

static int send_request(struct ssh *s, const char *password)
{
	uint8_t bytes[2 * CREDENTIAL_MAX + 128];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));

	ssh_put_u8(&w, SSH_MSG_USERAUTH_REQUEST);
	ssh_put_str(&w, s->config.user);
	ssh_put_str(&w, SERVICE_CONNECTION);
	ssh_put_str(&w, password ? "password" : "none");
	if (password) {
		ssh_put_u8(&w, 0);
		ssh_put_str(&w, password);
	}
	const int rc = w.full ? fault_set(&s->fault, ERR_CONFIG, "user or password too long")
			      : ssh_send(s, ssh_written(&w), (struct span){ 0 });
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return rc;
}

static int on_failure(struct ssh *s, struct ssh_reader *r)
{
	const struct span methods = ssh_get_string(r);
	const bool partial = ssh_get_bool(r);
	char text[128];

	if (r->bad)
		return ssh_malformed(s, "USERAUTH_FAILURE");
	if (partial)
		return fault_set(&s->fault, ERR_AUTH, "the server wants %s besides the password",
				 ssh_text(text, sizeof(text), methods));
	if (s->auth.password_sent)
		return fault_set(&s->fault, ERR_AUTH, "the server refused our user and password");
	if (!s->config.password)
		return fault_set(&s->fault, ERR_AUTH, "the server wants credentials (%s)",
				 ssh_text(text, sizeof(text), methods));
	if (!ssh_list_has(methods, span_str("password")))
		return fault_set(&s->fault, ERR_AUTH, "the server takes no password, but %s",
				 ssh_text(text, sizeof(text), methods));
	s->auth.password_sent = true;
	return send_request(s, s->config.password);
}

static int client_message(struct ssh *s, uint8_t type, struct ssh_reader *r)
{
	struct ssh_auth *a = &s->auth;

	if (type == SSH_MSG_USERAUTH_BANNER) {
		s->stats.ignored++;
		return ++a->banners > LIMIT_SSH_AUTH_BANNERS
			       ? fault_set(&s->fault, ERR_LIMIT, "the server sends endless banners")
			       : 0;
	}
	if (s->phase != SSH_PHASE_AUTH)
		return fault_set(&s->fault, ERR_PROTO, "message %u after authentication", type);
	if (type == SSH_MSG_SERVICE_ACCEPT && !a->service_ok) {
		if (!span_is(ssh_get_string(r), SERVICE_AUTH))
			return ssh_malformed(s, "SERVICE_ACCEPT");
		a->service_ok = true;
		return send_request(s, NULL);
	}
	if (!a->service_ok)
		return fault_set(&s->fault, ERR_PROTO, "message %u before its service", type);
	if (type == SSH_MSG_USERAUTH_FAILURE)
		return on_failure(s, r);
	if (type == SSH_MSG_USERAUTH_SUCCESS)
		return become_open(s);
	if (type == SSH_MSG_USERAUTH_PASSWD_CHANGEREQ && a->password_sent)
		return fault_set(&s->fault, ERR_AUTH, "the server wants the password changed");
	return fault_set(&s->fault, ERR_PROTO, "message %u during authentication", type);
}

/* --- server --- */

static int refuse(struct ssh *s)
{
	uint8_t bytes[32];
	struct ssh_writer w = ssh_writer_of(bytes, sizeof(bytes));

	if (++s->auth.tries >= TRIES_MAX)
		return fault_set(&s->fault, ERR_AUTH, "the client was refused %u times",
				 s->auth.tries);
	ssh_put_u8(&w, SSH_MSG_USERAUTH_FAILURE);
	ssh_put_str(&w, "password");
	ssh_put_u8(&w, 0);
	return ssh_send(s, ssh_written(&w), (struct span){ 0 });
}

static int on_request(struct ssh *s, struct ssh_reader *r)
{
	const struct span user = ssh_get_string(r), service = ssh_get_string(r);
	const struct span method = ssh_get_string(r);
	const bool password = span_is(method, "password");
	const bool change = password && ssh_get_bool(r);
	const struct span secret = password ? ssh_get_string(r) : (struct span){ 0 };

	if (r->bad || user.n > CREDENTIAL_MAX || secret.n > CREDENTIAL_MAX)
		return ssh_malformed(s, "USERAUTH_REQUEST");
	if (!span_is(service, SERVICE_CONNECTION))
		return fault_set(&s->fault, ERR_PROTO, "the client wants an unknown service");
	if (change || (!password && !span_is(method, "none")))
		return refuse(s);
	s->slot = (struct ssh_event){
		.kind = SSH_EVENT_AUTH, .user = user, .name = method, .password = secret
	};
	s->auth.waiting = true;
	return 0;
}

int ssh_auth_decide(struct ssh *s, bool accepted)
{
	if (!s->auth.waiting)
		return 0;
	s->auth.waiting = false;
	if (!accepted)
		return refuse(s);
	const uint8_t type = SSH_MSG_USERAUTH_SUCCESS;
	const int rc = ssh_send(s, span_of(&type, 1), (struct span){ 0 });
	return rc < 0 ? rc : become_open(s);
}

static int server_message(struct ssh *s, uint8_t type, struct ssh_reader *r)
{
	if (type == SSH_MSG_SERVICE_REQUEST && s->phase == SSH_PHASE_AUTH) {
		if (!span_is(ssh_get_string(r), SERVICE_AUTH))
			return fault_set(&s->fault, ERR_PROTO,
					 "the client wants an unknown service");
		s->auth.service_ok = true;
		return send_service(s, SSH_MSG_SERVICE_ACCEPT);
	}
	if (type == SSH_MSG_USERAUTH_REQUEST && s->auth.service_ok) {
		if (s->phase == SSH_PHASE_AUTH)
			return on_request(s, r);
		s->stats.ignored++; /* RFC 4252, 5.3: late ones are ignored in silence */
		return ssh_glitch(s, GLITCH_REPEATED, 1);
	}
	return fault_set(&s->fault, ERR_PROTO, "message %u during authentication", type);
}

int ssh_auth_message(struct ssh *s, uint8_t type, struct mspan packet)
{
	struct ssh_reader r = ssh_reader_of(span_of(packet.p + 1, packet.n - 1));

	return s->config.role == SSH_CLIENT ? client_message(s, type, &r)
					    : server_message(s, type, &r);
}
