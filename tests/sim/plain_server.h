/*
 * plain_server -- a tunnel server for a session on fake_loop whose SSH is not
 * encrypted: the key exchange is skipped, and what a test says is what the
 * session's engine reads.
 *
 * It defines RAND_bytes(): entropy is the same in each run.
 */
#ifndef TESTS_SIM_PLAIN_SERVER_H
#define TESTS_SIM_PLAIN_SERVER_H

#include "tests/support/fakes/fake_loop.h"
#include "tunnel-sidecar/session_private.h"

/* The target's URL. */
#define PLAIN_SERVER                                                                               \
	((struct url){ .host = "gw", .port = 9, .path = "/", .host_header = "gw:9" })

bool plain_is_server(size_t dial); /* is it the i-th dial's address? */
/* The session's connection, NULL when there is none. */
struct sock *plain_connection(const struct session *s);

/* From the server: raw bytes, a WebSocket frame, an SSH message. */
void plain_give(struct session *s, struct span bytes);
void plain_say_frame(struct session *s, struct span payload);
void plain_say(struct session *s, struct span message);

/* As after a key exchange that agreed on no cipher; when it is time for one. */
void plain_skip_key_exchange(struct session *s);
/* From wherever the session is to that state on the way to UP, or to UP, where it can be. */
void plain_bring_to(struct session *s, enum bus_state state);
void plain_bring_up(struct session *s);

#endif
