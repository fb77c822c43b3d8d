/*
 * fake_http_client -- lib/http/client.h without a socket: a program's part asks, and its test sees
 * the request and decides when and how it is answered.  To be linked before the library; the real
 * client then stays out.
 *
 * It insists (must) on the contract: one request at a time on each client.
 */
#ifndef TESTS_SUPPORT_FAKES_FAKE_HTTP_CLIENT_H
#define TESTS_SUPPORT_FAKES_FAKE_HTTP_CLIENT_H

#include "lib/http/client_whole.h"

struct fake_request {
	char method[8], path[1024], bearer[128], content_type[64], body[4096];
};

struct fake_origin {
	bool tls, has_tls_ctx, has_proxy;
	char host[256], host_header[300], user_agent[64];
	uint16_t port;
	uint64_t timeout_ns;
};

/* Forgets what was asked so far. */
void fake_http_reset(void);
size_t fake_http_clients(void); /* that live */
size_t fake_http_asked(void);
size_t fake_http_waiting(void);
/* The newest. */
const struct fake_request *fake_http_request(void);
const struct fake_origin *fake_http_origin(void);
/* Answers the request that waits longest. */
void fake_http_answer(const struct http_result *result);
/* The next sends fail with this code, until it is 0. */
void fake_http_refuse(enum err code);

#endif
